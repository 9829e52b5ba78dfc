//! The joint: knows how bytes arrive and where rows rest. Each source is pulled by a task of its own into the journal and
//! told when its deliveries are synced; one pump reads the journal in order, decodes, and hands rows to the lake, which it
//! flushes in rounds.
//!
//! A round closes at one sequence number for every table. Each table that got rows commits them under that number, with
//! its ledger lines in the same commit; then the ledger commits; then the journal lets go. So after any crash the markers
//! tell what is missing, and the journal still has it.

#![warn(missing_docs)]

mod cursors;
mod decode;
mod ledger;
mod maintain;
mod markers;
mod pump;
mod round;
mod source;

use std::sync::Arc;
use std::time::Duration;

use datasjo_datasets::Decoder;
use datasjo_journal::{Journal, JournalError};
use datasjo_lake::{Lake, LakeError};
use datasjo_sources::{Health, Source};
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

pub use cursors::JournalCursors;
pub use markers::start_seq;

/// How one feed's deliveries are understood.
#[derive(Clone, Debug)]
pub struct Feed {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// How its bytes become rows of its dataset's table.
    pub decoder: Arc<Decoder>,
    /// Which configuration this is; kept with every reject.
    pub config_hash: String,
}

/// When a round closes, and how much may wait in memory.
#[derive(Clone, Copy, Debug)]
pub struct FlushOptions {
    /// Longest time a row waits for its commit. Commits are few and large: 10 to 60 s.
    pub every: Duration,
    /// Rows that close a round before its time.
    pub rows: usize,
    /// Payload bytes that close it: garbage makes few rows and much to remember. [`BYTES_IN_ROUND`] is usual.
    pub bytes: usize,
}

/// Payload bytes of a round: a second of a region's messages, and a small part of the memory a program may use.
pub const BYTES_IN_ROUND: usize = 32 << 20;

impl Default for FlushOptions {
    /// Every 10 s or 200,000 rows.
    fn default() -> Self {
        Self { every: Duration::from_secs(10), rows: 200_000, bytes: BYTES_IN_ROUND }
    }
}

/// What can end ingest for good.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// Decoded rows could not be assembled: a defect, not an input.
    #[error("assemble rows of feed {feed}")]
    Rows {
        /// The feed.
        feed: String,
        /// Why.
        #[source]
        source: datasjo_datasets::BatchError,
    },
    /// A task died.
    #[error("the {task} task ended unexpectedly")]
    Task {
        /// Which.
        task: &'static str,
        /// Why.
        #[source]
        source: tokio::task::JoinError,
    },
}

/// How far things have come; cheap to read.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Progress {
    /// Highest sequence number decoded and visible to SQL.
    pub visible_seq: u64,
    /// Highest sequence number committed in every table that needed it.
    pub committed_seq: u64,
    /// Rows that became visible since the start.
    pub rows: u64,
    /// Rows that were there already.
    pub duplicates: u64,
    /// Rejects since the start.
    pub rejected: u64,
    /// Why reading or committing fails at the moment; absent while all is well.
    pub commit_failure: Option<String>,
}

/// How long the sources, all together, are waited for when they are told to stop.
const LAST_SOURCE: Duration = Duration::from_secs(5);

/// Running ingest. Dropping it does not stop it; call [`Ingest::stop`].
pub struct Ingest {
    stop_sources: CancellationToken,
    stop_pump: CancellationToken,
    sources: Vec<(Arc<str>, Health, JoinHandle<()>)>,
    pump: JoinHandle<Result<(), IngestError>>,
    keeper: Option<JoinHandle<()>>,
    progress: watch::Receiver<Progress>,
    journal: Arc<Journal>,
}

impl Ingest {
    /// Starts the pump where the lake's markers say, and one task per source. `keep` turns on maintenance.
    pub async fn start(
        journal: Arc<Journal>,
        lake: Arc<Lake>,
        feeds: Vec<Feed>,
        sources: Vec<(Arc<str>, Box<dyn Source>)>,
        flush: FlushOptions,
        keep: bool,
    ) -> Result<Self, IngestError> {
        let stop_sources = CancellationToken::new();
        let stop_pump = CancellationToken::new();
        let (told, progress) = watch::channel(Progress::default());
        let pump = pump::Pump::new(journal.clone(), lake.clone(), feeds, flush, told, stop_pump.clone()).await?;
        let pump = tokio::spawn(pump.run());
        let keeper = keep.then(|| tokio::spawn(maintain::keep(lake, stop_pump.clone())));
        let sources = sources
            .into_iter()
            .map(|(name, source)| {
                let health = source.health();
                let task = tokio::spawn(source::run(name.clone(), source, journal.clone(), stop_sources.clone()));
                (name, health, task)
            })
            .collect();
        Ok(Self { stop_sources, stop_pump, sources, pump, keeper, progress, journal })
    }

    /// Health of each source, by feed.
    pub fn health(&self) -> Vec<(Arc<str>, Health)> {
        self.sources.iter().map(|(name, health, _)| (name.clone(), health.clone())).collect()
    }

    /// How far things have come; follow it to wait for something.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.clone()
    }

    /// Waits until the pump ends, which it does only by [`Ingest::stop`] or by a failure that stop then returns.
    pub fn pump_ended(&self) -> impl Future<Output = ()> + use<> {
        let mut progress = self.progress.clone();
        async move { while progress.changed().await.is_ok() {} }
    }

    /// Waits until every source has ended (files read once) and all they brought is settled.
    pub async fn sources_ended(&mut self) {
        for (_, _, task) in &mut self.sources {
            let _ = task.await;
        }
    }

    /// Ends at once and commits nothing more: for a lake that nobody will open again.
    pub fn give_up(self) {
        self.stop_sources.cancel();
        self.pump.abort();
        self.sources.into_iter().for_each(|(_, _, task)| task.abort());
    }

    /// Stops the sources, then commits what is visible, then closes the journal. What could not be committed stays in the
    /// journal for the next start. Maintenance under way is given up.
    pub async fn stop(mut self) -> Result<(), IngestError> {
        self.stop_sources.cancel();
        let deadline = Instant::now() + LAST_SOURCE;
        for (name, _, task) in &mut self.sources {
            if !task.is_finished() && timeout_at(deadline, task).await.is_err() {
                tracing::warn!(feed = %name, "the source does not end and is left behind; what it was not told is safe comes again");
            }
        }
        self.stop_pump.cancel();
        let ended = self.pump.await.map_err(|source| IngestError::Task { task: "pump", source });
        if let Some(keeper) = self.keeper {
            let _ = keeper.await;
        }
        let journal = self.journal.clone();
        let _ = tokio::task::spawn_blocking(move || journal.close()).await;
        ended?
    }
}
