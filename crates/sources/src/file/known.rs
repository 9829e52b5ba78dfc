use std::collections::BTreeMap;
use std::fs::Metadata;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// How a file looks from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Look {
    /// Length as it lies there, in bytes.
    pub(super) bytes: u64,
    /// Time of the last change, microseconds since 1970 UTC; 0 where the file system does not say.
    pub(super) modified_us: u64,
}

/// A file that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finished {
    pub(super) look: Look,
    /// XXH3-128 of its bytes as they lie there, in hexadecimal: a copy with a new date is still the same file.
    pub(super) xxh3: String,
}

/// Files that were read to their end, by name.
pub(super) type Known = BTreeMap<String, Finished>;

impl Look {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let since = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_us = since.and_then(|since| u64::try_from(since.as_micros()).ok()).unwrap_or(0);
        Self { bytes: metadata.len(), modified_us }
    }
}

/// Reads what was stored. What cannot be read counts as nothing: files are read again, which is harmless.
pub(super) fn from_bytes(bytes: &[u8]) -> Known {
    serde_json::from_slice(bytes).unwrap_or_default()
}
