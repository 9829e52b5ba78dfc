//! Rows of a dataset reduced to hashes: of their series, of their key, of their values.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::row::{RowConverter, SortField};
use datasjo_table::{OBSERVED_AT, Table};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::LakeError;

/// Microseconds in the unit of look-back.
pub(crate) const HOUR_US: i64 = 3_600_000_000;

/// A row reduced to what comparing needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Print {
    pub series: u64,
    pub key: u128,
    pub values: u64,
    pub observed_us: i64,
}

impl Print {
    pub fn hour(&self) -> i64 {
        self.observed_us.div_euclid(HOUR_US)
    }
}

/// Turns rows of a dataset into prints.
pub(crate) struct Printer {
    series: Vec<usize>,
    key: Vec<usize>,
    values: Vec<usize>,
    observed_at: usize,
    types: Vec<DataType>,
}

impl Printer {
    /// For batches whose first columns are the declared columns of `table`, in order.
    pub fn new(table: &Table) -> Self {
        let at = |name: &str| table.columns.iter().position(|c| c.name == name).unwrap_or(0);
        let key: Vec<usize> = table.key.iter().map(|k| at(k)).collect();
        Self {
            series: table.series().map(at).collect(),
            values: (0..table.columns.len()).filter(|i| !key.contains(i)).collect(),
            key,
            observed_at: at(OBSERVED_AT),
            types: table.columns.iter().map(|c| c.kind.data_type()).collect(),
        }
    }

    pub fn prints(&self, batch: &RecordBatch) -> Result<Vec<Print>, LakeError> {
        let series = self.hashes(batch, &self.series, xxh3_64)?;
        let key = self.hashes(batch, &self.key, xxh3_128)?;
        let values = self.hashes(batch, &self.values, xxh3_64)?;
        let times = cast(batch.column(self.observed_at), &self.types[self.observed_at])?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let print = |i: usize| Print { series: series[i], key: key[i], values: values[i], observed_us: times.value(i) };
        Ok((0..batch.num_rows()).map(print).collect())
    }

    /// Series prints of a batch whose first columns are the series columns, in the order of the definition's key.
    pub fn series_prints(&self, batch: &RecordBatch) -> Result<Vec<u64>, LakeError> {
        if self.series.is_empty() {
            return Ok((0..batch.num_rows()).map(|_| xxh3_64(&[])).collect());
        }
        let types = self.series.iter().map(|&i| self.types[i].clone());
        hash_rows(batch, types.enumerate().collect(), xxh3_64)
    }

    fn hashes<H>(&self, batch: &RecordBatch, columns: &[usize], hash: impl Fn(&[u8]) -> H) -> Result<Vec<H>, LakeError> {
        if columns.is_empty() {
            return Ok((0..batch.num_rows()).map(|_| hash(&[])).collect());
        }
        hash_rows(batch, columns.iter().map(|&i| (i, self.types[i].clone())).collect(), hash)
    }
}

/// Hashes the given columns of each row, brought to the given types first: the lake may hand out other string layouts.
fn hash_rows<H>(batch: &RecordBatch, columns: Vec<(usize, DataType)>, hash: impl Fn(&[u8]) -> H) -> Result<Vec<H>, LakeError> {
    let converter = RowConverter::new(columns.iter().map(|(_, t)| SortField::new(t.clone())).collect())?;
    let arrays: Vec<Arc<dyn Array>> = columns.iter().map(|(i, t)| cast(batch.column(*i), t)).collect::<Result<_, _>>()?;
    Ok(converter.convert_columns(&arrays)?.iter().map(|row| hash(row.as_ref())).collect())
}
