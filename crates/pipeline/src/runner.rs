//! Runs products over the lake and keeps what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use datafusion::catalog::TableProvider;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use datasjo_ingest::Progress;
use datasjo_journal::{Journal, JournalError, Record};
use datasjo_lake::{Lake, LakeError, Shown};
use datasjo_table::{Labels, OBSERVED_AT};
use tokio::sync::watch;

use crate::catalog::{Catalog, Planned, previous_schema};
use crate::keep::{self, feed_name, fitted, lines};
use crate::previous;
use crate::problem::Problem;
use crate::run::{self, AS_OF, Inputs, Interval};

/// A run that did not come to its end. Nothing of it was kept, or all of it is kept again when it is repeated.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The product is wrong, or its input cannot be read.
    #[error("{0}")]
    Product(#[from] Problem),
    /// The lake.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The rows cannot be assembled.
    #[error("assemble the rows of a product")]
    Rows(#[from] ArrowError),
    /// The engine, outside a product's own SQL.
    #[error("read a product's own rows")]
    Engine(#[from] DataFusionError),
    /// The state store.
    #[error(transparent)]
    State(#[from] datasjo_state::StateError),
    /// Ingest has ended, so nothing becomes visible any more.
    #[error("ingest has ended")]
    Ended,
}

/// The lake as the steps of products see it.
struct View {
    lake: Arc<Lake>,
    products: BTreeSet<String>,
}

/// Runs products of one catalog over one lake.
pub struct Runner {
    view: View,
    journal: Arc<Journal>,
    progress: watch::Receiver<Progress>,
    carried: BTreeMap<String, RecordBatch>,
}

/// The rows of one interval over a lake as it is: computed as a [`Runner`] does, and not kept. What the product reads of other
/// products is read as it rests in the lake.
///
/// # Errors
/// The product is wrong or its input cannot be read.
pub async fn compute_once(
    lake: Arc<Lake>,
    catalog: &Catalog,
    planned: &Planned,
    interval: &Interval,
) -> Result<RecordBatch, RunError> {
    let view = View::new(lake, catalog);
    let before = view.newest(planned, interval.since_us).await?;
    view.rows(planned, interval, &before).await
}

impl Runner {
    /// A runner for the products of `catalog`; their tables are open in `lake` and their feeds known to the ingest that
    /// tells `progress`.
    pub fn new(lake: Arc<Lake>, journal: Arc<Journal>, progress: watch::Receiver<Progress>, catalog: &Catalog) -> Self {
        Self { view: View::new(lake, catalog), journal, progress, carried: BTreeMap::new() }
    }

    /// The rows of an interval, in the columns of the product's table, not kept.
    ///
    /// # Errors
    /// The product is wrong or its input cannot be read.
    pub async fn compute(&mut self, planned: &Planned, interval: &Interval) -> Result<RecordBatch, RunError> {
        let before = self.before(planned, interval.since_us).await?;
        self.view.rows(planned, interval, &before).await
    }

    /// The newest row of each key at or before `since_us`: read from the lake once, then carried on, also for keys that the
    /// next runs have no row of.
    async fn before(&mut self, planned: &Planned, since_us: i64) -> Result<RecordBatch, RunError> {
        let name = planned.product.name();
        if let Some(carried) = self.carried.get(name) {
            return Ok(carried.clone());
        }
        let found = self.view.newest(planned, since_us).await?;
        self.carried.insert(name.to_owned(), found.clone());
        Ok(found)
    }

    /// Runs an interval and keeps its rows: synced and visible when this returns. To repeat it changes nothing.
    ///
    /// # Errors
    /// As [`Runner::compute`], and what keeping can fail with.
    pub async fn run(&mut self, planned: &Planned, interval: &Interval) -> Result<RecordBatch, RunError> {
        let rows = self.compute(planned, interval).await?;
        let mut last = None;
        for (tick_us, payload) in lines(&rows)? {
            last = Some(self.journal.append(record(planned, tick_us, payload)).await?);
        }
        if let Some(seq) = last {
            self.visible(seq).await?;
        }
        if !planned.product.header.carries.is_empty() {
            let name = planned.product.name();
            let newest = previous::newest(&planned.product, self.carried.get(name), &rows)?;
            self.carried.insert(name.to_owned(), newest);
        }
        Ok(rows)
    }

    /// Waits until everything up to `seq` can be read.
    ///
    /// # Errors
    /// Ingest has ended.
    pub async fn visible(&self, seq: u64) -> Result<(), RunError> {
        let mut progress = self.progress.clone();
        progress.wait_for(|progress| progress.visible_seq >= seq).await.map(|_| ()).map_err(|_| RunError::Ended)
    }
}

impl View {
    fn new(lake: Arc<Lake>, catalog: &Catalog) -> Self {
        Self { lake, products: catalog.products.iter().map(|planned| planned.table.name.clone()).collect() }
    }

    async fn rows(&self, planned: &Planned, interval: &Interval, before: &RecordBatch) -> Result<RecordBatch, RunError> {
        let context = self.lake.product_session(datasjo_functions::register)?;
        let rows = run::run(&planned.product, interval, Some(before), &context, self).await?;
        Ok(fitted(&planned.table, &rows)?)
    }

    /// The newest row of each key at or before `since_us`; none of a product that carries nothing.
    async fn newest(&self, planned: &Planned, since_us: i64) -> Result<RecordBatch, RunError> {
        let mut rows = RecordBatch::new_empty(previous_schema(&planned.product));
        if planned.product.header.carries.is_empty() {
            return Ok(rows);
        }
        let context = self.lake.product_session(|_| {})?;
        let from_us = since_us.saturating_sub(planned.product.header.reach_us.max(LONGEST_SILENCE_US));
        let own = self.lake.known(&context, planned.product.name(), Shown::Newest, from_us, since_us)?;
        for batch in own.collect().await? {
            let batch = keep::renamed(&batch, OBSERVED_AT, AS_OF)?;
            rows = previous::newest(&planned.product, Some(&rows), &batch)?;
        }
        Ok(rows)
    }
}

/// A key that had no row for so long starts anew: 40 days.
const LONGEST_SILENCE_US: i64 = 40 * 86_400_000_000;

fn record(planned: &Planned, tick_us: i64, payload: bytes::Bytes) -> Record {
    Record {
        feed: feed_name(planned.product.name()).into(),
        labels: Labels::new(),
        received_at_us: tick_us,
        retained: false,
        payload,
    }
}

impl Inputs for View {
    fn table(
        &self,
        context: &SessionContext,
        name: &str,
        from_us: i64,
        until_us: i64,
    ) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        let told = |error: LakeError| DataFusionError::External(Box::new(error));
        if let Some(batch) = self.lake.reference(name) {
            return Ok(context.read_batch(batch)?.into_view());
        }
        if !self.products.contains(name) {
            return Ok(self.lake.known(context, name, Shown::EveryRevision, from_us, until_us).map_err(told)?.into_view());
        }
        let rows = self.lake.known(context, name, Shown::Newest, from_us, until_us).map_err(told)?;
        Ok(rows.with_column_renamed(OBSERVED_AT, AS_OF)?.into_view())
    }
}
