//! State: what must be read fast and written durably. The values of signs, the alerts with their lifecycle, and how far each
//! product has been answered, in one redb file. Everything is synchronous; nothing here reads a clock.
//!
//! Promises:
//! - What a call has returned survives a power cut: every change is one atomic, synced transaction.
//! - [`State::apply`] may be repeated: a row that was taken is not taken again, so the mark, the signs, the alerts and the
//!   transitions waiting for the lake always belong together.
//! - There is at most one open alert for each product and key, whatever the order of rows, human actions and restarts.
//! - Reading never waits for a writer.
//! - [`State::open`] never asks a person to delete a file: what cannot be opened is set aside and reported.
//! - After a full or failing disk the file is opened again by the next call.

#![warn(missing_docs)]

mod actions;
mod alert;
mod alerts;
mod apply;
mod fingerprint;
mod lifecycle;
mod outbox;
mod row;
mod signs;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};

pub use alert::{Acknowledged, Action, Alert, AlertState, Evidence, Silence, Transition, TransitionKind, What};
pub use alerts::{CLOSED_KEPT, Filter, HISTORY_KEPT};
pub use apply::{Batch, Kind};
pub use lifecycle::JUDGED_KEPT;
pub use row::{ProductRow, key_text};
pub use signs::Sign;
use store::Fault;
pub use store::SetAside;

/// What can go wrong with the state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store cannot be opened.
    #[error("open the state {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// Another process has the file open.
    #[error("the state {path} is in use by a running instance")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The directory or the file cannot be used.
    #[error("use the state {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A read or write failed; a write has changed nothing.
    #[error("{act} the state")]
    Store {
        /// What was tried.
        act: &'static str,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// A stored value is not one this version can read.
    #[error("{act} the state: a stored value")]
    Value {
        /// What was tried.
        act: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A row lacks what its kind owes. Nothing of its batch was taken.
    #[error("take the row {product} {key} of {as_of_us} us: {reason}")]
    Row {
        /// The product.
        product: String,
        /// The key, as [`key_text`] writes it.
        key: String,
        /// Its tick, microseconds since 1970 UTC.
        as_of_us: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such alert, or it closed so long ago that only the lake knows it.
    #[error("there is no alert {id}")]
    Unknown {
        /// What was asked for.
        id: String,
    },
    /// The action does not fit the alert.
    #[error("{reason}")]
    Refused {
        /// Why, for the person who tried.
        reason: String,
    },
}

/// The open state. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct State {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    /// `None` after a failed write, until the next call opens it again: redb refuses everything after such a failure.
    database: RwLock<Option<Database>>,
    set_aside: Option<SetAside>,
}

impl State {
    /// Opens or creates the file `path`. One that is damaged beyond its own repair is renamed to `<path>.damaged-<n>` and told
    /// by [`State::set_aside`].
    ///
    /// # Errors
    /// [`StateError::InUse`] if another process has it open; [`StateError::Open`] and [`StateError::Io`] if it is not ours to
    /// use or the disk is full.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let (database, set_aside) = store::open(path)?;
        let inner = Inner { path: path.to_owned(), database: RwLock::new(Some(database)), set_aside };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What was set aside at opening because it was damaged.
    pub fn set_aside(&self) -> Option<&SetAside> {
        self.inner.set_aside.as_ref()
    }

    /// Up to which tick `product` has been answered, microseconds since 1970 UTC; `None` if never.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn mark(&self, product: &str) -> Result<Option<i64>, StateError> {
        self.read("read a mark of", |txn| Ok(txn.open_table(store::MARKS)?.get(product)?.map(|mark| mark.value())))
    }

    /// Reads one moment of the store; writers go on meanwhile.
    pub(crate) fn read<T>(
        &self,
        act: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        self.with(|database| work(&database.begin_read()?)).map_err(|fault| fault.told(act))
    }

    /// Changes the store: all that `work` did, synced, or nothing.
    pub(crate) fn write<T>(
        &self,
        act: &'static str,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        let done = self.with(|database| {
            let txn = database.begin_write()?;
            let told = work(&txn)?;
            txn.commit()?;
            Ok(told)
        });
        if let Err(Fault::Store(_)) = &done {
            *self.inner.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        done.map_err(|fault| fault.told(act))
    }

    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Fault>) -> Result<T, Fault> {
        {
            let held = self.inner.database.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(database) = held.as_ref() {
                return work(database);
            }
        }
        let mut held = self.inner.database.write().unwrap_or_else(PoisonError::into_inner);
        let database = match held.take() {
            Some(database) => database,
            None => store::reopen(&self.inner.path)?,
        };
        work(held.insert(database))
    }
}
