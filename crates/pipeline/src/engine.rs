//! The running engine: every product in its nominal time and soon after new rows; each interval once, also after downtime.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use datasjo_journal::{Journal, Record};
use datasjo_lake::{Lake, Shown};
use datasjo_state::{Batch, State};
use datasjo_table::{Labels, RECEIVED_AT};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::catalog::{Catalog, Planned};
use crate::history::{ALERT_FEED, payload};
use crate::results::{kind, product_rows};
use crate::run::Interval;
use crate::runner::{RunError, Runner};

/// A tick is answered so long after its moment, in this machine's time: what was received by then has reached the journal.
const SETTLE: Duration = Duration::from_secs(1);
/// Ticks answered in one run when there is much to catch up with: a day of minutes.
const MOST_TICKS: usize = 1_440;
/// Longest rest between looks at the clock.
const REST: Duration = Duration::from_millis(500);
/// How long a product that failed is left alone.
const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// Transitions of alerts written to the lake at a time.
const HISTORY_AT_ONCE: usize = 1_000;

/// How a product is doing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ProductStatus {
    /// Up to which tick it is answered, microseconds since 1970 UTC; null before the first.
    pub answered_to_us: Option<i64>,
    /// How long its last run took, in milliseconds, and how many ticks and rows it gave.
    pub last_run_ms: u64,
    /// Ticks of that run.
    pub last_run_ticks: usize,
    /// Rows of that run.
    pub last_run_rows: usize,
    /// Runs since the start.
    pub runs: u64,
    /// Why it stands still; null while all is well.
    pub failure: Option<String>,
}

/// How all products are doing, by name.
pub type Statuses = Arc<Mutex<BTreeMap<String, ProductStatus>>>;

/// The engine.
pub struct Engine {
    lake: Arc<Lake>,
    journal: Arc<Journal>,
    state: State,
    catalog: Arc<Catalog>,
    runner: Runner,
    statuses: Statuses,
    /// The time: that of this machine, or of a demo town.
    clock: fn() -> i64,
    resting: BTreeMap<String, Instant>,
    shown_at: BTreeMap<String, (Instant, u64)>,
    settled: Settled,
}

/// A moment of the clock that lies at least [`SETTLE`] back.
struct Settled {
    at_us: i64,
    next_us: i64,
    noted: Instant,
}

impl Settled {
    fn look(&mut self, now_us: i64) -> i64 {
        if self.noted.elapsed() >= SETTLE {
            *self = Self { at_us: self.next_us, next_us: now_us, noted: Instant::now() };
        }
        self.at_us
    }
}

impl Engine {
    /// An engine for the products of `catalog`.
    pub fn new(
        lake: Arc<Lake>,
        journal: Arc<Journal>,
        state: State,
        catalog: Arc<Catalog>,
        runner: Runner,
        clock: fn() -> i64,
    ) -> Self {
        let statuses = catalog.products.iter().map(|p| (p.product.name().to_owned(), ProductStatus::default())).collect();
        let statuses = Arc::new(Mutex::new(statuses));
        let settled = Settled { at_us: i64::MIN, next_us: clock(), noted: Instant::now() };
        let (resting, shown_at) = (BTreeMap::new(), BTreeMap::new());
        Self { lake, journal, state, catalog, runner, statuses, clock, resting, shown_at, settled }
    }

    /// How the products are doing; to be read at any time.
    pub fn statuses(&self) -> Statuses {
        self.statuses.clone()
    }

    /// Runs until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let busy = self.turn(&stop).await;
            if let Err(error) = self.tell_history().await {
                tracing::error!(error = %datasjo_table::causes(&error), "the history of alerts waits");
            }
            if !busy {
                tokio::select! {
                    () = tokio::time::sleep(REST) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    /// Every product once. True if any has more to catch up with.
    async fn turn(&mut self, stop: &CancellationToken) -> bool {
        let now_us = (self.clock)();
        let settled_us = self.settled.look(now_us);
        let mut busy = false;
        for planned in self.catalog.clone().products.iter() {
            let name = planned.product.name();
            if stop.is_cancelled() {
                return false;
            }
            if self.resting.get(name).is_some_and(|until| Instant::now() < *until) {
                continue;
            }
            match self.answer(planned, settled_us, now_us).await {
                Ok(more) => busy |= more,
                Err(RunError::Ended) => return false,
                Err(error) => self.failed(name, &error),
            }
        }
        busy
    }

    fn failed(&mut self, name: &str, error: &RunError) {
        let reason = datasjo_table::causes(error);
        tracing::error!(product = name, %reason, "the product stands still and is tried again; the others go on");
        self.resting.insert(name.to_owned(), Instant::now() + AFTER_FAILURE);
        self.told(name, |status| status.failure = Some(reason));
    }

    fn told(&self, name: &str, change: impl FnOnce(&mut ProductStatus)) {
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        change(statuses.entry(name.to_owned()).or_default());
    }

    /// Answers the ticks that are due, and between them what a sign should show now.
    async fn answer(&mut self, planned: &Planned, settled_us: i64, now_us: i64) -> Result<bool, RunError> {
        let name = planned.product.name();
        let Some(since_us) = self.answered_to(planned).await? else { return Ok(false) };
        let mut ticks_us = planned.product.header.every.ticks(since_us, self.input_reaches(planned)?.min(settled_us));
        let more = ticks_us.len() > MOST_TICKS;
        ticks_us.truncate(MOST_TICKS);
        let Some(as_of_us) = ticks_us.last().copied() else {
            self.show_now(planned, since_us, now_us).await?;
            return Ok(false);
        };
        let synced = *self.journal.synced().borrow();
        self.runner.visible(synced).await?;
        let started = Instant::now();
        let interval = Interval { since_us, as_of_us, ticks_us };
        let rows = self.runner.run(planned, &interval).await?;
        self.take(planned, &rows, as_of_us)?;
        self.told(name, |status| {
            status.answered_to_us = Some(as_of_us);
            status.last_run_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            status.last_run_ticks = interval.ticks_us.len();
            status.last_run_rows = rows.num_rows();
            status.runs += 1;
            status.failure = None;
        });
        Ok(more)
    }

    /// Up to when the products it reads are answered.
    fn input_reaches(&self, planned: &Planned) -> Result<i64, RunError> {
        let mut reaches = i64::MAX;
        for name in &planned.upstream {
            // A product answers nothing between its ticks: up to the one to come its newest rows hold.
            let Some(upstream) = self.catalog.get(name) else { continue };
            let answered = self.state.mark(name)?.map(|mark| upstream.product.header.every.next(mark) - 1);
            reaches = reaches.min(answered.unwrap_or(i64::MIN));
        }
        Ok(reaches)
    }

    fn take(&self, planned: &Planned, rows: &arrow::array::RecordBatch, up_to_us: i64) -> Result<(), RunError> {
        let rows = product_rows(&planned.product, rows)?;
        self.state.apply(&Batch {
            product: planned.product.name(),
            kind: kind(&planned.product),
            rows: &rows,
            up_to_us,
            retrieved_at_us: (self.clock)(),
            rule_hash: &planned.product.hash,
        })?;
        Ok(())
    }

    /// Up to where it is answered; a product that never ran starts where the first of its input arrived.
    async fn answered_to(&self, planned: &Planned) -> Result<Option<i64>, RunError> {
        if let Some(mark) = self.state.mark(planned.product.name())? {
            return Ok(Some(mark));
        }
        let mut first: Option<i64> = None;
        for name in planned.product.reads.iter().filter(|name| self.lake.reference(name).is_none()) {
            let context = self.lake.product_session(|_| {})?;
            let rows = self.lake.known(&context, name, Shown::EveryRevision, i64::MIN / 2, i64::MAX)?;
            let oldest = datafusion::functions_aggregate::expr_fn::min(datafusion::prelude::col(RECEIVED_AT));
            let batches = rows.aggregate(Vec::new(), vec![oldest])?.collect().await?;
            let found = batches.first().and_then(crate::keep::only_instant);
            first = [first, found].into_iter().flatten().min();
        }
        Ok(first.map(|first| first - 1))
    }

    /// What a sign shows between ticks: not kept, and never in the way of a newer value.
    async fn show_now(&mut self, planned: &Planned, since_us: i64, now_us: i64) -> Result<(), RunError> {
        let name = planned.product.name();
        let Some(debounce) = planned.product.header.debounce else { return Ok(()) };
        let synced = *self.journal.synced().borrow();
        let (at, seen) = self.shown_at.get(name).copied().unwrap_or((Instant::now() - debounce, 0));
        if seen == synced || at.elapsed() < debounce || now_us <= since_us {
            return Ok(());
        }
        self.shown_at.insert(name.to_owned(), (Instant::now(), synced));
        self.runner.visible(synced).await?;
        let interval = Interval { since_us, as_of_us: now_us, ticks_us: vec![now_us] };
        let rows = self.runner.compute(planned, &interval).await?;
        self.state.put_signs_now(name, &product_rows(&planned.product, &rows)?, now_us)?;
        Ok(())
    }

    /// Brings what happened to alerts into the lake; what is written twice is a duplicate.
    async fn tell_history(&self) -> Result<(), RunError> {
        let waiting = self.state.outbox(HISTORY_AT_ONCE)?;
        let Some((last, _)) = waiting.last() else { return Ok(()) };
        let last = *last;
        let mut seq = 0;
        for (_, transition) in &waiting {
            let record = Record {
                feed: ALERT_FEED.into(),
                labels: Labels::new(),
                received_at_us: transition.at_us,
                retained: false,
                payload: payload(transition),
            };
            seq = self.journal.append(record).await?;
        }
        self.journal.synced().wait_for(|synced| *synced >= seq).await.map_err(|_| RunError::Ended)?;
        self.state.outbox_done(last)?;
        Ok(())
    }
}
