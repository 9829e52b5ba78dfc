//! The order of rows at rest.

use arrow::array::{ArrayRef, AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};

use crate::LakeError;
use crate::dedup::Map;

/// An instant, and the batch and row it stands in.
type At = (i64, u32, u32);

/// Batch and row of every row of `batches`, sorted by `columns`, of which the last is an instant; rows that are equal keep
/// their order. Rows of one day and series are gathered first: there are few of these groups, and the rows of each mostly come
/// in the order of their time.
pub(crate) fn order(batches: &[RecordBatch], columns: &[String]) -> Result<Vec<(usize, usize)>, LakeError> {
    let Some((time, group_by)) = columns.split_last() else { return Ok(Vec::new()) };
    let mut groups: Map<Box<[u8]>, Vec<At>> = Map::default();
    for (batch, number) in batches.iter().zip(0..) {
        let times = times(batch, time)?;
        let keys = keys(batch, group_by)?;
        for ((key, time), row) in keys.iter().zip(times.values().iter()).zip(0..) {
            let (key, at): (&[u8], At) = (key.as_ref(), (*time, number, row));
            match groups.get_mut(key) {
                Some(group) => group.push(at),
                None => {
                    groups.insert(key.into(), vec![at]);
                }
            }
        }
    }
    let mut groups: Vec<(Box<[u8]>, Vec<At>)> = groups.into_iter().collect();
    groups.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    let mut order = Vec::with_capacity(groups.iter().map(|(_, rows)| rows.len()).sum());
    for (_, mut rows) in groups {
        rows.sort_unstable();
        order.extend(rows.into_iter().map(|(_, batch, row)| (batch as usize, row as usize)));
    }
    Ok(order)
}

fn column<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b ArrayRef, ArrowError> {
    batch.column_by_name(name).ok_or_else(|| ArrowError::SchemaError(format!("rows to be sorted have no column {name}")))
}

fn times<'b>(batch: &'b RecordBatch, name: &str) -> Result<&'b PrimitiveArray<TimestampMicrosecondType>, ArrowError> {
    let times = column(batch, name)?.as_primitive_opt::<TimestampMicrosecondType>();
    times.ok_or_else(|| ArrowError::SchemaError(format!("column {name} holds no instants")))
}

/// Bytes that compare as the columns do.
fn keys(batch: &RecordBatch, names: &[String]) -> Result<Rows, ArrowError> {
    let columns = names.iter().map(|name| column(batch, name).cloned()).collect::<Result<Vec<ArrayRef>, _>>()?;
    let kinds = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    RowConverter::new(kinds)?.convert_columns(&columns)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    fn batch(rows: &[(i32, &str, i64)]) -> RecordBatch {
        let days: ArrayRef = Arc::new(Date32Array::from_iter_values(rows.iter().map(|r| r.0)));
        let ids: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|r| r.1)));
        let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.2)).with_timezone("UTC");
        let times: ArrayRef = Arc::new(times);
        RecordBatch::try_from_iter([("day", days), ("id", ids), ("at", times)]).unwrap()
    }

    #[test]
    fn rows_are_ordered_by_day_then_series_then_time_and_equal_ones_by_arrival() {
        let rows = [(2, "a", 5), (1, "b", 9), (1, "a", 7), (1, "b", 3), (-1, "ab", 1), (1, "a", 7), (2, "", 5), (1, "ab", 0)];
        let columns = ["day", "id", "at"].map(str::to_owned);
        let mut expected: Vec<usize> = (0..rows.len()).collect();
        expected.sort_by_key(|n| rows[*n]);
        for cut in 0..rows.len() {
            let batches = [batch(&rows[..cut]), batch(&rows[cut..])];
            let place = |(part, row): (usize, usize)| if part == 0 { row } else { cut + row };
            let found: Vec<usize> = order(&batches, &columns).unwrap().into_iter().map(place).collect();
            assert_eq!(found, expected, "cut at {cut}");
        }
    }
}
