//! One run of a product: the rows of every tick of an interval, by its steps.

use std::sync::Arc;

use arrow::array::{RecordBatch, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::{DataFrame, SessionContext, col};

use crate::problem::Problem;
use crate::product::{PREVIOUS, Product, Step, TICKS};

/// The name of the tick in a product's rows while its steps run. At rest it is `observed_at`, as in every table.
pub const AS_OF: &str = "as_of";

/// What a run is for: the half-open interval `(since, as_of]` and the ticks in it, ascending, in microseconds since 1970 UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    /// All ticks up to here are answered already.
    pub since_us: i64,
    /// Rows that arrived later are not seen.
    pub as_of_us: i64,
    /// The ticks.
    pub ticks_us: Vec<i64>,
}

/// Where a run finds its input.
pub trait Inputs: Send + Sync {
    /// Table `name`: readings with every revision a row, as far as they had arrived by `until_us` and were observed after
    /// `from_us`; products by their newest rows of that time; reference tables whole.
    ///
    /// # Errors
    /// The table is not there or cannot be read.
    fn table(
        &self,
        context: &SessionContext,
        name: &str,
        from_us: i64,
        until_us: i64,
    ) -> Result<Arc<dyn TableProvider>, DataFusionError>;
}

/// Runs `product` over `interval` in `context`, a fresh session. `previous` are its newest rows at or before the interval's
/// start. The rows are sorted by tick and key.
///
/// # Errors
/// What the engine said, with file, line and column of the step.
pub async fn run(
    product: &Product,
    interval: &Interval,
    previous: Option<&RecordBatch>,
    context: &SessionContext,
    inputs: &dyn Inputs,
) -> Result<RecordBatch, Problem> {
    let last = product.last();
    let told = |error| Problem::of_engine(&last.file, &error);
    prepare(product, interval, previous, context, inputs).map_err(told)?;
    for step in &product.steps[..product.steps.len() - 1] {
        let frame = plan(context, step, interval).await?;
        let made = collected(frame).await.map_err(|error| Problem::of_engine(&step.file, &error))?;
        context.register_table(step.name.as_str(), Arc::new(made)).map_err(|error| Problem::of_engine(&step.file, &error))?;
    }
    let frame = plan(context, last, interval).await?;
    let frame = check(product, frame)?;
    let empty = RecordBatch::new_empty(Arc::new(frame.schema().as_arrow().clone()));
    let order = [AS_OF].into_iter().chain(product.header.keys.iter().map(String::as_str));
    let sorted = frame.sort(order.map(|name| col(name).sort(true, false)).collect()).map_err(told)?;
    let batches = sorted.collect().await.map_err(told)?;
    let schema = batches.first().unwrap_or(&empty).schema();
    concat_batches(&schema, &batches).map_err(|error| Problem::at(&last.file, 0, 0, error.to_string()))
}

/// The rows of a step in memory. The plan's schema knows less than the rows' own about what may be null.
async fn collected(frame: DataFrame) -> Result<MemTable, DataFusionError> {
    let planned = Arc::new(frame.schema().as_arrow().clone());
    let batches = frame.collect().await?;
    let schema = batches.first().map_or(planned, RecordBatch::schema);
    MemTable::try_new(schema, vec![batches])
}

/// The columns of a product's rows, found by planning it over empty tables.
///
/// # Errors
/// As [`run`].
pub async fn schema(product: &Product, context: &SessionContext, inputs: &dyn Inputs) -> Result<SchemaRef, Problem> {
    let nothing = Interval { since_us: 0, as_of_us: 0, ticks_us: Vec::new() };
    let told = |error| Problem::of_engine(&product.last().file, &error);
    prepare(product, &nothing, None, context, inputs).map_err(told)?;
    for step in &product.steps[..product.steps.len() - 1] {
        let frame = plan(context, step, &nothing).await?;
        let table = frame.into_view();
        context.register_table(step.name.as_str(), table).map_err(|error| Problem::of_engine(&step.file, &error))?;
    }
    let frame = plan(context, product.last(), &nothing).await?;
    Ok(Arc::new(check(product, frame)?.schema().as_arrow().clone()))
}

fn prepare(
    product: &Product,
    interval: &Interval,
    previous: Option<&RecordBatch>,
    context: &SessionContext,
    inputs: &dyn Inputs,
) -> Result<(), DataFusionError> {
    context.register_batch(TICKS, ticks(&interval.ticks_us)?)?;
    if let Some(previous) = previous {
        context.register_batch(PREVIOUS, previous.clone())?;
    }
    let from_us = interval.since_us.saturating_sub(product.header.reach_us);
    for name in &product.reads {
        let table = inputs.table(context, name, from_us, interval.as_of_us)?;
        context.register_table(name.as_str(), table)?;
    }
    Ok(())
}

fn ticks(ticks_us: &[i64]) -> Result<RecordBatch, DataFusionError> {
    let field = Field::new(AS_OF, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false);
    let column = TimestampMicrosecondArray::from(ticks_us.to_vec()).with_timezone("UTC");
    Ok(RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(column)])?)
}

async fn plan(context: &SessionContext, step: &Step, interval: &Interval) -> Result<DataFrame, Problem> {
    let instant = |us| ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into()));
    let values = [("since", instant(interval.since_us)), (AS_OF, instant(interval.as_of_us))];
    let closed = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let told = |error| Problem::of_engine(&step.file, &error);
    let frame = context.sql_with_options(&step.sql, closed).await.map_err(told)?;
    frame.with_param_values(ParamValues::from(values.to_vec())).map_err(told)
}

/// A product's rows must have the tick and its keys.
fn check(product: &Product, frame: DataFrame) -> Result<DataFrame, Problem> {
    let schema = frame.schema().as_arrow();
    let missing = |name: &&str| schema.column_with_name(name).is_none();
    let wanted = [AS_OF].into_iter().chain(product.header.keys.iter().map(String::as_str));
    match wanted.filter(missing).collect::<Vec<_>>() {
        none if none.is_empty() => Ok(frame),
        some => Err(Problem::at(&product.last().file, 0, 0, format!("the rows lack the column {}", some.join(" and ")))),
    }
}
