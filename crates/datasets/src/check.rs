//! What a column lets through.

use datasjo_table::{Column, Kind, Table};

use crate::rows::{Cell, Code, Fault};

/// Longest text in a cell: names and classes are short, and prose belongs elsewhere.
const MAX_TEXT_BYTES: usize = 4096;
/// 1900-01-01: no sensor reading is older, but many a clock that was never set claims to be.
const MIN_TIME_US: i64 = -2_208_988_800_000_000;
/// 2200-01-01.
const MAX_TIME_US: i64 = 7_258_118_400_000_000;
/// 2^53: above it a float does not hold every whole number.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

/// Columns with a unit, if all of them may be null.
pub(crate) fn measures(table: &Table) -> Vec<usize> {
    let with_unit = |c: &Column| c.unit.is_some() && !table.key.contains(&c.name);
    let found: Vec<usize> = (0..table.columns.len()).filter(|i| with_unit(&table.columns[*i])).collect();
    if found.iter().all(|i| table.columns[*i].nullable) { found } else { Vec::new() }
}

/// The first thing that is wrong with a value for a column.
pub(crate) fn check(column: &Column, cell: &Cell<'_>) -> Result<(), Fault> {
    match (column.kind, *cell) {
        (_, Cell::Null) if column.nullable => Ok(()),
        (_, Cell::Null) => Err(Fault::new(Code::MissingField, format!("{} has no value", column.name))),
        (Kind::Text, Cell::Text(text)) => check_text(column, text),
        (Kind::Text, Cell::Int(_)) if column.one_of.is_empty() => Ok(()),
        (Kind::Float, Cell::Float(number)) => check_range(column, number),
        (Kind::Float | Kind::Int, Cell::Int(number)) => check_range(column, number as f64),
        (Kind::Int, Cell::Float(number)) => check_whole(column, number),
        (Kind::Time, Cell::Time(at)) => check_time(column, at),
        (Kind::Bool, Cell::Bool(_)) => Ok(()),
        (kind, cell) => Err(Fault::new(Code::WrongType, format!("{} is a {kind:?} column; found {cell:?}", column.name))),
    }
}

fn check_text(column: &Column, text: &str) -> Result<(), Fault> {
    if text.len() > MAX_TEXT_BYTES {
        let reason = format!("{} is {} bytes long; at most {MAX_TEXT_BYTES} are kept", column.name, text.len());
        return Err(Fault::new(Code::TooLong, reason));
    }
    if column.one_of.is_empty() || column.one_of.iter().any(|word| word == text) {
        return Ok(());
    }
    let shown: String = text.chars().take(60).collect();
    let reason = format!("{} \"{shown}\" is none of {}", column.name, column.one_of.join(", "));
    Err(Fault::new(Code::UnknownValue, reason))
}

fn check_whole(column: &Column, number: f64) -> Result<(), Fault> {
    if number.is_finite() && (number.fract() != 0.0 || number.abs() > MAX_WHOLE) {
        return Err(Fault::new(Code::WrongType, format!("{} {number} is no whole number", column.name)));
    }
    check_range(column, number)
}

fn check_range(column: &Column, number: f64) -> Result<(), Fault> {
    if !number.is_finite() {
        return Err(Fault::new(Code::OutOfRange, format!("{} {number} is no finite number", column.name)));
    }
    let bound = match (column.min, column.max) {
        (Some(min), _) if number < min => format!("below {min}"),
        (_, Some(max)) if number > max => format!("above {max}"),
        _ => return Ok(()),
    };
    let unit = column.unit.as_deref().map(|u| format!(" {u}")).unwrap_or_default();
    Err(Fault::new(Code::OutOfRange, format!("{} {number} is {bound}{unit}", column.name)))
}

fn check_time(column: &Column, at: i64) -> Result<(), Fault> {
    if (MIN_TIME_US..MAX_TIME_US).contains(&at) {
        return Ok(());
    }
    let shown = jiff::Timestamp::from_microsecond(at).map_or_else(|_| format!("{at} us"), |t| t.to_string());
    Err(Fault::new(Code::BadTime, format!("{} {shown} is not between 1900 and 2200", column.name)))
}
