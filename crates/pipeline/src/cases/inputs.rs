//! The tables of a case, read from its files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionContext, col, lit};
use datafusion::scalar::ScalarValue;
use datasjo_table::{DAY, FEED, OBSERVED_AT, RECEIVED_AT, REVISION, SEQ, Table};

use super::Failure;
use crate::catalog::{Catalog, Planned};
use crate::run::{AS_OF, Inputs};

const DAY_US: i64 = 86_400_000_000;

/// The tables a case's product reads, in memory.
pub(super) struct CaseInputs {
    tables: BTreeMap<String, RecordBatch>,
    reference: BTreeMap<String, RecordBatch>,
}

impl CaseInputs {
    /// Reads what `planned` reads. A table of readings or of a product without a file has no rows.
    pub(super) fn read(
        case: &Path,
        planned: &Planned,
        catalog: &Catalog,
        datasets: &BTreeMap<String, Arc<Table>>,
        reference: BTreeMap<String, RecordBatch>,
    ) -> Result<Self, Failure> {
        let mut tables = BTreeMap::new();
        for name in planned.product.reads.iter().filter(|name| !reference.contains_key(*name)) {
            let path = case.join(format!("{name}.csv"));
            let rows = match (catalog.get(name), datasets.get(name)) {
                (Some(product), _) => read_rows(&path, &product.table, AS_OF)?,
                (None, Some(table)) => read_rows(&path, table, OBSERVED_AT)?,
                (None, None) => return Err(format!("the case lacks the reference table ref/{name}.csv").into()),
            };
            tables.insert(name.clone(), rows);
        }
        Ok(Self { tables, reference })
    }

    /// Where the case begins, and its ticks: those of `ticks.csv` if it is there, otherwise the product's own from the first
    /// arrival to the last expected row.
    pub(super) fn ticks(&self, case: &Path, planned: &Planned, expected: &Rows) -> Result<(i64, Vec<i64>), Failure> {
        let asked = instants(expected)?;
        let listed = case.join("ticks.csv");
        let own = if listed.exists() { Some(instants(&read_csv(&listed)?)?) } else { None };
        let (Some(first), Some(last)) = (own.as_ref().unwrap_or(&asked).first(), asked.last()) else {
            return Err("expected.csv has no rows, so there is nothing to compare".into());
        };
        let arrived = self.tables.values().filter_map(earliest).min();
        let start_us = arrived.unwrap_or(*first).min(*first) - 1;
        let ticks: Vec<i64> = match own {
            Some(own) => own.into_iter().collect(),
            None => planned.product.header.every.ticks(start_us, *last),
        };
        match asked.iter().find(|tick| ticks.binary_search(tick).is_err()) {
            Some(tick) => Err(format!("{} is no tick of this case", jiff::Timestamp::from_microsecond(*tick)?).into()),
            None => Ok((start_us, ticks)),
        }
    }
}

/// The instants in column `as_of`, each once.
fn instants(rows: &Rows) -> Result<BTreeSet<i64>, Failure> {
    let instant = |row: &Row| -> Result<i64, Failure> {
        let text = row.cells.get(AS_OF).ok_or_else(|| format!("{}:{}: a row without as_of", rows.file, row.line))?;
        let at = text.parse::<jiff::Timestamp>().map_err(|_| format!("{}:{}: {text} is no instant", rows.file, row.line))?;
        Ok(at.as_microsecond())
    };
    rows.rows.iter().map(instant).collect()
}

fn earliest(rows: &RecordBatch) -> Option<i64> {
    let column = rows.column_by_name(RECEIVED_AT)?;
    arrow::compute::min(column.as_primitive::<TimestampMicrosecondType>())
}

impl Inputs for CaseInputs {
    fn table(
        &self,
        context: &SessionContext,
        name: &str,
        from_us: i64,
        until_us: i64,
    ) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        if let Some(batch) = self.reference.get(name) {
            return Ok(Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch.clone()]])?));
        }
        let batch = self.tables.get(name).ok_or_else(|| DataFusionError::Plan(format!("the case has no {name}.csv")))?;
        let at = |us| lit(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into())));
        let observed = if batch.schema().column_with_name(OBSERVED_AT).is_some() { OBSERVED_AT } else { AS_OF };
        let known = col(RECEIVED_AT).lt_eq(at(until_us)).and(col(observed).gt(at(from_us)));
        Ok(context.read_batch(batch.clone())?.filter(known)?.into_view())
    }
}

/// Reads rows of `table`, whose `observed_at` the file calls `tick`: declared columns by name; what a lake adds is filled in
/// where the file does not say it.
fn read_rows(path: &Path, table: &Table, tick: &str) -> Result<RecordBatch, Failure> {
    let stored = table.stored_schema();
    let fields = stored.fields().iter().map(|field| match field.name() == OBSERVED_AT {
        true => field.as_ref().clone().with_name(tick).with_nullable(true),
        false => field.as_ref().clone().with_nullable(true),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let written = if path.exists() { read_csv(path)? } else { Rows::default() };
    if let Some(unknown) = written.columns.iter().find(|name| schema.column_with_name(name).is_none()) {
        return Err(format!("{}:1: table {} has no column {unknown}", written.file, table.name).into());
    }
    let mut columns: Vec<ArrayRef> = Vec::new();
    for field in schema.fields() {
        let column = match written.columns.contains(field.name()) {
            true => written
                .column(field.name(), field.data_type())
                .map_err(|error| format!("{}: column {}: {error}", written.file, field.name()))?,
            false => filled_in(field.name(), field.data_type(), written.rows.len(), columns.get(schema.index_of(tick)?))?,
        };
        columns.push(column);
    }
    Ok(RecordBatch::try_new(schema, columns)?)
}

/// A column that the file leaves out. Rows arrive in the order of the file, each when it was observed.
fn filled_in(name: &str, kind: &DataType, rows: usize, observed: Option<&ArrayRef>) -> Result<ArrayRef, Failure> {
    let column: ArrayRef = match (name, observed) {
        (FEED, _) => Arc::new(StringArray::from(vec!["case"; rows])),
        (SEQ, _) => Arc::new(Int64Array::from_iter_values((1_i64..).take(rows))),
        (REVISION, _) => Arc::new(Int32Array::from(vec![0; rows])),
        (RECEIVED_AT, Some(observed)) => observed.clone(),
        (DAY, Some(observed)) => {
            let us = observed.as_primitive::<TimestampMicrosecondType>();
            let day = |us: i64| i32::try_from(us.div_euclid(DAY_US)).ok();
            Arc::new(us.iter().map(|us| us.and_then(day)).collect::<Date32Array>())
        }
        _ => new_null_array(kind, rows),
    };
    Ok(column)
}

/// The reference tables in `folder`.
pub(super) fn reference(folder: &Path) -> Result<BTreeMap<String, RecordBatch>, Failure> {
    let mut tables = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(tables);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned) else { continue };
        if path.extension().is_some_and(|extension| extension == "csv") {
            tables.insert(name, datasjo_lake::read_reference(&path)?);
        }
    }
    Ok(tables)
}

/// The columns of the reference tables of all cases beside this one. A product that this one reads is planned over them, so that
/// the types of its columns are known although the case need not bring the tables that it reads in turn.
pub(super) fn beside(case: &Path) -> BTreeMap<String, SchemaRef> {
    let mut schemas = BTreeMap::new();
    let folders = |path: &Path| -> Vec<_> {
        let mut paths: Vec<_> = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    let Some(products) = case.ancestors().nth(3) else { return schemas };
    for other in folders(products).iter().flat_map(|product| folders(&product.join("cases"))) {
        for (name, rows) in reference(&other.join("ref")).into_iter().flatten() {
            let kept = schemas.entry(name).or_insert_with(|| rows.schema());
            if unknown_types(&rows.schema()) < unknown_types(kept) {
                *kept = rows.schema();
            }
        }
    }
    schemas
}

/// Columns without any value, whose type nobody can tell.
fn unknown_types(schema: &SchemaRef) -> usize {
    schema.fields().iter().filter(|field| field.data_type().is_null()).count()
}

/// A CSV file as text.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Its name without folders.
    pub file: String,
    /// Its header.
    pub columns: Vec<String>,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// A line of a CSV file.
#[derive(Debug)]
pub(super) struct Row {
    /// Its number in the file, from 1.
    pub line: u64,
    /// Its cells that are not empty, by column.
    pub cells: BTreeMap<String, String>,
}

impl Rows {
    /// One column in its type; a cell that does not fit is an error.
    fn column(&self, name: &str, kind: &DataType) -> Result<ArrayRef, ArrowError> {
        let text: ArrayRef = Arc::new(self.rows.iter().map(|row| row.cells.get(name)).collect::<StringArray>());
        let strict = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(&text, kind, &strict)
    }
}

/// Reads `path`; lines that begin with `#` are comments.
pub(super) fn read_csv(path: &Path) -> Result<Rows, Failure> {
    let told = |error: csv::Error| format!("{}: {error}", path.display());
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_path(path).map_err(told)?;
    let columns: Vec<String> = reader.headers().map_err(told)?.iter().map(str::to_owned).collect();
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(told)?;
        let cells = columns.iter().cloned().zip(record.iter().map(str::to_owned)).filter(|(_, cell)| !cell.is_empty());
        rows.push(Row { line: record.position().map_or(0, csv::Position::line), cells: cells.collect() });
    }
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Rows { file, columns, rows })
}
