//! Counting what became of every reading, by feed and hour of arrival.

use std::collections::BTreeMap;
use std::sync::Arc;

use datasjo_lake::LedgerLine;
use serde::{Deserialize, Serialize};

const HOUR_US: i64 = 3_600_000_000;

/// Start of the hour of an instant, in microseconds.
pub(crate) fn hour_of(us: i64) -> i64 {
    us.div_euclid(HOUR_US) * HOUR_US
}

/// The open lines of the round that is being filled.
#[derive(Debug, Default)]
pub(crate) struct Book(BTreeMap<(Arc<str>, i64), LedgerLine>);

impl Book {
    /// The line of `feed` for the hour of `received_at_us`.
    pub fn line(&mut self, feed: &Arc<str>, dataset: &Arc<str>, received_at_us: i64) -> &mut LedgerLine {
        let hour_us = hour_of(received_at_us);
        self.0.entry((feed.clone(), hour_us)).or_insert_with(|| LedgerLine::new(feed.clone(), dataset.clone(), hour_us))
    }

    /// Adds a line written by a round whose own ledger commit was lost.
    pub fn carry(&mut self, line: &LedgerLine) {
        let into = self.line(&line.feed, &line.dataset, line.hour_us);
        into.deliveries += line.deliveries;
        into.received += line.received;
        into.in_flight += line.committed + line.in_flight;
        into.revised += line.revised;
        into.duplicate += line.duplicate;
        into.rejected += line.rejected;
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<LedgerLine> {
        self.0.values().cloned().collect()
    }

    /// Closes the round.
    pub fn take(&mut self) -> Vec<LedgerLine> {
        std::mem::take(&mut self.0).into_values().collect()
    }

    /// True if nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is in flight becomes committed.
pub(crate) fn committed(lines: &[LedgerLine]) -> Vec<LedgerLine> {
    let commit = |line: &LedgerLine| LedgerLine { committed: line.committed + line.in_flight, in_flight: 0, ..line.clone() };
    lines.iter().map(commit).collect()
}

/// The lines of one table's round as they travel in its commit.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Travelling {
    /// Journal the sequence number belongs to.
    pub journal_id: String,
    /// Sequence number that closed the round.
    pub seq: u64,
    /// The lines of that table's feeds.
    pub lines: Vec<LedgerLine>,
}

impl Travelling {
    /// The part of `lines` that belongs to `dataset`.
    pub fn of(dataset: &str, journal_id: &str, seq: u64, lines: &[LedgerLine]) -> serde_json::Value {
        let lines = lines.iter().filter(|l| &*l.dataset == dataset).cloned().collect();
        let travelling = Self { journal_id: journal_id.to_owned(), seq, lines };
        serde_json::to_value(travelling).unwrap_or(serde_json::Value::Null)
    }
}
