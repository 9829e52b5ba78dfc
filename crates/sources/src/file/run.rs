use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::config::FileConfig;
use super::known::{Known, Look};
use super::parts::xxh3_of;
use super::read::{Arrived, Job, Outcome};
use super::scan::{self, Found};
use super::watch::Watch;
use crate::{Health, SourceError, State};

/// How often a watched folder is looked at without news: network mounts tell none.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How long a line without an end may stay the last of an unchanged file before it counts as whole: many programs never
/// write the last line end.
const LAST_LINE_PATIENCE: Duration = Duration::from_secs(60);

/// Finds files and has them read, one after the other.
pub(super) struct Reader {
    feed: Arc<str>,
    config: FileConfig,
    known: Known,
    seen: BTreeMap<String, Seen>,
    health: Health,
    out: mpsc::Sender<Result<Arrived, SourceError>>,
}

/// A file that is not known to be read to its end.
struct Seen {
    look: Look,
    since: Instant,
    held: Held,
}

enum Held {
    /// Not read yet.
    New,
    /// Read up to the line that begins at `offset`.
    MidLine { offset: u64, read_at: Instant, reason: String },
    /// Not read again before it changes.
    UntilItChanges { reason: String },
}

enum Todo {
    Nothing,
    Wait,
    Read { skip_to: u64, takes_last_line: bool },
}

impl Reader {
    pub(super) fn new(
        feed: Arc<str>,
        config: FileConfig,
        known: Known,
        health: Health,
        out: mpsc::Sender<Result<Arrived, SourceError>>,
    ) -> Self {
        Self { feed, config, known, seen: BTreeMap::new(), health, out }
    }

    /// Until all is read, or for ever when watching; ends when nobody pulls any more.
    pub(super) async fn run(mut self) {
        self.health.up();
        if self.config.watch {
            self.watch().await;
        } else if let Err(error) = self.once().await {
            // Fails only when nobody is there to be told.
            let _ = self.out.send(Err(error)).await;
        }
    }

    /// Reads what is there. One file that cannot be read does not hold back the others; the first reason comes at the end.
    async fn once(&mut self) -> Result<(), SourceError> {
        let files = self.list().await.map_err(|source| failed(&self.config.path.display(), source))?;
        let mut first_error = None;
        for file in files {
            if self.is_known(&file) || self.is_copy(&file).await {
                continue;
            }
            match self.read(&file, 0, true).await {
                Outcome::NobodyThere => return Ok(()),
                Outcome::Torn(source) => first_error = first_error.or(Some(failed(&file.path.display(), source))),
                Outcome::TooLong => first_error = first_error.or(Some(failed(&file.path.display(), self.too_long(&file)))),
                Outcome::Whole(_) | Outcome::MidLine { .. } => {}
            }
        }
        first_error.map_or(Ok(()), Err)
    }

    async fn watch(&mut self) {
        let mut watch = Watch::new(&self.config.path);
        loop {
            watch.attach();
            let ControlFlow::Continue(next_look) = self.pass().await else {
                return;
            };
            watch.wait(next_look).await;
        }
    }

    /// One look at all files, reading those that are ready; how long until the next look without news.
    async fn pass(&mut self) -> ControlFlow<(), Duration> {
        let files = match self.list().await {
            Ok(files) => files,
            Err(error) => {
                self.health.waiting(format!("{} cannot be read: {error}", self.config.path.display()));
                return ControlFlow::Continue(LOOK_EVERY);
            }
        };
        let mut next_look = LOOK_EVERY;
        for file in &files {
            match self.todo(file) {
                Todo::Nothing => {}
                Todo::Wait => next_look = self.settle_for(),
                Todo::Read { .. } if self.is_copy(file).await => {}
                Todo::Read { skip_to, takes_last_line } => {
                    let outcome = self.read(file, skip_to, takes_last_line).await;
                    self.hold(file, outcome)?;
                }
            }
        }
        self.seen.retain(|name, _| files.binary_search_by(|file| file.name.cmp(name)).is_ok());
        self.tell();
        ControlFlow::Continue(next_look)
    }

    fn todo(&mut self, file: &Found) -> Todo {
        if self.is_known(file) {
            return Todo::Nothing;
        }
        let settle_for = self.settle_for();
        let seen = self.seen.entry(file.name.clone()).or_insert_with(|| Seen::new(file.look));
        if seen.look != file.look {
            *seen = Seen::new(file.look);
        }
        if seen.since.elapsed() < settle_for {
            return Todo::Wait;
        }
        match seen.held {
            Held::New => Todo::Read { skip_to: 0, takes_last_line: false },
            Held::MidLine { offset, read_at, .. } if read_at.elapsed() >= LAST_LINE_PATIENCE => {
                Todo::Read { skip_to: offset, takes_last_line: true }
            }
            Held::MidLine { .. } | Held::UntilItChanges { .. } => Todo::Nothing,
        }
    }

    /// Remembers what became of a file; breaks when nobody pulls any more.
    fn hold(&mut self, file: &Found, outcome: Outcome) -> ControlFlow<(), ()> {
        let held = match outcome {
            Outcome::NobodyThere => return ControlFlow::Break(()),
            Outcome::Whole(_) => {
                self.seen.remove(&file.name);
                return ControlFlow::Continue(());
            }
            Outcome::MidLine { offset } => {
                let reason =
                    format!("{} ends within a line, which is read when it has an end or has not changed for a minute", file.name);
                Held::MidLine { offset, read_at: Instant::now(), reason }
            }
            Outcome::Torn(error) => {
                let reason = format!("{} cannot be read to its end and waits for a change: {error}", file.name);
                tracing::warn!(feed = %self.feed, reason, "a file is torn");
                Held::UntilItChanges { reason }
            }
            Outcome::TooLong => {
                let reason = self.too_long(file).to_string();
                tracing::warn!(feed = %self.feed, reason, "refused a file");
                self.health.refused(reason.as_str());
                Held::UntilItChanges { reason }
            }
        };
        if let Some(seen) = self.seen.get_mut(&file.name) {
            seen.held = held;
        }
        ControlFlow::Continue(())
    }

    /// Health after a look: up, with the reason of the first file that waits. Written only when it changes.
    fn tell(&self) {
        let report = self.health.report();
        let reason = self.seen.values().find_map(|seen| seen.held.reason());
        if report.state != State::Up || (reason.is_none() && !report.reason.is_empty()) {
            self.health.up();
        }
        if let Some(reason) = reason.filter(|reason| *reason != report.reason) {
            self.health.remark(reason);
        }
    }

    async fn list(&self) -> io::Result<Vec<Found>> {
        let (path, pattern) = (self.config.path.clone(), self.config.pattern.clone());
        let (files, left_out) = blocking(move || scan::list(&path, &pattern)).await??;
        if left_out > 0 {
            tracing::warn!(feed = %self.feed, left_out, most = scan::MAX_FILES, "the oldest files of a folder are not looked at");
        }
        Ok(files)
    }

    async fn read(&mut self, file: &Found, skip_to: u64, takes_last_line: bool) -> Outcome {
        let job = Job::new(file, &self.config, skip_to, takes_last_line);
        let out = self.out.clone();
        let outcome = blocking(move || job.read(&out)).await.unwrap_or_else(Outcome::Torn);
        if let Outcome::Whole(finished) = &outcome {
            self.known.insert(file.name.clone(), finished.clone());
        }
        outcome
    }

    fn is_known(&self, file: &Found) -> bool {
        self.known.get(&file.name).is_some_and(|finished| finished.look == file.look)
    }

    /// Whether only the date of a known file has changed, and not what is in it.
    async fn is_copy(&mut self, file: &Found) -> bool {
        let Some(finished) = self.known.get_mut(&file.name).filter(|f| f.look.bytes == file.look.bytes) else {
            return false;
        };
        let path = file.path.clone();
        let same = blocking(move || xxh3_of(&path)).await.is_ok_and(|hash| hash.is_ok_and(|hash| hash == finished.xxh3));
        if same {
            finished.look = file.look;
        }
        same
    }

    fn settle_for(&self) -> Duration {
        Duration::from_millis(self.config.settle_for_ms.into())
    }

    fn too_long(&self, file: &Found) -> io::Error {
        let sentence = format!("{} is longer than max_payload_bytes = {}", file.name, self.config.max_payload_bytes);
        io::Error::new(io::ErrorKind::FileTooLarge, sentence)
    }
}

impl Seen {
    fn new(look: Look) -> Self {
        Self { look, since: Instant::now(), held: Held::New }
    }
}

impl Held {
    fn reason(&self) -> Option<&str> {
        match self {
            Self::New => None,
            Self::MidLine { reason, .. } | Self::UntilItChanges { reason } => Some(reason),
        }
    }
}

/// Runs on a thread that may wait for disks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)
}

fn failed(path: &dyn std::fmt::Display, source: io::Error) -> SourceError {
    SourceError::Io { path: path.to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(settle_for_ms: u32) -> Reader {
        let config = serde_json::json!({ "path": "in", "watch": true, "settle_for_ms": settle_for_ms });
        let config = serde_json::from_value(config).unwrap();
        Reader::new("test".into(), config, Known::new(), Health::default(), mpsc::channel(1).0)
    }

    fn found(bytes: u64) -> Found {
        Found { name: "a.csv".to_owned(), path: "in/a.csv".into(), look: Look { bytes, modified_us: 1 } }
    }

    #[test]
    fn a_file_that_may_still_grow_is_left_alone() {
        let mut reader = reader(3_600_000);
        assert!(matches!(reader.todo(&found(1)), Todo::Wait));
        assert!(matches!(reader.todo(&found(2)), Todo::Wait));
    }

    #[test]
    fn a_torn_file_is_not_read_again_before_it_changes() {
        let mut reader = reader(0);
        assert!(matches!(reader.todo(&found(1)), Todo::Read { skip_to: 0, takes_last_line: false }));
        assert!(reader.hold(&found(1), Outcome::Torn(io::Error::other("torn"))).is_continue());
        assert!(matches!(reader.todo(&found(1)), Todo::Nothing));
        assert!(matches!(reader.todo(&found(2)), Todo::Read { skip_to: 0, takes_last_line: false }));
    }

    #[test]
    fn a_last_line_without_an_end_is_taken_after_a_while() {
        let mut reader = reader(0);
        reader.todo(&found(5));
        assert!(reader.hold(&found(5), Outcome::MidLine { offset: 3 }).is_continue());
        assert!(matches!(reader.todo(&found(5)), Todo::Nothing));
        let Held::MidLine { read_at, .. } = &mut reader.seen.get_mut("a.csv").unwrap().held else { panic!("not held") };
        *read_at = read_at.checked_sub(LAST_LINE_PATIENCE).unwrap();
        assert!(matches!(reader.todo(&found(5)), Todo::Read { skip_to: 3, takes_last_line: true }));
    }
}
