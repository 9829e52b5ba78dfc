//! `public_holiday(date, country)`: true on the public holidays of a country by its two letters (`NO`, `IT`); null for another.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Date32Type};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};
use datasjo_models::calendar::{Country, is_public_holiday};

#[derive(Debug, PartialEq, Eq, Hash)]
struct PublicHoliday(Signature);

pub(crate) fn public_holiday() -> ScalarUDF {
    let signature = Signature::exact(vec![DataType::Date32, DataType::Utf8], Volatility::Immutable);
    ScalarUDF::from(PublicHoliday(signature))
}

impl ScalarUDFImpl for PublicHoliday {
    fn name(&self) -> &str {
        "public_holiday"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        let (days, countries) = (columns[0].as_primitive::<Date32Type>(), columns[1].as_string::<i32>());
        let judge = |row: usize| {
            let known = days.is_valid(row) && countries.is_valid(row);
            let country = known.then(|| Country::from_code(countries.value(row))).flatten()?;
            Some(is_public_holiday(i64::from(days.value(row)), country))
        };
        Ok(ColumnarValue::Array(Arc::new((0..days.len()).map(judge).collect::<BooleanArray>())))
    }
}
