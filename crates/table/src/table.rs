use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};

use crate::{Column, Kind};

/// When the sensor saw it (UTC, microseconds). Every table of readings has it, and it is part of every key.
pub const OBSERVED_AT: &str = "observed_at";
/// The feed that brought the row.
pub const FEED: &str = "feed";
/// When the bytes came through our door (UTC, microseconds).
pub const RECEIVED_AT: &str = "received_at";
/// The journal's sequence number of the delivery that held the row.
pub const SEQ: &str = "seq";
/// 0 for the first value of a key, 1 for the first revision of it, and so on. SQL shows the newest.
pub const REVISION: &str = "revision";
/// UTC date of `observed_at`; the partition column.
pub const DAY: &str = "day";

/// Who may read a table by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Open data.
    Public,
    /// Any employee.
    Internal,
    /// Named roles only: it could hurt someone.
    Restricted,
}

/// A dataset's definition: contract, catalogue entry and access rule in one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Name in SQL and on disk: lower-case letters, digits and `_`.
    pub name: String,
    /// What a row is, in a sentence.
    pub meaning: String,
    /// The columns that identify a reading; `observed_at` is one of them. A second row with the same key and the same
    /// values is a duplicate, with other values a revision.
    pub key: Vec<String>,
    /// How late a reading is expected at most, in hours. Later ones are kept too; it tells products when a window is complete.
    pub lateness_h: u32,
    /// How long rows are kept, in days. Absent: for ever.
    #[serde(default)]
    pub retention_days: Option<u32>,
    /// The department that answers for the data.
    pub owner: String,
    /// SPDX name or URL of the licence the data is under.
    pub licence: String,
    /// Who may read it by default.
    pub access: Access,
    /// The columns in the order SQL shows them.
    #[serde(rename = "column")]
    pub columns: Vec<Column>,
}

/// What is wrong with a definition, in words for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableProblem {
    /// The offending word, to be looked up in the file.
    pub word: String,
    /// What is wrong with it and what would be right.
    pub message: String,
}

impl Table {
    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name)
    }

    /// The key columns without `observed_at`: what stays the same from reading to reading of one sensor.
    pub fn series(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(String::as_str).filter(|c| *c != OBSERVED_AT)
    }

    /// Schema of a decoded batch: the declared columns and nothing else.
    pub fn decoded_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(Column::field).collect::<Vec<_>>()))
    }

    /// Schema at rest: the declared columns, then `feed`, `received_at`, `seq`, `revision`, `day`.
    pub fn stored_schema(&self) -> SchemaRef {
        let own = [
            Field::new(FEED, DataType::Utf8, false),
            Field::new(RECEIVED_AT, Kind::Time.data_type(), false),
            Field::new(SEQ, DataType::Int64, false),
            Field::new(REVISION, DataType::Int32, false),
            Field::new(DAY, DataType::Date32, false),
        ];
        Arc::new(Schema::new(self.columns.iter().map(Column::field).chain(own).collect::<Vec<_>>()))
    }

    /// Everything wrong with the definition; empty if it can be used.
    pub fn problems(&self) -> Vec<TableProblem> {
        let mut found = Vec::new();
        let mut say = |word: &str, message: String| found.push(TableProblem { word: word.to_owned(), message });
        if !is_name(&self.name) {
            say(&self.name, format!("\"{}\" is no table name: use lower-case letters, digits and _", self.name));
        }
        for (at, column) in self.columns.iter().enumerate() {
            let name = &column.name;
            if !is_name(name) {
                say(name, format!("\"{name}\" is no column name: use lower-case letters, digits and _"));
            }
            if [FEED, RECEIVED_AT, SEQ, REVISION, DAY].contains(&name.as_str()) {
                say(name, format!("column \"{name}\" is added to every table; choose another name"));
            }
            if self.columns[..at].iter().any(|c| c.name == *name) {
                say(name, format!("column \"{name}\" is declared twice"));
            }
            if column.min.zip(column.max).is_some_and(|(min, max)| min > max) {
                say(name, format!("column \"{name}\": min is larger than max"));
            }
        }
        for name in &self.key {
            match self.column(name) {
                None => say(name, format!("key column \"{name}\" is not declared")),
                Some(column) if column.nullable => say(name, format!("key column \"{name}\" must not be nullable")),
                Some(_) => {}
            }
        }
        match self.column(OBSERVED_AT) {
            Some(column) if column.kind == Kind::Time && self.key.iter().any(|k| k == OBSERVED_AT) => {}
            _ => say(&self.name, "a table of readings has a time column \"observed_at\" in its key".to_owned()),
        }
        found
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
