//! The ledger: for every feed and hour of arrival, received = committed + duplicate + rejected + in flight.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datasjo_table::{DAY, FEED, Kind, SEQ};
use serde::{Deserialize, Serialize};

use crate::LakeError;
use crate::table::day_of;

/// Name of the table.
pub const LEDGER: &str = "ledger";
pub(crate) const MEANING: &str = "Per feed and hour of arrival what became of every reading; received = committed + duplicate + rejected + in_flight in every sum.";

/// What became of the readings of one feed that arrived in one hour, as far as one flush knows. Lines are summed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// The feed.
    pub feed: Arc<str>,
    /// The dataset of the feed.
    pub dataset: Arc<str>,
    /// Start of the hour of arrival, microseconds since 1970 UTC.
    pub hour_us: i64,
    /// Deliveries (messages, pages, file chunks); one may hold many readings or none.
    pub deliveries: i64,
    /// Readings in them: rows and rejects.
    pub received: i64,
    /// Rows committed to the table, revisions included.
    pub committed: i64,
    /// Of the committed, those that revise an earlier value.
    pub revised: i64,
    /// Rows that were there already.
    pub duplicate: i64,
    /// What could not become a row.
    pub rejected: i64,
    /// Rows that are visible but not committed yet.
    pub in_flight: i64,
}

impl LedgerLine {
    /// An empty line.
    pub fn new(feed: Arc<str>, dataset: Arc<str>, hour_us: i64) -> Self {
        Self {
            feed,
            dataset,
            hour_us,
            deliveries: 0,
            received: 0,
            committed: 0,
            revised: 0,
            duplicate: 0,
            rejected: 0,
            in_flight: 0,
        }
    }

    /// True if nothing is missing and nothing counted twice.
    pub fn balances(&self) -> bool {
        self.received == self.committed + self.duplicate + self.rejected + self.in_flight
    }
}

type Count = (&'static str, fn(&LedgerLine) -> i64);

const COUNTS: [Count; 7] = [
    ("deliveries", |l| l.deliveries),
    ("received", |l| l.received),
    ("committed", |l| l.committed),
    ("revised", |l| l.revised),
    ("duplicate", |l| l.duplicate),
    ("rejected", |l| l.rejected),
    ("in_flight", |l| l.in_flight),
];

pub(crate) fn schema() -> SchemaRef {
    let mut fields = vec![
        Field::new(FEED, DataType::Utf8, false),
        Field::new("dataset", DataType::Utf8, false),
        Field::new("hour", Kind::Time.data_type(), false),
    ];
    fields.extend(COUNTS.map(|(name, _)| Field::new(name, DataType::Int64, false)));
    fields.push(Field::new(SEQ, DataType::Int64, false));
    fields.push(Field::new(DAY, DataType::Date32, false));
    Arc::new(Schema::new(fields))
}

pub(crate) fn batch(lines: &[LedgerLine], seq: u64) -> Result<RecordBatch, LakeError> {
    let hours = TimestampMicrosecondArray::from_iter_values(lines.iter().map(|l| l.hour_us)).with_timezone("UTC");
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(lines.iter().map(|l| &l.feed))),
        Arc::new(StringArray::from_iter_values(lines.iter().map(|l| &l.dataset))),
        Arc::new(hours),
    ];
    for (_, count) in COUNTS {
        columns.push(Arc::new(Int64Array::from_iter_values(lines.iter().map(count))));
    }
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    columns.push(Arc::new(Int64Array::from_iter_values(lines.iter().map(|_| seq))));
    columns.push(Arc::new(Date32Array::from_iter_values(lines.iter().map(|l| day_of(l.hour_us)))));
    Ok(RecordBatch::try_new(schema(), columns)?)
}
