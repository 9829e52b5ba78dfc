//! One run's results, taken in one transaction: signs or alerts, the transitions for the lake, and the mark.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use redb::{ReadableTable, WriteTransaction};

use crate::alert::Transition;
use crate::alerts::Book;
use crate::lifecycle::{Rules, Watch};
use crate::row::{ProductRow, key_text};
use crate::store::{Fault, MARKS};
use crate::{State, StateError, signs};

/// What becomes of a product's rows here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: only the mark moves.
    Table,
    /// The newest row of each key is the value a sign shows.
    Sign,
    /// Rows raise, change and clear alerts.
    Alert {
        /// How long rows must be below an alert's level before it falls, in seconds; 0: at once, as rows that hold by themselves
        /// want it.
        down_hold_s: u32,
    },
}

/// The results of one run.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The product; its name has no `/`.
    pub product: &'a str,
    /// What becomes of the rows.
    pub kind: Kind,
    /// The rows of all ticks, in any order.
    pub rows: &'a [ProductRow],
    /// Every tick up to here is answered, also those without rows; microseconds since 1970 UTC.
    pub up_to_us: i64,
    /// When the run read its input, by the wall clock; microseconds since 1970 UTC. Kept with signs only, so that a back-test
    /// gives the same alerts.
    pub retrieved_at_us: i64,
    /// The product's text as a hash, kept with the alerts it raises.
    pub rule_hash: &'a str,
}

impl State {
    /// Takes the results of a run and tells what happened to alerts, in the order of ticks and keys. All of it is synced when
    /// this returns, or nothing is changed.
    ///
    /// May be repeated: what was taken is not taken again, and a row older than the newest of its key is skipped. One exception:
    /// a row for one of the newest [`JUDGED_KEPT`](crate::JUDGED_KEPT) ticks of an alert's key that has other values than the
    /// one taken is a correction. The mark never goes back.
    ///
    /// # Errors
    /// [`StateError::Row`] if a column cannot be read; [`StateError::Store`] if the disk is full or fails.
    pub fn apply(&self, batch: &Batch<'_>) -> Result<Vec<Transition>, StateError> {
        self.write("write results to", |txn| {
            let told = match batch.kind {
                Kind::Table => Vec::new(),
                Kind::Sign => {
                    signs::write(txn, batch.product, batch.rows, batch.retrieved_at_us)?;
                    Vec::new()
                }
                Kind::Alert { down_hold_s } => judge(txn, batch, down_hold_s)?,
            };
            let mut marks = txn.open_table(MARKS)?;
            let mark = marks.get(batch.product)?.map(|mark| mark.value());
            if mark < Some(batch.up_to_us) {
                marks.insert(batch.product, batch.up_to_us)?;
            }
            Ok(told)
        })
    }
}

fn judge(txn: &WriteTransaction, batch: &Batch<'_>, down_hold_s: u32) -> Result<Vec<Transition>, Fault> {
    let rules = Rules {
        product: batch.product,
        rule_hash: batch.rule_hash,
        down_hold_us: i64::from(down_hold_s) * 1_000_000,
        up_to_us: batch.up_to_us,
    };
    let mut rows: Vec<(i64, String, &ProductRow)> =
        batch.rows.iter().map(|row| (row.as_of_us, key_text(&row.key), row)).collect();
    rows.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let mut book = Book::open(txn)?;
    let mut watches: BTreeMap<String, Watch> = BTreeMap::new();
    let mut told = Vec::new();
    for (as_of_us, key, row) in rows {
        let refused = |reason| StateError::Row { product: batch.product.to_owned(), key: key.clone(), as_of_us, reason };
        let watch = match watches.entry(key.clone()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(book.watch(batch.product, &key)?),
        };
        let transitions = watch.take(&key, row, &rules).map_err(refused)?;
        book.record(&transitions, watch)?;
        told.extend(transitions);
    }
    for (key, watch) in &watches {
        book.save(batch.product, key, watch)?;
    }
    book.trim(&told)?;
    Ok(told)
}
