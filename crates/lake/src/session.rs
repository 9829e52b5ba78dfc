//! SQL over the lake: one snapshot of every table, hot rows included, each row once, the newest revision of each key.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
use datafusion::catalog::TableProvider;
use datafusion::common::JoinType;
use datafusion::dataframe::DataFrame;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::functions_aggregate::expr_fn::max;
use datafusion::prelude::{Expr, SessionConfig, SessionContext, col, lit};
use datafusion::scalar::ScalarValue;
use datasjo_table::{DAY, Kind, OBSERVED_AT, REVISION};
use deltalake::delta_datafusion::{DeltaScanConfig, DeltaScanNext};

use crate::dedup::{HOUR_US, KeyIndex, Print};
use crate::table::{LakeTable, View, day_of};
use crate::{LEDGER, Lake, LakeError};

/// Days before the newest one whose readings tell how far each series has come.
const WATERMARK_DAYS: i32 = 40;

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

fn context(runtime: &Arc<RuntimeEnv>) -> SessionContext {
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
        for table in self.tables() {
            context.register_table(table.name(), self.provider(&context, table)?)?;
        }
        for (name, batch) in self.reference.read().unwrap_or_else(PoisonError::into_inner).iter() {
            context.register_batch(name, batch.clone())?;
        }
        Ok(context)
    }

    /// Plans a query; rows are computed when the frame is asked for them.
    pub async fn sql(&self, query: &str) -> Result<DataFrame, SqlError> {
        let closed = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        Ok(self.session()?.sql_with_options(query, closed).await?)
    }

    fn provider(&self, context: &SessionContext, table: &LakeTable) -> Result<Arc<dyn TableProvider>, LakeError> {
        let mut extra = Vec::new();
        let view = if table.name() == LEDGER {
            let now = self.ledger_now();
            let lines: Vec<_> = now.committing.iter().chain(&now.open).cloned().collect();
            if !lines.is_empty() {
                extra.push(crate::ledger::batch(&lines, 0)?);
            }
            table.view()
        } else {
            table.view()
        };
        let all = everything(context, table, &view, extra)?;
        let Some(definition) = table.definition().filter(|_| view.revised) else {
            return Ok(all.into_view());
        };
        Ok(newest(all, &definition.key)?.into_view())
    }
}

/// Rows at rest and hot rows of one moment.
fn everything(context: &SessionContext, table: &LakeTable, view: &View, extra: Vec<RecordBatch>) -> Result<DataFrame, LakeError> {
    let at_rest = at_rest(context, view)?;
    let hot: Vec<RecordBatch> = view.flushing.iter().chain(&view.hot).cloned().chain(extra).collect();
    let columns: Vec<&str> = table.schema.fields().iter().map(|f| f.name().as_str()).collect();
    if hot.is_empty() {
        return Ok(at_rest.select_columns(&columns)?);
    }
    let hot = context.read_batches(hot)?.select_columns(&columns)?;
    Ok(at_rest.select_columns(&columns)?.union(hot)?)
}

/// What one version of the table holds.
fn at_rest(context: &SessionContext, view: &View) -> Result<DataFrame, LakeError> {
    view.table.update_datafusion_session(&context.state())?;
    let config = DeltaScanConfig { schema_force_view_types: false, ..DeltaScanConfig::new() };
    let scan = DeltaScanNext::new(view.table.snapshot()?.snapshot().clone(), config)?;
    Ok(context.read_table(Arc::new(scan))?)
}

/// Hides every row for which a later revision exists. Revisions are few, so their keys are the small side of the join.
fn newest(all: DataFrame, key: &[String]) -> Result<DataFrame, LakeError> {
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

    /// Keys and values of what the lake holds in `hours`, by batch.
    pub(crate) async fn rows_of_hours(&self, hours: &BTreeSet<i64>) -> Result<Vec<Vec<(Print, i32)>>, LakeError> {
        let (Some(definition), Some(printer)) = (self.definition(), self.printer()) else {
            return Ok(Vec::new());
        };
        let view = self.view();
        if view.table.snapshot()?.log_data().num_files() == 0 {
            return Ok(Vec::new());
        }
        let mut columns: Vec<&str> = definition.columns.iter().map(|c| c.name.as_str()).collect();
        columns.push(REVISION);
        let within = ranges(hours).into_iter().map(|(from, to)| in_range(from, to)).reduce(Expr::or);
        let frame = at_rest(&self.own_context(), &view)?;
        let frame = within.map_or(Ok(frame.clone()), |w| frame.filter(w))?.select_columns(&columns)?;
        let mut known = Vec::new();
        for batch in frame.collect().await? {
            let prints = printer.prints(&batch)?;
            let revisions = batch.column(columns.len() - 1).as_primitive::<Int32Type>();
            known.push(prints.into_iter().zip(revisions.values().iter().copied()).collect());
        }
        Ok(known)
    }

    /// How far each series has come, from the newest days at rest.
    pub(crate) async fn latest_by_series(&self) -> Result<KeyIndex, LakeError> {
        let view = self.view();
        let days = crate::delta::files_by_day(&view.table)?;
        let newest_day = days.keys().filter_map(|d| d.parse::<jiff::civil::Date>().ok()).max();
        let (Some(newest_day), Some(definition), Some(printer)) = (newest_day, self.definition(), self.printer()) else {
            return Ok(KeyIndex::new([], i64::MIN));
        };
        let epoch = jiff::civil::date(1970, 1, 1);
        let floor_day = (newest_day - epoch).get_days() - WATERMARK_DAYS;
        let mut columns: Vec<Expr> = definition.series().map(col).collect();
        let series = columns.clone();
        columns.push(col(OBSERVED_AT));
        let frame = at_rest(&self.own_context(), &view)?
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
        if view.table.snapshot()?.log_data().num_files() == 0 {
            return Ok(false);
        }
        let frame = at_rest(&self.own_context(), &view)?.filter(col(REVISION).gt(lit(0)))?;
        let found = frame.select_columns(&[REVISION])?.limit(0, Some(1))?.collect().await?;
        Ok(found.iter().any(|batch| batch.num_rows() > 0))
    }

    /// The rows of one day at rest, sorted as they are to be written, streamed through bounded memory.
    pub(crate) fn sorted_day(&self, view: &View, day: i32) -> Result<DataFrame, LakeError> {
        let order: Vec<_> = self.sort.iter().map(|name| col(name.as_str()).sort(true, false)).collect();
        let columns: Vec<&str> = self.schema.fields().iter().map(|f| f.name().as_str()).collect();
        let frame = at_rest(&self.own_context(), view)?;
        Ok(frame.filter(col(DAY).eq(lit(ScalarValue::Date32(Some(day)))))?.select_columns(&columns)?.sort(order)?)
    }
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
    let days = col(DAY).between(day(from_us), day(to_us));
    days.and(col(OBSERVED_AT).gt_eq(instant(from_us))).and(col(OBSERVED_AT).lt(instant(to_us)))
}
