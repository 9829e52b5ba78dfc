//! The columns of a function's arguments, by number.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, PrimitiveArray, StringArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result};

/// An instant as every table has it.
pub(crate) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The arguments of a call, whose types the signature has seen to.
pub(crate) struct Arguments<'a>(pub &'a [ArrayRef]);

impl<'a> Arguments<'a> {
    pub fn floats(&self, at: usize) -> Result<&'a Float64Array> {
        self.at(at)?.as_primitive_opt::<Float64Type>().ok_or_else(|| wrong(at, "floats"))
    }

    pub fn ints(&self, at: usize) -> Result<&'a Int64Array> {
        self.at(at)?.as_primitive_opt::<Int64Type>().ok_or_else(|| wrong(at, "integers"))
    }

    pub fn instants(&self, at: usize) -> Result<&'a PrimitiveArray<TimestampMicrosecondType>> {
        self.at(at)?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| wrong(at, "instants"))
    }

    pub fn texts(&self, at: usize) -> Result<&'a StringArray> {
        self.at(at)?.as_string_opt::<i32>().ok_or_else(|| wrong(at, "text"))
    }

    pub fn bools(&self, at: usize) -> Result<&'a BooleanArray> {
        self.at(at)?.as_boolean_opt().ok_or_else(|| wrong(at, "booleans"))
    }

    fn at(&self, at: usize) -> Result<&'a ArrayRef> {
        self.0.get(at).ok_or_else(|| wrong(at, "there"))
    }
}

fn wrong(at: usize, what: &str) -> DataFusionError {
    DataFusionError::Internal(format!("argument {} is not {what}", at + 1))
}

/// The float of a row, if it is known.
pub(crate) fn float(column: &Float64Array, row: usize) -> Option<f64> {
    column.is_valid(row).then(|| column.value(row))
}

/// The text of a row, if there is one.
pub(crate) fn text(column: &StringArray, row: usize) -> Option<&str> {
    column.is_valid(row).then(|| column.value(row))
}

/// The microseconds of a row, if they are known.
pub(crate) fn micros(column: &PrimitiveArray<TimestampMicrosecondType>, row: usize) -> Option<i64> {
    column.is_valid(row).then(|| column.value(row))
}
