//! Bytes kept: one crash-safe local log of raw deliveries. Only what is synced here is acknowledged to a sender, and the
//! lake is a function of what is read from here. Nothing is decoded.
//!
//! Carried by redb, a copy-on-write B-tree in one file: a commit is atomic and synced, and its storage can be swapped
//! for one that fails on purpose ([`faulty`]). `README.md` beside this crate holds the measurements that chose it.
//!
//! Promises:
//! - A sequence number at or below [`Journal::synced`] survives a power cut.
//! - Sequence numbers have no holes and are never given twice, also across restarts.
//! - A full disk or a failing disk stops [`Journal::append`], never loses: senders wait, and go on when it recovers.
//! - [`Journal::open`] never asks a person to delete a file: what cannot be opened is set aside and reported. So is a block
//!   that cannot be read any more; those after it go on.

#![warn(missing_docs)]

mod block;
pub mod faulty;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use datasjo_table::Labels;
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use store::{Backing, Store};
pub use store::{Look, SetAside, look};
use writer::{Work, Writer};

/// One raw delivery as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The feed, as named in the configuration.
    pub feed: Arc<str>,
    /// What the transport knew.
    pub labels: Labels,
    /// When it came through our door, microseconds since 1970 UTC.
    pub received_at_us: i64,
    /// A retained MQTT message: old news.
    pub retained: bool,
    /// The bytes, untouched.
    pub payload: Bytes,
}

/// A record and its sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1 for the first record of a journal, then one more each.
    pub seq: u64,
    /// The record; shared, because a reader at the tail gets the one that was written.
    pub record: Arc<Record>,
}

/// Bounds of a journal.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Compressed bytes kept before senders are made to wait.
    pub max_bytes: u64,
    /// Payload bytes that may wait in memory for the next synced group.
    pub queue_bytes: u32,
    /// Payload bytes of the newest records kept in memory for readers.
    pub recent_bytes: usize,
}

impl Default for Limits {
    /// 2 GiB on disk (about ten days of a town at 50 messages a second and a day of a region at 1,000), 32 MiB waiting,
    /// 16 MiB recent.
    fn default() -> Self {
        Self { max_bytes: 2 << 30, queue_bytes: 32 << 20, recent_bytes: 16 << 20 }
    }
}

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The store cannot be opened.
    #[error("open the journal {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// The directory or the file cannot be used.
    #[error("use the journal {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A read or write failed.
    #[error("{act} the journal")]
    Store {
        /// What was tried.
        act: &'static str,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// A block cannot be decoded.
    #[error("decode journal block {first_seq}: {reason}")]
    Block {
        /// Its first sequence number.
        first_seq: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The journal is closed.
    #[error("the journal is closed")]
    Closed,
}

pub(crate) struct Shared {
    store: RwLock<Option<Store>>,
    synced: watch::Sender<u64>,
    failure: watch::Sender<Option<String>>,
    stored_bytes: AtomicU64,
    room_on_disk: Notify,
    queue: Semaphore,
    recent: Mutex<Recent>,
    closing: AtomicBool,
    /// The writer's thread has ended.
    ended: AtomicBool,
    limits: Limits,
}

/// The newest records, so that a reader at the tail does not unpack what was just packed.
#[derive(Default)]
struct Recent {
    entries: VecDeque<Entry>,
    payload_bytes: usize,
}

/// The open journal. One writer thread commits what has gathered while the commit before it was syncing.
pub struct Journal {
    shared: Arc<Shared>,
    next_seq: Mutex<u64>,
    work: Mutex<Option<mpsc::Sender<Work>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    id: String,
    set_aside: Option<SetAside>,
}

impl Journal {
    /// Opens or creates the journal file `path`. A file that is damaged beyond its own repair is renamed to
    /// `<path>.damaged-<n>` and told by [`Journal::set_aside`].
    pub fn open(path: &Path, limits: Limits) -> Result<Self, JournalError> {
        Self::start(Backing::File(path.to_owned()), limits)
    }

    /// Opens a journal over a storage that fails on purpose.
    pub fn open_faulty(disk: &faulty::Disk, limits: Limits) -> Result<Self, JournalError> {
        Self::start(Backing::Faulty(disk.clone()), limits)
    }

    fn start(backing: Backing, limits: Limits) -> Result<Self, JournalError> {
        let (store, set_aside) = Store::open(&backing)?;
        let state = store.state()?;
        let (work, inbox) = mpsc::channel(65_536);
        let shared = Arc::new(Shared {
            synced: watch::Sender::new(state.next_seq - 1),
            failure: watch::Sender::new(None),
            stored_bytes: AtomicU64::new(state.stored_bytes),
            room_on_disk: Notify::new(),
            queue: Semaphore::new(limits.queue_bytes as usize),
            recent: Mutex::default(),
            closing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            store: RwLock::new(Some(store)),
            limits,
        });
        let writer = Writer { shared: shared.clone(), inbox, backing };
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run())
            .map_err(|source| JournalError::Io { path: PathBuf::from("journal thread"), source })?;
        Ok(Self {
            shared,
            next_seq: Mutex::new(state.next_seq),
            work: Mutex::new(Some(work)),
            writer: Mutex::new(Some(thread)),
            id: state.id,
            set_aside,
        })
    }

    /// Queues a record for the next synced group and tells its sequence number. Waits while the journal holds
    /// [`Limits::max_bytes`] or [`Limits::queue_bytes`] wait in memory. It is on disk once [`Journal::synced`] reaches it.
    ///
    /// Cancel-safe: a dropped wait appends nothing.
    pub async fn append(&self, record: Record) -> Result<u64, JournalError> {
        self.wait_for_room().await;
        let weight = (record.payload.len() as u32).clamp(256, self.shared.limits.queue_bytes);
        let queued = self.shared.queue.acquire_many(weight).await.map_err(|_| JournalError::Closed)?;
        let work = lock(&self.work).clone().ok_or(JournalError::Closed)?;
        let slot = work.reserve().await.map_err(|_| JournalError::Closed)?;
        queued.forget();
        let mut next = lock(&self.next_seq);
        let seq = *next;
        *next += 1;
        slot.send(Work::Append { entry: Entry { seq, record: Arc::new(record) }, weight });
        Ok(seq)
    }

    async fn wait_for_room(&self) {
        loop {
            let room = self.shared.room_on_disk.notified();
            let has_room = self.shared.stored_bytes.load(Ordering::Acquire) < self.shared.limits.max_bytes;
            // Once nobody writes any more, what is appended is refused rather than kept waiting.
            if has_room || self.shared.ended.load(Ordering::Acquire) {
                return;
            }
            room.await;
        }
    }

    /// The highest sequence number on disk; follow it to learn when an appended record is safe.
    pub fn synced(&self) -> watch::Receiver<u64> {
        self.shared.synced.subscribe()
    }

    /// Why nothing can be written at the moment, for example a full disk; `None` while all is well.
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.shared.failure.subscribe()
    }

    /// Synced entries from `from_seq` on, in order, until about `max_payload_bytes` are read; empty at the end. What was
    /// released is not there any more, so the first entry may be a later one.
    pub fn read(&self, from_seq: u64, max_payload_bytes: usize) -> Result<Vec<Entry>, JournalError> {
        if let Some(entries) = self.recent_from(from_seq, max_payload_bytes) {
            return Ok(entries);
        }
        let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
        store.as_ref().ok_or(JournalError::Closed)?.read(from_seq, max_payload_bytes)
    }

    fn recent_from(&self, from_seq: u64, max_payload_bytes: usize) -> Option<Vec<Entry>> {
        let recent = lock(&self.shared.recent);
        let skip = from_seq.checked_sub(recent.entries.front()?.seq)?;
        let mut payload_bytes = 0;
        let wanted = recent.entries.iter().skip(usize::try_from(skip).ok()?);
        Some(
            wanted
                .take_while(|entry| {
                    let more = payload_bytes < max_payload_bytes;
                    payload_bytes += entry.record.payload.len();
                    more
                })
                .cloned()
                .collect(),
        )
    }

    /// Everything up to and including `seq` is committed and synced elsewhere: its space may be used again.
    pub async fn release(&self, seq: u64) -> Result<(), JournalError> {
        self.send(Work::Release(seq)).await
    }

    /// The place a pulling source has stored under `name`.
    pub fn cursor(&self, name: &str) -> Result<Option<Vec<u8>>, JournalError> {
        let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
        store.as_ref().ok_or(JournalError::Closed)?.cursor(name)
    }

    /// Stores `place` under `name`, after everything appended before; synced when this returns.
    pub fn store_cursor(&self, name: &str, place: &[u8]) -> Result<(), JournalError> {
        let (done, wait) = std::sync::mpsc::sync_channel(1);
        let mut work = Work::Cursor { name: name.to_owned(), place: place.to_owned(), done };
        let sender = lock(&self.work).clone().ok_or(JournalError::Closed)?;
        while let Err(refused) = sender.try_send(work) {
            match refused {
                mpsc::error::TrySendError::Closed(_) => return Err(JournalError::Closed),
                mpsc::error::TrySendError::Full(back) => work = back,
            }
            std::thread::yield_now();
        }
        wait.recv().map_err(|_| JournalError::Closed)
    }

    async fn send(&self, work: Work) -> Result<(), JournalError> {
        let sender = lock(&self.work).clone().ok_or(JournalError::Closed)?;
        sender.send(work).await.map_err(|_| JournalError::Closed)
    }

    /// Compressed bytes kept.
    pub fn stored_bytes(&self) -> u64 {
        self.shared.stored_bytes.load(Ordering::Acquire)
    }

    /// A random name given at creation. Markers elsewhere carry it, so that a new journal, which counts from 1 again, is
    /// not taken for the old one.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What was set aside at opening because it was damaged.
    pub fn set_aside(&self) -> Option<&SetAside> {
        self.set_aside.as_ref()
    }

    /// Writes what is queued, then closes the file. With a disk that fails, what was never synced is given up: it was never
    /// acknowledged either.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::Release);
        lock(&self.work).take();
        if let Some(writer) = lock(&self.writer).take() {
            let _ = writer.join();
        }
        self.shared.store.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.close();
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
