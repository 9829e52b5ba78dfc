use std::future::{Ready, ready};
use std::io;
use std::net::SocketAddr;

use axum_server::Handle;
use axum_server::accept::Accept;
use futures::future::Either;

/// Accepts while there are no more than `most` connections; one more is closed before a byte of it is read.
#[derive(Clone)]
pub(super) struct Limited<A> {
    pub(super) inner: A,
    pub(super) handle: Handle<SocketAddr>,
    pub(super) most: usize,
}

impl<A: Accept<I, S>, I, S> Accept<I, S> for Limited<A> {
    type Stream = A::Stream;
    type Service = A::Service;
    type Future = Either<A::Future, Ready<io::Result<(A::Stream, A::Service)>>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        // The new connection is counted already.
        if self.handle.connection_count() > self.most {
            return Either::Right(ready(Err(io::Error::other("too many connections"))));
        }
        Either::Left(self.inner.accept(stream, service))
    }
}
