//! Services that are asked regularly over HTTP.
//!
//! A *round* asks for the first page and follows it to the last; each page is one delivery. The place reached is stored
//! when the last page of a round is settled and never before, so a restart asks for a round again rather than skipping a
//! page; what comes twice is recognised by its key in the lake.
//!
//! A service is spared: it is asked with `If-None-Match` and `If-Modified-Since`, not before its `Expires` or `max-age`
//! (also after a restart), not before its `Retry-After`, at an agreed pace per host, and again soon only when repetition
//! can mend the failure: no connection, a cut answer, 429, 500, 502, 503, 504. All else waits for the next round.
//!
//! Secrets are kept out of labels, errors, health and `Debug`: addresses are shown without the key, and redirects and
//! links to another host are not followed.

mod address;
mod config;
mod fetch;
mod header_text;
mod headers;
mod pace;
mod paging;
mod place;
#[cfg(test)]
mod rig;
mod run;
mod template;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use config::{ApiKey, Method, Paging, PollConfig};
pub use header_text::HeaderText;

use crate::{Cursors, Delivery, Health, Mark, Source, SourceError};
use fetch::Fetcher;
use place::Place;
use run::{Arrived, Poller};

/// Pages fetched ahead of whoever pulls: one, so that the network and the journal work at the same time and memory stays
/// at two pages.
const PAGES_AHEAD: usize = 1;

/// How long a stopped task may take to notice.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// A service that is asked regularly. Asking starts with the first [`Source::next`].
pub struct PollSource {
    feed: Arc<str>,
    cursors: Arc<dyn Cursors>,
    health: Health,
    waiting: Option<Poller>,
    running: Option<JoinHandle<()>>,
    pages: mpsc::Receiver<Arrived>,
    unsettled: VecDeque<(Mark, Place)>,
    mark: Mark,
    cancel: CancellationToken,
    _cancel_on_drop: DropGuard,
}

impl PollSource {
    /// A source for `feed` that goes on where the stored cursor ends. A cursor that cannot be read counts as none.
    ///
    /// # Errors
    /// [`SourceError::Config`] with every problem of the configuration; [`SourceError::Cursor`] when the store fails.
    pub fn new(feed: impl Into<Arc<str>>, config: PollConfig, cursors: Arc<dyn Cursors>) -> Result<Self, SourceError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(SourceError::Config(problems.join("; ")));
        }
        Self::checked(feed.into(), config, cursors)
    }

    /// The same for a configuration without problems.
    fn checked(feed: Arc<str>, config: PollConfig, cursors: Arc<dyn Cursors>) -> Result<Self, SourceError> {
        let fetcher = Fetcher::new(&config)?;
        let first = paging::first(&config, &config.window(None, Timestamp::now()), None).map_err(SourceError::Config)?;
        pace::agree(&address::host(&first.url), config.requests_per_minute);

        let stored = cursors.load(&feed).map_err(|source| SourceError::Cursor { feed: feed.to_string(), source })?;
        let place = stored.and_then(|bytes| Place::from_bytes(&bytes)).unwrap_or_default().asked_as(&config.url);
        let (out, pages) = mpsc::channel(PAGES_AHEAD);
        let (health, cancel) = (Health::default(), CancellationToken::new());
        let poller = Poller::new(feed.clone(), config, fetcher, place, health.clone(), out);
        Ok(Self {
            feed,
            cursors,
            health,
            waiting: Some(poller),
            running: None,
            pages,
            unsettled: VecDeque::new(),
            mark: 0,
            _cancel_on_drop: cancel.clone().drop_guard(),
            cancel,
        })
    }

    /// Starts the task on the first call; later calls do nothing.
    fn start(&mut self) {
        let Some(poller) = self.waiting.take() else {
            return;
        };
        let cancel = self.cancel.clone();
        self.running = Some(tokio::spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = poller.run() => {}
            }
        }));
    }
}

#[async_trait]
impl Source for PollSource {
    async fn next(&mut self) -> Result<Option<Delivery>, SourceError> {
        self.start();
        let Some(page) = self.pages.recv().await else {
            return Ok(None);
        };
        self.mark += 1;
        self.health.delivered(page.payload.len());
        self.unsettled.extend(page.place.map(|place| (self.mark, place)));
        Ok(Some(Delivery {
            feed: self.feed.clone(),
            labels: page.labels,
            received_at_us: page.received_at_us,
            retained: false,
            payload: page.payload,
            mark: self.mark,
        }))
    }

    async fn settle(&mut self, mark: Mark) -> Result<(), SourceError> {
        let settled = self.unsettled.partition_point(|(last, _)| *last <= mark);
        let Some((_, place)) = settled.checked_sub(1).and_then(|newest| self.unsettled.get(newest)) else {
            return Ok(());
        };
        let failed = |source| SourceError::Cursor { feed: self.feed.to_string(), source };
        let bytes = serde_json::to_vec(place).map_err(|error| failed(error.into()))?;
        self.cursors.store(&self.feed, &bytes).map_err(failed)?;
        self.unsettled.drain(..settled);
        Ok(())
    }

    async fn stop(&mut self) {
        self.cancel.cancel();
        self.waiting = None;
        self.pages.close();
        if let Some(mut task) = self.running.take()
            && tokio::time::timeout(STOP_TIMEOUT, &mut task).await.is_err()
        {
            task.abort();
        }
        while self.pages.try_recv().is_ok() {}
        self.health.ended(None);
    }

    fn health(&self) -> Health {
        self.health.clone()
    }
}
