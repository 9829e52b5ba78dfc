//! One table: rows at rest, rows in flight, and what is known of its keys.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::runtime_env::RuntimeEnv;
use datasjo_table::{DAY, OBSERVED_AT, RECEIVED_AT, Table};
use deltalake::DeltaTable;
use deltalake::kernel::Add;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::dedup::KeyIndex;
use crate::delta::{self, Commit};
use crate::print::Printer;
use crate::sort;
use crate::store::Root;
use crate::{LakeError, Marker};

/// What readers see, taken together: a version of the table and the rows it does not hold yet.
#[derive(Clone)]
pub(crate) struct View {
    pub table: DeltaTable,
    /// Rows of the flush that is being written.
    pub flushing: Vec<RecordBatch>,
    /// Rows that came after it.
    pub hot: Vec<RecordBatch>,
    /// True if any row is a revision, so that older ones must be hidden.
    pub revised: bool,
}

/// A commit under way: its marker, and how many of the flushing batches it holds.
#[derive(Clone)]
struct Attempt {
    marker: Marker,
    batches: usize,
}

/// A table of the lake.
pub struct LakeTable {
    pub(crate) name: String,
    pub(crate) definition: Option<Arc<Table>>,
    pub(crate) schema: SchemaRef,
    /// Columns rows are sorted by at rest; the first is the partition.
    pub(crate) sort: Vec<String>,
    pub(crate) writer: Mutex<DeltaTable>,
    pub(crate) view: RwLock<View>,
    printer: Option<Printer>,
    pub(crate) index: Mutex<KeyIndex>,
    /// Days since 1970 in which the lake was found damaged.
    pub(crate) unreadable_days: std::sync::Mutex<BTreeSet<i64>>,
    /// A commit whose outcome could not be read back.
    attempt: std::sync::Mutex<Option<Attempt>>,
    closed_flush: AtomicU32,
    /// The version of the newest checkpoint made by this process; 0 before the first.
    pub(crate) checkpointed: AtomicU64,
    own: Option<Arc<RuntimeEnv>>,
}

/// Figures of a table.
#[derive(Clone, Debug, Serialize)]
pub struct TableStats {
    /// Name.
    pub name: String,
    /// Delta version; 0 also for a table that is not there.
    pub version: u64,
    /// Rows at rest, revisions included.
    pub rows: u64,
    /// Rows visible but not committed yet.
    pub hot_rows: u64,
    /// Live files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// First and last day with rows.
    pub first_day: Option<String>,
    /// Last day with rows.
    pub last_day: Option<String>,
}

/// UTC day number since 1970 of an instant in microseconds.
pub(crate) fn day_of(us: i64) -> i32 {
    us.div_euclid(86_400_000_000) as i32
}

impl LakeTable {
    /// Opens or makes the table of a dataset. A table that is damaged in places is opened too: then every row is looked up,
    /// and the rows of days that cannot be read are for [`LakeTable::accept_readable`].
    pub(crate) async fn open_dataset(root: &Root, definition: Arc<Table>, own: &Arc<RuntimeEnv>) -> Result<Self, LakeError> {
        let delta = delta::open_or_create(root, &definition.name, &definition.meaning, &definition.stored_schema()).await?;
        let mut table = Self::of_dataset(definition, delta, own).await;
        let index = table.latest_by_series().await.unwrap_or_else(|error| {
            tracing::error!(table = table.name, %error, "part of the table cannot be read; every row is looked up");
            KeyIndex::new([], i64::MAX)
        });
        *table.index.get_mut() = index;
        Ok(table)
    }

    /// Opens the table of a dataset to be read only. One that is not there is empty.
    pub(crate) async fn open_dataset_to_read(
        root: &Root,
        definition: Arc<Table>,
        own: &Arc<RuntimeEnv>,
    ) -> Result<Self, LakeError> {
        let delta = delta::open_to_read(root, &definition.name, &definition.stored_schema()).await?;
        Ok(Self::of_dataset(definition, delta, own).await)
    }

    async fn of_dataset(definition: Arc<Table>, delta: DeltaTable, own: &Arc<RuntimeEnv>) -> Self {
        let sort = [DAY].into_iter().chain(definition.series()).chain([OBSERVED_AT]).map(str::to_owned).collect();
        let mut table = Self::new(definition.name.clone(), definition.stored_schema(), sort, delta);
        table.printer = Some(Printer::new(&definition));
        table.definition = Some(definition);
        table.own = Some(own.clone());
        // What cannot be read may hold some, and looking for them is never wrong.
        let revised = table.holds_revisions().await.unwrap_or(true);
        table.view.get_mut().unwrap_or_else(PoisonError::into_inner).revised = revised;
        table
    }

    pub(crate) async fn open_plain(root: &Root, name: &str, meaning: &str, schema: SchemaRef) -> Result<Self, LakeError> {
        let delta = delta::open_or_create(root, name, meaning, &schema).await?;
        Ok(Self::plain(name, schema, delta))
    }

    pub(crate) async fn open_plain_to_read(root: &Root, name: &str, schema: SchemaRef) -> Result<Self, LakeError> {
        let delta = delta::open_to_read(root, name, &schema).await?;
        Ok(Self::plain(name, schema, delta))
    }

    fn plain(name: &str, schema: SchemaRef, delta: DeltaTable) -> Self {
        let time = if schema.column_with_name(RECEIVED_AT).is_some() { RECEIVED_AT } else { "hour" };
        let sort = vec![DAY.to_owned(), "feed".to_owned(), time.to_owned()];
        Self::new(name.to_owned(), schema, sort, delta)
    }

    fn new(name: String, schema: SchemaRef, sort: Vec<String>, delta: DeltaTable) -> Self {
        let view = View { table: delta.clone(), flushing: Vec::new(), hot: Vec::new(), revised: false };
        Self {
            name,
            definition: None,
            schema,
            sort,
            writer: Mutex::new(delta),
            view: RwLock::new(view),
            printer: None,
            index: Mutex::default(),
            unreadable_days: std::sync::Mutex::default(),
            attempt: std::sync::Mutex::default(),
            closed_flush: AtomicU32::new(0),
            checkpointed: AtomicU64::new(0),
            own: None,
        }
    }

    /// Name in SQL.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The dataset's definition; `None` for the tables of rejects and of the ledger.
    pub fn definition(&self) -> Option<&Arc<Table>> {
        self.definition.as_ref()
    }

    pub(crate) fn view(&self) -> View {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn change_view(&self, change: impl FnOnce(&mut View)) {
        change(&mut self.view.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn own_runtime(&self) -> Option<&Arc<RuntimeEnv>> {
        self.own.as_ref()
    }

    /// Appends rows that need no judging (rejects, ledger lines).
    pub(crate) fn push_hot(&self, rows: RecordBatch) {
        self.change_view(|view| view.hot.push(rows));
    }

    /// The rows visible now belong to the next [`LakeTable::flush`]; rows that come later do not. Tells how many there are.
    pub async fn cut(&self) -> usize {
        let mut index = self.index.lock().await;
        self.closed_flush.store(index.close_flush(), Ordering::Release);
        let mut rows = 0;
        self.change_view(|view| {
            view.flushing.append(&mut view.hot);
            rows = view.flushing.iter().map(RecordBatch::num_rows).sum();
        });
        rows
    }

    /// Commits what the last [`LakeTable::cut`] closed, under `marker`. False if there was nothing. After an error the rows
    /// are still visible and the call may be repeated; it looks at the marker before it writes.
    pub async fn flush(&self, marker: &Marker, ledger: serde_json::Value) -> Result<bool, LakeError> {
        let mut table = self.writer.lock().await;
        self.settle_attempt(&mut table).await?;
        let batches = self.view().flushing;
        if !batches.is_empty() {
            let adds = delta::write_files(&table, &batches, &sort::order(&batches, &self.sort)?).await?;
            self.commit_or_look(&mut table, &adds, marker, ledger, batches.len()).await?;
            let committed = table.clone();
            self.change_view(|view| {
                view.table = committed;
                view.flushing.drain(..batches.len());
            });
        }
        drop(table);
        self.forget_committed().await;
        Ok(!batches.is_empty())
    }

    async fn forget_committed(&self) {
        self.index.lock().await.committed(self.closed_flush.load(Ordering::Acquire));
    }

    /// Commits rows that were never hot, under `marker`, and returns the table that holds them; readers see it after
    /// [`LakeTable::replace_table`]. May be repeated after an error.
    pub(crate) async fn append(&self, rows: RecordBatch, marker: &Marker) -> Result<DeltaTable, LakeError> {
        let mut table = self.writer.lock().await;
        self.settle_attempt(&mut table).await?;
        if delta::marker(&table, &marker.journal_id).await? < marker.seq {
            let batches = [rows];
            let adds = delta::write_files(&table, &batches, &sort::order(&batches, &self.sort)?).await?;
            self.commit_or_look(&mut table, &adds, marker, serde_json::Value::Null, 0).await?;
        }
        Ok(table.clone())
    }

    async fn commit_or_look(
        &self,
        table: &mut DeltaTable,
        adds: &[Add],
        marker: &Marker,
        ledger: serde_json::Value,
        batches: usize,
    ) -> Result<(), LakeError> {
        self.remember_attempt(Some(Attempt { marker: marker.clone(), batches }));
        let failed = delta::commit(table, Commit::append(adds, marker, ledger)).await.err();
        if let Some(error) = failed {
            table.update_state().await?;
            if delta::marker(table, &marker.journal_id).await? < marker.seq {
                self.remember_attempt(None);
                return Err(error.into());
            }
        }
        self.remember_attempt(None);
        Ok(())
    }

    /// Before anything else is done to the table: finds out what became of a commit that could neither be seen to hold nor
    /// to fail. If it holds, its rows are no longer in flight.
    pub(crate) async fn settle_attempt(&self, table: &mut DeltaTable) -> Result<(), LakeError> {
        let attempt = self.attempt.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(Attempt { marker, batches }) = attempt else { return Ok(()) };
        table.update_state().await?;
        let held = delta::marker(table, &marker.journal_id).await? >= marker.seq;
        if held && batches > 0 {
            let committed = table.clone();
            self.change_view(|view| {
                view.table = committed;
                view.flushing.drain(..batches);
            });
        }
        self.remember_attempt(None);
        Ok(())
    }

    fn remember_attempt(&self, attempt: Option<Attempt>) {
        *self.attempt.lock().unwrap_or_else(PoisonError::into_inner) = attempt;
    }

    /// Up to which sequence number of `journal_id` everything is committed.
    pub async fn marker(&self, journal_id: &str) -> Result<u64, LakeError> {
        delta::marker(&self.view().table, journal_id).await
    }

    /// The ledger lines in the newest `commits` commits, as they were written.
    pub async fn ledger_lines(&self, commits: usize) -> Result<Vec<serde_json::Value>, LakeError> {
        delta::ledger_lines(&self.view().table, commits).await
    }

    /// Rows that are visible but not committed.
    pub fn hot_rows(&self) -> usize {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        view.hot.iter().chain(&view.flushing).map(RecordBatch::num_rows).sum()
    }

    /// Figures for people and for `doctor`.
    pub fn stats(&self) -> Result<TableStats, LakeError> {
        let view = self.view();
        let days = delta::files_by_day(&view.table)?;
        let files = || days.values().flatten();
        let names: BTreeSet<&String> = days.keys().collect();
        Ok(TableStats {
            name: self.name.clone(),
            version: view.table.version().unwrap_or(0),
            rows: delta::rows(&view.table)?,
            hot_rows: self.hot_rows() as u64,
            files: files().count() as u64,
            bytes: files().map(|a| a.size.unsigned_abs()).sum(),
            first_day: names.first().map(|d| d.to_string()),
            last_day: names.last().map(|d| d.to_string()),
        })
    }

    /// Live files that are missing on disk or have another size than the log says. Empty on an object store.
    pub fn damaged_files(&self) -> Result<Vec<String>, LakeError> {
        Ok(delta::damaged_files(&self.view().table)?.into_iter().map(|f| f.remove.path).collect())
    }

    pub(crate) fn printer(&self) -> Option<&Printer> {
        self.printer.as_ref()
    }

    pub(crate) fn replace_table(&self, table: &DeltaTable) {
        self.change_view(|view| view.table = table.clone());
    }
}
