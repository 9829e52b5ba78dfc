//! Rows coming into a table: judged, and made visible.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;

use crate::LakeError;
use crate::dedup::{KeyIndex, Verdict};
use crate::print::Print;
use crate::table::{LakeTable, day_of};

/// Decoded rows of one feed, in the order of their deliveries.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The feed that brought them.
    pub feed: &'a str,
    /// The rows, in the dataset's decoded schema.
    pub rows: &'a RecordBatch,
    /// For each row when it arrived (microseconds since 1970 UTC) and the journal's sequence number of its delivery.
    pub arrived: &'a [(i64, u64)],
}

/// Part and row of every incoming row, by sequence number; rows of one delivery keep their order.
fn by_arrival(parts: &[Incoming<'_>]) -> Vec<(usize, usize)> {
    let rows = |(number, part): (usize, &Incoming<'_>)| (0..part.arrived.len()).map(move |row| (number, row)).collect::<Vec<_>>();
    let mut order: Vec<(usize, usize)> = parts.iter().enumerate().flat_map(rows).collect();
    if parts.len() > 1 {
        order.sort_by_key(|&(part, row)| parts[part].arrived[row].1);
    }
    order
}

/// What became of the rows of one part.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Per row of the batch: true if it was new or a revision and is visible now.
    pub kept: Vec<bool>,
    /// Per row: true if it revises an earlier value.
    pub revised: Vec<bool>,
    /// Per row: true if it is not kept because the lake cannot be read where it would be; never after
    /// [`LakeTable::accept`] alone.
    pub unreadable: Vec<bool>,
}

impl Accepted {
    fn of(verdicts: &[Verdict]) -> Self {
        let all = |wanted: fn(&Verdict) -> bool| -> Vec<bool> { verdicts.iter().map(wanted).collect() };
        Self {
            kept: all(|v| matches!(v, Verdict::New | Verdict::Revision(_))),
            revised: all(|v| matches!(v, Verdict::Revision(_))),
            unreadable: all(|v| *v == Verdict::Unreadable),
        }
    }
}

impl LakeTable {
    /// Judges decoded rows, in the order in which their deliveries arrived whichever feed brought them, and makes the new and
    /// revised ones visible. Returns a verdict list for each part. After an error nothing was judged.
    pub async fn accept(&self, parts: &[Incoming<'_>]) -> Result<Vec<Accepted>, LakeError> {
        self.judge(parts, true).await
    }

    /// As [`LakeTable::accept`], but rows of days whose files cannot be read are told as unreadable instead of failing the
    /// call. [`LakeTable::accept`] does so too from then on, for these days, until they can be read again. An error if not even
    /// the table's log can be read: then the lake as a whole is out of reach, and waiting is right.
    pub async fn accept_readable(&self, parts: &[Incoming<'_>]) -> Result<Vec<Accepted>, LakeError> {
        self.view().table.update_state().await?;
        self.judge(parts, false).await
    }

    async fn judge(&self, parts: &[Incoming<'_>], patient: bool) -> Result<Vec<Accepted>, LakeError> {
        let Some(printer) = self.printer() else { return Err(LakeError::NoTable { table: self.name.clone() }) };
        let prints = parts.iter().map(|part| printer.prints(part.rows)).collect::<Result<Vec<_>, _>>()?;
        let order = by_arrival(parts);
        let mut index = self.index.lock().await;
        let unknown = index.unknown_hours(order.iter().map(|&(part, row)| &prints[part][row]));
        let unreadable = self.learn(&mut index, &unknown, &prints, patient).await?;
        let mut verdicts: Vec<Vec<Verdict>> = prints.iter().map(|p| vec![Verdict::New; p.len()]).collect();
        for (part, row) in order {
            let print = &prints[part][row];
            let cannot = unreadable.contains(&print.hour()) && index.is_late(print);
            verdicts[part][row] = if cannot { Verdict::Unreadable } else { index.judge(print) };
        }
        self.show(parts, &prints, &verdicts)
    }

    /// Reads what the lake holds in `hours`. Returns those that cannot be read, of days that may be left out: all days if there
    /// is no patience, else those that could not be read before.
    async fn learn(
        &self,
        index: &mut KeyIndex,
        hours: &BTreeSet<i64>,
        asked: &[Vec<Print>],
        patient: bool,
    ) -> Result<BTreeSet<i64>, LakeError> {
        let (needed, by_day) = self.split(hours, patient);
        if !needed.is_empty() {
            let mut lesson = index.lesson(&needed, asked);
            self.read_hours(&needed, &mut lesson).await?;
            index.learn(lesson);
        }
        let mut unreadable = BTreeSet::new();
        for (day, hours) in by_day {
            let mut lesson = index.lesson(&hours, asked);
            match self.read_hours(&hours, &mut lesson).await {
                Ok(()) => {
                    index.learn(lesson);
                    self.unreadable_days().remove(&day);
                }
                Err(error) => {
                    if self.unreadable_days().insert(day) {
                        tracing::error!(table = self.name, day, %error, "a day cannot be read; rows for it become rejects");
                    }
                    unreadable.extend(hours);
                }
            }
        }
        Ok(unreadable)
    }

    /// Hours that must be read, and by day those that may be left out.
    fn split(&self, hours: &BTreeSet<i64>, patient: bool) -> (BTreeSet<i64>, BTreeMap<i64, BTreeSet<i64>>) {
        let unreadable = self.unreadable_days();
        let (mut needed, mut by_day) = (BTreeSet::new(), BTreeMap::<i64, BTreeSet<i64>>::new());
        for &hour in hours {
            let day = hour.div_euclid(24);
            if patient && !unreadable.contains(&day) {
                needed.insert(hour);
            } else {
                by_day.entry(day).or_default().insert(hour);
            }
        }
        (needed, by_day)
    }

    fn unreadable_days(&self) -> MutexGuard<'_, BTreeSet<i64>> {
        self.unreadable_days.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the rows visible that are to be kept.
    fn show(&self, parts: &[Incoming<'_>], prints: &[Vec<Print>], verdicts: &[Vec<Verdict>]) -> Result<Vec<Accepted>, LakeError> {
        let accepted: Vec<Accepted> = verdicts.iter().map(|v| Accepted::of(v)).collect();
        let mut visible = Vec::new();
        for (((part, prints), verdicts), accepted) in parts.iter().zip(prints).zip(verdicts).zip(&accepted) {
            if accepted.kept.contains(&true) {
                let stored = self.stored(part, prints, verdicts)?;
                visible.push(filter_record_batch(&stored, &BooleanArray::from(accepted.kept.clone()))?);
            }
        }
        self.change_view(|view| {
            view.revised |= accepted.iter().any(|a| a.revised.contains(&true));
            view.hot.append(&mut visible);
        });
        Ok(accepted)
    }

    fn stored(&self, part: &Incoming<'_>, prints: &[Print], verdicts: &[Verdict]) -> Result<RecordBatch, LakeError> {
        let revision = |v: &Verdict| if let Verdict::Revision(n) = v { *n } else { 0 };
        let received = TimestampMicrosecondArray::from_iter_values(part.arrived.iter().map(|a| a.0)).with_timezone("UTC");
        let own: [ArrayRef; 5] = [
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(part.feed, part.arrived.len()))),
            Arc::new(received),
            Arc::new(Int64Array::from_iter_values(part.arrived.iter().map(|a| i64::try_from(a.1).unwrap_or(i64::MAX)))),
            Arc::new(Int32Array::from_iter_values(verdicts.iter().map(revision))),
            Arc::new(Date32Array::from_iter_values(prints.iter().map(|print| day_of(print.observed_us)))),
        ];
        let columns = part.rows.columns().iter().cloned().chain(own).collect();
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}
