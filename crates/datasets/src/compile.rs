//! From a feed's `[decode]` table to its plan, or to everything that is wrong with it.

mod column;

use std::collections::HashMap;

use datasjo_table::{Labels, Table};

use crate::config::{ColumnConfig, DecodeConfig, Format, Lookups};
use crate::decode::DecodeProblem;
use crate::pattern::Pattern;
use crate::plan::{ColumnPlan, MAX_COLUMNS, Mapping, Path, Shape, Source};

/// A checked `[decode]` table.
pub(crate) struct Compiled {
    pub mapping: Mapping,
    pub topic: Option<Pattern>,
    pub file: Option<Pattern>,
    pub separator: u8,
}

/// Checks `config` against `table`; all problems at once, sorted.
pub(crate) fn compile(table: &Table, config: &DecodeConfig, lookups: &Lookups) -> Result<Compiled, Vec<DecodeProblem>> {
    let mut compiler = Compiler::new(table, config);
    let pairs = compiler.lookups(lookups);
    let topic = compiler.pattern(config.topic.as_deref());
    let file = compiler.pattern(config.file.as_deref());
    let separator = compiler.separator();
    compiler.options();
    compiler.names();
    let shapes = compiler.shapes();
    let skip = config.skip.iter().map(|condition| compiler.condition(condition)).collect();
    let (needed, wanted) = (needed(&shapes), wanted(&shapes));
    let mut problems = compiler.problems;
    if problems.is_empty() {
        let mapping =
            Mapping { fields: compiler.fields, lookups: pairs, templates: compiler.templates, shapes, skip, needed, wanted };
        return Ok(Compiled { mapping, topic, file, separator });
    }
    problems.sort();
    problems.dedup();
    Err(problems)
}

/// Fields that every row needs: those of columns that may not be null, as far as all shapes read the same one.
fn needed(shapes: &[Shape]) -> Vec<usize> {
    let field = |plan: &ColumnPlan| match plan.source {
        Source::Field(field) if !plan.nullable => Some(field),
        _ => None,
    };
    let Some((first, others)) = shapes.split_first() else {
        return Vec::new();
    };
    let all = first.columns.iter().enumerate().filter_map(|(at, plan)| field(plan).map(|found| (at, found)));
    all.filter(|(at, found)| others.iter().all(|s| s.columns.get(*at).and_then(field) == Some(*found)))
        .map(|(_, found)| found)
        .collect()
}

/// The fields that decide whether an unpivot gives rows.
fn wanted(shapes: &[Shape]) -> Vec<usize> {
    let own = shapes.iter().flat_map(|shape| shape.own.iter().filter_map(|own| shape.columns.get(*own)));
    own.filter_map(|plan| match plan.source {
        Source::Field(field) => Some(field),
        _ => None,
    })
    .collect()
}

struct Compiler<'a> {
    table: &'a Table,
    config: &'a DecodeConfig,
    /// The lookups' names; a lookup's place here is its place in the mapping.
    lookup_names: Vec<&'a str>,
    /// What a label may be called.
    labels: Vec<String>,
    fields: Vec<Path>,
    templates: Vec<Pattern>,
    problems: Vec<DecodeProblem>,
}

impl<'a> Compiler<'a> {
    fn new(table: &'a Table, config: &'a DecodeConfig) -> Self {
        Self {
            table,
            config,
            lookup_names: config.lookups.keys().map(String::as_str).collect(),
            labels: [Labels::TOPIC, Labels::FILE, Labels::PATH].map(str::to_owned).to_vec(),
            fields: Vec::new(),
            templates: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn say(&mut self, word: &str, message: impl Into<String>) {
        self.problems.push(DecodeProblem { word: word.to_owned(), message: message.into() });
    }

    fn lookups(&mut self, lookups: &Lookups) -> Vec<HashMap<String, String>> {
        let mut found = Vec::new();
        for name in self.lookup_names.clone() {
            match lookups.get(name) {
                Some(pairs) => found.push(pairs.iter().map(|(k, v)| (k.clone(), v.clone())).collect()),
                None => self.say(name, format!("lookup \"{name}\" was not read")),
            }
        }
        found
    }

    fn pattern(&mut self, text: Option<&str>) -> Option<Pattern> {
        let text = text?;
        match Pattern::parse(text) {
            Ok(pattern) => {
                self.labels.extend(pattern.names().map(str::to_owned));
                Some(pattern)
            }
            Err(message) => {
                self.say(text, message);
                None
            }
        }
    }

    fn separator(&mut self) -> u8 {
        match self.config.separator.as_deref().map(str::as_bytes) {
            None => b',',
            Some([byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => *byte,
            Some(_) => {
                self.say("separator", "separator is one ASCII character, such as \";\" or \"\\t\"");
                b','
            }
        }
    }

    /// Options that the format does not read are mistakes, not decoration.
    fn options(&mut self) {
        let config = self.config;
        let csv = config.format == Format::Csv;
        if !csv && (config.separator.is_some() || config.decimal_comma || !config.header.is_empty()) {
            self.say("format", "separator, decimal_comma and header belong to format = \"csv\"");
        }
        if config.records.is_some() && !matches!(config.format, Format::Json | Format::Jsonl) {
            self.say("records", "records belongs to format = \"json\" and \"jsonl\"");
        }
        let frigate = config.format == Format::FrigateEvents;
        if frigate && config.zones_in_order.len() < 2 {
            self.say("format", "zones_in_order is missing: the gate's zones from the street inwards, at least two");
        }
        if !frigate && !config.zones_in_order.is_empty() {
            self.say("zones_in_order", "zones_in_order belongs to format = \"frigate_events\"");
        }
        if self.table.columns.len() > MAX_COLUMNS {
            self.say(&self.table.name.clone(), format!("a table of a feed has at most {MAX_COLUMNS} columns"));
        }
    }

    fn names(&mut self) {
        let config = self.config;
        for name in config.columns.keys().chain(config.unpivot.iter().flat_map(|entry| entry.keys())) {
            if self.table.column(name).is_none() {
                let known: Vec<&str> = self.table.columns.iter().map(|c| c.name.as_str()).collect();
                let message = format!("dataset \"{}\" has no column \"{name}\"; it has {}", self.table.name, known.join(", "));
                self.say(name, message);
            }
        }
    }

    fn shapes(&mut self) -> Vec<Shape> {
        let config = self.config;
        if config.unpivot.is_empty() {
            let columns = self.columns(&|name| config.columns.get(name));
            return vec![Shape { columns, own: Vec::new() }];
        }
        let mut shapes = Vec::new();
        for entry in &config.unpivot {
            let columns = self.columns(&|name| entry.get(name).or_else(|| config.columns.get(name)));
            let is_own = |plan: &ColumnPlan| entry.contains_key(&plan.name) && matches!(plan.source, Source::Field(_));
            let own: Vec<usize> = (0..columns.len()).filter(|at| is_own(&columns[*at])).collect();
            if own.is_empty() {
                let word = entry.keys().next().map_or("unpivot", String::as_str);
                self.say(word, "an entry of unpivot names at least one field");
            }
            shapes.push(Shape { columns, own });
        }
        shapes
    }

    fn columns<'c>(&mut self, choose: &dyn Fn(&str) -> Option<&'c ColumnConfig>) -> Vec<ColumnPlan> {
        let table = self.table;
        table.columns.iter().map(|column| self.column(column, choose(&column.name).map(|c| &*c.0))).collect()
    }
}
