//! A window function that reads its partition once, in order, and answers every row: what the stateful functions have in
//! common.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl};

/// Answers all rows of a partition from its arguments, a column each.
pub(crate) type Evaluate = fn(&[ArrayRef], usize) -> Result<ArrayRef>;

/// The function; told apart by its name.
struct Ordered {
    name: &'static str,
    signature: Signature,
    result: DataType,
    evaluate: Evaluate,
}

/// The function `name` of arguments of exactly these types (others are cast to them).
pub(crate) fn ordered(name: &'static str, arguments: Vec<DataType>, result: DataType, evaluate: Evaluate) -> WindowUDF {
    WindowUDF::from(Ordered { name, signature: Signature::exact(arguments, Volatility::Immutable), result, evaluate })
}

impl fmt::Debug for Ordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ordered").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for Ordered {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Ordered {}

impl Hash for Ordered {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl WindowUDFImpl for Ordered {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(&self, _: PartitionEvaluatorArgs<'_>) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Evaluator(self.evaluate)))
    }

    fn field(&self, arguments: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(arguments.name(), self.result.clone(), true)))
    }
}

struct Evaluator(Evaluate);

impl fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Evaluator")
    }
}

impl PartitionEvaluator for Evaluator {
    fn evaluate_all(&mut self, values: &[ArrayRef], num_rows: usize) -> Result<ArrayRef> {
        (self.0)(values, num_rows)
    }
}
