//! Rows on their way into one Arrow batch, and the records that did not become rows.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::ArrowError;
use datasjo_table::{Kind, Table};

use crate::check::{check, measures};

/// Most bytes of a rejected record that are kept: enough to see what is wrong with it.
const MAX_RAW_BYTES: usize = 64 * 1024;
/// Most raw bytes kept for the rejects of one delivery, so that a flood of garbage stays small.
const MAX_RAW_BYTES_PER_DELIVERY: usize = 1024 * 1024;
/// Most rejects written out for one delivery; the rest are counted in one more.
const MAX_REJECTS_PER_DELIVERY: usize = 1000;
/// Most text in one batch: Arrow's 32-bit offsets end at 2 GiB.
const MAX_BATCH_TEXT_BYTES: usize = i32::MAX as usize;

/// One value on its way into a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// Text.
    Text(&'a str),
    /// A number, also for whole-number columns if it is whole.
    Float(f64),
    /// A whole number; in a text column its digits.
    Int(i64),
    /// Microseconds since 1970 UTC.
    Time(i64),
    /// True or false.
    Bool(bool),
}

/// Why a record is no row: a closed set, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// There are no bytes.
    EmptyPayload,
    /// The bytes are no JSON document.
    NotJson,
    /// A CSV line has more or fewer cells than the header.
    RaggedLine,
    /// A field that must be there is absent or null.
    MissingField,
    /// A value is of another kind than its column.
    WrongType,
    /// A value is outside the range its column allows.
    OutOfRange,
    /// A time cannot be read, does not exist, or is not of this age.
    BadTime,
    /// A unit is unknown or measures something else.
    BadUnit,
    /// A word is not among those the column or a reference file knows.
    UnknownValue,
    /// The bytes are no text in the encoding stated.
    BadEncoding,
    /// A text is longer than any name.
    TooLong,
    /// More than one delivery or batch may hold.
    TooManyRecords,
    /// The topic or file name has not the shape stated.
    WrongTopic,
    /// Nothing this format knows.
    NotAReading,
}

impl Code {
    /// The word in tables and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::EmptyPayload => "empty_payload",
            Code::NotJson => "not_json",
            Code::RaggedLine => "ragged_line",
            Code::MissingField => "missing_field",
            Code::WrongType => "wrong_type",
            Code::OutOfRange => "out_of_range",
            Code::BadTime => "bad_time",
            Code::BadUnit => "bad_unit",
            Code::UnknownValue => "unknown_value",
            Code::BadEncoding => "bad_encoding",
            Code::TooLong => "too_long",
            Code::TooManyRecords => "too_many_records",
            Code::WrongTopic => "wrong_topic",
            Code::NotAReading => "not_a_reading",
        }
    }
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The kind of fault.
    pub code: Code,
    /// A sentence that names column, value and bound.
    pub reason: String,
}

impl Fault {
    /// A fault with its sentence.
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }
}

/// A record that is no row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// The delivery it came in, as given to [`Rows::begin`].
    pub origin: u32,
    /// Its bytes, cut to 64 KiB; a record out of a JSON array is written anew. Empty once a delivery's rejects have used 1 MiB.
    pub raw: Vec<u8>,
    /// How many bytes it really has.
    pub raw_bytes: u64,
    /// What is wrong, with column, value and bound.
    pub reason: String,
    /// The kind of fault, as in [`Code::as_str`].
    pub code: &'static str,
    /// How many records it stands for: 1, but more in the last reject of a delivery with over a thousand.
    pub records: u64,
}

/// What decoding made of one or many deliveries.
#[derive(Debug)]
pub struct Decoded {
    /// The rows, in the order they came, with [`Table::decoded_schema`].
    pub rows: RecordBatch,
    /// For each row the delivery it came in.
    pub origins: Vec<u32>,
    /// The records that are no rows.
    pub rejects: Vec<Reject>,
    /// How many records were left out on purpose: a feed's `skip`, join messages, empty cells of an unpivot.
    pub skipped: u64,
}

/// A batch that Arrow refuses: a fault in this program, since every cell was checked.
#[derive(Debug, thiserror::Error)]
#[error("build a batch of {table}")]
pub struct BatchError {
    table: String,
    #[source]
    source: ArrowError,
}

enum Builder {
    Text(StringBuilder),
    Float(Float64Builder),
    Int(Int64Builder),
    Time(TimestampMicrosecondBuilder),
    Bool(BooleanBuilder),
}

/// Collects the rows and rejects of many deliveries for one table. Rows keep the order in which they were pushed.
pub struct Rows {
    table: Arc<Table>,
    builders: Vec<Builder>,
    /// Columns with a unit, if all of them may be null: one of them must have a value.
    measures: Vec<usize>,
    origins: Vec<u32>,
    rejects: Vec<Reject>,
    skipped: u64,
    text_bytes: usize,
    origin: u32,
    rejects_here: usize,
    raw_bytes_here: usize,
}

impl Rows {
    /// No rows yet.
    pub fn new(table: Arc<Table>) -> Self {
        let builders = table.columns.iter().map(|c| Builder::new(c.kind)).collect();
        let measures = measures(&table);
        Self {
            table,
            builders,
            measures,
            origins: Vec::new(),
            rejects: Vec::new(),
            skipped: 0,
            text_bytes: 0,
            origin: 0,
            rejects_here: 0,
            raw_bytes_here: 0,
        }
    }

    /// What follows comes from this delivery.
    pub fn begin(&mut self, origin: u32) {
        self.origin = origin;
        self.rejects_here = 0;
        self.raw_bytes_here = 0;
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.origins.len()
    }

    /// True if there are no rows; there may be rejects.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// Appends a row of the table's columns in their order, or records a reject with the record's bytes. True if it is a row.
    pub fn push(&mut self, cells: &[Cell<'_>], raw: &[u8]) -> bool {
        match self.try_push(cells) {
            Ok(()) => true,
            Err(fault) => {
                self.reject(fault, raw);
                false
            }
        }
    }

    /// Appends a row of the table's columns in their order. Of a table whose measurements (its columns with a unit) may all
    /// be null, a row must have at least one.
    ///
    /// # Errors
    /// The first thing that is wrong with it; then nothing was appended.
    pub fn try_push(&mut self, cells: &[Cell<'_>]) -> Result<(), Fault> {
        if cells.len() != self.builders.len() {
            let reason = format!("{} values for {} columns", cells.len(), self.builders.len());
            return Err(Fault::new(Code::WrongType, reason));
        }
        for (column, cell) in self.table.columns.iter().zip(cells) {
            check(column, cell)?;
        }
        if !self.measures.is_empty() && self.measures.iter().all(|m| cells[*m] == Cell::Null) {
            let names: Vec<&str> = self.measures.iter().map(|m| self.table.columns[*m].name.as_str()).collect();
            return Err(Fault::new(Code::MissingField, format!("no value: one of {} is needed", names.join(", "))));
        }
        let text_bytes = self.text_bytes + cells.iter().map(text_len).sum::<usize>();
        if text_bytes > MAX_BATCH_TEXT_BYTES {
            return Err(Fault::new(Code::TooManyRecords, "the batch holds 2 GiB of text already"));
        }
        self.text_bytes = text_bytes;
        for (builder, cell) in self.builders.iter_mut().zip(cells) {
            builder.append(cell);
        }
        self.origins.push(self.origin);
        Ok(())
    }

    /// Records that a record of the current delivery is no row. Over a thousand for one delivery are only counted.
    pub fn reject(&mut self, fault: Fault, raw: &[u8]) {
        self.rejects_here += 1;
        if self.rejects_here > MAX_REJECTS_PER_DELIVERY + 1
            && let Some(last) = self.rejects.last_mut()
        {
            last.records += 1;
            return;
        }
        let mut keep = raw.len().min(MAX_RAW_BYTES).min(MAX_RAW_BYTES_PER_DELIVERY - self.raw_bytes_here);
        let mut reject = Reject {
            origin: self.origin,
            raw: Vec::new(),
            raw_bytes: raw.len() as u64,
            reason: fault.reason,
            code: fault.code.as_str(),
            records: 1,
        };
        if self.rejects_here > MAX_REJECTS_PER_DELIVERY {
            reject.code = Code::TooManyRecords.as_str();
            reject.reason = format!("more rejects than are kept for one delivery; the first of them: {}", reject.reason);
            keep = 0;
        }
        self.raw_bytes_here += keep;
        reject.raw = raw[..keep].to_vec();
        self.rejects.push(reject);
    }

    /// Counts records that are left out on purpose.
    pub fn skip(&mut self, records: u64) {
        self.skipped += records;
    }

    /// The batch and everything else there is to know about the deliveries.
    ///
    /// # Errors
    /// If Arrow refuses the batch, which would be a fault of this program.
    pub fn finish(mut self) -> Result<Decoded, BatchError> {
        let columns = self.builders.iter_mut().map(Builder::finish).collect();
        let rows = RecordBatch::try_new(self.table.decoded_schema(), columns)
            .map_err(|source| BatchError { table: self.table.name.clone(), source })?;
        Ok(Decoded { rows, origins: self.origins, rejects: self.rejects, skipped: self.skipped })
    }
}

impl Builder {
    fn new(kind: Kind) -> Self {
        match kind {
            // From nothing: a step often brings a handful of rows, and what is reserved stays with them while they are hot.
            Kind::Text => Builder::Text(StringBuilder::with_capacity(0, 0)),
            Kind::Float => Builder::Float(Float64Builder::with_capacity(0)),
            Kind::Int => Builder::Int(Int64Builder::with_capacity(0)),
            Kind::Time => Builder::Time(TimestampMicrosecondBuilder::with_capacity(0).with_timezone("UTC")),
            Kind::Bool => Builder::Bool(BooleanBuilder::with_capacity(0)),
        }
    }

    /// Appends a cell that [`check()`] has let through.
    fn append(&mut self, cell: &Cell<'_>) {
        match (self, *cell) {
            (Builder::Text(b), Cell::Text(text)) => b.append_value(text),
            (Builder::Text(b), Cell::Int(number)) => {
                // Writing to memory cannot fail; append_value then closes the value written so far.
                let _ = write!(b, "{number}");
                b.append_value("");
            }
            (Builder::Text(b), _) => b.append_null(),
            (Builder::Float(b), Cell::Float(number)) => b.append_value(number),
            (Builder::Float(b), Cell::Int(number)) => b.append_value(number as f64),
            (Builder::Float(b), _) => b.append_null(),
            (Builder::Int(b), Cell::Int(number)) => b.append_value(number),
            (Builder::Int(b), Cell::Float(number)) => b.append_value(number as i64),
            (Builder::Int(b), _) => b.append_null(),
            (Builder::Time(b), Cell::Time(at)) => b.append_value(at),
            (Builder::Time(b), _) => b.append_null(),
            (Builder::Bool(b), Cell::Bool(truth)) => b.append_value(truth),
            (Builder::Bool(b), _) => b.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Text(b) => Arc::new(b.finish()),
            Builder::Float(b) => Arc::new(b.finish()),
            Builder::Int(b) => Arc::new(b.finish()),
            Builder::Time(b) => Arc::new(b.finish()),
            Builder::Bool(b) => Arc::new(b.finish()),
        }
    }
}

fn text_len(cell: &Cell<'_>) -> usize {
    match cell {
        Cell::Text(text) => text.len(),
        Cell::Int(_) => 20,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datasjo_table::{Access, Column};

    fn column(name: &str, kind: Kind, nullable: bool) -> Column {
        Column {
            name: name.to_owned(),
            kind,
            unit: None,
            nullable,
            min: None,
            max: None,
            one_of: Vec::new(),
            meaning: "test".to_owned(),
        }
    }

    fn rows() -> Rows {
        let flow = Column { unit: Some("l/s".into()), max: Some(500.0), ..column("flow_l_per_s", Kind::Float, true) };
        let columns = vec![
            column("meter_id", Kind::Text, false),
            column("observed_at", Kind::Time, false),
            flow,
            column("pulses", Kind::Int, true),
        ];
        Rows::new(Arc::new(Table {
            name: "t".into(),
            meaning: "m".into(),
            key: vec!["meter_id".into(), "observed_at".into()],
            lateness_h: 1,
            retention_days: None,
            owner: "o".into(),
            licence: "l".into(),
            access: Access::Internal,
            columns,
        }))
    }

    fn row(flow: f64, pulses: Cell<'_>) -> [Cell<'_>; 4] {
        [Cell::Text("a"), Cell::Time(1), Cell::Float(flow), pulses]
    }

    #[test]
    fn a_value_outside_its_range_is_a_reject_that_names_column_value_and_bound() {
        let mut rows = rows();
        rows.begin(7);
        assert!(!rows.push(&row(912.4, Cell::Null), b"raw"));
        let decoded = rows.finish().unwrap();
        let reject = &decoded.rejects[0];
        assert_eq!(reject.reason, "flow_l_per_s 912.4 is above 500 l/s");
        assert_eq!((reject.origin, reject.code, reject.raw.as_slice()), (7, "out_of_range", b"raw".as_slice()));
        assert_eq!(decoded.rows.num_rows(), 0);
    }

    #[test]
    fn a_whole_number_given_as_float_is_taken_and_a_broken_one_is_not() {
        let mut rows = rows();
        assert!(rows.push(&row(1.0, Cell::Float(3.0)), b""));
        assert!(!rows.push(&row(1.0, Cell::Float(3.5)), b""));
        assert!(!rows.push(&row(f64::NAN, Cell::Null), b""));
        let decoded = rows.finish().unwrap();
        assert_eq!(decoded.origins.len(), 1);
        assert_eq!(decoded.rejects[0].reason, "pulses 3.5 is no whole number");
        assert_eq!(decoded.rejects[1].code, "out_of_range");
    }

    #[test]
    fn a_row_without_any_measurement_is_a_reject() {
        let mut rows = rows();
        assert!(!rows.push(&[Cell::Text("a"), Cell::Time(1), Cell::Null, Cell::Int(1)], b""));
        assert_eq!(rows.finish().unwrap().rejects[0].code, "missing_field");
    }

    #[test]
    fn a_whole_number_in_a_text_column_is_its_digits() {
        let mut rows = rows();
        assert!(rows.push(&[Cell::Int(-42), Cell::Time(1), Cell::Int(1), Cell::Null], b""));
        let decoded = rows.finish().unwrap();
        let names = decoded.rows.column(0).as_any().downcast_ref::<arrow_array::StringArray>().unwrap();
        assert_eq!(names.value(0), "-42");
    }

    #[test]
    fn a_clock_that_was_never_set_gives_no_row() {
        let mut rows = rows();
        assert!(!rows.push(&[Cell::Text("a"), Cell::Time(-27_000_000_000_000_000), Cell::Int(1), Cell::Null], b""));
        assert_eq!(rows.finish().unwrap().rejects[0].code, "bad_time");
    }

    #[test]
    fn a_flood_of_rejects_is_counted_and_does_not_grow() {
        let mut rows = rows();
        rows.begin(1);
        for _ in 0..5000 {
            rows.reject(Fault::new(Code::NotJson, "no"), &[0; 100_000]);
        }
        rows.begin(2);
        rows.reject(Fault::new(Code::NotJson, "no"), b"x");
        let decoded = rows.finish().unwrap();
        assert_eq!(decoded.rejects.iter().map(|r| r.records).sum::<u64>(), 5001);
        assert_eq!(decoded.rejects.len(), 1002);
        assert_eq!(decoded.rejects[0].raw_bytes, 100_000);
        assert_eq!(decoded.rejects[0].raw.len(), 64 * 1024);
        assert!(decoded.rejects.iter().map(|r| r.raw.len()).sum::<usize>() <= 1024 * 1024 + 1);
    }
}
