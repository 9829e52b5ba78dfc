//! Rows of products as lines for people who score them.

use anyhow::Context;
use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, StringArray};
use datasjo_lake::RecordBatch;

pub(super) use crate::command::rows_of as rows;

/// The instant of a row in column `name`, as RFC 3339.
pub(super) fn instants<'a>(rows: &'a RecordBatch, name: &str) -> anyhow::Result<impl Fn(usize) -> String + 'a> {
    let column = rows.column_by_name(name).with_context(|| format!("no column {name}"))?;
    let us = column.as_primitive_opt::<TimestampMicrosecondType>().with_context(|| format!("{name} is no time"))?;
    Ok(move |row: usize| jiff::Timestamp::from_microsecond(us.value(row)).map(|at| at.to_string()).unwrap_or_default())
}

/// A column of text.
pub(super) fn text<'a>(rows: &'a RecordBatch, name: &str) -> anyhow::Result<&'a StringArray> {
    let column = rows.column_by_name(name).with_context(|| format!("no column {name}"))?;
    column.as_string_opt::<i32>().with_context(|| format!("{name} is no text"))
}

/// Whether a boolean column is true in a row.
pub(super) fn is_true(rows: &RecordBatch, name: &str) -> anyhow::Result<impl Fn(usize) -> bool> {
    let column = rows.column_by_name(name).with_context(|| format!("no column {name}"))?;
    let told = column.as_boolean_opt().with_context(|| format!("{name} is no boolean"))?.clone();
    Ok(move |row: usize| told.is_valid(row) && told.value(row))
}
