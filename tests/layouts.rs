//! The same rows, laid out in every way a lake can hold them. Each layout is built by the real way: source, journal, pump,
//! lake; nothing is put into a table from the side.

mod area;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use datasjo_ingest::{BYTES_IN_ROUND, FlushOptions, Ingest, Progress};
use datasjo_journal::{Journal, Limits};
use datasjo_lake::{Lake, MaintenancePlan, Memory, Root};
use datasjo_sources::Source;
use datasjo_sources::memory::{MemoryHandle, Message};
use datasjo_table::Labels;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub use area::{Area, Sent};

/// What may go wrong in the tests' own works, in words.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What has not happened by then does not happen.
const GUARD: Duration = Duration::from_secs(60);
const MAX_PAYLOAD_BYTES: usize = 1 << 20;
/// 2079-07-08: every day of the rows is closed by then.
const FAR_AHEAD_DAY: i32 = 40_000;

/// Nothing is committed before the end.
const AT_THE_END: FlushOptions = FlushOptions { every: Duration::from_secs(3_600), rows: 1_000_000, bytes: BYTES_IN_ROUND };
/// Every step is committed.
const AT_ONCE: FlushOptions = FlushOptions { every: Duration::ZERO, rows: 1_000_000, bytes: BYTES_IN_ROUND };

/// A way to hold the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Nothing is committed; every delivery is a batch of its own.
    Hot,
    /// One commit.
    OneFile,
    /// A commit every few rows.
    ManyFiles,
    /// The same in reversed order of arrival.
    Late,
    /// Everything comes twice, the second time in reversed order: first what is still hot, then what is committed.
    Duplicated,
    /// Many files, rewritten as one a day, the old ones removed, and read from a checkpoint.
    Compacted,
    /// The lake is closed half-way and at the end.
    Restarted,
    /// Killed when all was hot; the journal gave it again.
    Crashed,
    /// Half committed, half hot.
    Half,
    /// Older values came first; all is hot.
    RevisedHot,
    /// Older values are committed, the newest came later.
    Revised,
    /// Killed when older and newest values were hot.
    RevisedCrashed,
    /// Older and newest values, rewritten as one file a day.
    RevisedCompacted,
}

/// All of them.
pub const LAYOUTS: [Layout; 13] = [
    Layout::OneFile,
    Layout::Hot,
    Layout::ManyFiles,
    Layout::Late,
    Layout::Duplicated,
    Layout::Compacted,
    Layout::Restarted,
    Layout::Crashed,
    Layout::Half,
    Layout::RevisedHot,
    Layout::Revised,
    Layout::RevisedCrashed,
    Layout::RevisedCompacted,
];

impl Layout {
    /// Its name in the names of tests and after `skipif` and `onlyif`.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Hot => "hot",
            Layout::OneFile => "one_file",
            Layout::ManyFiles => "many_files",
            Layout::Late => "late",
            Layout::Duplicated => "duplicated",
            Layout::Compacted => "compacted",
            Layout::Restarted => "restarted",
            Layout::Crashed => "crashed",
            Layout::Half => "half",
            Layout::RevisedHot => "revised_hot",
            Layout::Revised => "revised",
            Layout::RevisedCrashed => "revised_crashed",
            Layout::RevisedCompacted => "revised_compacted",
        }
    }

    /// True if older values of some readings came first.
    pub fn is_revised(self) -> bool {
        self.name().starts_with("revised")
    }

    /// True if `held` is what this layout says.
    fn is_of(self, held: Held) -> bool {
        match self {
            Layout::Hot | Layout::Crashed | Layout::RevisedHot | Layout::RevisedCrashed => held.files == 0 && held.hot_rows > 0,
            Layout::Half => held.files > 0 && held.hot_rows > 0,
            Layout::OneFile => held.commits == held.tables && held.hot_rows == 0,
            Layout::Duplicated | Layout::Restarted | Layout::Revised | Layout::RevisedCompacted => {
                held.commits > held.tables && held.hot_rows == 0
            }
            Layout::ManyFiles | Layout::Late | Layout::Compacted => held.commits >= 3 * held.tables && held.hot_rows == 0,
        }
    }
}

/// Sums over the tables of an area.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    tables: u64,
    commits: u64,
    files: u64,
    hot_rows: u64,
}

/// An area's rows in one layout, ready to be asked.
pub struct Site<'a> {
    running: Option<Running>,
    lake: Arc<Lake>,
    runtime: Runtime,
    area: &'a Area,
    dir: TempDir,
    /// Deliveries so far; the journal numbers them alike.
    sent: u64,
}

struct Running {
    ingest: Ingest,
    far: BTreeMap<Arc<str>, MemoryHandle>,
}

/// Builds a layout, and looks whether it is one.
pub fn lay_out(area: &Area, layout: Layout) -> Outcome<Site<'_>> {
    let mut site = Site::open(area)?;
    let all = area.deliveries.as_slice();
    match layout {
        Layout::Hot => site.keep_hot(&[all])?,
        Layout::OneFile => site.commit_at_the_end(all)?,
        Layout::ManyFiles => site.commit_few_at_a_time(all)?,
        Layout::Late => site.commit_few_at_a_time(&reversed(all))?,
        Layout::Duplicated => site.bring_twice(all)?,
        Layout::Compacted => {
            site.commit_few_at_a_time(all)?;
            site.compact()?;
        }
        Layout::Restarted => {
            let (first, rest) = all.split_at(all.len() / 2);
            site.commit_at_the_end(first)?;
            site.reopen()?;
            site.commit_at_the_end(rest)?;
            site.reopen()?;
        }
        Layout::Crashed => {
            site.keep_hot(&[all])?;
            site.crash_and_start_again()?;
        }
        Layout::Half => {
            let (first, rest) = all.split_at(all.len() / 2);
            site.commit_at_the_end(first)?;
            site.keep_hot(&[rest])?;
        }
        Layout::RevisedHot => site.keep_hot(&[area.before.as_slice(), all])?,
        Layout::Revised | Layout::RevisedCompacted => {
            site.commit_at_the_end(&area.before)?;
            site.commit_few_at_a_time(all)?;
            if layout == Layout::RevisedCompacted {
                site.compact()?;
            }
        }
        Layout::RevisedCrashed => {
            site.keep_hot(&[area.before.as_slice(), all])?;
            site.crash_and_start_again()?;
        }
    }
    let held = site.held()?;
    if layout.is_of(held) { Ok(site) } else { Err(format!("{} is not {}: {held:?}", area.name, layout.name()).into()) }
}

fn reversed(deliveries: &[Sent]) -> Vec<Sent> {
    deliveries.iter().rev().cloned().collect()
}

fn a_few_of(deliveries: &[Sent]) -> usize {
    (deliveries.len() / 5).max(1)
}

fn visible(progress: &Progress) -> u64 {
    progress.visible_seq
}

fn committed(progress: &Progress) -> u64 {
    progress.committed_seq
}

impl<'a> Site<'a> {
    /// The lake, to be asked inside [`Site::runtime`].
    pub fn lake(&self) -> Arc<Lake> {
        self.lake.clone()
    }

    /// Where everything of this site runs.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Commits what is visible and ends.
    pub fn close(mut self) -> Outcome<()> {
        self.stop()
    }

    fn open(area: &'a Area) -> Outcome<Self> {
        let (dir, runtime) = (tempfile::tempdir()?, Runtime::new()?);
        let lake = runtime.block_on(open_lake(area, dir.path()))?;
        Ok(Self { running: None, lake, runtime, area, dir, sent: 0 })
    }

    fn keep_hot(&mut self, parts: &[&[Sent]]) -> Outcome<()> {
        self.start(AT_THE_END)?;
        for part in parts {
            self.bring(part, 1, visible)?;
        }
        Ok(())
    }

    fn commit_at_the_end(&mut self, deliveries: &[Sent]) -> Outcome<()> {
        self.start(AT_THE_END)?;
        self.bring(deliveries, deliveries.len().max(1), visible)?;
        self.stop()
    }

    fn commit_few_at_a_time(&mut self, deliveries: &[Sent]) -> Outcome<()> {
        self.start(AT_ONCE)?;
        self.bring(deliveries, a_few_of(deliveries), committed)?;
        self.stop()
    }

    fn bring_twice(&mut self, deliveries: &[Sent]) -> Outcome<()> {
        let (first, rest) = deliveries.split_at(deliveries.len() / 2);
        self.commit_few_at_a_time(first)?;
        self.start(AT_THE_END)?;
        self.bring(rest, a_few_of(rest), visible)?;
        self.bring(&reversed(deliveries), a_few_of(deliveries), visible)?;
        self.stop()
    }

    fn start(&mut self, flush: FlushOptions) -> Outcome<()> {
        let journal = Arc::new(Journal::open(&self.dir.path().join("journal.redb"), Limits::default())?);
        let mut far = BTreeMap::new();
        let mut sources: Vec<(Arc<str>, Box<dyn Source>)> = Vec::new();
        for feed in &self.area.feeds {
            let handle = MemoryHandle::new(&feed.name, MAX_PAYLOAD_BYTES);
            sources.push((feed.name.clone(), Box::new(handle.source())));
            far.insert(feed.name.clone(), handle);
        }
        let feeds = self.area.feeds.clone();
        let ingest = self.runtime.block_on(Ingest::start(journal, self.lake.clone(), feeds, sources, flush, false))?;
        self.running = Some(Running { ingest, far });
        Ok(())
    }

    /// Sends so many at once, and waits until the journal's number of the last one has been `reached`.
    fn bring(&mut self, deliveries: &[Sent], at_once: usize, reached: fn(&Progress) -> u64) -> Outcome<()> {
        for part in deliveries.chunks(at_once) {
            for sent in part {
                self.send(sent)?;
            }
            self.wait(reached)?;
        }
        Ok(())
    }

    fn send(&mut self, sent: &Sent) -> Outcome<()> {
        let running = self.running.as_ref().ok_or("nothing runs")?;
        let far = running.far.get(&sent.feed).ok_or_else(|| format!("there is no feed {}", sent.feed))?;
        let message = Message::new(Labels::new(), sent.payload.clone());
        far.send(Message { received_at_us: Some(sent.received_at_us), ..message })?;
        self.sent += 1;
        Ok(())
    }

    fn wait(&self, reached: fn(&Progress) -> u64) -> Outcome<()> {
        let running = self.running.as_ref().ok_or("nothing runs")?;
        let (mut progress, wanted) = (running.ingest.progress(), self.sent);
        let seen = self.runtime.block_on(async {
            let there = progress.wait_for(|p| reached(p) >= wanted);
            tokio::time::timeout(GUARD, there).await.map(|seen| seen.is_ok())
        });
        match seen {
            Ok(true) => Ok(()),
            Ok(false) => Err("ingest ended by itself".into()),
            Err(_) => Err(format!("delivery {wanted} did not get through in {} s", GUARD.as_secs()).into()),
        }
    }

    fn stop(&mut self) -> Outcome<()> {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.ingest.stop())?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> Outcome<()> {
        self.lake = self.runtime.block_on(open_lake(self.area, self.dir.path()))?;
        Ok(())
    }

    /// Ends every task where it stands, as a kill does, and starts again from what is on disk.
    fn crash_and_start_again(&mut self) -> Outcome<()> {
        self.running = None;
        drop(std::mem::replace(&mut self.runtime, Runtime::new()?));
        self.reopen()?;
        self.start(AT_THE_END)?;
        self.wait(visible)
    }

    /// Makes one file of each day, a checkpoint, removes the old files, and opens what is left.
    fn compact(&mut self) -> Outcome<()> {
        let plan = MaintenancePlan {
            max_open_day_files: 1,
            checkpoint_versions: 1,
            vacuum_after_h: 0,
            ..MaintenancePlan::for_day(FAR_AHEAD_DAY)
        };
        let mut compacted_days = 0;
        for report in self.runtime.block_on(self.lake.maintain(plan)) {
            compacted_days += report?.compacted_days.len();
        }
        for report in self.runtime.block_on(self.lake.vacuum(plan)) {
            report?;
        }
        if compacted_days == 0 {
            return Err("there was nothing to compact".into());
        }
        self.reopen()
    }

    fn held(&self) -> Outcome<Held> {
        let mut held = Held::default();
        for table in self.lake.tables().filter(|table| table.definition().is_some()) {
            let stats = table.stats()?;
            held.tables += 1;
            held.commits += stats.version;
            held.files += stats.files;
            held.hot_rows += stats.hot_rows;
        }
        Ok(held)
    }
}

/// As the program opens it: what a crash left torn would be set aside first, and none of ours may.
async fn open_lake(area: &Area, dir: &Path) -> Outcome<Arc<Lake>> {
    let root = Root::local(&dir.join("lake"))?;
    let set_aside = Lake::recover(&root, &area.tables).await?;
    if !set_aside.is_empty() {
        return Err(format!("set aside without need: {set_aside:?}").into());
    }
    let lake = Lake::open(root, &area.tables, Memory::default()).await?;
    for (name, path) in &area.references {
        lake.load_reference(name, path)?;
    }
    Ok(Arc::new(lake))
}
