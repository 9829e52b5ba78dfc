use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use datasjo_table::Labels;
use tokio::sync::mpsc;

use super::config::FileConfig;
use super::known::{Finished, Look};
use super::parts::{Cut, End, Part, Parts};
use super::scan::Found;
use crate::{SourceError, now_us};

/// One part on its way to whoever pulls.
pub(super) struct Arrived {
    pub(super) labels: Labels,
    pub(super) received_at_us: i64,
    pub(super) payload: Bytes,
    /// Set on the last part of a file: its name, and how it looked.
    pub(super) finished: Option<(String, Finished)>,
}

/// One file to read.
pub(super) struct Job {
    name: String,
    path: PathBuf,
    look: Look,
    cut: Cut,
    skip_to: u64,
    takes_last_line: bool,
}

/// What became of it.
pub(super) enum Outcome {
    /// Read to its end.
    Whole(Finished),
    /// Read up to a last line without an end, which begins at `offset`.
    MidLine { offset: u64 },
    /// Longer than allowed; nothing of it was handed on.
    TooLong,
    /// Read as far as it could be.
    Torn(io::Error),
    /// Nobody pulls any more.
    NobodyThere,
}

impl Job {
    /// `skip_to`: where the part begins that was not handed on the last time; 0 for the whole file.
    pub(super) fn new(file: &Found, config: &FileConfig, skip_to: u64, takes_last_line: bool) -> Self {
        let cut = Cut {
            lines: config.lines,
            chunk_bytes: config.chunk_bytes,
            header_lines: config.header_lines,
            max_payload_bytes: config.max_payload_bytes,
        };
        Self { name: file.name.clone(), path: file.path.clone(), look: file.look, cut, skip_to, takes_last_line }
    }

    /// Reads it and hands it on, as fast as it is taken. Waits for the disk and for whoever pulls, so it needs a thread.
    pub(super) fn read(&self, out: &mpsc::Sender<Result<Arrived, SourceError>>) -> Outcome {
        let mut parts = match Parts::open(&self.path, self.cut, self.takes_last_line) {
            Ok(parts) => parts,
            Err(error) => return Outcome::Torn(error),
        };
        loop {
            let part = match parts.next() {
                Ok(part) => part,
                Err(End::Whole) => return Outcome::Whole(self.finished(&parts)),
                Err(End::MidLine { offset }) => return Outcome::MidLine { offset },
                Err(End::TooLong) => return Outcome::TooLong,
                Err(End::Torn(error)) => return Outcome::Torn(error),
            };
            if part.offset < self.skip_to && !part.is_last {
                continue;
            }
            let finished = part.is_last.then(|| (self.name.clone(), self.finished(&parts)));
            if out.blocking_send(Ok(self.arrived(part, finished))).is_err() {
                return Outcome::NobodyThere;
            }
        }
    }

    fn arrived(&self, part: Part, finished: Option<(String, Finished)>) -> Arrived {
        let labels = Labels::new().with(Labels::FILE, self.name.clone()).with("offset", part.offset.to_string());
        Arrived { labels, received_at_us: now_us(), payload: part.bytes.into(), finished }
    }

    /// How it looked before it was read: if it has grown meanwhile, it looks different the next time and is read again.
    fn finished(&self, parts: &Parts) -> Finished {
        Finished { look: self.look, xxh3: parts.xxh3() }
    }
}
