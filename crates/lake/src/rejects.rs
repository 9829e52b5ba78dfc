//! The table of rejects: what could not become a row, with its bytes and the reason.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datasjo_table::{DAY, FEED, Kind, RECEIVED_AT, SEQ};

use crate::LakeError;
use crate::table::day_of;

/// Name of the table.
pub const REJECTS: &str = "rejects";
pub(crate) const MEANING: &str = "What could not become a row: the raw bytes, the reason, and the configuration that judged it.";

/// One reject.
#[derive(Clone, Debug)]
pub struct RejectRow {
    /// The feed that brought it.
    pub feed: Arc<str>,
    /// The dataset it was meant for.
    pub dataset: String,
    /// A short word to count by (`not_json`, `out_of_range`).
    pub code: String,
    /// A sentence for a person, naming column and value.
    pub reason: String,
    /// The bytes, cut to 64 KiB; those of good readings that could not be judged (`lake_unreadable`) whole, to be given again.
    pub raw: Vec<u8>,
    /// Their true length.
    pub raw_bytes: i64,
    /// What the transport knew, as JSON.
    pub labels: String,
    /// Which configuration judged it.
    pub config_hash: String,
    /// When it arrived, microseconds since 1970 UTC.
    pub received_at_us: i64,
    /// The journal's sequence number.
    pub seq: u64,
}

pub(crate) fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, false);
    Arc::new(Schema::new(vec![
        text(FEED),
        text("dataset"),
        text("code"),
        text("reason"),
        Field::new("raw", DataType::Binary, false),
        Field::new("raw_bytes", DataType::Int64, false),
        text("labels"),
        text("config_hash"),
        Field::new(RECEIVED_AT, Kind::Time.data_type(), false),
        Field::new(SEQ, DataType::Int64, false),
        Field::new(DAY, DataType::Date32, false),
    ]))
}

pub(crate) fn batch(rows: &[RejectRow]) -> Result<RecordBatch, LakeError> {
    let text = |get: fn(&RejectRow) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(rows.iter().map(get))) };
    let whole = |get: fn(&RejectRow) -> i64| -> ArrayRef { Arc::new(Int64Array::from_iter_values(rows.iter().map(get))) };
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.received_at_us)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        text(|r| &r.feed),
        text(|r| &r.dataset),
        text(|r| &r.code),
        text(|r| &r.reason),
        Arc::new(BinaryArray::from_iter_values(rows.iter().map(|r| &r.raw))),
        whole(|r| r.raw_bytes),
        text(|r| &r.labels),
        text(|r| &r.config_hash),
        Arc::new(times),
        whole(|r| i64::try_from(r.seq).unwrap_or(i64::MAX)),
        Arc::new(Date32Array::from_iter_values(rows.iter().map(|r| day_of(r.received_at_us)))),
    ];
    Ok(RecordBatch::try_new(schema(), columns)?)
}
