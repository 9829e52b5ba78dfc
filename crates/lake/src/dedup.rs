//! Which rows are new, which are duplicates, which are revisions; decided before a row becomes visible or is written.
//!
//! A reading later than everything its series has shown is new without a look. Only rows at or before that watermark are
//! looked up: among the rows not committed yet, and in the lake by whole hours, which are kept for a while because late
//! rows come together. So what this remembers is a function of what the lake and the hot rows hold, never of attempts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
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
/// Keys kept of hours read from the lake, about 50 bytes each: the bound on memory of one table's look-back.
const REMEMBERED_KEYS: usize = 1_000_000;

/// Keys are hashes already: their low bits do.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = xxh3_64(bytes);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

type Map<K, V> = HashMap<K, V, BuildHasherDefault<Hashed>>;

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

/// What is known of a key: a print of its newest values, and how often it was revised.
#[derive(Clone, Copy, Debug)]
struct Known {
    values: u64,
    revision: i32,
}

#[derive(Clone, Copy, Debug)]
struct Pending {
    known: Known,
    hour: i64,
    flush: u64,
}

/// The verdict on a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// First of its key.
    New,
    /// Same key, other values: the n-th revision.
    Revision(i32),
    /// Same key, same values.
    Duplicate,
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

/// What the lake and the hot rows of one table hold, as far as it must be known.
#[derive(Default)]
pub(crate) struct KeyIndex {
    watermarks: Map<u64, i64>,
    /// No row of any series that is absent from `watermarks` is later than this.
    floor_us: i64,
    pending: Map<u128, Pending>,
    hours: BTreeMap<i64, Map<u128, Known>>,
    hours_by_use: BTreeSet<(u64, i64)>,
    used: HashMap<i64, u64>,
    clock: u64,
    remembered: usize,
    flush: u64,
}

impl KeyIndex {
    /// From the latest `observed_at` of each series in the lake since `floor_us`; before that nothing is assumed.
    pub fn new(latest: impl IntoIterator<Item = (u64, i64)>, floor_us: i64) -> Self {
        Self { watermarks: latest.into_iter().collect(), floor_us, ..Self::default() }
    }

    /// The hours of the lake that must be learnt before these rows can be judged.
    pub fn unknown_hours(&self, prints: &[Print]) -> BTreeSet<i64> {
        let mut ahead: Map<u64, i64> = Map::default();
        let mut unknown = BTreeSet::new();
        for print in prints {
            let seen = ahead.get(&print.series).copied().unwrap_or_else(|| self.watermark(print.series));
            if print.observed_us > seen {
                ahead.insert(print.series, print.observed_us);
            } else if !self.hours.contains_key(&print.hour()) {
                unknown.insert(print.hour());
            }
        }
        unknown
    }

    fn watermark(&self, series: u64) -> i64 {
        self.watermarks.get(&series).copied().unwrap_or(self.floor_us)
    }

    /// Learns `hours` from the rows the lake holds in them. Hours without rows are learnt too.
    pub fn learn(&mut self, hours: &BTreeSet<i64>, rows: impl IntoIterator<Item = (Print, i32)>) {
        let mut learnt: BTreeMap<i64, Map<u128, Known>> = hours.iter().map(|h| (*h, Map::default())).collect();
        for (print, revision) in rows {
            let Some(keys) = learnt.get_mut(&print.hour()) else {
                continue;
            };
            let known = Known { values: print.values, revision };
            let newest = keys.entry(print.key).or_insert(known);
            if newest.revision < revision {
                *newest = known;
            }
        }
        for (key, pending) in &self.pending {
            if let Some(keys) = learnt.get_mut(&pending.hour) {
                keys.insert(*key, pending.known);
            }
        }
        for (hour, keys) in learnt {
            self.remembered += keys.len();
            self.hours.insert(hour, keys);
            self.touch(hour);
        }
    }

    fn touch(&mut self, hour: i64) {
        self.clock += 1;
        if let Some(before) = self.used.insert(hour, self.clock) {
            self.hours_by_use.remove(&(before, hour));
        }
        self.hours_by_use.insert((self.clock, hour));
    }

    /// Judges one row and remembers it. Its hour must be known if the row is not later than its series.
    pub fn judge(&mut self, print: &Print) -> Verdict {
        if print.observed_us > self.watermark(print.series) {
            self.watermarks.insert(print.series, print.observed_us);
            self.remember(print, 0);
            return Verdict::New;
        }
        let hour = print.hour();
        let known = self.pending.get(&print.key).map(|p| p.known).or_else(|| self.hours.get(&hour)?.get(&print.key).copied());
        match known {
            None => {
                self.remember(print, 0);
                Verdict::New
            }
            Some(known) if known.values == print.values => Verdict::Duplicate,
            Some(known) => {
                self.remember(print, known.revision + 1);
                Verdict::Revision(known.revision + 1)
            }
        }
    }

    fn remember(&mut self, print: &Print, revision: i32) {
        let known = Known { values: print.values, revision };
        let hour = print.hour();
        self.pending.insert(print.key, Pending { known, hour, flush: self.flush });
        if let Some(keys) = self.hours.get_mut(&hour) {
            self.remembered += usize::from(keys.insert(print.key, known).is_none());
        }
    }

    /// Rows judged from now on belong to the next flush. Returns the number of the one that is closed.
    pub fn close_flush(&mut self) -> u64 {
        self.flush += 1;
        self.flush - 1
    }

    /// The rows of `flush` are committed: the lake remembers them now. Old hours are forgotten to stay in bounds.
    pub fn committed(&mut self, flush: u64) {
        self.pending.retain(|_, pending| pending.flush > flush);
        while self.remembered > REMEMBERED_KEYS && self.hours.len() > 1 {
            let Some((_, hour)) = self.hours_by_use.pop_first() else {
                break;
            };
            self.used.remove(&hour);
            self.remembered -= self.hours.remove(&hour).map_or(0, |keys| keys.len());
        }
    }

    /// Marks hours as just used, so that they are not the first to be forgotten.
    pub fn use_hours(&mut self, hours: &HashSet<i64>) {
        for hour in hours {
            if self.hours.contains_key(hour) {
                self.touch(*hour);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    /// A lake and its hot rows, as plain lists: what the index must agree with.
    #[derive(Default)]
    struct Model {
        committed: Vec<(Print, i32)>,
        flushing: Vec<(Print, i32)>,
        hot: Vec<(Print, i32)>,
    }

    impl Model {
        fn verdict(&self, print: &Print) -> Verdict {
            let all = self.committed.iter().chain(&self.flushing).chain(&self.hot);
            match all.filter(|(p, _)| p.key == print.key).max_by_key(|(_, revision)| *revision) {
                None => Verdict::New,
                Some((newest, _)) if newest.values == print.values => Verdict::Duplicate,
                Some((_, revision)) => Verdict::Revision(revision + 1),
            }
        }

        /// What an index opened now is told: each series' latest reading of the newest 40 hours.
        fn opened(&self) -> KeyIndex {
            let newest = self.committed.iter().map(|(p, _)| p.hour()).max();
            let Some(newest) = newest else { return KeyIndex::new([], i64::MIN) };
            let floor_us = (newest - 40) * HOUR_US - 1;
            let mut latest = BTreeMap::new();
            for (print, _) in self.committed.iter().filter(|(p, _)| p.observed_us > floor_us) {
                let at = latest.entry(print.series).or_insert(print.observed_us);
                *at = (*at).max(print.observed_us);
            }
            KeyIndex::new(latest, floor_us)
        }
    }

    fn reading(random: &mut StdRng, around_hour: i64) -> Print {
        let series = random.random_range(0..4);
        let observed_us = (around_hour + random.random_range(-60..=1)) * HOUR_US + random.random_range(0..3);
        let key = u128::from(series) << 64 | u128::from(observed_us.unsigned_abs());
        Print { series, key, values: random.random_range(0..3), observed_us }
    }

    fn agrees_with_the_model(seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut model, mut index, mut closed) = (Model::default(), KeyIndex::new([], i64::MIN), None);
        for step in 0..400 {
            match random.random_range(0..100) {
                0..80 => {
                    let prints: Vec<Print> =
                        (0..random.random_range(1..6)).map(|_| reading(&mut random, 1_000 + step / 4)).collect();
                    let unknown = index.unknown_hours(&prints);
                    index.learn(&unknown, model.committed.iter().copied());
                    for print in prints {
                        let expected = model.verdict(&print);
                        assert_eq!(index.judge(&print), expected, "seed {seed}, step {step}, {print:?}");
                        match expected {
                            Verdict::New => model.hot.push((print, 0)),
                            Verdict::Revision(n) => model.hot.push((print, n)),
                            Verdict::Duplicate => {}
                        }
                    }
                }
                80..88 if closed.is_none() => {
                    closed = Some(index.close_flush());
                    model.flushing = std::mem::take(&mut model.hot);
                }
                80..96 => {
                    if let Some(flush) = closed.take() {
                        model.committed.append(&mut model.flushing);
                        index.committed(flush);
                    }
                }
                // A crash: what was hot comes again from the journal, in order.
                _ => {
                    let again: Vec<_> = model.flushing.drain(..).chain(std::mem::take(&mut model.hot)).collect();
                    index = model.opened();
                    closed = None;
                    for (print, _) in again {
                        let unknown = index.unknown_hours(&[print]);
                        index.learn(&unknown, model.committed.iter().copied());
                        let expected = model.verdict(&print);
                        assert_eq!(index.judge(&print), expected, "seed {seed}, step {step}, after a crash, {print:?}");
                        match expected {
                            Verdict::New => model.hot.push((print, 0)),
                            Verdict::Revision(n) => model.hot.push((print, n)),
                            Verdict::Duplicate => {}
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn every_verdict_is_that_of_a_full_search() {
        (0..200).for_each(agrees_with_the_model);
    }
}
