//! From a record's fields to a row's cells.

use std::borrow::Cow;

use datasjo_table::Kind;

use crate::plan::{ColumnPlan, Condition, Context, Held, MAX_COLUMNS, Mapping, Raw, Record, Shape, Source, UnitPlan};
use crate::rows::{Cell, Code, Fault, Rows};
use crate::units::Linear;

/// Longest number that is read: a float needs at most 25 characters, and a few more are fine.
const MAX_NUMBER_BYTES: usize = 64;

/// What the fields of an unpivot's entry hold.
#[derive(PartialEq, Eq)]
enum Presence {
    Missing,
    Null,
    Given,
}

impl Mapping {
    /// Makes rows of a record, or a reject with the bytes that `raw` gives.
    pub fn emit<'r, R: Record>(&self, record: &R, context: &Context<'_>, rows: &mut Rows, raw: impl Fn() -> Cow<'r, [u8]>) {
        if self.skip.iter().any(|condition| self.holds(condition, record, context)) {
            rows.skip(1);
            return;
        }
        let mut best = Presence::Missing;
        for shape in &self.shapes {
            match self.presence(shape, record, context) {
                Presence::Missing => continue,
                Presence::Null if best == Presence::Missing => best = Presence::Null,
                Presence::Null => {}
                Presence::Given => {
                    best = Presence::Given;
                    if let Err(fault) = self.row(shape, record, context, rows) {
                        rows.reject(fault, &raw());
                    }
                }
            }
        }
        match best {
            Presence::Given => {}
            Presence::Null => rows.skip(1),
            Presence::Missing => rows.reject(self.nothing_there(), &raw()),
        }
    }

    fn row<R: Record>(&self, shape: &Shape, record: &R, context: &Context<'_>, rows: &mut Rows) -> Result<(), Fault> {
        let mut cells = [Cell::Null; MAX_COLUMNS];
        for (cell, plan) in cells.iter_mut().zip(&shape.columns) {
            *cell = self.cell(plan, record, context)?;
        }
        rows.try_push(&cells[..shape.columns.len().min(MAX_COLUMNS)])
    }

    fn presence<R: Record>(&self, shape: &Shape, record: &R, context: &Context<'_>) -> Presence {
        if shape.own.is_empty() {
            return Presence::Given;
        }
        let mut best = Presence::Missing;
        for plan in shape.own.iter().filter_map(|own| shape.columns.get(*own)) {
            match self.look(plan, record, context) {
                Ok(Raw::Missing) => {}
                Ok(Raw::Null) => best = Presence::Null,
                Ok(_) | Err(_) => return Presence::Given,
            }
        }
        best
    }

    fn nothing_there(&self) -> Fault {
        let own = self.shapes.iter().flat_map(|s| s.own.iter().filter_map(|own| s.columns.get(*own)));
        let names: Vec<String> = own.map(|plan| self.name_of(&plan.source)).collect();
        Fault::new(Code::MissingField, format!("none of these is there: {}", names.join(", ")))
    }

    fn cell<'a, R: Record>(&'a self, plan: &'a ColumnPlan, record: &'a R, context: &'a Context<'_>) -> Result<Cell<'a>, Fault> {
        let raw = self.look(plan, record, context)?;
        match (raw, plan.kind) {
            (Raw::Missing | Raw::Null, _) if plan.nullable => Ok(Cell::Null),
            (Raw::Missing, _) => Err(self.missing(plan, "missing")),
            (Raw::Null, _) => Err(self.missing(plan, "null")),
            (raw, Kind::Text) => text(plan, raw).ok_or_else(|| self.wrong_type(plan, "text", raw)),
            (raw, Kind::Bool) => truth(plan, raw).ok_or_else(|| self.wrong_type(plan, "true or false", raw)),
            (raw, Kind::Time) => self.time(plan, raw),
            (raw, Kind::Float | Kind::Int) => self.number(plan, raw, record, context),
        }
    }

    /// The value after the feed's words for "no value", its lookup and its map.
    fn look<'a, R: Record>(&'a self, plan: &'a ColumnPlan, record: &'a R, context: &'a Context<'_>) -> Result<Raw<'a>, Fault> {
        if let Some(when) = &plan.when
            && !self.holds(when, record, context)
        {
            return Ok(Raw::Null);
        }
        let mut raw = match self.fetch(&plan.source, record, context) {
            Raw::Loose(bytes) => word(bytes).ok_or_else(|| self.bad_encoding(plan))?,
            raw => raw,
        };
        if matches!(raw, Raw::Missing | Raw::Null) || is_null_word(plan, raw) {
            return Ok(if raw == Raw::Missing { Raw::Missing } else { Raw::Null });
        }
        if let Some(lookup) = plan.lookup {
            raw = self.look_up(plan, lookup, raw)?;
        }
        if !plan.map.is_empty()
            && let Some(from) = written(raw)
            && let Some(to) = plan.map.get(&*from).or_else(|| plan.map.get("*"))
        {
            raw = Raw::Word(to);
        }
        Ok(raw)
    }

    fn look_up<'a>(&'a self, plan: &ColumnPlan, lookup: usize, raw: Raw<'_>) -> Result<Raw<'a>, Fault> {
        let key = written(raw).unwrap_or_default();
        match self.lookups.get(lookup).and_then(|pairs| pairs.get(&*key)) {
            Some(value) => Ok(Raw::Word(value)),
            None if plan.nullable => Ok(Raw::Null),
            None => Err(Fault::new(Code::UnknownValue, format!("{}: the lookup does not know \"{}\"", plan.name, short(&key)))),
        }
    }

    /// True if a condition holds for a record.
    pub fn holds<R: Record>(&self, condition: &Condition, record: &R, context: &Context<'_>) -> bool {
        let raw = match self.fetch(&condition.source, record, context) {
            Raw::Loose(bytes) => word(bytes).unwrap_or(Raw::Null),
            raw => raw,
        };
        let Some(found) = written(raw) else {
            return false;
        };
        match condition.lookup {
            None => found == condition.equals,
            Some(lookup) => self.lookups.get(lookup).and_then(|l| l.get(&*found)).is_some_and(|v| *v == condition.equals),
        }
    }

    fn fetch<'a, R: Record>(&'a self, source: &'a Source, record: &'a R, context: &'a Context<'_>) -> Raw<'a> {
        match source {
            Source::Nothing => Raw::Null,
            Source::Field(field) => record.field(*field),
            Source::Document(field) => record.document(*field),
            Source::Label(name) => context.label(name).map_or(Raw::Missing, Raw::Word),
            Source::Constant(Held::Text(text)) => Raw::Word(text),
            Source::Constant(Held::Template(at)) => {
                context.filled.get(*at).and_then(|f| f.as_deref()).map_or(Raw::Missing, Raw::Word)
            }
            Source::Constant(Held::Int(number)) => Raw::Int(*number),
            Source::Constant(Held::Float(number)) => Raw::Float(*number),
            Source::Constant(Held::Bool(truth)) => Raw::Bool(*truth),
            Source::ReceivedAt => Raw::Int(context.received_at_us),
            Source::Retained => Raw::Bool(context.retained),
        }
    }

    fn time(&self, plan: &ColumnPlan, raw: Raw<'_>) -> Result<Cell<'static>, Fault> {
        let is_number = plan.time.is_number();
        let text = match raw {
            Raw::Int(us) if matches!(plan.source, Source::ReceivedAt) => return Ok(Cell::Time(us)),
            Raw::Int(number) if is_number => {
                return plan.time.whole(number).map(Cell::Time).ok_or_else(|| bad_time(plan, &number.to_string(), "is no date"));
            }
            Raw::Float(number) if is_number => {
                return plan.time.broken(number).map(Cell::Time).ok_or_else(|| bad_time(plan, &number.to_string(), "is no date"));
            }
            Raw::Word(text) => text,
            Raw::Text(text) if !is_number || plan.lenient => text,
            raw => {
                return Err(self.wrong_type(plan, if is_number { "a number" } else { "a time as text" }, raw));
            }
        };
        plan.time.text(text).map(Cell::Time).map_err(|why| bad_time(plan, text, &why))
    }

    fn number<R: Record>(
        &self,
        plan: &ColumnPlan,
        raw: Raw<'_>,
        record: &R,
        context: &Context<'_>,
    ) -> Result<Cell<'static>, Fault> {
        let (value, suffix) = match raw {
            Raw::Int(number) => {
                let linear = self.unit(plan, record, context)?;
                return Ok(if linear == Linear::IDENTITY { Cell::Int(number) } else { Cell::Float(linear.apply(number as f64)) });
            }
            Raw::Float(number) => (number, ""),
            Raw::Word(text) => parse_number(text, plan).ok_or_else(|| self.wrong_type(plan, "a number", raw))?,
            Raw::Text(text) if plan.lenient => parse_number(text, plan).ok_or_else(|| self.wrong_type(plan, "a number", raw))?,
            raw => return Err(self.wrong_type(plan, "a number", raw)),
        };
        if !suffix.is_empty() {
            let linear = way_from(&plan.suffixes, suffix).ok_or_else(|| bad_unit(plan, suffix))?;
            return Ok(Cell::Float(linear.apply(value)));
        }
        Ok(Cell::Float(self.unit(plan, record, context)?.apply(value)))
    }

    fn unit<R: Record>(&self, plan: &ColumnPlan, record: &R, context: &Context<'_>) -> Result<Linear, Fault> {
        let (field, lookup, known) = match &plan.unit {
            UnitPlan::Fixed(linear) => return Ok(*linear),
            UnitPlan::ByRecord { field, lookup, known } => (*field, *lookup, known),
        };
        let source = Source::Field(field);
        let raw = match self.fetch(&source, record, context) {
            Raw::Loose(bytes) => word(bytes).unwrap_or(Raw::Null),
            raw => raw,
        };
        let stated = written(raw).unwrap_or_default();
        let unit = match lookup {
            None => &*stated,
            Some(lookup) => {
                let pairs = self.lookups.get(lookup);
                let found = pairs.and_then(|pairs| pairs.get(&*stated));
                found.map_or("", String::as_str)
            }
        };
        way_from(known, unit).ok_or_else(|| bad_unit(plan, unit))
    }

    fn name_of(&self, source: &Source) -> String {
        match source {
            Source::Field(field) | Source::Document(field) => {
                format!("field \"{}\"", self.fields.get(*field).map_or("", |path| path.text.as_str()))
            }
            Source::Label(name) => format!("label \"{name}\""),
            _ => "the value".to_owned(),
        }
    }

    fn missing(&self, plan: &ColumnPlan, what: &str) -> Fault {
        Fault::new(Code::MissingField, format!("{} (column {}) is {what}", self.name_of(&plan.source), plan.name))
    }

    fn wrong_type(&self, plan: &ColumnPlan, expected: &str, raw: Raw<'_>) -> Fault {
        let found = match raw {
            Raw::Text(text) | Raw::Word(text) => format!("text \"{}\"", short(text)),
            Raw::Int(number) => format!("number {number}"),
            Raw::Float(number) => format!("number {number}"),
            Raw::Bool(truth) => truth.to_string(),
            Raw::Nested(word) => word.to_owned(),
            Raw::Missing | Raw::Null | Raw::Loose(_) => "nothing".to_owned(),
        };
        let name = self.name_of(&plan.source);
        Fault::new(Code::WrongType, format!("{name} (column {}): expected {expected}, found {found}", plan.name))
    }

    fn bad_encoding(&self, plan: &ColumnPlan) -> Fault {
        let name = self.name_of(&plan.source);
        Fault::new(Code::BadEncoding, format!("{name} (column {}) is no UTF-8 text", plan.name))
    }
}

fn bad_time(plan: &ColumnPlan, text: &str, why: &str) -> Fault {
    Fault::new(Code::BadTime, format!("{} {} {why}", plan.name, short(text)))
}

fn bad_unit(plan: &ColumnPlan, unit: &str) -> Fault {
    Fault::new(Code::BadUnit, format!("{}: \"{}\" is no unit it can be converted from", plan.name, short(unit)))
}

fn way_from(known: &[(&'static str, Linear)], unit: &str) -> Option<Linear> {
    known.iter().find(|(name, _)| *name == unit).map(|(_, linear)| *linear)
}

/// At most forty characters of what was found.
fn short(text: &str) -> &str {
    match text.char_indices().nth(40) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// Text without the white space around it; nothing left is "no value". `None` if it is no UTF-8.
fn word(bytes: &[u8]) -> Option<Raw<'_>> {
    let text = std::str::from_utf8(bytes.trim_ascii()).ok()?;
    Some(if text.is_empty() { Raw::Null } else { Raw::Word(text) })
}

/// A scalar as JSON writes it, without quotes.
fn written(raw: Raw<'_>) -> Option<Cow<'_, str>> {
    match raw {
        Raw::Word(text) | Raw::Text(text) => Some(Cow::Borrowed(text)),
        Raw::Int(number) => Some(Cow::Owned(number.to_string())),
        Raw::Float(number) => Some(Cow::Owned(number.to_string())),
        Raw::Bool(true) => Some(Cow::Borrowed("true")),
        Raw::Bool(false) => Some(Cow::Borrowed("false")),
        Raw::Missing | Raw::Null | Raw::Loose(_) | Raw::Nested(_) => None,
    }
}

fn is_null_word(plan: &ColumnPlan, raw: Raw<'_>) -> bool {
    match raw {
        _ if plan.null.is_empty() => false,
        Raw::Word(text) | Raw::Text(text) => plan.null.iter().any(|(word, _)| word == text),
        Raw::Int(number) => plan.null.iter().any(|(_, n)| *n == Some(number as f64)),
        Raw::Float(number) => plan.null.iter().any(|(_, n)| *n == Some(number)),
        _ => false,
    }
}

fn text<'a>(plan: &ColumnPlan, raw: Raw<'a>) -> Option<Cell<'a>> {
    match raw {
        Raw::Text(text) | Raw::Word(text) => Some(Cell::Text(text)),
        Raw::Int(number) if plan.lenient || matches!(plan.source, Source::Constant(_)) => Some(Cell::Int(number)),
        _ => None,
    }
}

fn truth(plan: &ColumnPlan, raw: Raw<'_>) -> Option<Cell<'static>> {
    let text = match raw {
        Raw::Bool(truth) => return Some(Cell::Bool(truth)),
        Raw::Word(text) => text,
        Raw::Text(text) if plan.lenient => text,
        Raw::Int(0) if plan.lenient => "0",
        Raw::Int(1) if plan.lenient => "1",
        _ => return None,
    };
    match text {
        "true" | "1" => Some(Cell::Bool(true)),
        "false" | "0" => Some(Cell::Bool(false)),
        _ => None,
    }
}

/// A number written as text, and the unit after it, which is "" if there is none or the plan allows none.
fn parse_number<'a>(text: &'a str, plan: &ColumnPlan) -> Option<(f64, &'a str)> {
    let text = text.trim();
    if let Some(number) = parse_plain(text, plan.decimal_comma) {
        return Some((number, ""));
    }
    if !plan.lenient {
        return None;
    }
    let (number, suffix) = text.split_once(' ')?;
    parse_plain(number, plan.decimal_comma).map(|n| (n, suffix.trim()))
}

fn parse_plain(text: &str, decimal_comma: bool) -> Option<f64> {
    if text.len() > MAX_NUMBER_BYTES {
        return None;
    }
    if !decimal_comma {
        return text.parse().ok();
    }
    // A point may be a thousands mark or a change of habit: 1.500 is not guessed at.
    if text.contains('.') {
        return None;
    }
    let mut buffer = [0u8; MAX_NUMBER_BYTES];
    let digits = &mut buffer[..text.len()];
    digits.copy_from_slice(text.as_bytes());
    for byte in digits.iter_mut().filter(|byte| **byte == b',') {
        *byte = b'.';
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
