//! What a feed's mapping comes to: decided once when the feed is loaded, only followed for each record.

use std::collections::{BTreeMap, HashMap};

use datasjo_table::{Kind, Labels};
use serde_json::Value;

use crate::pattern::Pattern;
use crate::time::TimePlan;
use crate::units::Linear;

/// Most columns of a table: a row's cells lie on the stack.
pub(crate) const MAX_COLUMNS: usize = 32;

/// The way to a field: a name, or the steps of a JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// As written in the feed.
    pub text: String,
    /// From the record inwards.
    pub steps: Vec<String>,
}

impl Path {
    /// A JSON pointer if it begins with `/`, the record itself if it is empty, else a field's name.
    pub fn parse(text: &str, index: Option<usize>) -> Self {
        let mut steps: Vec<String> = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect(),
            None if text.is_empty() => Vec::new(),
            None => vec![text.to_owned()],
        };
        steps.extend(index.map(|i| i.to_string()));
        Self { text: text.to_owned(), steps }
    }

    /// What stands there.
    pub fn find<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.steps.iter().try_fold(value, |at, step| match at {
            Value::Object(fields) => fields.get(step.as_str()),
            Value::Array(items) => step.parse::<usize>().ok().and_then(|i| items.get(i)),
            _ => None,
        })
    }
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The feed does not fill the column.
    Nothing,
    /// A field of the record, by its place in [`Mapping::fields`].
    Field(usize),
    /// A field of the whole document.
    Document(usize),
    /// A name from the topic or file, or a label of the transport.
    Label(String),
    /// The same for all records.
    Constant(Held),
    /// The instant of arrival.
    ReceivedAt,
    /// Whether the broker kept the message.
    Retained,
}

/// A constant.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    Text(String),
    /// A text with labels in it, by its place in [`Mapping::templates`].
    Template(usize),
    Int(i64),
    Float(f64),
    Bool(bool),
}

/// A condition on a record.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub source: Source,
    pub lookup: Option<usize>,
    pub equals: String,
}

/// The unit of an arriving number.
#[derive(Clone, Debug)]
pub(crate) enum UnitPlan {
    /// Always the same way to the column's unit, perhaps none.
    Fixed(Linear),
    /// The record says which.
    ByRecord { field: usize, lookup: Option<usize>, known: Vec<(&'static str, Linear)> },
}

/// How one column is filled.
#[derive(Clone, Debug)]
pub(crate) struct ColumnPlan {
    pub name: String,
    pub kind: Kind,
    pub nullable: bool,
    pub source: Source,
    pub when: Option<Condition>,
    pub lookup: Option<usize>,
    pub map: BTreeMap<String, String>,
    /// The words for "no value", and the number each is, if it is one.
    pub null: Vec<(String, Option<f64>)>,
    pub unit: UnitPlan,
    /// Units that a number written as text may carry, with the way to the column's.
    pub suffixes: Vec<(&'static str, Linear)>,
    pub decimal_comma: bool,
    pub lenient: bool,
    pub time: TimePlan,
}

/// One row that a record gives.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// One plan for each column of the table, in its order.
    pub columns: Vec<ColumnPlan>,
    /// The columns whose fields decide whether there is a row at all; empty if there always is.
    pub own: Vec<usize>,
}

/// A feed's mapping.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub fields: Vec<Path>,
    pub lookups: Vec<HashMap<String, String>>,
    pub templates: Vec<Pattern>,
    /// At least one.
    pub shapes: Vec<Shape>,
    pub skip: Vec<Condition>,
    /// Fields without which no record of a file can be a row.
    pub needed: Vec<usize>,
    /// The fields of an unpivot: a file without any of them has no rows either.
    pub wanted: Vec<usize>,
}

/// What is known about a delivery beside its bytes.
pub(crate) struct Context<'a> {
    /// What the names in the topic's or file's shape stand for.
    pub captures: Vec<(&'a str, &'a str)>,
    pub labels: &'a Labels,
    pub received_at_us: i64,
    pub retained: bool,
    /// The mapping's templates, filled.
    pub filled: Vec<Option<String>>,
}

impl Context<'_> {
    /// What `name` stands for.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.captures.iter().find(|(n, _)| *n == name).map(|(_, v)| *v).or_else(|| self.labels.get(name))
    }
}

/// A field's value as the format gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Raw<'a> {
    /// The field is not there.
    Missing,
    /// It is there and says "no value".
    Null,
    /// Bytes of a format that knows only text: a number may be written there.
    Loose(&'a [u8]),
    /// The same, known to be UTF-8.
    Word(&'a str),
    /// Text of a format that knows kinds.
    Text(&'a str),
    Int(i64),
    Float(f64),
    Bool(bool),
    /// An array or object, with the word for it.
    Nested(&'static str),
}

/// A record of any format.
pub(crate) trait Record {
    /// The field at this place in [`Mapping::fields`].
    fn field(&self, field: usize) -> Raw<'_>;
    /// The same in the whole document.
    fn document(&self, field: usize) -> Raw<'_>;
}
