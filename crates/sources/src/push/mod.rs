//! One HTTP door for devices and services that post to us. Each feed has a path of its own behind it.
//!
//! A sender is told 204 when its body is safe on disk and not before. Whatever else it is told, it may send the same again:
//! what comes twice is recognised by its key in the lake, so repetition does no harm, and a sender that repeats until it
//! sees 204 loses nothing. Who is not known learns nothing: the token is looked at before the body, in constant time, and a
//! GET is answered the same way at every path.
//!
//! Bind the [`Listener`], make one [`PushSource`] for each feed, then [`Listener::run`] it.

mod answer;
mod auth;
mod config;
mod handler;
mod limited;
mod listener;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

pub use config::{Auth, Encoding, ListenConfig, PushConfig, TlsFiles, Token};
pub use listener::Listener;

use crate::{Delivery, Health, Mark, Source, SourceError};
use handler::Posted;

/// What is posted to the path of one feed. Made by [`Listener::source`].
pub struct PushSource {
    feed: Arc<str>,
    health: Health,
    queue: mpsc::Receiver<Posted>,
    unsettled: VecDeque<(Mark, oneshot::Sender<()>)>,
    mark: Mark,
}

impl PushSource {
    fn new(feed: Arc<str>, health: Health, queue: mpsc::Receiver<Posted>) -> Self {
        Self { feed, health, queue, unsettled: VecDeque::new(), mark: 0 }
    }
}

#[async_trait]
impl Source for PushSource {
    async fn next(&mut self) -> Result<Option<Delivery>, SourceError> {
        let Some(posted) = self.queue.recv().await else {
            self.health.ended(None);
            return Ok(None);
        };
        self.mark += 1;
        self.health.delivered(posted.payload.len());
        self.unsettled.push_back((self.mark, posted.safe));
        Ok(Some(Delivery {
            feed: self.feed.clone(),
            labels: posted.labels,
            received_at_us: posted.received_at_us,
            retained: false,
            payload: posted.payload,
            mark: self.mark,
        }))
    }

    async fn settle(&mut self, mark: Mark) -> Result<(), SourceError> {
        while self.unsettled.front().is_some_and(|(waiting, _)| *waiting <= mark) {
            if let Some((_, safe)) = self.unsettled.pop_front() {
                // A sender that has gone away is not told; it will send the same again.
                let _ = safe.send(());
            }
        }
        Ok(())
    }

    /// Senders that still wait are asked to come again.
    async fn stop(&mut self) {
        self.queue.close();
        while self.queue.try_recv().is_ok() {}
        self.unsettled.clear();
        self.health.ended(None);
    }

    fn health(&self) -> Health {
        self.health.clone()
    }
}
