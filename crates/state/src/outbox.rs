//! Transitions on their way to the lake. They wait here, in the transaction that made them, until the lake has them synced;
//! a transition that is appended twice is a duplicate there, for its alert and number are its key.

use redb::ReadableTableMetadata;

use crate::alert::Transition;
use crate::store::OUTBOX;
use crate::{State, StateError};

impl State {
    /// The first `limit` transitions that wait, with their numbers, ascending. Numbers are never given twice.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn outbox(&self, limit: usize) -> Result<Vec<(u64, Transition)>, StateError> {
        self.read("read the outbox of", |txn| {
            let table = txn.open_table(OUTBOX)?;
            let mut waiting = Vec::new();
            for item in table.range::<u64>(..)?.take(limit) {
                let (number, bytes) = item?;
                waiting.push((number.value(), serde_json::from_slice(bytes.value())?));
            }
            Ok(waiting)
        })
    }

    /// How many transitions wait.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn outbox_len(&self) -> Result<u64, StateError> {
        self.read("read the outbox of", |txn| Ok(txn.open_table(OUTBOX)?.len()?))
    }

    /// The lake has everything up to and including `number` synced: it need not wait any more.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn outbox_done(&self, number: u64) -> Result<(), StateError> {
        self.write("write the outbox of", |txn| {
            let mut table = txn.open_table(OUTBOX)?;
            Ok(table.retain_in(..=number, |_, _| false)?)
        })
    }
}
