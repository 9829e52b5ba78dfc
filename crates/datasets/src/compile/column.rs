//! From the entry of one column to its plan.

use std::collections::BTreeMap;

use datasjo_table::{Column, Kind};

use super::Compiler;
use crate::config::{Choice, ConditionConfig, Constant, Format, UnitConfig};
use crate::format;
use crate::format::text::PAYLOAD;
use crate::pattern::Pattern;
use crate::plan::{ColumnPlan, Condition, Held, Path, Source, UnitPlan};
use crate::time::TimePlan;
use crate::units::{Linear, conversion, conversions_to};

impl Compiler<'_> {
    pub(super) fn column(&mut self, column: &Column, choice: Option<&Choice>) -> ColumnPlan {
        let mut plan = ColumnPlan {
            name: column.name.clone(),
            kind: column.kind,
            nullable: column.nullable,
            source: Source::Nothing,
            when: None,
            lookup: None,
            map: BTreeMap::new(),
            null: Vec::new(),
            unit: UnitPlan::Fixed(Linear::IDENTITY),
            suffixes: Vec::new(),
            decimal_comma: self.config.decimal_comma,
            lenient: false,
            time: TimePlan::unix_us(),
        };
        let Some(choice) = choice else {
            if format::offered(self.config.format).contains(&column.name.as_str()) {
                plan.source = self.field(&column.name, None);
                plan.lenient = true;
            } else if !column.nullable {
                self.say("columns", format!("column \"{}\" may not be null: say what fills it", column.name));
            }
            return plan;
        };
        self.choose(column, choice, &mut plan);
        plan
    }

    fn choose(&mut self, column: &Column, choice: &Choice, plan: &mut ColumnPlan) {
        plan.source = self.source(column, choice);
        plan.lookup = choice.lookup.as_deref().and_then(|name| self.lookup(name));
        plan.when = choice.when.as_ref().map(|when| self.condition(when));
        plan.lenient = choice.lenient || choice.decimal.is_some();
        plan.map = choice.map.clone();
        plan.null = choice.null.iter().map(|word| (word.clone(), word.parse().ok())).collect();
        if plan.when.is_some() && !column.nullable {
            self.say(&column.name, format!("column \"{}\" may not be null, so it can have no \"when\"", column.name));
        }
        match choice.decimal.as_deref() {
            None => {}
            Some(".") => plan.decimal_comma = false,
            Some(",") => plan.decimal_comma = true,
            Some(other) => self.say(other, "decimal is \".\" or \",\""),
        }
        self.words(column, choice);
        self.unit(column, choice, plan);
        self.time(column, choice, plan);
    }

    fn source(&mut self, column: &Column, choice: &Choice) -> Source {
        let given = [
            choice.field.is_some(),
            choice.document.is_some(),
            choice.label.is_some(),
            choice.value.is_some(),
            choice.received_at,
            choice.retained,
        ];
        if given.iter().filter(|given| **given).count() != 1 {
            let message = format!(
                "column \"{}\" needs exactly one of field, document, label, value, received_at and retained",
                column.name
            );
            self.say(&column.name, message);
            return Source::Nothing;
        }
        if choice.index.is_some() && choice.field.is_none() && choice.document.is_none() {
            self.say(&column.name, "index belongs to a field");
        }
        if let Some(field) = &choice.field {
            return self.field(field, choice.index);
        }
        if let Some(field) = &choice.document {
            return self.document(field, choice.index);
        }
        if let Some(label) = &choice.label {
            return self.label(label);
        }
        if let Some(value) = &choice.value {
            return Source::Constant(self.constant(column, value));
        }
        let (source, kind) = if choice.retained { (Source::Retained, Kind::Bool) } else { (Source::ReceivedAt, Kind::Time) };
        if column.kind != kind {
            self.say(&column.name, format!("column \"{}\" is a {:?} column", column.name, column.kind));
        }
        source
    }

    fn field(&mut self, text: &str, index: Option<usize>) -> Source {
        if self.config.format == Format::Text && text != PAYLOAD {
            self.say(text, format!("a text payload has one field, \"{PAYLOAD}\""));
        }
        Source::Field(self.place(text, index))
    }

    fn document(&mut self, text: &str, index: Option<usize>) -> Source {
        if matches!(self.config.format, Format::Csv | Format::Text) {
            self.say(text, "document belongs to JSON formats");
        }
        Source::Document(self.place(text, index))
    }

    fn place(&mut self, text: &str, index: Option<usize>) -> usize {
        let path = Path::parse(text, index);
        self.fields.iter().position(|known| *known == path).unwrap_or_else(|| {
            self.fields.push(path);
            self.fields.len() - 1
        })
    }

    fn label(&mut self, name: &str) -> Source {
        if !self.labels.iter().any(|known| known == name) {
            let message = format!("no label \"{name}\"; there are {}", self.labels.join(", "));
            self.say(name, message);
        }
        Source::Label(name.to_owned())
    }

    fn lookup(&mut self, name: &str) -> Option<usize> {
        let place = self.lookup_names.iter().position(|known| *known == name);
        if place.is_none() {
            self.say(name, format!("no lookup \"{name}\"; there are {}", self.lookup_names.join(", ")));
        }
        place
    }

    pub(super) fn condition(&mut self, condition: &ConditionConfig) -> Condition {
        let source = match (&condition.field, &condition.label) {
            (Some(field), None) => self.field(field, None),
            (None, Some(label)) => self.label(label),
            _ => {
                self.say(&condition.equals, "a condition needs either field or label");
                Source::Nothing
            }
        };
        let lookup = condition.lookup.as_deref().and_then(|name| self.lookup(name));
        Condition { source, lookup, equals: condition.equals.clone() }
    }

    fn constant(&mut self, column: &Column, value: &Constant) -> Held {
        let fits = match value {
            Constant::Text(_) => column.kind == Kind::Text,
            Constant::Int(_) => matches!(column.kind, Kind::Int | Kind::Float | Kind::Text),
            Constant::Float(_) => column.kind == Kind::Float,
            Constant::Bool(_) => column.kind == Kind::Bool,
        };
        if !fits {
            self.say(&column.name, format!("value {value:?} does not fit the {:?} column \"{}\"", column.kind, column.name));
        }
        match value {
            Constant::Text(text) if text.contains('{') => self.template(text),
            Constant::Text(text) => {
                self.word(column, text);
                Held::Text(text.clone())
            }
            Constant::Int(number) => Held::Int(*number),
            Constant::Float(number) => Held::Float(*number),
            Constant::Bool(truth) => Held::Bool(*truth),
        }
    }

    fn template(&mut self, text: &str) -> Held {
        match Pattern::parse(text) {
            Ok(pattern) => {
                let names: Vec<String> = pattern.names().map(str::to_owned).collect();
                for name in names {
                    self.label(&name);
                }
                self.templates.push(pattern);
            }
            Err(message) => self.say(text, message),
        }
        Held::Template(self.templates.len().saturating_sub(1))
    }

    fn words(&mut self, column: &Column, choice: &Choice) {
        for word in choice.map.values() {
            self.word(column, word);
        }
    }

    fn word(&mut self, column: &Column, word: &str) {
        if column.kind == Kind::Text && !column.one_of.is_empty() && !column.one_of.iter().any(|known| known == word) {
            let message = format!("column \"{}\" knows no \"{word}\"; it knows {}", column.name, column.one_of.join(", "));
            self.say(word, message);
        }
    }

    fn unit(&mut self, column: &Column, choice: &Choice, plan: &mut ColumnPlan) {
        let scale = choice.scale.unwrap_or(1.0);
        let is_number = matches!(column.kind, Kind::Float | Kind::Int);
        if (choice.scale.is_some() || choice.unit.is_some()) && !is_number {
            self.say(&column.name, format!("column \"{}\" holds no number to be converted", column.name));
        }
        let own = column.unit.as_deref().unwrap_or_default();
        if own.is_empty() && choice.unit.is_some() {
            self.say(&column.name, format!("column \"{}\" has no unit, so nothing can be converted to it", column.name));
            return;
        }
        let known = || conversions_to(own).into_iter().map(|(name, l)| (name, l.after_factor(scale))).collect::<Vec<_>>();
        if plan.lenient && is_number {
            plan.suffixes = known();
        }
        plan.unit = match &choice.unit {
            None => UnitPlan::Fixed(Linear::IDENTITY.after_factor(scale)),
            Some(UnitConfig::Fixed(unit)) => match conversion(unit, own) {
                Ok(linear) => UnitPlan::Fixed(linear.after_factor(scale)),
                Err(problem) => {
                    self.say(unit, problem.to_string());
                    return;
                }
            },
            Some(UnitConfig::ByRecord(source)) => UnitPlan::ByRecord {
                field: self.place(&source.field, None),
                lookup: source.lookup.as_deref().and_then(|name| self.lookup(name)),
                known: known(),
            },
        };
    }

    fn time(&mut self, column: &Column, choice: &Choice, plan: &mut ColumnPlan) {
        let stated = choice.time.is_some() || choice.zone.is_some() || choice.fold.is_some();
        if column.kind != Kind::Time {
            if stated {
                self.say(&column.name, format!("column \"{}\" is no time", column.name));
            }
            return;
        }
        // The records of device formats hold microseconds under our own names.
        let offered = format::offered(self.config.format);
        if !stated && choice.field.as_deref().is_some_and(|field| offered.contains(&field)) {
            plan.lenient = true;
            return;
        }
        match TimePlan::new(choice.time.as_deref(), choice.zone.as_deref(), choice.fold) {
            Ok(time) => plan.time = time,
            Err((word, message)) => self.say(&word, message),
        }
    }
}
