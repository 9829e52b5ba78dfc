//! The forms an answer can take. Each turns record batches into bytes, batch by batch, never a whole result in memory.

use std::io::{self, Write};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::util::pretty::pretty_format_batches;
use parquet::arrow::ArrowWriter;

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
    Table(W, SchemaRef, Vec<RecordBatch>),
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

impl<W: Write + Send> Encoder<W> {
    /// Starts an answer with `schema`. Nulls are written out in JSON, so that every object has every column.
    pub fn new(format: Format, schema: &SchemaRef, to: W) -> Result<Self, ArrowError> {
        let json = || arrow::json::WriterBuilder::new().with_explicit_nulls(true);
        Ok(match format {
            Format::Table => Encoder::Table(to, schema.clone(), Vec::new()),
            Format::Csv => Encoder::Csv(Box::new(arrow::csv::WriterBuilder::new().with_header(true).build(to))),
            Format::Json => Encoder::Json(Box::new(json().build(to))),
            Format::Ndjson => Encoder::Ndjson(Box::new(json().build(to))),
            Format::Arrow => Encoder::Arrow(Box::new(arrow::ipc::writer::StreamWriter::try_new(to, schema)?)),
            Format::Parquet => Encoder::Parquet(Box::new(ArrowWriter::try_new(to, schema.clone(), None)?)),
        })
    }

    /// Writes one batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        match self {
            Encoder::Table(_, _, batches) => {
                batches.push(batch.clone());
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
            Encoder::Table(mut to, schema, mut batches) => {
                if batches.is_empty() {
                    batches.push(RecordBatch::new_empty(schema));
                }
                writeln!(to, "{}", pretty_format_batches(&batches)?).map_err(ArrowError::from)
            }
            Encoder::Csv(_) => Ok(()),
            Encoder::Json(mut writer) => writer.finish(),
            Encoder::Ndjson(mut writer) => writer.finish(),
            Encoder::Arrow(mut writer) => writer.finish(),
            Encoder::Parquet(writer) => Ok(writer.close().map(|_| ())?),
        }
    }
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

    use super::*;

    fn encoded(format: Format, rows: &[Option<i64>]) -> String {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let outlet = Outlet::default();
        let mut encoder = Encoder::new(format, &schema, outlet.clone()).unwrap();
        if !rows.is_empty() {
            let column = Arc::new(Int64Array::from(rows.to_vec()));
            encoder.write(&RecordBatch::try_new(schema, vec![column]).unwrap()).unwrap();
        }
        encoder.finish().unwrap();
        String::from_utf8_lossy(&outlet.take()).into_owned()
    }

    #[test]
    fn an_answer_without_rows_is_complete() {
        assert_eq!(encoded(Format::Json, &[]), "[]");
        assert!(encoded(Format::Table, &[]).contains("| n |"));
    }

    #[test]
    fn nulls_are_written_out() {
        assert_eq!(encoded(Format::Json, &[Some(1), None]), r#"[{"n":1},{"n":null}]"#);
        assert_eq!(encoded(Format::Csv, &[Some(1), None]), "n\n1\n\"\"\n");
    }

    #[test]
    fn accept_names_the_form_and_json_is_the_rule() {
        assert_eq!(Format::from_accept("text/csv, application/json;q=0.5"), Format::Csv);
        assert_eq!(Format::from_accept("*/*"), Format::Json);
    }
}
