//! The connections of the door: so many and no more, and none that only waits.
//!
//! `axum::serve` accepts whatever comes and waits for it for ever. Here a connection has a place or is closed at once, it must
//! come with its request in time, and it must take its answer in time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

/// Bounds of the connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Connections at the same time; one more is closed at once.
    pub connections: usize,
    /// Longest wait for a request to be complete up to its body, and longest silence between two.
    pub request: Duration,
    /// Longest wait for the far side to take what is written.
    pub answer: Duration,
}

impl Default for Bounds {
    /// 256 connections, 30 s each.
    fn default() -> Self {
        Self { connections: 256, request: Duration::from_secs(30), answer: Duration::from_secs(30) }
    }
}

/// Accepts within [`Bounds`].
pub(crate) struct BoundedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    bounds: Bounds,
}

impl BoundedListener {
    pub(crate) fn new(listener: TcpListener, bounds: Bounds) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(bounds.connections)), bounds }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, from) = Listener::accept(&mut self.listener).await;
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                tracing::warn!(%from, "more connections than the SQL door has places; this one is closed");
                continue;
            };
            // Small answers go out at once, not when the client has acknowledged what came before.
            let _ = stream.set_nodelay(true);
            return (Connection::new(stream, place, self.bounds), from);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The requests of one connection: those under way, and all that ever began.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    under_way: AtomicU64,
}

impl Requests {
    /// One more is under way, until what is returned is dropped.
    pub(crate) fn begin(&self) -> UnderWay {
        self.0.under_way.fetch_add(1, Ordering::AcqRel);
        self.0.begun.fetch_add(1, Ordering::AcqRel);
        UnderWay(self.clone())
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Requests {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        stream.io().requests.clone()
    }
}

/// A request that has come and is not answered yet.
pub(crate) struct UnderWay(Requests);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A moment by which something must have happened.
struct Deadline {
    after: Duration,
    at: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn new(after: Duration) -> Self {
        Self { after, at: None }
    }

    /// Begins to count, if it does not already. Ready when it is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let after = self.after;
        let at = self.at.get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        ready!(at.as_mut().poll(context));
        Poll::Ready(io::Error::from(io::ErrorKind::TimedOut))
    }

    fn forget(&mut self) {
        self.at = None;
    }
}

/// A connection with its place.
pub(crate) struct Connection {
    stream: TcpStream,
    requests: Requests,
    /// How many requests had begun when the wait for the next one began.
    begun: u64,
    request: Deadline,
    answer: Deadline,
    _place: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, bounds: Bounds) -> Self {
        let (request, answer) = (Deadline::new(bounds.request), Deadline::new(bounds.answer));
        Self { stream, requests: Requests::default(), begun: 0, request, answer, _place: place }
    }

    /// Nothing has come: that may go on while a request is answered, and else until its deadline.
    fn wait_for_request(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let begun = self.requests.0.begun.load(Ordering::Acquire);
        if begun != self.begun {
            self.begun = begun;
            self.request.forget();
        }
        if self.requests.0.under_way.load(Ordering::Acquire) > 0 {
            self.request.forget();
            return Poll::Pending;
        }
        self.request.poll(context).map(Err)
    }

    /// What became of a write, or its deadline while the far side takes nothing.
    fn written(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.answer.forget();
            return written;
        }
        self.answer.poll(context).map(Err)
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, into) {
            Poll::Ready(read) => Poll::Ready(read),
            Poll::Pending => self.wait_for_request(context),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::extract::ConnectInfo;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    /// A guard against waiting for ever; no test is meant to come near it.
    const GUARD: Duration = Duration::from_secs(30);

    /// Serves `/`, and `/slow`, which is answered when it is told to.
    async fn door(connections: usize, request: Duration) -> (SocketAddr, Arc<Notify>) {
        let go = Arc::new(Notify::new());
        let told = go.clone();
        let slow = move |ConnectInfo(requests): ConnectInfo<Requests>| async move {
            let _under_way = requests.begin();
            told.notified().await;
            "done"
        };
        let quick = |ConnectInfo(requests): ConnectInfo<Requests>| async move {
            let _under_way = requests.begin();
            "ok"
        };
        let router = Router::new().route("/", get(quick)).route("/slow", get(slow));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounded = BoundedListener::new(listener, Bounds { connections, request, answer: GUARD });
        let service = router.into_make_service_with_connect_info::<Requests>();
        tokio::spawn(async move { axum::serve(bounded, service).await });
        (address, go)
    }

    async fn connect(address: SocketAddr, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream
    }

    /// What comes until the far side closes.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        let _ = tokio::time::timeout(GUARD, stream.read_to_end(&mut text)).await.expect("it stays open");
        String::from_utf8(text).unwrap()
    }

    async fn answered(stream: &mut TcpStream) -> bool {
        let mut begin = [0; 15];
        let read = tokio::time::timeout(GUARD, stream.read_exact(&mut begin)).await.expect("no answer");
        read.is_ok() && &begin == b"HTTP/1.1 200 OK"
    }

    #[tokio::test]
    async fn half_a_request_is_cut_off_and_a_slow_answer_is_not() {
        let (address, go) = door(8, Duration::from_millis(50)).await;
        let slow = connect(address, "GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        for _ in 0..3 {
            assert_eq!(rest(connect(address, "GET / HT").await).await, "", "nobody waits for the rest of it");
        }
        go.notify_one();
        assert!(rest(slow).await.starts_with("HTTP/1.1 200 OK"), "its request was complete");
    }

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_a_place_given_up_is_given_again() {
        let (address, _) = door(1, GUARD).await;
        let whole = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut first = connect(address, whole).await;
        assert!(answered(&mut first).await);
        assert_eq!(rest(TcpStream::connect(address).await.unwrap()).await, "");
        drop(first);
        let next = async {
            loop {
                let Ok(mut stream) = TcpStream::connect(address).await else { continue };
                if stream.write_all(whole.as_bytes()).await.is_ok() && answered(&mut stream).await {
                    break;
                }
            }
        };
        tokio::time::timeout(GUARD, next).await.expect("the place is not given again");
    }
}
