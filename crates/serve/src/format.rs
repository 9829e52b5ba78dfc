//! The forms an answer can take. Each turns record batches into bytes, batch by batch, never a whole result in memory.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::pretty::pretty_format_batches;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// Most rows of a table for people; it is gathered in memory, and nobody reads more.
pub const TABLE_ROWS: usize = 10_000;

/// A form: what it is called on the command line, and in HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table for people.
    Table,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Arrow IPC stream.
    Arrow,
    /// Apache Parquet.
    Parquet,
}

/// Every form.
pub const FORMATS: [Format; 6] = [Format::Table, Format::Csv, Format::Json, Format::Ndjson, Format::Arrow, Format::Parquet];

impl Format {
    /// Its name, which is also the suffix of its files.
    pub fn name(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Csv => "csv",
            Format::Json => "json",
            Format::Ndjson => "ndjson",
            Format::Arrow => "arrow",
            Format::Parquet => "parquet",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Table => "text/plain; charset=utf-8",
            Format::Csv => "text/csv; charset=utf-8",
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Arrow => "application/vnd.apache.arrow.stream",
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The form called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        FORMATS.into_iter().find(|f| f.name() == name)
    }

    /// The first form that an HTTP `Accept` header names; JSON for `*/*` or nothing known.
    pub fn from_accept(accept: &str) -> Self {
        let wanted = accept.split(',').filter_map(|part| part.split(';').next()).map(str::trim);
        wanted
            .filter_map(|media| FORMATS.into_iter().find(|f| f.media_type().split(';').next() == Some(media)))
            .next()
            .unwrap_or(Format::Json)
    }
}

/// Writes batches in one form into any writer.
pub enum Encoder<W: Write + Send> {
    /// Gathers up to its limit; a table needs all widths first.
    Table(W, Gathered),
    /// CSV.
    Csv(Box<arrow::csv::Writer<W>>),
    /// A JSON array.
    Json(Box<arrow::json::ArrayWriter<W>>),
    /// JSON lines.
    Ndjson(Box<arrow::json::LineDelimitedWriter<W>>),
    /// Arrow IPC.
    Arrow(Box<arrow::ipc::writer::StreamWriter<W>>),
    /// Parquet.
    Parquet(Box<ArrowWriter<W>>),
}

/// Rows of a table for people.
pub struct Gathered {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    rows: usize,
}

impl Gathered {
    fn new(schema: &SchemaRef) -> Self {
        Self { schema: schema.clone(), batches: Vec::new(), rows: 0 }
    }

    /// Keeps what there is room for and counts the rest.
    fn add(&mut self, batch: &RecordBatch) {
        let room = TABLE_ROWS.saturating_sub(self.rows);
        if room > 0 {
            self.batches.push(batch.slice(0, room.min(batch.num_rows())));
        }
        self.rows += batch.num_rows();
    }

    fn is_full(&self) -> bool {
        self.rows > TABLE_ROWS
    }

    fn write(mut self, mut to: impl Write) -> Result<(), ArrowError> {
        if self.batches.is_empty() {
            self.batches.push(RecordBatch::new_empty(self.schema.clone()));
        }
        writeln!(to, "{}", pretty_format_batches(&self.batches)?)?;
        if self.is_full() {
            writeln!(to, "more than {TABLE_ROWS} rows: the others are left out; add a LIMIT, or ask for csv, ndjson or parquet")?;
        }
        Ok(())
    }
}

impl<W: Write + Send> Encoder<W> {
    /// Starts an answer with `schema`. Nulls are written out in JSON, so that every object has every column.
    pub fn new(format: Format, schema: &SchemaRef, to: W) -> Result<Self, ArrowError> {
        let json = || arrow::json::WriterBuilder::new().with_explicit_nulls(true);
        Ok(match format {
            Format::Table => Encoder::Table(to, Gathered::new(schema)),
            Format::Csv => Encoder::Csv(Box::new(csv(schema, to)?)),
            Format::Json => Encoder::Json(Box::new(json().build(to))),
            Format::Ndjson => Encoder::Ndjson(Box::new(json().build(to))),
            Format::Arrow => Encoder::Arrow(Box::new(arrow::ipc::writer::StreamWriter::try_new(to, schema)?)),
            Format::Parquet => {
                let compressed = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
                Encoder::Parquet(Box::new(ArrowWriter::try_new(to, schema.clone(), Some(compressed))?))
            }
        })
    }

    /// True when more rows would be left out, so that they need not be computed.
    pub fn is_full(&self) -> bool {
        matches!(self, Encoder::Table(_, gathered) if gathered.is_full())
    }

    /// Writes one batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        match self {
            Encoder::Table(_, gathered) => {
                gathered.add(batch);
                Ok(())
            }
            Encoder::Csv(writer) => writer.write(batch),
            Encoder::Json(writer) => writer.write(batch),
            Encoder::Ndjson(writer) => writer.write(batch),
            Encoder::Arrow(writer) => writer.write(batch),
            Encoder::Parquet(writer) => Ok(writer.write(batch)?),
        }
    }

    /// Ends the answer. An answer without rows is complete too: a header, `[]`, or a schema.
    pub fn finish(self) -> Result<(), ArrowError> {
        match self {
            Encoder::Table(to, gathered) => gathered.write(to),
            Encoder::Csv(_) => Ok(()),
            Encoder::Json(mut writer) => {
                writer.finish()?;
                Ok(writer.get_mut().write_all(b"\n")?)
            }
            Encoder::Ndjson(mut writer) => writer.finish(),
            Encoder::Arrow(mut writer) => writer.finish(),
            Encoder::Parquet(writer) => Ok(writer.close().map(|_| ())?),
        }
    }
}

/// The header goes out before the first row, so that an answer without rows has it too.
fn csv<W: Write>(schema: &SchemaRef, to: W) -> Result<arrow::csv::Writer<W>, ArrowError> {
    let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(to);
    writer.write(&RecordBatch::new_empty(schema.clone()))?;
    Ok(writer)
}

/// A writer whose bytes are taken out as they come.
#[derive(Clone, Default)]
pub struct Outlet(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl Outlet {
    /// What was written since the last call.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl Write for Outlet {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use arrow::datatypes::{DataType, Field, Schema};
    use bytes::Bytes;
    use parquet::basic::CompressionCodec;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]))
    }

    fn batch(rows: impl Into<Int64Array>) -> RecordBatch {
        RecordBatch::try_new(schema(), vec![Arc::new(rows.into())]).unwrap()
    }

    fn bytes(format: Format, rows: &[Option<i64>]) -> Vec<u8> {
        let outlet = Outlet::default();
        let mut encoder = Encoder::new(format, &schema(), outlet.clone()).unwrap();
        if !rows.is_empty() {
            encoder.write(&batch(rows.to_vec())).unwrap();
        }
        encoder.finish().unwrap();
        outlet.take()
    }

    fn encoded(format: Format, rows: &[Option<i64>]) -> String {
        String::from_utf8_lossy(&bytes(format, rows)).into_owned()
    }

    #[test]
    fn an_answer_without_rows_is_complete() {
        assert_eq!(encoded(Format::Json, &[]), "[]\n");
        assert_eq!(encoded(Format::Csv, &[]), "n\n");
        assert!(encoded(Format::Table, &[]).contains("| n |"));
    }

    #[test]
    fn nulls_are_written_out() {
        assert_eq!(encoded(Format::Json, &[Some(1), None]), "[{\"n\":1},{\"n\":null}]\n");
        assert_eq!(encoded(Format::Csv, &[Some(1), None]), "n\n1\n\"\"\n");
    }

    #[test]
    fn a_table_for_people_ends_where_nobody_reads_on_and_says_so() {
        let outlet = Outlet::default();
        let mut encoder = Encoder::new(Format::Table, &schema(), outlet.clone()).unwrap();
        let rows = i64::try_from(TABLE_ROWS).unwrap();
        encoder.write(&batch((1..=rows).collect::<Vec<_>>())).unwrap();
        assert!(!encoder.is_full(), "as many rows as fit");
        encoder.write(&batch(vec![rows + 1])).unwrap();
        assert!(encoder.is_full());
        encoder.finish().unwrap();
        let text = String::from_utf8(outlet.take()).unwrap();
        let shown = text.lines().filter(|line| line.starts_with("| ")).count();
        assert_eq!(shown, TABLE_ROWS + 1, "the header and the rows");
        assert!(!text.contains("10001") && text.contains("more than 10000 rows"), "{}", text.lines().last().unwrap_or_default());
        assert!(!encoded(Format::Table, &[Some(1)]).contains("left out"));
    }

    #[test]
    fn parquet_is_compressed() {
        let reader = SerializedFileReader::new(Bytes::from(bytes(Format::Parquet, &[Some(1)]))).unwrap();
        let compression = reader.metadata().row_group(0).column(0).compression_codec();
        assert_eq!(compression, CompressionCodec::ZSTD);
    }

    #[test]
    fn accept_names_the_form_and_json_is_the_rule() {
        assert_eq!(Format::from_accept("text/csv, application/json;q=0.5"), Format::Csv);
        assert_eq!(Format::from_accept("*/*"), Format::Json);
    }
}
