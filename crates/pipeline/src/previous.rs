//! What a product carries from one run to the next: the newest row of each key, as keys, tick and the columns its head names.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::compute::{cast, concat_batches, take_record_batch};
use arrow::datatypes::{Field, TimestampMicrosecondType};
use arrow::error::ArrowError;

use crate::catalog::previous_schema;
use crate::product::Product;

/// The newest row of each key among `before` and `rows`, which come later.
///
/// # Errors
/// The rows lack a key or the tick; a defect of the run that made them.
pub(crate) fn newest(product: &Product, before: Option<&RecordBatch>, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = previous_schema(product);
    let narrow = narrowed(product, rows)?;
    let all = concat_batches(&schema, before.into_iter().chain([&narrow]))?;
    let ticks = all.column(product.header.keys.len()).as_primitive::<TimestampMicrosecondType>();
    let mut newest: BTreeMap<Vec<&str>, usize> = BTreeMap::new();
    for row in 0..all.num_rows() {
        let key: Vec<&str> = (0..product.header.keys.len()).map(|k| all.column(k).as_string::<i32>().value(row)).collect();
        let kept = newest.entry(key).or_insert(row);
        if ticks.value(row) >= ticks.value(*kept) {
            *kept = row;
        }
    }
    let rows = UInt64Array::from_iter_values(newest.values().map(|row| *row as u64));
    take_record_batch(&all, &rows)
}

fn narrowed(product: &Product, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = previous_schema(product);
    let column = |field: &Arc<Field>| -> Result<ArrayRef, ArrowError> {
        match rows.column_by_name(field.name()) {
            Some(column) => cast(column, field.data_type()),
            None => Err(ArrowError::SchemaError(format!("the rows lack the column {}", field.name()))),
        }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(schema, columns)
}
