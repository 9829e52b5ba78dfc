//! SQL over the lake: one snapshot of every table, hot rows included, each row once, the newest revision of each key.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{Field, Int32Type, Schema, TimestampMicrosecondType};
use datafusion::common::{Column, JoinType};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::prelude::{Expr, SessionConfig, SessionContext, col, lit};
use datafusion::scalar::ScalarValue;
use datasjo_table::{DAY, Kind, OBSERVED_AT, REVISION};
use deltalake::delta_datafusion::{DeltaScanConfig, DeltaScanNext};
use futures::StreamExt;

use crate::dedup::{KeyIndex, Lesson};
use crate::delta::{self, LiveFile};
use crate::maintenance::day_number;
use crate::print::HOUR_US;
use crate::snapshot::{Seen, Snapshot};
use crate::table::{LakeTable, View, day_of};
use crate::{LEDGER, Lake, LakeError};

/// Days before the newest one whose readings tell how far each series has come.
const WATERMARK_DAYS: i32 = 40;
/// Ranges of hours in one query of the look-back: each is a condition, and a plan of many thousands takes long to make.
const RANGES_AT_ONCE: usize = 100;

/// A query that was not run, or failed.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The lake could not be read.
    #[error(transparent)]
    Lake(#[from] LakeError),
    /// The engine's words on the query.
    #[error("{0}")]
    Query(#[from] datafusion::error::DataFusionError),
}

pub(crate) fn context(runtime: &Arc<RuntimeEnv>) -> SessionContext {
    let config = SessionConfig::new()
        .with_information_schema(true)
        .with_default_catalog_and_schema("datasjo", "public")
        .set_bool("datafusion.execution.parquet.pushdown_filters", true)
        .set_bool("datafusion.execution.parquet.reorder_filters", true)
        // min() and max() in one query leave out rows when one part of a union has only nulls (apache/datafusion#25147; shown
        // by tests/sql/water/counts.slt in the layout "half").
        .set_bool("datafusion.optimizer.enable_aggregate_dynamic_filter_pushdown", false)
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false);
    SessionContext::new_with_config_rt(config, runtime.clone())
}

impl Lake {
    /// A session over one moment of the lake. Read-only by construction: no DDL, no DML.
    pub fn session(&self) -> Result<SessionContext, LakeError> {
        let context = context(&self.queries);
        let catalog = context.catalog("datasjo").ok_or_else(|| DataFusionError::Internal("no catalog".to_owned()))?;
        catalog.register_schema("public", Arc::new(self.snapshot()?))?;
        Ok(context)
    }

    fn snapshot(&self) -> Result<Snapshot, LakeError> {
        let seen = |table: &Arc<LakeTable>| Ok((table.name().to_owned(), self.seen(table)?));
        Ok(Snapshot {
            context: context(&self.queries),
            tables: self.tables().map(seen).collect::<Result<_, LakeError>>()?,
            reference: self.reference.read().unwrap_or_else(PoisonError::into_inner).clone(),
        })
    }

    /// A table at this moment. A ledger line is told once: the view is taken while the lines that are not at rest are held.
    fn seen(&self, table: &Arc<LakeTable>) -> Result<Seen, LakeError> {
        if table.name() != LEDGER {
            return Ok(Seen { table: table.clone(), view: table.view(), extra: Vec::new() });
        }
        let now = self.ledger_now();
        let lines: Vec<_> = now.committing.iter().chain(&now.open).cloned().collect();
        let extra = if lines.is_empty() { Vec::new() } else { vec![crate::ledger::batch(&lines, 0)?] };
        Ok(Seen { table: table.clone(), view: table.view(), extra })
    }

    /// Plans a query; rows are computed when the frame is asked for them.
    pub async fn sql(&self, query: &str) -> Result<DataFrame, SqlError> {
        let closed = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        Ok(self.session()?.sql_with_options(query, closed).await?)
    }
}

/// Rows at rest and hot rows of one moment.
pub(crate) fn everything(
    context: &SessionContext,
    table: &LakeTable,
    view: &View,
    extra: Vec<RecordBatch>,
) -> Result<DataFrame, LakeError> {
    let at_rest = declared(at_rest(context, table, view)?, &table.schema)?;
    let hot: Vec<RecordBatch> = view.flushing.iter().chain(&view.hot).cloned().chain(extra).collect();
    if hot.is_empty() {
        return Ok(at_rest);
    }
    let columns: Vec<&str> = table.schema.fields().iter().map(|f| f.name().as_str()).collect();
    Ok(at_rest.union(context.read_batches(hot)?.select_columns(&columns)?)?)
}

/// The columns of `schema`; one that the table does not have at rest (yet, or under this reader's eyes) is null.
fn declared(at_rest: DataFrame, schema: &Schema) -> Result<DataFrame, LakeError> {
    let held = |field: &Field| at_rest.schema().has_column_with_unqualified_name(field.name());
    let column = |field: &Field| -> Result<Expr, DataFusionError> {
        if held(field) {
            return Ok(Expr::Column(Column::from_name(field.name())));
        }
        Ok(lit(ScalarValue::try_new_null(field.data_type())?).alias(field.name().as_str()))
    };
    let columns = schema.fields().iter().map(|field| column(field)).collect::<Result<Vec<Expr>, _>>()?;
    Ok(at_rest.select(columns)?)
}

/// What one version of the table holds, with the columns it has; no rows if the table is not there.
fn at_rest(context: &SessionContext, table: &LakeTable, view: &View) -> Result<DataFrame, LakeError> {
    if view.table.version().is_none() {
        return Ok(context.read_batch(RecordBatch::new_empty(table.schema.clone()))?);
    }
    view.table.update_datafusion_session(&context.state())?;
    let config = DeltaScanConfig { schema_force_view_types: false, ..DeltaScanConfig::new() };
    let scan = DeltaScanNext::new(view.table.snapshot()?.snapshot().clone(), config)?;
    Ok(context.read_table(Arc::new(scan))?)
}

/// Hides every row for which a later revision exists. Revisions are few, so their keys are the small side of the join.
pub(crate) fn newest(all: DataFrame, key: &[String]) -> Result<DataFrame, LakeError> {
    let renamed = |name: &str| format!("newest_{name}");
    let keys: Vec<Expr> = key.iter().map(|k| col(k.as_str()).alias(renamed(k))).collect();
    let revised =
        all.clone().filter(col(REVISION).gt(lit(0)))?.aggregate(keys, vec![max(col(REVISION)).alias(renamed(REVISION))])?;
    let mut on: Vec<Expr> = key.iter().map(|k| col(k.as_str()).eq(col(renamed(k)))).collect();
    on.push(col(REVISION).lt(col(renamed(REVISION))));
    Ok(all.join_on(revised, JoinType::LeftAnti, on)?)
}

impl LakeTable {
    fn own_context(&self) -> SessionContext {
        match self.own_runtime() {
            Some(runtime) => context(runtime),
            None => SessionContext::new(),
        }
    }

    /// Reads what the lake holds in `hours`, a batch at a time.
    pub(crate) async fn read_hours(&self, hours: &BTreeSet<i64>, lesson: &mut Lesson<'_>) -> Result<(), LakeError> {
        let view = self.view();
        let (Some(definition), Some(printer), false) = (self.definition(), self.printer(), is_empty(&view)) else {
            return Ok(());
        };
        let mut columns: Vec<&str> = definition.columns.iter().map(|c| c.name.as_str()).collect();
        columns.push(REVISION);
        for ranges in ranges(hours).chunks(RANGES_AT_ONCE) {
            let Some(within) = ranges.iter().map(|(from, to)| in_range(*from, *to)).reduce(Expr::or) else { continue };
            let frame = at_rest(&self.own_context(), self, &view)?.filter(within)?.select_columns(&columns)?;
            let mut batches = frame.execute_stream().await?;
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                let revisions = batch.column(columns.len() - 1).as_primitive::<Int32Type>();
                lesson.take(printer.prints(&batch)?.into_iter().zip(revisions.values().iter().copied()));
            }
        }
        Ok(())
    }

    /// How far each series has come, from the newest days at rest.
    pub(crate) async fn latest_by_series(&self) -> Result<KeyIndex, LakeError> {
        let view = self.view();
        let newest_day = newest_day(&delta::files_by_day(&view.table)?);
        let (Some(newest_day), Some(definition), Some(printer)) = (newest_day, self.definition(), self.printer()) else {
            return Ok(KeyIndex::new([], i64::MIN));
        };
        let floor_day = newest_day - WATERMARK_DAYS;
        let mut columns: Vec<Expr> = definition.series().map(col).collect();
        let series = columns.clone();
        columns.push(col(OBSERVED_AT));
        let frame = at_rest(&self.own_context(), self, &view)?
            .filter(col(DAY).gt_eq(lit(ScalarValue::Date32(Some(floor_day)))))?
            .aggregate(series, vec![max(col(OBSERVED_AT)).alias(OBSERVED_AT)])?;
        let mut latest = Vec::new();
        for batch in frame.collect().await? {
            let series = printer.series_prints(&batch)?;
            let times = batch.column_by_name(OBSERVED_AT).cloned();
            let Some(times) = times else { continue };
            let times = cast(&times, &Kind::Time.data_type())?;
            let times = times.as_primitive::<TimestampMicrosecondType>();
            latest.extend(series.into_iter().zip(times.values().iter().copied()));
        }
        Ok(KeyIndex::new(latest, i64::from(floor_day) * 24 * HOUR_US - 1))
    }

    pub(crate) async fn holds_revisions(&self) -> Result<bool, LakeError> {
        let view = self.view();
        if is_empty(&view) {
            return Ok(false);
        }
        let frame = at_rest(&self.own_context(), self, &view)?.filter(col(REVISION).gt(lit(0)))?;
        let found = frame.select_columns(&[REVISION])?.limit(0, Some(1))?.collect().await?;
        Ok(found.iter().any(|batch| batch.num_rows() > 0))
    }

    /// The rows of one day at rest, sorted as they are to be written, streamed through bounded memory. With every column the
    /// table has at rest, also those that are no longer declared.
    pub(crate) fn sorted_day(&self, view: &View, day: i32) -> Result<DataFrame, LakeError> {
        let order: Vec<_> = self.sort.iter().map(|name| col(name.as_str()).sort(true, false)).collect();
        let frame = at_rest(&self.own_context(), self, view)?;
        Ok(frame.filter(col(DAY).eq(lit(ScalarValue::Date32(Some(day)))))?.sort(order)?)
    }
}

fn is_empty(view: &View) -> bool {
    view.table.snapshot().map_or(true, |snapshot| snapshot.log_data().num_files() == 0)
}

/// The newest day in which readings are, as a day number since 1970, but for readings from the future: a day counts if any
/// file was written on the day before it or later. The oldest day if none counts.
fn newest_day(days: &HashMap<String, Vec<LiveFile>>) -> Option<i32> {
    let written_ms = days.values().flatten().map(|file| file.written_ms).max()?;
    let tomorrow = day_of(written_ms.saturating_mul(1_000)).saturating_add(1);
    let numbers: BTreeSet<i32> = days.keys().filter_map(|day| day_number(day)).collect();
    numbers.range(..=tomorrow).next_back().or(numbers.first()).copied()
}

/// Runs of hours as half-open ranges in microseconds; gaps of up to a day are bridged, so that the ranges stay few.
fn ranges(hours: &BTreeSet<i64>) -> Vec<(i64, i64)> {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for &hour in hours {
        match runs.last_mut() {
            Some((_, end)) if hour - *end <= 24 => *end = hour + 1,
            _ => runs.push((hour, hour + 1)),
        }
    }
    runs.into_iter().map(|(from, to)| (from.saturating_mul(HOUR_US), to.saturating_mul(HOUR_US))).collect()
}

fn in_range(from_us: i64, to_us: i64) -> Expr {
    let instant = |us| lit(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())));
    let day = |us| lit(ScalarValue::Date32(Some(day_of(us))));
    let days = col(DAY).between(day(from_us), day(to_us.saturating_sub(1)));
    days.and(col(OBSERVED_AT).gt_eq(instant(from_us))).and(col(OBSERVED_AT).lt(instant(to_us)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One file a day, all written on day `written`.
    fn newest(days: &[&str], written: i64) -> Option<i32> {
        let file = || LiveFile { size: 1, written_ms: written * 86_400_000, remove: deltalake::kernel::Remove::default() };
        newest_day(&days.iter().map(|day| ((*day).to_owned(), vec![file()])).collect())
    }

    #[test]
    fn a_reading_from_the_future_does_not_move_the_newest_day() {
        let (today, last) = (20_000, day_number("2024-10-03"));
        assert_eq!(last, Some(19_999));
        assert_eq!(newest(&["2024-10-01", "2024-10-03", "2199-01-01"], today), last);
        assert_eq!(newest(&["2024-10-01", "2024-10-03"], today + 500), last, "an old lake, rewritten later");
        assert_eq!(newest(&["2199-01-01"], today), day_number("2199-01-01"));
        assert_eq!(newest(&[], today), None);
    }

    #[test]
    fn the_last_hour_of_a_day_does_not_read_the_day_after() {
        let hours = BTreeSet::from([23]);
        assert_eq!(ranges(&hours), [(23 * HOUR_US, 24 * HOUR_US)]);
        let said = in_range(23 * HOUR_US, 24 * HOUR_US).to_string();
        assert!(!said.contains("1970-01-02"), "{said}");
    }
}
