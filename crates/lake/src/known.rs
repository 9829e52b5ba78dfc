//! Tables as products see them: as far as they were known at a moment.

use std::sync::PoisonError;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::dataframe::DataFrame;
use datafusion::prelude::{SessionContext, col, lit};
use datafusion::scalar::ScalarValue;
use datasjo_table::{DAY, OBSERVED_AT, RECEIVED_AT};

use crate::session::{context, everything, newest};
use crate::table::day_of;
use crate::{Lake, LakeError};

/// Which rows of a key are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Each value as it arrived.
    EveryRevision,
    /// The newest value known then.
    Newest,
}

impl Lake {
    /// A session for products, with memory of its own: an analyst's query never takes it. `prepare` adds functions.
    pub fn product_session(&self, prepare: impl FnOnce(&SessionContext)) -> Result<SessionContext, LakeError> {
        let context = context(&self.products);
        context.state_ref().write().config_mut().options_mut().sql_parser.collect_spans = true;
        prepare(&context);
        Ok(context)
    }

    /// Rows of table `name` that had arrived by `until_us` and were observed after `from_us` (microseconds since 1970 UTC).
    pub fn known(
        &self,
        context: &SessionContext,
        name: &str,
        shown: Shown,
        from_us: i64,
        until_us: i64,
    ) -> Result<DataFrame, LakeError> {
        let table = self.table(name)?;
        let view = table.view();
        let instant = |us| lit(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())));
        let since = col(DAY).gt_eq(lit(ScalarValue::Date32(Some(day_of(from_us))))).and(col(OBSERVED_AT).gt(instant(from_us)));
        let arrived = col(RECEIVED_AT).lt_eq(instant(until_us));
        let rows = everything(context, table, &view, Vec::new())?.filter(since)?.filter(arrived)?;
        match table.definition().filter(|_| view.revised && shown == Shown::Newest) {
            Some(definition) => newest(rows, &definition.key),
            None => Ok(rows),
        }
    }

    /// The reference table `name`, if there is one.
    pub fn reference(&self, name: &str) -> Option<RecordBatch> {
        self.reference.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Puts `rows` into reference table `name`, in place of what it held.
    pub fn set_reference(&self, name: &str, rows: RecordBatch) {
        self.reference.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), rows);
    }
}

/// The rows of several batches of one schema.
///
/// # Errors
/// The batches differ in their columns.
pub fn concat(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<RecordBatch, LakeError> {
    Ok(concat_batches(schema, batches)?)
}
