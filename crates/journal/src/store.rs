//! The redb file: blocks by first sequence number, cursors by name, and the next number to give.

use std::path::PathBuf;

use redb::{Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use crate::faulty::Disk;
use crate::{Entry, JournalError, block};

const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
const CURSORS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("cursors");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const NEXT_SEQ: &str = "next_seq";
const ID: &str = "id";
/// Page cache of the store. Blocks are written once and read once, so a small one does.
const CACHE_BYTES: usize = 16 << 20;

/// The key of a block, in the count of bytes kept.
const KEY_BYTES: usize = size_of::<u64>();

/// Where the bytes of the store are.
#[derive(Clone)]
pub(crate) enum Backing {
    File(PathBuf),
    Faulty(Disk),
}

/// What can be told of a journal file without changing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// It was closed in order.
    AtRest {
        /// See [`crate::Journal::id`].
        id: String,
        /// The highest sequence number in it.
        synced: u64,
        /// Compressed bytes kept.
        stored_bytes: u64,
    },
    /// A running instance has it open.
    InUse,
    /// It was not closed in order, as after a power cut. The next start repairs it.
    NotClosed,
    /// Its bytes are wrong. The next start sets it aside.
    Damaged(
        /// What the store says of it.
        String,
    ),
}

/// Looks at the journal file `path` without repairing, locking out or changing anything.
///
/// # Errors
/// When the file cannot be read.
pub fn look(path: &std::path::Path) -> Result<Look, JournalError> {
    let read = || -> Result<State, redb::Error> { state(&builder().open_read_only(path)?) };
    // A page that is wrong may make the store panic rather than answer.
    let Ok(read) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)) else {
        return Ok(Look::Damaged(PANICKED.to_owned()));
    };
    match read {
        Ok(State { next_seq, id, stored_bytes }) => Ok(Look::AtRest { id, synced: next_seq.saturating_sub(1), stored_bytes }),
        Err(redb::Error::DatabaseAlreadyOpen) => Ok(Look::InUse),
        Err(redb::Error::RepairAborted) => Ok(Look::NotClosed),
        Err(error) if is_damage(&error) => Ok(Look::Damaged(error.to_string())),
        Err(error) => Err(opening(path.to_owned(), error)),
    }
}

/// What is said of a file that made the store panic.
const PANICKED: &str = "its pages do not fit together";

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// For writing: every page is looked at first, so that one that is wrong is an error now and not a panic later.
fn checking_builder() -> Builder {
    let mut builder = builder();
    builder.set_check_integrity_on_open(true);
    builder
}

/// A damaged journal that was moved out of the way.
#[derive(Clone, Debug)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What the store said of it.
    pub reason: String,
}

pub(crate) struct State {
    pub next_seq: u64,
    pub id: String,
    pub stored_bytes: u64,
}

/// What one commit changes.
#[derive(Default)]
pub(crate) struct Change {
    pub entries: Vec<Entry>,
    pub release_to: Option<u64>,
    pub cursors: Vec<(String, Vec<u8>)>,
}

pub(crate) struct Store {
    db: Database,
    /// The file; `None` on a disk that fails on purpose.
    path: Option<PathBuf>,
}

enum NotOpened {
    /// The bytes are wrong.
    Damaged(String),
    /// In use, not ours to read, on a full disk.
    Refused(JournalError),
}

impl Store {
    pub fn open(backing: &Backing) -> Result<(Self, Option<SetAside>), JournalError> {
        match backing {
            Backing::Faulty(disk) => {
                let open = checking_builder().create_with_backend(disk.handle());
                let db = open.map_err(|e| opening(PathBuf::from("faulty disk"), e.into()))?;
                Ok((Self::prepare(db, None)?, None))
            }
            Backing::File(path) => Self::open_file(path),
        }
    }

    fn open_file(path: &PathBuf) -> Result<(Self, Option<SetAside>), JournalError> {
        let reason = match Self::try_file(path) {
            Ok(store) => return Ok((store, None)),
            Err(NotOpened::Refused(error)) => return Err(error),
            Err(NotOpened::Damaged(reason)) => reason,
        };
        let aside = free_name(path);
        std::fs::rename(path, &aside).map_err(|source| JournalError::Io { path: path.clone(), source })?;
        match Self::try_file(path) {
            Ok(store) => Ok((store, Some(SetAside { path: aside, reason }))),
            Err(NotOpened::Refused(error)) => Err(error),
            Err(NotOpened::Damaged(reason)) => Err(JournalError::Block { first_seq: 0, reason }),
        }
    }

    /// Opens without setting anything aside: for a journal that was open a moment ago.
    pub fn reopen(backing: &Backing) -> Result<Self, JournalError> {
        match backing {
            Backing::Faulty(_) => Ok(Self::open(backing)?.0),
            Backing::File(path) => match Self::try_file(path) {
                Ok(store) => Ok(store),
                Err(NotOpened::Refused(error)) => Err(error),
                Err(NotOpened::Damaged(reason)) => Err(JournalError::Block { first_seq: 0, reason }),
            },
        }
    }

    /// A page that is wrong makes the store panic rather than answer, so a panic counts as damage.
    fn try_file(path: &PathBuf) -> Result<Self, NotOpened> {
        let open = || -> Result<Self, JournalError> {
            let db = checking_builder().create(path).map_err(|e| opening(path.clone(), e.into()))?;
            let store = Self::prepare(db, Some(path.clone()))?;
            store.state()?;
            Ok(store)
        };
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(open)) {
            Ok(Ok(store)) => {
                sync_directory_of(path).map_err(|source| NotOpened::Refused(JournalError::Io { path: path.clone(), source }))?;
                Ok(store)
            }
            Ok(Err(JournalError::Open { source, .. } | JournalError::Store { source, .. })) if is_damage(&source) => {
                Err(NotOpened::Damaged(source.to_string()))
            }
            Ok(Err(error)) => Err(NotOpened::Refused(error)),
            Err(_) => Err(NotOpened::Damaged(PANICKED.to_owned())),
        }
    }

    /// Makes the tables, so that every later read finds them.
    fn prepare(db: Database, path: Option<PathBuf>) -> Result<Self, JournalError> {
        let store = Self { db, path };
        store.create_tables().map_err(|source| JournalError::Store { act: "prepare", source: Box::new(source) })?;
        Ok(store)
    }

    fn create_tables(&self) -> Result<(), redb::Error> {
        let txn = self.db.begin_write()?;
        {
            txn.open_table(BLOCKS)?;
            txn.open_table(CURSORS)?;
            let mut meta = txn.open_table(META)?;
            if meta.get(ID)?.is_none() {
                meta.insert(ID, random_id())?;
                meta.insert(NEXT_SEQ, 1)?;
            }
        }
        txn.commit()?;
        Ok(())
    }

    pub fn state(&self) -> Result<State, JournalError> {
        state(&self.db).map_err(|source| JournalError::Store { act: "read", source: Box::new(source) })
    }

    /// Applies `change` in one synced commit and tells by how many block bytes the store grew. Repeating it is harmless.
    pub fn commit(&self, change: &Change) -> Result<i64, JournalError> {
        let packed = match change.entries.first() {
            None => None,
            Some(first) => Some(
                block::pack(&change.entries).map_err(|e| JournalError::Block { first_seq: first.seq, reason: e.to_string() })?,
            ),
        };
        let write = || -> Result<i64, redb::Error> {
            let txn = self.db.begin_write()?;
            let grown = {
                let mut grown = 0;
                let mut blocks = txn.open_table(BLOCKS)?;
                if let (Some(first), Some(last), Some(packed)) = (change.entries.first(), change.entries.last(), &packed) {
                    let before = blocks.insert(first.seq, packed.as_slice())?.map_or(0, |old| KEY_BYTES + old.value().len());
                    grown += (KEY_BYTES + packed.len()) as i64 - before as i64;
                    txn.open_table(META)?.insert(NEXT_SEQ, last.seq + 1)?;
                }
                if let Some(seq) = change.release_to {
                    grown -= release(&mut blocks, seq, txn.open_table(META)?.get(NEXT_SEQ)?.map_or(1, |v| v.value()))?;
                }
                let mut cursors = txn.open_table(CURSORS)?;
                for (name, place) in &change.cursors {
                    cursors.insert(name.as_str(), place.as_slice())?;
                }
                grown
            };
            txn.commit()?;
            Ok(grown)
        };
        write().map_err(|source| JournalError::Store { act: "write", source: Box::new(source) })
    }

    pub fn read(&self, from_seq: u64, max_payload_bytes: usize) -> Result<Vec<Entry>, JournalError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut payload_bytes = 0;
        let failed = |e: redb::Error| JournalError::Store { act: "read", source: Box::new(e) };
        let txn = self.db.begin_read().map_err(|e| failed(e.into()))?;
        let blocks = txn.open_table(BLOCKS).map_err(|e| failed(e.into()))?;
        let before = blocks.range(..=from_seq).map_err(|e| failed(e.into()))?.next_back();
        let start = before.transpose().map_err(|e| failed(e.into()))?.map_or(from_seq, |(key, _)| key.value());
        for item in blocks.range(start..).map_err(|e| failed(e.into()))? {
            let (first_seq, packed) = item.map_err(|e| failed(e.into()))?;
            let unpacked = match block::unpack(first_seq.value(), packed.value()) {
                Ok(unpacked) => unpacked,
                Err(error) => {
                    self.set_block_aside(first_seq.value(), packed.value(), &error)?;
                    continue;
                }
            };
            for entry in unpacked.into_iter().filter(|e| e.seq >= from_seq) {
                payload_bytes += entry.record.payload.len();
                entries.push(entry);
            }
            if payload_bytes >= max_payload_bytes {
                break;
            }
        }
        Ok(entries)
    }

    /// A block that cannot be understood now never can be. It is copied beside the journal, as evidence, told, and passed over,
    /// so that what came after it is not held up.
    fn set_block_aside(&self, first_seq: u64, packed: &[u8], error: &JournalError) -> Result<(), JournalError> {
        let copy = self.path.as_ref().map(|path| path.with_added_extension(format!("damaged-block-{first_seq}")));
        if let Some(copy) = &copy {
            let written = std::fs::write(copy, packed).and_then(|()| std::fs::File::open(copy)?.sync_all());
            written.map_err(|source| JournalError::Io { path: copy.clone(), source })?;
        }
        tracing::error!(first_seq, ?copy, reason = %error, "a block of the journal is damaged; its deliveries are lost and it is passed over");
        Ok(())
    }

    pub fn cursor(&self, name: &str) -> Result<Option<Vec<u8>>, JournalError> {
        let read = || -> Result<Option<Vec<u8>>, redb::Error> {
            let txn = self.db.begin_read()?;
            Ok(txn.open_table(CURSORS)?.get(name)?.map(|v| v.value().to_vec()))
        };
        read().map_err(|source| JournalError::Store { act: "read a cursor of", source: Box::new(source) })
    }
}

fn state(db: &impl ReadableDatabase) -> Result<State, redb::Error> {
    let txn = db.begin_read()?;
    let meta = txn.open_table(META)?;
    let next_seq = meta.get(NEXT_SEQ)?.map_or(1, |v| v.value());
    let id = meta.get(ID)?.map_or(0, |v| v.value());
    let stored_bytes = txn.open_table(BLOCKS)?.stats()?.stored_bytes();
    Ok(State { next_seq, id: format!("{id:016x}"), stored_bytes })
}

/// Drops the blocks whose every entry is at or below `seq` and tells how many bytes they had.
fn release(blocks: &mut redb::Table<'_, u64, &'static [u8]>, seq: u64, next_seq: u64) -> Result<i64, redb::Error> {
    let keep_from = if seq + 1 >= next_seq {
        next_seq
    } else {
        blocks.range(..=seq + 1)?.next_back().transpose()?.map_or(0, |(key, _)| key.value())
    };
    let mut freed = 0;
    blocks.retain_in(..keep_from, |_, packed| {
        freed += (KEY_BYTES + packed.len()) as i64;
        false
    })?;
    Ok(freed)
}

/// The name of a new file is safe only when its directory is synced.
fn sync_directory_of(path: &std::path::Path) -> std::io::Result<()> {
    match path.parent().filter(|p| !p.as_os_str().is_empty()) {
        Some(directory) => std::fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn opening(path: PathBuf, source: redb::Error) -> JournalError {
    JournalError::Open { path, source: Box::new(source) }
}

/// True if the bytes of the file are wrong, as against a file that is in use, not ours to read, or on a full disk.
fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Corrupted(_) => true,
        redb::Error::Io(e) => matches!(e.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof),
        _ => false,
    }
}

fn free_name(path: &std::path::Path) -> PathBuf {
    let name = |n: u32| path.with_added_extension(format!("damaged-{n}"));
    (1..).map(name).find(|p| !p.exists()).unwrap_or_else(|| name(0))
}

/// Different for every new journal: the hasher's keys are drawn by the operating system.
fn random_id() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
