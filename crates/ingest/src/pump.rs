//! The pump: journal to rows, in order. One `select!`, plain functions around it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datasjo_journal::{Entry, Journal};
use datasjo_lake::{Accepted, Incoming, LEDGER, Lake, LakeTable, Marker, REJECTS};
use datasjo_table::causes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decode::{Fresh, Part, decode, reject_row};
use crate::ledger::{Book, Travelling, hour_of};
use crate::markers::Markers;
use crate::round::Round;
use crate::{Feed, FlushOptions, IngestError, Progress};

/// Payload bytes decoded at a time: a step is short enough to keep rows fresh and long enough to keep batches large.
const STEP_BYTES: usize = 4 << 20;
/// Wait before the journal or the lake is read again after a failure.
const READ_WAIT: Duration = Duration::from_millis(500);
/// How long a look into the lake may fail before the rows that need it become rejects, so that all others can go on.
const PATIENCE: Duration = Duration::from_secs(60);
/// Commits looked at for ledger lines after a crash: at most one round can be ahead of the ledger, but maintenance may have
/// made many commits since.
const RECENT_COMMITS: usize = 1_000;

pub(crate) struct Pump {
    journal: Arc<Journal>,
    lake: Arc<Lake>,
    feeds: Arc<HashMap<Arc<str>, Feed>>,
    flush: FlushOptions,
    told: watch::Sender<Progress>,
    markers: Markers,
    next_seq: u64,
    book: Book,
    rows_in_round: usize,
    bytes_in_round: usize,
    round_started: Option<Instant>,
    round: Option<JoinHandle<Result<bool, IngestError>>>,
    /// Cancelled when ingest stops.
    stop: CancellationToken,
    /// Cancelled when a failing round shall not be tried again.
    hurry: CancellationToken,
}

impl Pump {
    pub async fn new(
        journal: Arc<Journal>,
        lake: Arc<Lake>,
        feeds: Vec<Feed>,
        flush: FlushOptions,
        told: watch::Sender<Progress>,
        stop: CancellationToken,
    ) -> Result<Self, IngestError> {
        let markers = Markers::read(&lake, journal.id()).await?;
        let mut book = Book::default();
        for table in lake.tables().filter(|t| markers.of(t.name()) > markers.ledger) {
            if let Some(travelling) = newest(table.ledger_lines(RECENT_COMMITS).await?, journal.id(), markers.ledger) {
                travelling.lines.iter().for_each(|line| book.carry(line));
            }
        }
        let next_seq = markers.lowest() + 1;
        let feeds = Arc::new(feeds.into_iter().map(|f| (f.name.clone(), f)).collect());
        Ok(Self {
            journal,
            lake,
            feeds,
            flush,
            told,
            markers,
            next_seq,
            round_started: (!book.is_empty()).then(Instant::now),
            book,
            rows_in_round: 0,
            bytes_in_round: 0,
            round: None,
            stop,
            hurry: CancellationToken::new(),
        })
    }

    /// Runs until stopped; then reads what is synced, commits what is visible and returns.
    pub async fn run(mut self) -> Result<(), IngestError> {
        let mut synced = self.journal.synced();
        let stop = self.stop.clone();
        loop {
            let behind = *synced.borrow_and_update() >= self.next_seq;
            if behind && self.has_room() {
                if !self.step().await? {
                    break;
                }
                if self.has_room() && !self.is_due() {
                    continue;
                }
            }
            if self.is_due() && self.round.is_none() {
                self.start_round().await;
            }
            let has_room = self.has_room();
            let due_at =
                self.round_started.filter(|_| self.round.is_none() && !self.catching_up()).map(|at| at + self.flush.every);
            tokio::select! {
                biased;
                ended = wait_for(&mut self.round) => { self.end_round(ended)?; }
                () = stop.cancelled() => break,
                Ok(()) = synced.changed(), if !behind => {}
                () = sleep_until(due_at) => {}
                () = std::future::ready(()), if behind && has_room => {}
            }
        }
        self.finish().await
    }

    /// While a round is being committed a second one may fill up, but not a third: then the journal keeps what comes.
    fn has_room(&self) -> bool {
        self.catching_up() || !self.is_full()
    }

    fn is_full(&self) -> bool {
        self.rows_in_round >= self.flush.rows || self.bytes_in_round >= self.flush.bytes
    }

    fn is_due(&self) -> bool {
        let in_time = self.round_started.is_some_and(|at| at.elapsed() >= self.flush.every);
        !self.catching_up() && (self.is_full() || in_time)
    }

    /// True while entries are read again that some table holds already: no round may close under a marker before theirs.
    fn catching_up(&self) -> bool {
        self.next_seq <= self.markers.highest()
    }

    /// Reads what is synced and commits what is visible. When a commit does not hold now, everything is left to the journal
    /// and the next start.
    async fn finish(mut self) -> Result<(), IngestError> {
        self.hurry.cancel();
        while *self.journal.synced().borrow() >= self.next_seq && self.has_room() {
            if !self.step().await? {
                return Ok(());
            }
        }
        let ended = wait_for_round(&mut self.round).await;
        if self.end_round(ended)? && !self.book.is_empty() && !self.catching_up() {
            self.start_round().await;
            let ended = wait_for_round(&mut self.round).await;
            self.end_round(ended)?;
        }
        Ok(())
    }

    /// Makes the next deliveries visible. False if the journal or the lake cannot be read and there is no waiting, because
    /// ingest stops.
    async fn step(&mut self) -> Result<bool, IngestError> {
        let synced = *self.journal.synced().borrow();
        let Some(entries) = self.read().await else { return Ok(false) };
        let (Some(first), Some(last)) = (entries.first().map(|e| e.seq), entries.last().map(|e| e.seq)) else {
            self.tell_missing(synced);
            self.next_seq = synced + 1;
            self.told.send_modify(|p| p.visible_seq = synced);
            return Ok(true);
        };
        self.tell_missing(first - 1);
        let bytes: usize = entries.iter().map(|e| e.record.payload.len()).sum();
        let feeds = self.feeds.clone();
        let decoded = tokio::task::spawn_blocking(move || decode(&feeds, entries)).await;
        let parts = decoded.map_err(|source| IngestError::Task { task: "decode", source })??;
        for same_table in parts.chunk_by(|a, b| a.dataset == b.dataset) {
            if !self.take(same_table).await? {
                return Ok(false);
            }
        }
        self.next_seq = last + 1;
        self.bytes_in_round += bytes;
        self.round_started.get_or_insert_with(Instant::now);
        self.lake.show_open_lines(self.book.lines());
        self.told.send_modify(|p| p.visible_seq = last);
        Ok(true)
    }

    /// Tells if the journal lacks entries up to `last` that the lake does not have either: one of them is an older copy.
    fn tell_missing(&self, last: u64) {
        let from = self.next_seq.max(self.markers.ledger + 1);
        if from <= last {
            tracing::error!(from, to = last, "the journal has no entries in this range and the lake may lack them");
        }
    }

    /// The next entries. While the journal cannot be read, for example because it is opened again after a full disk, this
    /// waits; `None` when ingest stops meanwhile.
    async fn read(&self) -> Option<Vec<Entry>> {
        loop {
            match self.journal.read(self.next_seq, STEP_BYTES) {
                Ok(entries) => return Some(entries),
                Err(error) if !self.wait_after(&error).await => return None,
                Err(_) => {}
            }
        }
    }

    /// Tells a failure that may pass and waits a little. False when ingest stops: then there is no use in trying again.
    async fn wait_after(&self, error: &(dyn std::error::Error + Sync)) -> bool {
        let reason = causes(error);
        tracing::error!(%reason, "reading stands still and is tried again; the journal keeps everything");
        self.told.send_modify(|p| p.commit_failure = Some(reason));
        if self.stop.is_cancelled() {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(READ_WAIT) => {}
            () = self.stop.cancelled() => {}
        }
        true
    }

    /// Hands the rows and rejects of the feeds of one table to the lake and counts them. False if it could not, see
    /// [`Pump::step`].
    async fn take(&mut self, parts: &[Part]) -> Result<bool, IngestError> {
        let table_marker = parts.first().map_or(0, |part| self.markers.of(&part.dataset));
        let counted_from = table_marker.max(self.markers.ledger);
        for part in parts {
            let first = part.arrivals.partition_point(|a| a.1 <= counted_from);
            for same_hour in part.arrivals[first..].chunk_by(|a, b| hour_of(a.0) == hour_of(b.0)) {
                self.book.line(&part.feed, &part.dataset, same_hour[0].0).deliveries += same_hour.len() as i64;
            }
        }
        if !self.take_rows(parts, table_marker, counted_from).await? {
            return Ok(false);
        }
        for part in parts {
            self.take_rejects(part, counted_from)?;
        }
        Ok(true)
    }

    async fn take_rows(&mut self, parts: &[Part], table_marker: u64, counted_from: u64) -> Result<bool, IngestError> {
        let fresh: Vec<Fresh<'_>> = parts.iter().filter_map(|part| Fresh::of(part, table_marker)).collect();
        let Some(dataset) = fresh.first().map(|f| f.part.dataset.clone()) else { return Ok(true) };
        let incoming: Vec<Incoming<'_>> =
            fresh.iter().map(|f| Incoming { feed: &f.part.feed, rows: &f.rows, arrived: &f.arrived }).collect();
        let table = self.lake.table(&dataset)?.clone();
        let Some(accepted) = self.accept(&table, &incoming).await else { return Ok(false) };
        let rejects_marker = self.rejects_marker();
        for (fresh, accepted) in fresh.iter().zip(&accepted) {
            let kept = accepted.kept.iter().filter(|kept| **kept).count();
            let unreadable = accepted.unreadable.iter().filter(|unreadable| **unreadable).count();
            let rejects = fresh.unreadable(accepted, rejects_marker);
            self.count(fresh.part, &fresh.arrived, accepted, counted_from);
            self.rows_in_round += kept + rejects.len();
            self.lake.push_rejects(&rejects)?;
            self.told.send_modify(|p| {
                p.rows += kept as u64;
                p.duplicates += (fresh.arrived.len() - kept - unreadable) as u64;
                p.rejected += unreadable as u64;
            });
        }
        Ok(true)
    }

    /// Has rows judged, and waits while what they must be compared with cannot be read; not for ever, if the rest of the lake
    /// can be. `None` when ingest stops meanwhile.
    async fn accept(&self, table: &LakeTable, incoming: &[Incoming<'_>]) -> Option<Vec<Accepted>> {
        let begun = Instant::now();
        loop {
            let error = match table.accept(incoming).await {
                Ok(accepted) => return Some(accepted),
                Err(error) => error,
            };
            if begun.elapsed() >= PATIENCE
                && let Ok(accepted) = table.accept_readable(incoming).await
            {
                return Some(accepted);
            }
            if !self.wait_after(&error).await {
                return None;
            }
        }
    }

    /// Up to where rejects are committed. A table that never had any stays at 0 while rounds go by; then the ledger, which
    /// commits after it, says up to where there were none.
    fn rejects_marker(&self) -> u64 {
        match self.markers.of(REJECTS) {
            0 => self.markers.ledger,
            marker => marker,
        }
    }

    fn take_rejects(&mut self, part: &Part, counted_from: u64) -> Result<(), IngestError> {
        let rejects_marker = self.rejects_marker();
        let mut rows = Vec::new();
        for reject in &part.rejects {
            let (received_at_us, seq) = part.arrivals[reject.origin as usize];
            if seq > counted_from {
                let records = i64::try_from(reject.records).unwrap_or(1);
                let line = self.book.line(&part.feed, &part.dataset, received_at_us);
                line.received += records;
                line.rejected += records;
            }
            if seq > rejects_marker {
                rows.push(reject_row(part, reject, received_at_us, seq));
            }
        }
        self.rows_in_round += rows.len();
        self.lake.push_rejects(&rows)?;
        let rejected: u64 = part.rejects.iter().map(|r| r.records).sum();
        self.told.send_modify(|p| p.rejected += rejected);
        Ok(())
    }

    /// Enters rows into the ledger. Neighbours arrived in the same hour, so a line is looked up once for many.
    fn count(&mut self, part: &Part, arrived: &[(i64, u64)], accepted: &Accepted, counted_from: u64) {
        let first = arrived.partition_point(|a| a.1 <= counted_from);
        let mut rows = (first..arrived.len()).peekable();
        while let Some(row) = rows.next() {
            let hour = hour_of(arrived[row].0);
            let line = self.book.line(&part.feed, &part.dataset, arrived[row].0);
            let mut next = Some(row);
            while let Some(row) = next {
                line.received += 1;
                line.in_flight += i64::from(accepted.kept[row]);
                line.rejected += i64::from(accepted.unreadable[row]);
                line.duplicate += i64::from(!accepted.kept[row] && !accepted.unreadable[row]);
                line.revised += i64::from(accepted.revised[row]);
                next = rows.next_if(|row| hour_of(arrived[*row].0) == hour);
            }
        }
    }

    async fn start_round(&mut self) {
        for table in self.lake.tables().filter(|t| t.name() != LEDGER) {
            table.cut().await;
        }
        let marker = Marker { journal_id: self.journal.id().to_owned(), seq: self.next_seq - 1 };
        let lines = self.book.take();
        self.lake.show_committing_lines(lines.clone());
        self.rows_in_round = 0;
        self.bytes_in_round = 0;
        self.round_started = None;
        let (lake, journal, told) = (self.lake.clone(), self.journal.clone(), self.told.clone());
        let round = Round { lake, journal, marker, lines, told };
        self.round = Some(tokio::spawn(round.run(self.hurry.clone())));
    }

    /// True if the round, if there was one, holds.
    fn end_round(&mut self, ended: Ended) -> Result<bool, IngestError> {
        self.round = None;
        match ended {
            Some(ended) => ended.map_err(|source| IngestError::Task { task: "commit", source })?,
            None => Ok(true),
        }
    }
}

/// The lines of the newest round that a table committed and the ledger did not. A round that began with carried lines has
/// them among its own, so the newest one alone is the whole.
fn newest(values: Vec<serde_json::Value>, journal_id: &str, ledger_marker: u64) -> Option<Travelling> {
    values
        .into_iter()
        .filter_map(|value| serde_json::from_value::<Travelling>(value).ok())
        .filter(|t| t.journal_id == journal_id && t.seq > ledger_marker)
        .max_by_key(|t| t.seq)
}

type Ended = Option<Result<Result<bool, IngestError>, tokio::task::JoinError>>;

/// Waits for the running round; for ever if there is none, so that it fits a `select!`.
async fn wait_for(round: &mut Option<JoinHandle<Result<bool, IngestError>>>) -> Ended {
    match round {
        Some(task) => Some(task.await),
        None => std::future::pending().await,
    }
}

async fn wait_for_round(round: &mut Option<JoinHandle<Result<bool, IngestError>>>) -> Ended {
    match round {
        Some(task) => Some(task.await),
        None => None,
    }
}

/// Sleeps until then; for ever without a time.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
