//! One round of commits: every table that got rows, then the ledger, then the journal lets go. It is repeated until it
//! holds or ingest stops; the tables look at their markers first, so repeating is harmless.

use std::sync::Arc;
use std::time::Duration;

use datasjo_journal::Journal;
use datasjo_lake::{LEDGER, Lake, LakeError, LedgerLine, Marker};
use datasjo_table::causes;
use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Travelling, committed};
use crate::maintain::stopped_for;
use crate::{IngestError, Progress};

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// How long the journal may take to let go when ingest stops.
const LAST_RELEASE: Duration = Duration::from_secs(2);
/// Tables written at the same time: encoding is work for a core, syncing is waiting.
const TABLES_AT_ONCE: usize = 2;

pub(crate) struct Round {
    pub lake: Arc<Lake>,
    pub journal: Arc<Journal>,
    pub marker: Marker,
    pub lines: Vec<LedgerLine>,
    pub told: watch::Sender<Progress>,
}

impl Round {
    /// Commits until it holds. True when it did; false when stopped before it did, with everything still in the journal.
    pub async fn run(self, stop: CancellationToken) -> Result<bool, IngestError> {
        let mut wait = FIRST_WAIT;
        loop {
            // A round that was failing when ingest stopped gets one more try.
            let last_try = stop.is_cancelled();
            let Err(error) = self.commit().await else { break };
            let reason = causes(&error);
            tracing::error!(%reason, "a commit to the lake failed; it is tried again and the journal keeps everything");
            self.told.send_modify(|p| p.commit_failure = Some(reason));
            if last_try {
                return Ok(false);
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => {}
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        tokio::select! {
            released = self.journal.release(self.marker.seq) => released?,
            // The journal's disk may fail: what is not released is found to be committed at the next start.
            () = stopped_for(&stop, LAST_RELEASE) => {}
        }
        self.told.send_modify(|p| {
            p.commit_failure = None;
            p.committed_seq = self.marker.seq;
        });
        Ok(true)
    }

    async fn commit(&self) -> Result<(), LakeError> {
        let tables: Vec<_> = self.lake.tables().filter(|t| t.name() != LEDGER).cloned().collect();
        let commits = tables.into_iter().map(|table| async move {
            let lines = Travelling::of(table.name(), &self.marker.journal_id, self.marker.seq, &self.lines);
            table.flush(&self.marker, lines).await
        });
        let mut commits = futures::stream::iter(commits).buffer_unordered(TABLES_AT_ONCE);
        let mut first_error = None;
        while let Some(done) = commits.next().await {
            first_error = first_error.or(done.err());
        }
        match first_error {
            Some(error) => Err(error),
            None => self.lake.commit_ledger(&committed(&self.lines), &self.marker).await,
        }
    }
}
