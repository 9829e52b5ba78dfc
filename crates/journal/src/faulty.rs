//! A disk that fails on purpose: it fills up, fails for a while, and on a power cut forgets what was not synced, or
//! keeps any part of it. For tests; a real implementation of the storage, in memory.

use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::lock;

#[derive(Debug, Default)]
struct Bytes {
    synced: Vec<u8>,
    now: Vec<u8>,
    unsynced: Vec<Write>,
    capacity_bytes: Option<u64>,
    failing: bool,
    syncs: u64,
}

#[derive(Clone, Debug)]
enum Write {
    At(u64, Vec<u8>),
    Len(u64),
}

/// The disk. Clones are the same disk; every store opened over it sees the same bytes.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Bytes>>);

impl Disk {
    /// An empty disk that works.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on writes that would grow the file beyond `capacity_bytes` fail as on a full disk; `None` makes room again.
    pub fn limit(&self, capacity_bytes: Option<u64>) {
        lock(&self.0).capacity_bytes = capacity_bytes;
    }

    /// While true, every write and sync fails.
    pub fn fail(&self, failing: bool) {
        lock(&self.0).failing = failing;
    }

    /// How often it was synced.
    pub fn syncs(&self) -> u64 {
        lock(&self.0).syncs
    }

    /// A copy of the disk as it would be found after a power cut now: what was synced, and of every later write only
    /// those for which `kept` (asked in order) says so; a kept write may be torn to the returned number of bytes.
    pub fn after_power_cut(&self, mut kept: impl FnMut(usize) -> Option<usize>) -> Disk {
        let bytes = lock(&self.0);
        let mut found = bytes.synced.clone();
        for write in &bytes.unsynced {
            match write {
                Write::Len(len) => {
                    if kept(0).is_some() {
                        found.resize(*len as usize, 0);
                    }
                }
                Write::At(offset, data) => {
                    if let Some(part) = kept(data.len()) {
                        put(&mut found, *offset as usize, &data[..part.min(data.len())]);
                    }
                }
            }
        }
        Disk(Arc::new(Mutex::new(Bytes { synced: found.clone(), now: found, ..Bytes::default() })))
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle(self.clone())
    }
}

fn put(file: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if file.len() < offset + data.len() {
        file.resize(offset + data.len(), 0);
    }
    file[offset..offset + data.len()].copy_from_slice(data);
}

#[derive(Debug)]
pub(crate) struct Handle(Disk);

impl Handle {
    fn writable(bytes: &Bytes, len: u64) -> Result<(), Error> {
        if bytes.failing {
            return Err(Error::other("the disk fails"));
        }
        match bytes.capacity_bytes {
            Some(capacity) if len > capacity => Err(Error::from(ErrorKind::StorageFull)),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> Result<u64, Error> {
        Ok(lock(&self.0.0).now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let bytes = lock(&self.0.0);
        let from = offset as usize;
        let wanted = bytes.now.get(from..from + out.len()).ok_or(Error::from(ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(wanted);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        let mut bytes = lock(&self.0.0);
        Self::writable(&bytes, len)?;
        bytes.now.resize(len as usize, 0);
        bytes.unsynced.push(Write::Len(len));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut bytes = lock(&self.0.0);
        Self::writable(&bytes, 0)?;
        bytes.syncs += 1;
        let unsynced = std::mem::take(&mut bytes.unsynced);
        for write in unsynced {
            match write {
                Write::Len(len) => bytes.synced.resize(len as usize, 0),
                Write::At(offset, data) => put(&mut bytes.synced, offset as usize, &data),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut bytes = lock(&self.0.0);
        Self::writable(&bytes, offset + data.len() as u64)?;
        put(&mut bytes.now, offset as usize, data);
        bytes.unsynced.push(Write::At(offset, data.to_vec()));
        Ok(())
    }
}
