//! The redb file: its tables, how they are read and written, and what happens to a damaged one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::StateError;

/// Product: up to which tick it is answered, microseconds since 1970 UTC.
pub(crate) const MARKS: TableDefinition<'_, &str, i64> = TableDefinition::new("marks");
/// Place ([`place`]): its sign as JSON.
pub(crate) const SIGNS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("signs");
/// Place: what the lifecycle remembers of it, as JSON.
pub(crate) const WATCHES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("watches");
/// Alert: itself as JSON, open or closed.
pub(crate) const ALERTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("alerts");
/// Alert and number of the transition ([`step_of`]): the transition as JSON.
pub(crate) const HISTORY: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("history");
/// Place, or `*/<key>` for every product: the silence as JSON.
pub(crate) const SILENCES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("silences");
/// Transitions waiting for the lake as JSON, by a number that is never given twice.
pub(crate) const OUTBOX: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("outbox");
/// Counters.
pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// How many tables there are. With all of them there, opening writes nothing and works on a full disk.
const TABLES: usize = 8;
/// Page cache: a town's whole state fits.
const CACHE_BYTES: usize = 16 << 20;

/// A table of JSON values by text, open for writing.
pub(crate) type JsonTable<'txn> = redb::Table<'txn, &'static str, &'static [u8]>;

/// A damaged file that was moved out of the way.
#[derive(Clone, Debug)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What the store said of it.
    pub reason: String,
}

/// Why something inside a transaction did not work.
pub(crate) enum Fault {
    Store(Box<redb::Error>),
    Value(serde_json::Error),
    Told(StateError),
}

impl Fault {
    pub fn told(self, act: &'static str) -> StateError {
        match self {
            Self::Store(source) => StateError::Store { act, source },
            Self::Value(source) => StateError::Value { act, source },
            Self::Told(error) => error,
        }
    }
}

impl From<redb::StorageError> for Fault {
    fn from(error: redb::StorageError) -> Self {
        Self::Store(Box::new(error.into()))
    }
}

impl From<redb::TableError> for Fault {
    fn from(error: redb::TableError) -> Self {
        Self::Store(Box::new(error.into()))
    }
}

impl From<redb::TransactionError> for Fault {
    fn from(error: redb::TransactionError) -> Self {
        Self::Store(Box::new(error.into()))
    }
}

impl From<redb::CommitError> for Fault {
    fn from(error: redb::CommitError) -> Self {
        Self::Store(Box::new(error.into()))
    }
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Self::Value(error)
    }
}

impl From<StateError> for Fault {
    fn from(error: StateError) -> Self {
        Self::Told(error)
    }
}

/// Where something of a product's key lies. A product's name has no `/`, so no two places are the same text.
pub(crate) fn place(product: &str, key: &str) -> String {
    format!("{product}/{key}")
}

/// Where an alert's transition lies; the places of one alert sort by number.
pub(crate) fn step_of(alert_id: &str, number: u64) -> String {
    format!("{alert_id}/{number:012}")
}

pub(crate) fn get<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    key: &str,
) -> Result<Option<T>, Fault> {
    match table.get(key)? {
        Some(found) => Ok(Some(serde_json::from_slice(found.value())?)),
        None => Ok(None),
    }
}

pub(crate) fn put<T: Serialize>(table: &mut JsonTable<'_>, key: &str, value: &T) -> Result<(), Fault> {
    let bytes = serde_json::to_vec(value)?;
    table.insert(key, bytes.as_slice())?;
    Ok(())
}

/// All values whose key starts with `prefix`, in the order of their keys.
pub(crate) fn scan<T: DeserializeOwned>(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    prefix: &str,
) -> Result<Vec<T>, Fault> {
    let mut found = Vec::new();
    for item in table.range::<&str>(prefix..)? {
        let (key, value) = item?;
        if !key.value().starts_with(prefix) {
            break;
        }
        found.push(serde_json::from_slice(value.value())?);
    }
    Ok(found)
}

enum NotOpened {
    /// The bytes are wrong.
    Damaged(String),
    /// In use, not ours to read, on a full disk.
    Refused(StateError),
}

pub(crate) fn open(path: &Path) -> Result<(Database, Option<SetAside>), StateError> {
    let reason = match try_file(path) {
        Ok(database) => return Ok((database, None)),
        Err(NotOpened::Refused(error)) => return Err(error),
        Err(NotOpened::Damaged(reason)) => reason,
    };
    let aside = free_name(path);
    std::fs::rename(path, &aside).map_err(|source| StateError::Io { path: path.to_owned(), source })?;
    let database = reopen(path)?;
    Ok((database, Some(SetAside { path: aside, reason })))
}

/// Opens without setting anything aside: for a file that was open a moment ago, or is new.
pub(crate) fn reopen(path: &Path) -> Result<Database, StateError> {
    try_file(path).map_err(|not| match not {
        NotOpened::Refused(error) => error,
        NotOpened::Damaged(reason) => {
            StateError::Open { path: path.to_owned(), source: Box::new(redb::Error::Corrupted(reason)) }
        }
    })
}

/// A page that is wrong can make the store panic rather than answer, so a panic counts as damage.
fn try_file(path: &Path) -> Result<Database, NotOpened> {
    let open = || -> Result<Database, redb::Error> {
        let mut database = Builder::new().set_cache_size(CACHE_BYTES).create(path)?;
        database.check_integrity()?;
        if database.begin_read()?.list_tables()?.count() < TABLES {
            create_tables(&database)?;
        }
        Ok(database)
    };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => match sync_directory_of(path) {
            Ok(()) => Ok(database),
            Err(source) => Err(NotOpened::Refused(StateError::Io { path: path.to_owned(), source })),
        },
        Ok(Err(error)) => Err(not_opened(path, error)),
        Err(_) => Err(NotOpened::Damaged("its pages do not fit together".to_owned())),
    }
}

fn not_opened(path: &Path, error: redb::Error) -> NotOpened {
    match error {
        redb::Error::DatabaseAlreadyOpen => NotOpened::Refused(StateError::InUse { path: path.to_owned() }),
        error if is_damage(&error) => NotOpened::Damaged(error.to_string()),
        error => NotOpened::Refused(StateError::Open { path: path.to_owned(), source: Box::new(error) }),
    }
}

/// Makes the tables, so that every later read finds them.
fn create_tables(database: &Database) -> Result<(), redb::Error> {
    let txn = database.begin_write()?;
    txn.open_table(MARKS)?;
    txn.open_table(OUTBOX)?;
    txn.open_table(META)?;
    for table in [SIGNS, WATCHES, ALERTS, HISTORY, SILENCES] {
        txn.open_table(table)?;
    }
    txn.commit()?;
    Ok(())
}

/// The name of a new file is safe only when its directory is synced.
fn sync_directory_of(path: &Path) -> std::io::Result<()> {
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(directory) => std::fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// True if the bytes of the file are wrong, as against a file that is in use, not ours to read, or on a full disk.
fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_) => true,
        redb::Error::Io(e) => matches!(e.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof),
        _ => false,
    }
}

fn free_name(path: &Path) -> PathBuf {
    let name = |n: u32| path.with_added_extension(format!("damaged-{n}"));
    (1..).map(name).find(|p| !p.exists()).unwrap_or_else(|| name(0))
}
