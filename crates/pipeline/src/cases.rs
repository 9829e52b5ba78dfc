//! Tests that people who write SQL write: folders `pipelines/<product>/cases/<case>/` with input rows as CSV, each with the
//! time it arrived, and the rows expected of it.
//!
//! A case is run twice: all ticks in one batch, and in pieces of growing size, each in a session of its own with nothing but what
//! the product carries on. Both must give the same rows, and the rows the case expects.

mod inputs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StringArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use datasjo_table::Table;

use self::inputs::{CaseInputs, Rows, beside, read_csv, reference};
use crate::catalog::{Catalog, Planned, previous_schema, session};
use crate::keep::{fitted, instant};
use crate::previous;
use crate::product::Product;
use crate::run::{self, AS_OF, Interval};

/// Runs of one case when it is run in pieces.
const MOST_PIECES: usize = 40;
/// How far two floats may lie apart, absolutely and relative to their size.
const TOLERANCE: f64 = 1e-6;

/// What became of a case.
#[derive(Clone, Debug)]
pub struct CaseResult {
    /// `parking_free/full_and_free_again`.
    pub name: String,
    /// What differs; empty if it passed.
    pub differences: Vec<String>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The folders of cases of the product in `folder`, sorted.
pub fn list(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let cases = folder.join("cases");
    if !cases.is_dir() {
        return Ok(Vec::new());
    }
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(cases)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    found.retain(|path| path.is_dir());
    found.sort();
    Ok(found)
}

/// Runs one case of `product`. `datasets` are the tables that feeds fill.
pub async fn check(product: &Product, case: &Path, datasets: &BTreeMap<String, Arc<Table>>, others: &[Product]) -> CaseResult {
    let folder = case.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = format!("{}/{folder}", product.name());
    let differences = match differences(product, case, datasets, others).await {
        Ok(differences) => differences,
        Err(error) => vec![error.to_string()],
    };
    CaseResult { name, differences }
}

async fn differences(
    product: &Product,
    case: &Path,
    datasets: &BTreeMap<String, Arc<Table>>,
    others: &[Product],
) -> Result<Vec<String>, Failure> {
    let expected = read_csv(&case.join("expected.csv"))?;
    let reference = reference(&case.join("ref"))?;
    let mut schemas = beside(case);
    schemas.extend(reference.iter().map(|(name, rows)| (name.clone(), rows.schema())));
    let mut all: Vec<Product> = others.iter().filter(|other| other.name() != product.name()).cloned().collect();
    all.push(product.clone());
    let catalog = Catalog::plan(all, datasets, &schemas).await;
    let planned = catalog.get(product.name()).ok_or_else(|| why_not(&catalog, product.name()))?;
    let inputs = CaseInputs::read(case, planned, &catalog, datasets, reference)?;
    let (start_us, ticks) = inputs.ticks(case, planned, &expected)?;
    let batch = in_pieces(planned, &inputs, start_us, &ticks, &[ticks.len()]).await?;
    let pieces = in_pieces(planned, &inputs, start_us, &ticks, &growing(ticks.len())).await?;
    let mut told = compare(planned, &expected, &batch)?;
    if batch != pieces {
        told.push(format!("one batch and pieces differ: {}", first_difference(&batch, &pieces)));
    }
    Ok(told)
}

/// Why `name` cannot run over what a case has.
fn why_not(catalog: &Catalog, name: &str) -> String {
    if let Some(problem) = catalog.problems.iter().find(|problem| problem.file.split('/').next() == Some(name)) {
        return problem.to_string();
    }
    match catalog.idle.iter().find(|idle| idle.product == name) {
        Some(idle) => idle.missing.iter().map(|missing| why_not(catalog, missing)).collect::<Vec<_>>().join("; "),
        None => format!("there is no table {name}; if people keep it by hand, put it into the case as ref/{name}.csv"),
    }
}

/// Sizes of pieces: 1, 2, 3 and so on, larger if there would be too many.
fn growing(ticks: usize) -> Vec<usize> {
    let scale = ticks.div_ceil(MOST_PIECES * (MOST_PIECES + 1) / 2).max(1);
    (1..=MOST_PIECES).map(|n| n * scale).collect()
}

/// Runs the ticks in pieces of the given sizes, each with what the one before carried on, and nothing else.
async fn in_pieces(
    planned: &Planned,
    inputs: &CaseInputs,
    start_us: i64,
    ticks: &[i64],
    sizes: &[usize],
) -> Result<RecordBatch, Failure> {
    let product = &planned.product;
    let mut before = RecordBatch::new_empty(previous_schema(product));
    let mut rows = Vec::new();
    let mut since_us = start_us;
    let mut rest = ticks;
    let mut sizes = sizes.iter().copied();
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(rest.len()).min(rest.len());
        let (now, later) = rest.split_at(size);
        let interval = Interval { since_us, as_of_us: now[size - 1], ticks_us: now.to_vec() };
        let made = run::run(product, &interval, Some(&before), &session(), inputs).await?;
        let made = fitted(&planned.table, &made)?;
        if !product.header.carries.is_empty() {
            before = previous::newest(product, Some(&before), &made)?;
        }
        since_us = interval.as_of_us;
        rows.push(made);
        rest = later;
    }
    let schema = rows.first().map(RecordBatch::schema).ok_or("the case has no tick")?;
    Ok(concat_batches(&schema, &rows)?)
}

type Cells = BTreeMap<String, String>;

/// Every expected row must be there. Where the case speaks of a tick and of a value of the first key column, every row of these
/// must be expected; of others it says nothing.
fn compare(planned: &Planned, expected: &Rows, made: &RecordBatch) -> Result<Vec<String>, Failure> {
    let columns = made.schema();
    if let Some(unknown) = expected.columns.iter().find(|name| columns.column_with_name(name).is_none()) {
        return Err(format!("{}:1: {} has no column {unknown}", expected.file, planned.product.name()).into());
    }
    let found = as_text(made)?;
    let keys = &planned.product.header.keys;
    let key_of = |row: &Cells| -> Vec<String> {
        [AS_OF].into_iter().chain(keys.iter().map(String::as_str)).map(|name| plain(row.get(name))).collect()
    };
    let mut told = Vec::new();
    let mut by_key: BTreeMap<Vec<String>, &Cells> = BTreeMap::new();
    for row in &found {
        if by_key.insert(key_of(row), row).is_some() {
            told.push(format!("{}: {} is there twice", expected.file, key_of(row).join(" ")));
        }
    }
    let mut spoken_of = BTreeSet::new();
    for row in &expected.rows {
        let key = key_of(&row.cells);
        let place = format!("{}:{}: {}", expected.file, row.line, key.join(" "));
        match by_key.remove(&key) {
            None => told.push(format!("{place}: there is no such row")),
            Some(found) => told.extend(expected.columns.iter().filter_map(|column| {
                let (wanted, got) = (row.cells.get(column), found.get(column));
                (!same(wanted, got)).then(|| format!("{place}: {column} is {}, expected {}", shown(got), shown(wanted)))
            })),
        }
        spoken_of.insert(key.into_iter().take(2).collect::<Vec<_>>());
    }
    let unexpected = by_key.keys().filter(|key| spoken_of.contains(&key.iter().take(2).cloned().collect::<Vec<_>>()));
    told.extend(unexpected.map(|key| format!("{}: {}: a row that is not expected", expected.file, key.join(" "))));
    Ok(told)
}

/// A cell of a key, instants in one spelling.
fn plain(cell: Option<&String>) -> String {
    let text = cell.map_or("", String::as_str);
    text.parse::<jiff::Timestamp>().map_or_else(|_| text.to_owned(), |at| at.to_string())
}

fn shown(cell: Option<&String>) -> &str {
    cell.map_or("null", String::as_str)
}

fn same(a: Option<&String>, b: Option<&String>) -> bool {
    // An empty cell stands for null and for empty text.
    let told = |cell: Option<&String>| cell.filter(|text| !text.is_empty()).cloned();
    let (Some(a), Some(b)) = (&told(a), &told(b)) else { return told(a).is_none() && told(b).is_none() };
    if a == b || (a.eq_ignore_ascii_case(b) && ["true", "false"].contains(&a.to_ascii_lowercase().as_str())) {
        return true;
    }
    if let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) {
        return (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()).max(1.0);
    }
    matches!((a.parse::<jiff::Timestamp>(), b.parse::<jiff::Timestamp>()), (Ok(a), Ok(b)) if a == b)
}

fn as_text(rows: &RecordBatch) -> Result<Vec<Cells>, Failure> {
    let mut texts = vec![Cells::new(); rows.num_rows()];
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let text = if *field.data_type() == instant() { instants(column) } else { cast(column, &DataType::Utf8)? };
        let text = text.as_string::<i32>();
        for (row, map) in texts.iter_mut().enumerate().filter(|(row, _)| text.is_valid(*row)) {
            map.insert(field.name().clone(), text.value(row).to_owned());
        }
    }
    Ok(texts)
}

fn instants(column: &ArrayRef) -> ArrayRef {
    let us = column.as_primitive::<TimestampMicrosecondType>();
    let text = |us: i64| jiff::Timestamp::from_microsecond(us).ok().map(|at| at.to_string());
    Arc::new(us.iter().map(|us| us.and_then(text)).collect::<StringArray>())
}

fn first_difference(a: &RecordBatch, b: &RecordBatch) -> String {
    let (Ok(a), Ok(b)) = (as_text(a), as_text(b)) else { return "they cannot be shown".to_owned() };
    let pair = a.iter().zip(&b).find(|(a, b)| a != b);
    match pair {
        Some((a, b)) => {
            let columns: Vec<String> = a.keys().chain(b.keys()).filter(|key| a.get(*key) != b.get(*key)).cloned().collect();
            let tick = a.get(AS_OF).cloned().unwrap_or_default();
            let column = columns.first().cloned().unwrap_or_default();
            format!("at {tick} {column} is {} in one batch and {} in pieces", shown(a.get(&column)), shown(b.get(&column)))
        }
        None => format!("{} rows in one batch and {} in pieces", a.len(), b.len()),
    }
}
