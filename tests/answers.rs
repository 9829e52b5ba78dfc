//! Answers of the lake as the scripts write them: a letter for the type of each column, a text for each value.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datasjo_lake::{Lake, SqlError};
use sqllogictest::{AsyncDB, ColumnType, DBOutput, MakeConnection, Runner, strict_column_validator};

/// A runner whose queries `lake` answers, inside the runtime it is used in.
pub fn runner(lake: Arc<Lake>) -> Runner<Answers, impl MakeConnection<Conn = Answers>> {
    let connect = move || std::future::ready(Ok::<_, SqlError>(Answers { lake: lake.clone() }));
    let mut runner = Runner::new(connect);
    runner.with_column_validator(strict_column_validator);
    runner
}

/// The lake, to sqllogictest.
pub struct Answers {
    lake: Arc<Lake>,
}

#[async_trait]
impl AsyncDB for Answers {
    type Error = SqlError;
    type ColumnType = Type;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Type>, SqlError> {
        let frame = self.lake.sql(sql).await?;
        let planned = frame.schema().inner().clone();
        let batches = frame.collect().await?;
        let schema = batches.first().map_or(planned, RecordBatch::schema);
        let types = schema.fields().iter().map(|field| Type::of(field.data_type())).collect();
        let mut rows = Vec::new();
        for batch in &batches {
            rows.extend(texts(batch)?);
        }
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}
}

/// The type of a column. Exactly the types tables have: another kind of text or of integer time is another type, so that a
/// layout cannot change it unseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    Date,
    Float,
    Int,
    Time,
    Text,
    Other,
}

const LETTERS: [(Type, char); 7] = [
    (Type::Bool, 'B'),
    (Type::Date, 'D'),
    (Type::Float, 'R'),
    (Type::Int, 'I'),
    (Type::Time, 'P'),
    (Type::Text, 'T'),
    (Type::Other, '?'),
];

impl Type {
    fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Type::Bool,
            DataType::Date32 => Type::Date,
            DataType::Float64 => Type::Float,
            DataType::Timestamp(..) => Type::Time,
            DataType::Utf8 => Type::Text,
            whole if whole.is_integer() => Type::Int,
            _ => Type::Other,
        }
    }
}

impl ColumnType for Type {
    fn from_char(letter: char) -> Option<Self> {
        LETTERS.iter().find(|(_, l)| *l == letter).map(|(kind, _)| kind.clone())
    }

    fn to_char(&self) -> char {
        LETTERS.iter().find(|(kind, _)| kind == self).map_or('?', |(_, letter)| *letter)
    }
}

fn texts(batch: &RecordBatch) -> Result<Vec<Vec<String>>, DataFusionError> {
    let mut rows = vec![Vec::new(); batch.num_rows()];
    let options = FormatOptions::new();
    for column in batch.columns() {
        let floats = column.as_primitive_opt::<Float64Type>();
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        for (i, row) in rows.iter_mut().enumerate() {
            row.push(match floats {
                _ if column.is_null(i) => "NULL".to_owned(),
                Some(floats) => float(floats.value(i)),
                None => text(formatter.value(i).to_string()),
            });
        }
    }
    Ok(rows)
}

/// Six places after the point: the order in which a sum is made may change the last bits, and the layout may change the order.
fn float(value: f64) -> String {
    let text = format!("{value:.6}");
    match text.trim_end_matches('0').trim_end_matches('.') {
        "-0" => "0".to_owned(),
        short => short.to_owned(),
    }
}

/// An empty text would not be seen.
fn text(text: String) -> String {
    if text.is_empty() { "(empty)".to_owned() } else { text }
}
