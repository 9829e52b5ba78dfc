//! A product's rows as readings of its own table: they go through the journal like everything that arrives, so that they are
//! kept, told apart from their repetition, and corrected as revisions.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use datasjo_datasets::{DecodeConfig, Decoder, Lookups};
use datasjo_table::{Column, Kind, OBSERVED_AT, Table};

use crate::header::Header;
use crate::problem::Problem;
use crate::product::Product;
use crate::run::AS_OF;

/// The feed of a product's rows.
pub fn feed_name(product: &str) -> String {
    format!("product-{product}")
}

/// The table a product's rows rest in: the tick as `observed_at`, the keys, and the other columns of `schema`, which may all
/// be null.
///
/// # Errors
/// A column has a type a reading cannot have.
pub fn table(product: &Product, schema: &Schema) -> Result<Table, Vec<Problem>> {
    let header = &product.header;
    let mut problems = Vec::new();
    let mut columns = Vec::new();
    for field in schema.fields() {
        match kind(field.data_type()) {
            Some(kind) => columns.push(column(header, field, kind)),
            None => {
                let message =
                    format!("column {} is a {}; cast it to text, a number, a time or a boolean", field.name(), field.data_type());
                problems.push(Problem::at(&product.last().file, 0, 0, message));
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let key = header.keys.iter().cloned().chain([OBSERVED_AT.to_owned()]).collect();
    Ok(Table {
        name: header.product.clone(),
        meaning: header.meaning.clone(),
        key,
        lateness_h: 24,
        retention_days: header.retention_days,
        owner: header.owner.clone(),
        licence: header.licence.clone(),
        access: header.access,
        columns,
    })
}

fn column(header: &Header, field: &Field, kind: Kind) -> Column {
    let name = if field.name() == AS_OF { OBSERVED_AT } else { field.name() };
    let note = header.columns.get(field.name()).cloned().unwrap_or_default();
    let told = match name {
        OBSERVED_AT => "The moment the row speaks of: only what had arrived by then was used.".to_owned(),
        _ if note.meaning.is_empty() => format!("See pipelines/{}.", header.product),
        _ => note.meaning,
    };
    Column {
        name: name.to_owned(),
        kind,
        unit: note.unit,
        nullable: name != OBSERVED_AT && !header.keys.contains(field.name()),
        min: None,
        max: None,
        one_of: Vec::new(),
        meaning: told,
    }
}

fn kind(data_type: &DataType) -> Option<Kind> {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Date32 => Some(Kind::Text),
        DataType::Float64 | DataType::Float32 | DataType::Decimal128(..) => Some(Kind::Float),
        t if t.is_integer() => Some(Kind::Int),
        DataType::Timestamp(..) => Some(Kind::Time),
        DataType::Boolean => Some(Kind::Bool),
        _ => None,
    }
}

/// Reads a product's rows from JSON lines.
///
/// # Errors
/// The table cannot be filled by a feed; a defect of [`table`].
pub fn decoder(table: &Arc<Table>) -> Result<Decoder, String> {
    let mut text = "format = \"jsonl\"\n[columns]\n".to_owned();
    for column in &table.columns {
        text.push_str(&format!("{0} = \"{0}\"\n", column.name));
    }
    let config: DecodeConfig = toml::from_str(&text).map_err(|error| error.to_string())?;
    let told = |problems: Vec<datasjo_datasets::DecodeProblem>| {
        problems.into_iter().map(|p| format!("{}: {}", p.word, p.message)).collect::<Vec<_>>().join("; ")
    };
    Decoder::new(table.clone(), &config, &Lookups::new()).map_err(told)
}

/// The rows in the columns and types of the product's table, without those a lake adds.
///
/// # Errors
/// A value does not fit its column.
pub fn fitted(table: &Table, rows: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    let field = |c: &Column| Field::new(if c.name == OBSERVED_AT { AS_OF } else { &c.name }, c.kind.data_type(), true);
    let schema: SchemaRef = Arc::new(Schema::new(table.columns.iter().map(field).collect::<Vec<_>>()));
    let columns = schema.fields().iter().map(|field| {
        let column = rows
            .column_by_name(field.name())
            .ok_or_else(|| arrow::error::ArrowError::SchemaError(format!("the rows lack the column {}", field.name())))?;
        cast(column, field.data_type())
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<Vec<ArrayRef>, _>>()?)
}

/// One payload for each tick, in order: the tick in microseconds and its rows as JSON lines.
///
/// # Errors
/// A row cannot be written.
pub fn lines(fitted: &RecordBatch) -> Result<Vec<(i64, Bytes)>, arrow::error::ArrowError> {
    let named = renamed(fitted, AS_OF, OBSERVED_AT)?;
    let Some(ticks) = named.column_by_name(OBSERVED_AT).cloned() else { return Ok(Vec::new()) };
    let ticks = ticks.as_primitive::<TimestampMicrosecondType>();
    let mut payloads = Vec::new();
    let mut from = 0;
    for same in ticks.values().chunk_by(|a, b| a == b) {
        let mut writer = LineDelimitedWriter::new(Vec::new());
        writer.write(&named.slice(from, same.len()))?;
        writer.finish()?;
        let mut text = writer.into_inner();
        text.flush()?;
        payloads.push((same[0], Bytes::from(text)));
        from += same.len();
    }
    Ok(payloads)
}

/// The same rows with one column called otherwise.
pub(crate) fn renamed(rows: &RecordBatch, from: &str, to: &str) -> Result<RecordBatch, arrow::error::ArrowError> {
    let field = |field: &Arc<Field>| match field.name() == from {
        true => Arc::new(field.as_ref().clone().with_name(to)),
        false => field.clone(),
    };
    let schema = Schema::new(rows.schema().fields().iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), rows.columns().to_vec())
}

/// An instant's type in every table.
pub(crate) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The only value of a batch of one instant.
pub(crate) fn only_instant(batch: &RecordBatch) -> Option<i64> {
    let column = batch.columns().first()?.as_primitive_opt::<TimestampMicrosecondType>()?;
    (column.len() == 1 && column.is_valid(0)).then(|| column.value(0))
}
