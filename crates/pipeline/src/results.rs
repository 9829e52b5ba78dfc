//! What signs and alerts read of a product's rows.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use datasjo_state::{Kind, ProductRow};
use datasjo_table::OBSERVED_AT;
use serde_json::{Map, Value};

use crate::header::ProductKind;
use crate::keep::lines;
use crate::product::Product;

/// The rows, in the order of their ticks.
///
/// # Errors
/// A row cannot be written as JSON.
pub fn product_rows(product: &Product, fitted: &RecordBatch) -> Result<Vec<ProductRow>, ArrowError> {
    let mut rows = Vec::with_capacity(fitted.num_rows());
    for (as_of_us, payload) in lines(fitted)? {
        for line in payload.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let values = serde_json::from_slice(line).map_err(|error| ArrowError::JsonError(error.to_string()))?;
            rows.push(row(product, as_of_us, values));
        }
    }
    Ok(rows)
}

fn row(product: &Product, as_of_us: i64, mut values: Map<String, Value>) -> ProductRow {
    values.remove(OBSERVED_AT);
    for (name, _) in &product.header.carries {
        values.remove(name);
    }
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let key = |name: &String| (name.clone(), values.remove(name).map(text).unwrap_or_default());
    let key = product.header.keys.iter().map(key).collect();
    ProductRow { as_of_us, key, values }
}

/// What becomes of the rows in the state store. A product's rows hold their level themselves.
pub fn kind(product: &Product) -> Kind {
    match product.header.kind {
        ProductKind::Table => Kind::Table,
        ProductKind::Sign => Kind::Sign,
        ProductKind::Alert => Kind::Alert { down_hold_s: 0 },
    }
}
