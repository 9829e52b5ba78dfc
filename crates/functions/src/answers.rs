//! Answers of several fields: a struct for each row.

use std::sync::Arc;

use arrow::array::{ArrayRef, StructArray};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::error::{DataFusionError, Result};

/// The type of an answer with these fields, all of which may be null.
pub(crate) fn fields(named: &[(&str, DataType)]) -> DataType {
    let field = |(name, data_type): &(&str, DataType)| Field::new(*name, data_type.clone(), true);
    DataType::Struct(named.iter().map(field).collect::<Fields>())
}

/// The answers, column by column, in the order of the type's fields.
pub(crate) fn answers(data_type: &DataType, columns: Vec<ArrayRef>) -> Result<ArrayRef> {
    let DataType::Struct(fields) = data_type else {
        return Err(DataFusionError::Internal("an answer is a struct".to_owned()));
    };
    Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
}
