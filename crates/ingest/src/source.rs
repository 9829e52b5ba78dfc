//! One task per source: pull, append, and settle what the journal has synced.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use datasjo_journal::{Journal, Record};
use datasjo_sources::{Delivery, Mark, Source, SourceError};
use datasjo_table::causes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Deliveries of one source that may wait for their sync: bounds what a sender must repeat after a crash.
const MAX_WAITING: usize = 16_384;
/// How long a stopping source waits for its last deliveries to be synced.
const LAST_SYNC: Duration = Duration::from_millis(500);

struct Task {
    source: Box<dyn Source>,
    journal: Arc<Journal>,
    synced: watch::Receiver<u64>,
    /// Appended, not settled yet: sequence number and the source's mark.
    waiting: VecDeque<(u64, Mark)>,
    /// The journal takes nothing any more.
    refused: bool,
}

/// Runs until the source ends or `stop` is called. An error ends this source only; its health says why.
pub(crate) async fn run(name: Arc<str>, source: Box<dyn Source>, journal: Arc<Journal>, stop: CancellationToken) {
    let synced = journal.synced();
    let mut task = Task { source, journal, synced, waiting: VecDeque::new(), refused: false };
    let ended = task.pull(&stop).await;
    let settled = task.settle_last().await;
    task.source.stop().await;
    if let Err(error) = ended.and(settled) {
        tracing::error!(feed = %name, error = %causes(&error), "the source ended; its feed stands still until the next start");
        task.source.health().ended(Some(causes(&error)));
    } else if task.refused && !stop.is_cancelled() {
        tracing::error!(feed = %name, "the journal is closed; the feed stands still until the next start");
        task.source.health().ended(Some("the journal is closed".to_owned()));
    }
}

impl Task {
    async fn pull(&mut self, stop: &CancellationToken) -> Result<(), SourceError> {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Ok(()) = self.synced.changed(), if !self.waiting.is_empty() => self.settle_synced().await?,
                next = self.source.next(), if self.waiting.len() < MAX_WAITING => match next? {
                    Some(delivery) => {
                        if !self.append(delivery, stop).await? {
                            return Ok(());
                        }
                    }
                    None => tokio::select! {
                        settled = self.settle_all() => return settled,
                        () = stop.cancelled() => return Ok(()),
                    },
                },
            }
        }
    }

    /// Appends, and goes on settling while the journal makes it wait. False if stopped or closed before it was taken.
    async fn append(&mut self, delivery: Delivery, stop: &CancellationToken) -> Result<bool, SourceError> {
        let mark = delivery.mark;
        let journal = self.journal.clone();
        let append = journal.append(record(delivery));
        tokio::pin!(append);
        loop {
            tokio::select! {
                biased;
                seq = &mut append => {
                    let Ok(seq) = seq else {
                        self.refused = true;
                        return Ok(false);
                    };
                    self.waiting.push_back((seq, mark));
                    return Ok(true);
                }
                () = stop.cancelled() => return Ok(false),
                Ok(()) = self.synced.changed(), if !self.waiting.is_empty() => self.settle_synced().await?,
            }
        }
    }

    async fn settle_synced(&mut self) -> Result<(), SourceError> {
        let synced = *self.synced.borrow_and_update();
        let mut newest = None;
        while let Some((seq, mark)) = self.waiting.front().copied()
            && seq <= synced
        {
            newest = Some(mark);
            self.waiting.pop_front();
        }
        match newest {
            Some(mark) => self.source.settle(mark).await,
            None => Ok(()),
        }
    }

    async fn settle_all(&mut self) -> Result<(), SourceError> {
        self.settle_synced().await?;
        while !self.waiting.is_empty() && self.synced.changed().await.is_ok() {
            self.settle_synced().await?;
        }
        Ok(())
    }

    async fn settle_last(&mut self) -> Result<(), SourceError> {
        match tokio::time::timeout(LAST_SYNC, self.settle_all()).await {
            Ok(settled) => settled,
            Err(_) => Ok(()),
        }
    }
}

fn record(delivery: Delivery) -> Record {
    Record {
        feed: delivery.feed,
        labels: delivery.labels,
        received_at_us: delivery.received_at_us,
        retained: delivery.retained,
        payload: delivery.payload,
    }
}
