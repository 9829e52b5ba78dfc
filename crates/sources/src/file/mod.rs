//! Files: one, or a folder of them, read once or watched.
//!
//! A delivery is a part of a file, decompressed and cut at a line end, never within one; what the bytes mean and how text is
//! encoded is decided elsewhere. Files of a folder are read in the order of their names. When the last part of a file is
//! settled, the file is remembered by name, length, date and hash, and is not read again before it changes. A restart in
//! the middle of a file reads it again from its start; the lake recognises by their keys the rows it has.
//!
//! A watched file is left alone until it has stopped changing. One that ends within a line is read up to that line, and one
//! that is torn as far as it goes; both are said in [`Health`] and read again when they change. Read once, the last line
//! counts without an end, and a torn file ends the source with an error after everything else was read.

mod config;
mod known;
mod parts;
mod pattern;
mod read;
#[cfg(test)]
mod rig;
mod run;
mod scan;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use config::FileConfig;

use crate::{Cursors, Delivery, Health, Mark, Source, SourceError, State};
use known::{Finished, Known};
use read::Arrived;
use run::Reader;

/// Parts read ahead of whoever pulls, so that the disk and the journal work at the same time.
const PARTS_AHEAD: usize = 4;

/// How long a stopped task may take to notice.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);

/// A file or a folder. Reading starts with the first [`Source::next`].
pub struct FileSource {
    feed: Arc<str>,
    cursors: Arc<dyn Cursors>,
    health: Health,
    waiting: Option<Reader>,
    running: Option<JoinHandle<()>>,
    parts: mpsc::Receiver<Result<Arrived, SourceError>>,
    known: Known,
    unsettled: VecDeque<(Mark, String, Finished)>,
    mark: Mark,
    cancel: CancellationToken,
    _cancel_on_drop: DropGuard,
}

impl FileSource {
    /// A source for `feed` that leaves out the files remembered as read. A memory that cannot be read counts as empty.
    ///
    /// # Errors
    /// [`SourceError::Config`] with every problem of the configuration; [`SourceError::Cursor`] when the store fails.
    pub fn new(feed: impl Into<Arc<str>>, config: FileConfig, cursors: Arc<dyn Cursors>) -> Result<Self, SourceError> {
        let feed: Arc<str> = feed.into();
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(SourceError::Config(problems.join("; ")));
        }
        let stored = cursors.load(&feed).map_err(|source| SourceError::Cursor { feed: feed.to_string(), source })?;
        let known = stored.map(|bytes| known::from_bytes(&bytes)).unwrap_or_default();
        let (out, parts) = mpsc::channel(PARTS_AHEAD);
        let (health, cancel) = (Health::default(), CancellationToken::new());
        let reader = Reader::new(feed.clone(), config, known.clone(), health.clone(), out);
        Ok(Self {
            feed,
            cursors,
            health,
            waiting: Some(reader),
            running: None,
            parts,
            known,
            unsettled: VecDeque::new(),
            mark: 0,
            _cancel_on_drop: cancel.clone().drop_guard(),
            cancel,
        })
    }

    /// Starts the task on the first call; later calls do nothing.
    fn start(&mut self) {
        let Some(reader) = self.waiting.take() else {
            return;
        };
        let cancel = self.cancel.clone();
        self.running = Some(tokio::spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = reader.run() => {}
            }
        }));
    }

    fn delivery(&mut self, part: Arrived) -> Delivery {
        self.mark += 1;
        self.health.delivered(part.payload.len());
        self.unsettled.extend(part.finished.map(|(name, finished)| (self.mark, name, finished)));
        Delivery {
            feed: self.feed.clone(),
            labels: part.labels,
            received_at_us: part.received_at_us,
            retained: false,
            payload: part.payload,
            mark: self.mark,
        }
    }

    /// The memory has as many places as a folder may have files; the longest unchanged go first.
    fn forget_the_oldest(&mut self) {
        while self.known.len() > scan::MAX_FILES {
            let oldest = self.known.iter().min_by_key(|(_, finished)| finished.look.modified_us).map(|(name, _)| name.clone());
            if let Some(name) = oldest {
                self.known.remove(&name);
            }
        }
    }
}

#[async_trait]
impl Source for FileSource {
    async fn next(&mut self) -> Result<Option<Delivery>, SourceError> {
        self.start();
        match self.parts.recv().await {
            Some(Ok(part)) => Ok(Some(self.delivery(part))),
            Some(Err(error)) => {
                self.health.ended(Some(error.to_string()));
                Err(error)
            }
            None => {
                if self.health.report().state != State::Failed {
                    self.health.ended(None);
                }
                Ok(None)
            }
        }
    }

    async fn settle(&mut self, mark: Mark) -> Result<(), SourceError> {
        let settled = self.unsettled.partition_point(|(last, ..)| *last <= mark);
        if settled == 0 {
            return Ok(());
        }
        self.known.extend(self.unsettled.iter().take(settled).map(|(_, name, finished)| (name.clone(), finished.clone())));
        self.forget_the_oldest();
        let failed = |source| SourceError::Cursor { feed: self.feed.to_string(), source };
        let bytes = serde_json::to_vec(&self.known).map_err(|error| failed(error.into()))?;
        self.cursors.store(&self.feed, &bytes).map_err(failed)?;
        self.unsettled.drain(..settled);
        Ok(())
    }

    async fn stop(&mut self) {
        self.cancel.cancel();
        self.waiting = None;
        // Ends a thread that waits to hand on a part.
        self.parts.close();
        if let Some(mut task) = self.running.take()
            && tokio::time::timeout(STOP_TIMEOUT, &mut task).await.is_err()
        {
            task.abort();
        }
        while self.parts.try_recv().is_ok() {}
        self.health.ended(None);
    }

    fn health(&self) -> Health {
        self.health.clone()
    }
}
