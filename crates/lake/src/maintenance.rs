//! Keeping tables small to read: compaction of days with many files, retention, checkpoints, vacuum. One table and one day
//! at a time, in memory of its own. Readers see each step as one commit.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use deltalake::DeltaTable;
use deltalake::checkpoints;
use deltalake::kernel::{Action, Add, Remove};
use deltalake::operations::vacuum::VacuumMode;
use deltalake::protocol::DeltaOperation;
use deltalake::writer::DeltaWriter;
use futures::StreamExt;
use serde::Serialize;

use crate::delta::{self, Commit, LiveFile};
use crate::table::{LakeTable, View};
use crate::{Lake, LakeError};

/// What maintenance may do.
#[derive(Clone, Copy, Debug)]
pub struct MaintenancePlan {
    /// Today as a UTC day number since 1970: earlier days are closed.
    pub today: i32,
    /// Closed days whose newest file was written after this (milliseconds since 1970) wait: late rows come in bursts, and each
    /// compaction writes the whole day.
    pub quiet_since_ms: i64,
    /// An open day is compacted when it has more files than this: planning cost grows with every live file.
    pub max_open_day_files: usize,
    /// A checkpoint is made after this many versions without one.
    pub checkpoint_versions: u64,
    /// Files that nothing refers to are removed when they are older than this, in hours; longer than any query runs.
    pub vacuum_after_h: u32,
}

impl MaintenancePlan {
    /// 40 files in an open day, a checkpoint every 50 versions, vacuum after 24 hours.
    pub fn for_day(today: i32) -> Self {
        Self { today, quiet_since_ms: i64::MAX, max_open_day_files: 40, checkpoint_versions: 50, vacuum_after_h: 24 }
    }
}

/// What was done to one table.
#[derive(Clone, Debug, Default, Serialize, PartialEq, Eq)]
pub struct MaintenanceReport {
    /// The table.
    pub table: String,
    /// Days rewritten as one file.
    pub compacted_days: Vec<String>,
    /// Files before and after, in those days.
    pub files_before: usize,
    /// Files after.
    pub files_after: usize,
    /// Days dropped for their age.
    pub dropped_days: Vec<String>,
    /// Files removed from disk.
    pub vacuumed_files: usize,
}

impl Lake {
    /// Drops what is too old, compacts and makes checkpoints, table by table and day by day. Something that fails is told and
    /// keeps nothing else waiting: a table has one report of what was done, and an error for each thing that was not.
    pub async fn maintain(&self, plan: MaintenancePlan) -> Vec<Result<MaintenanceReport, LakeError>> {
        let mut reports = Vec::new();
        for table in self.tables() {
            reports.extend(table.maintain(plan).await);
        }
        reports
    }

    /// Removes files from disk that no version within `plan.vacuum_after_h` refers to.
    pub async fn vacuum(&self, plan: MaintenancePlan) -> Vec<Result<MaintenanceReport, LakeError>> {
        let mut reports = Vec::new();
        for table in self.tables() {
            reports.push(table.vacuum(plan).await);
        }
        reports
    }
}

impl LakeTable {
    async fn maintain(&self, plan: MaintenancePlan) -> Vec<Result<MaintenanceReport, LakeError>> {
        let mut report = MaintenanceReport { table: self.name().to_owned(), ..Default::default() };
        let mut failed = Vec::new();
        failed.extend(self.drop_old_days(plan, &mut report).await.err());
        match self.days_to_compact(plan) {
            Ok(days) => {
                for (day, number) in days {
                    failed.extend(self.compact_day(day, number, &mut report).await.err());
                }
            }
            Err(error) => failed.push(error),
        }
        failed.extend(self.checkpoint(plan).await.err());
        failed.into_iter().map(Err).chain([Ok(report)]).collect()
    }

    /// Days with too many files, oldest first, and their numbers.
    fn days_to_compact(&self, plan: MaintenancePlan) -> Result<Vec<(String, i32)>, LakeError> {
        let mut due = Vec::new();
        for (day, files) in delta::files_by_day(&self.view().table)? {
            let Some(number) = day_number(&day) else { continue };
            let is_quiet = files.iter().all(|file| file.written_ms <= plan.quiet_since_ms);
            let limit = if number < plan.today && is_quiet { 1 } else { plan.max_open_day_files };
            if files.len() > limit {
                due.push((day, number));
            }
        }
        due.sort();
        Ok(due)
    }

    /// Rewrites the files of one day, as one version of the table has them, as one sorted file. Rows that arrive meanwhile are
    /// in files of their own and stay. Nothing is done if something else changed the day.
    async fn compact_day(&self, day: String, number: i32, report: &mut MaintenanceReport) -> Result<(), LakeError> {
        let view = self.view();
        let files = delta::files_by_day(&view.table)?.remove(&day).unwrap_or_default();
        let adds = self.write_sorted_day(&view, number).await?;
        let rewritten = adds.len();
        let size = adds.iter().map(|a| a.size).sum();
        let removes: Vec<Remove> = files.iter().map(|file| remove(file, false)).collect();
        let adds = adds.into_iter().map(|add| Add { data_change: false, ..add }).collect();
        let operation = DeltaOperation::Optimize { predicate: Some(format!("day = '{day}'")), target_size: size };
        let mut table = self.writer.lock().await;
        if self.commit_maintenance(&mut table, removes, adds, operation).await? {
            report.files_before += files.len();
            report.files_after += rewritten;
            report.compacted_days.push(day);
        }
        Ok(())
    }

    async fn write_sorted_day(&self, view: &View, day: i32) -> Result<Vec<Add>, LakeError> {
        let mut writer = delta::writer(&view.table)?;
        let at_rest = writer.arrow_schema();
        let mut rows = self.sorted_day(view, day)?.execute_stream().await?;
        while let Some(batch) = rows.next().await {
            writer.write(in_order_of(&at_rest, &batch?)?).await?;
        }
        Ok(writer.flush().await?)
    }

    async fn drop_old_days(&self, plan: MaintenancePlan, report: &mut MaintenanceReport) -> Result<(), LakeError> {
        let Some(keep_days) = self.definition().and_then(|d| d.retention_days) else {
            return Ok(());
        };
        let oldest = plan.today.saturating_sub(i32::try_from(keep_days).unwrap_or(i32::MAX));
        let mut table = self.writer.lock().await;
        let mut old: Vec<(String, Vec<LiveFile>)> =
            delta::files_by_day(&table)?.into_iter().filter(|(day, _)| day_number(day).is_some_and(|n| n < oldest)).collect();
        if old.is_empty() {
            return Ok(());
        }
        old.sort_by(|a, b| a.0.cmp(&b.0));
        let removes = old.iter().flat_map(|(_, files)| files).map(|file| remove(file, true)).collect();
        let operation = DeltaOperation::Delete { predicate: Some(format!("older than {keep_days} days")) };
        self.commit_maintenance(&mut table, removes, Vec::new(), operation).await?;
        report.dropped_days = old.into_iter().map(|(day, _)| day).collect();
        Ok(())
    }

    /// Takes `removes` out and puts `adds` in, in one commit. False, and nothing done, if any file to be removed is gone
    /// already: then somebody else, or an earlier try that seemed to fail, has done it.
    async fn commit_maintenance(
        &self,
        table: &mut DeltaTable,
        removes: Vec<Remove>,
        adds: Vec<Add>,
        operation: DeltaOperation,
    ) -> Result<bool, LakeError> {
        self.settle_attempt(table).await?;
        table.update_state().await?;
        let live: HashSet<String> = delta::files_by_day(table)?.into_values().flatten().map(|f| f.remove.path).collect();
        if !removes.iter().all(|remove| live.contains(&remove.path)) {
            return Ok(false);
        }
        let actions = removes.into_iter().map(Action::Remove).chain(adds.into_iter().map(Action::Add)).collect();
        let outcome = delta::commit(table, Commit { actions, marker: None, ledger: None, operation }).await;
        table.update_state().await?;
        self.replace_table(table);
        outcome?;
        Ok(true)
    }

    async fn checkpoint(&self, plan: MaintenancePlan) -> Result<(), LakeError> {
        let table = self.writer.lock().await.clone();
        let version = table.version().unwrap_or(0);
        let since = version.saturating_sub(self.checkpointed.load(Ordering::Acquire));
        if since >= plan.checkpoint_versions {
            checkpoints::create_checkpoint(&table, None).await?;
            checkpoints::cleanup_metadata(&table, None).await?;
            self.checkpointed.store(version, Ordering::Release);
        }
        Ok(())
    }

    async fn vacuum(&self, plan: MaintenancePlan) -> Result<MaintenanceReport, LakeError> {
        let mut writer = self.writer.lock().await;
        self.settle_attempt(&mut writer).await?;
        let keep = chrono::Duration::hours(i64::from(plan.vacuum_after_h));
        let vacuum = writer.clone().vacuum().with_retention_period(keep).with_mode(VacuumMode::Full);
        let (table, metrics) = vacuum.with_enforce_retention_duration(false).await?;
        *writer = table;
        self.replace_table(&writer);
        let vacuumed_files = metrics.files_deleted.len();
        Ok(MaintenanceReport { table: self.name().to_owned(), vacuumed_files, ..Default::default() })
    }
}

/// The columns of a batch in the order of `schema`, which has no others.
fn in_order_of(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let missing = |name: &str| ArrowError::SchemaError(format!("rows at rest have no column {name}"));
    let column = |name: &str| batch.column_by_name(name).cloned().ok_or_else(|| missing(name));
    let columns = schema.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema.clone(), columns)
}

/// Days since 1970 of a day as the log names it.
pub(crate) fn day_number(day: &str) -> Option<i32> {
    let date: jiff::civil::Date = day.parse().ok()?;
    Some((date - jiff::civil::date(1970, 1, 1)).get_days())
}

fn remove(file: &LiveFile, data_change: bool) -> Remove {
    Remove { data_change, ..file.remove.clone() }
}
