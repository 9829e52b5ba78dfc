use arrow_schema::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

/// What a column can hold. Five kinds are enough for readings, and every reader of Delta tables knows all five.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// UTF-8 text: names and classes.
    Text,
    /// A 64-bit float; never NaN or infinite in a stored row.
    Float,
    /// A 64-bit signed integer.
    Int,
    /// An instant in UTC with microseconds.
    Time,
    /// True or false.
    Bool,
}

impl Kind {
    /// The Arrow type of a stored value.
    pub fn data_type(self) -> DataType {
        match self {
            Kind::Text => DataType::Utf8,
            Kind::Float => DataType::Float64,
            Kind::Int => DataType::Int64,
            Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Kind::Bool => DataType::Boolean,
        }
    }
}

/// One column of a dataset as its definition file states it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Name in SQL, Rust and configuration; it ends in its unit where it has one (`flow_l_per_s`).
    pub name: String,
    /// What it holds.
    pub kind: Kind,
    /// Unit as a reader writes it (`l/s`, `m3`, `mm`, `cm`); absent for names, classes and counts.
    #[serde(default)]
    pub unit: Option<String>,
    /// True if a row may lack it. Key columns never may.
    #[serde(default)]
    pub nullable: bool,
    /// Smallest valid value; a smaller one is a reject, not a row.
    #[serde(default)]
    pub min: Option<f64>,
    /// Largest valid value; a larger one is a reject, not a row.
    #[serde(default)]
    pub max: Option<f64>,
    /// For text: the only values allowed. Empty means any.
    #[serde(default)]
    pub one_of: Vec<String>,
    /// One sentence for the analyst: what it means, and what null means.
    pub meaning: String,
}

impl Column {
    /// The Arrow field, with unit and meaning as metadata.
    pub fn field(&self) -> Field {
        let mut metadata = std::collections::HashMap::from([("meaning".to_owned(), self.meaning.clone())]);
        if let Some(unit) = &self.unit {
            metadata.insert("unit".to_owned(), unit.clone());
        }
        Field::new(&self.name, self.kind.data_type(), self.nullable).with_metadata(metadata)
    }
}
