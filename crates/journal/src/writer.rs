//! The one thread that writes. What gathers while a commit syncs goes into the next one, so that syncing costs less a
//! message the more there are.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use datasjo_table::causes;
use tokio::sync::mpsc;

use crate::store::{Backing, Change, Store};
use crate::{Entry, JournalError, Shared, lock};

/// Entries and payload bytes in one commit at most: bounds memory and the time a restart needs to read one block.
const GROUP_ENTRIES: usize = 8_192;
const GROUP_PAYLOAD_BYTES: usize = 4 << 20;
/// Waits after a failed write.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

pub(crate) enum Work {
    Append { entry: Entry, weight: u32 },
    Release(u64),
    Cursor { name: String, place: Vec<u8>, done: std::sync::mpsc::SyncSender<()> },
}

pub(crate) struct Writer {
    pub shared: Arc<Shared>,
    pub inbox: mpsc::Receiver<Work>,
    pub backing: Backing,
}

#[derive(Default)]
struct Group {
    change: Change,
    weight: u32,
    payload_bytes: usize,
    waiting: Vec<std::sync::mpsc::SyncSender<()>>,
}

impl Group {
    fn add(&mut self, work: Work) {
        match work {
            Work::Append { entry, weight } => {
                self.weight += weight;
                self.payload_bytes += entry.record.payload.len();
                self.change.entries.push(entry);
            }
            Work::Release(seq) => self.change.release_to = self.change.release_to.max(Some(seq)),
            Work::Cursor { name, place, done } => {
                self.change.cursors.push((name, place));
                self.waiting.push(done);
            }
        }
    }

    fn is_full(&self) -> bool {
        self.change.entries.len() >= GROUP_ENTRIES || self.payload_bytes >= GROUP_PAYLOAD_BYTES
    }
}

/// Tells when the thread has ended, in whatever way, so that nobody waits for it.
pub(crate) struct Ended(pub Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let reason = "the journal's writer ended by a defect; nothing is acknowledged until the program starts again";
            tracing::error!(reason);
            self.0.failure.send_replace(Some(reason.to_owned()));
        }
        self.0.ended.store(true, Ordering::Release);
        self.0.queue.close();
        self.0.room_on_disk.notify_waiters();
    }
}

impl Writer {
    pub fn run(mut self) {
        let _ended = Ended(self.shared.clone());
        while let Some(first) = self.inbox.blocking_recv() {
            let mut group = Group::default();
            group.add(first);
            while !group.is_full() {
                match self.inbox.try_recv() {
                    Ok(work) => group.add(work),
                    Err(_) => break,
                }
            }
            match self.commit_until_it_holds(&group.change) {
                Some(grown) => self.tell(group, grown),
                None => return,
            }
        }
    }

    /// Tries until the change is on disk. `None` when the journal is closing and the disk still fails.
    fn commit_until_it_holds(&self, change: &Change) -> Option<i64> {
        let mut wait = FIRST_WAIT;
        loop {
            match self.try_commit(change) {
                Ok(grown) => {
                    self.shared.failure.send_if_modified(|failure| failure.take().is_some());
                    return Some(grown);
                }
                // What kept it from being opened again is told already.
                Err(JournalError::Closed) => {}
                Err(error) => self.report(&error),
            }
            if self.shared.closing.load(Ordering::Acquire) {
                return None;
            }
            std::thread::sleep(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
            self.reopen();
        }
    }

    fn try_commit(&self, change: &Change) -> Result<i64, JournalError> {
        let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
        store.as_ref().ok_or(JournalError::Closed)?.commit(change)
    }

    fn report(&self, error: &JournalError) {
        let reason = causes(error);
        if self.shared.failure.borrow().as_deref() != Some(&reason) {
            tracing::error!(%reason, "the journal cannot be written; nothing is acknowledged until it can");
            self.shared.failure.send_replace(Some(reason));
        }
    }

    /// After a failed write the store refuses everything until it is opened again. The same change is then written again
    /// under the same first sequence number, so a commit that did reach the disk is replaced by itself.
    fn reopen(&self) {
        let mut store = self.shared.store.write().unwrap_or_else(PoisonError::into_inner);
        drop(store.take());
        match Store::reopen(&self.backing).and_then(|opened| Ok((opened.state()?.stored_bytes, opened))) {
            Ok((stored_bytes, opened)) => {
                // What the failed commit changed, if it reached the disk, nobody has counted.
                self.shared.stored_bytes.store(stored_bytes, Ordering::Release);
                *store = Some(opened);
            }
            Err(error) => self.report(&error),
        }
    }

    fn tell(&self, group: Group, grown: i64) {
        let stored_bytes = self.shared.stored_bytes.load(Ordering::Acquire).saturating_add_signed(grown);
        self.shared.stored_bytes.store(stored_bytes, Ordering::Release);
        if stored_bytes < self.shared.limits.max_bytes {
            self.shared.room_on_disk.notify_waiters();
        }
        self.shared.queue.add_permits(group.weight as usize);
        if let Some(last) = group.change.entries.last().map(|e| e.seq) {
            self.remember(group.change.entries);
            self.shared.synced.send_replace(last);
        }
        for done in group.waiting {
            let _ = done.send(());
        }
    }

    fn remember(&self, entries: Vec<Entry>) {
        let mut recent = lock(&self.shared.recent);
        for entry in entries {
            recent.payload_bytes += entry.record.payload.len();
            recent.entries.push_back(entry);
        }
        while recent.payload_bytes > self.shared.limits.recent_bytes || recent.entries.len() > 65_536 {
            let Some(oldest) = recent.entries.pop_front() else {
                break;
            };
            recent.payload_bytes -= oldest.record.payload.len();
        }
    }
}
