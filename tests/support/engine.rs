//! Journal, lake and ingest in this process: one town's instance that lives through power cuts. Its journal lies on a disk and
//! its lake in a store that fail on purpose; its senders are far sides that keep what was not acknowledged.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use datasjo_datasets::{Arrival, DecodeConfig, Decoder, Lookups, Rows, builtin};
use datasjo_ingest::{BYTES_IN_ROUND, Feed, FlushOptions, Ingest, Progress};
use datasjo_journal::faulty::Disk;
use datasjo_journal::{Journal, Limits};
use datasjo_lake::faulty::{Faults, FaultyStore};
use datasjo_lake::recover::SetAside;
use datasjo_lake::{Lake, Memory, RecordBatch, Root};
use datasjo_sources::Source;
use datasjo_sources::memory::{MemoryHandle, Message};
use datasjo_table::{Labels, Table};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::store::{Rules, UnrulyStore};

/// What has not happened by then does not happen.
pub const GUARD: Duration = Duration::from_secs(60);

/// Meters of the water network.
pub const METERS: &str = "meters";
/// More meters, for the same table.
pub const VALVES: &str = "valves";
/// Temperatures: another table.
pub const AIR: &str = "air";

/// Midnight before the first reading.
const FIRST_MIDNIGHT: &str = "2026-03-01T00:00:00Z";
/// Seconds of a day.
pub const DAY_S: i64 = 86_400;

/// Largest payload of the senders.
const MAX_PAYLOAD_BYTES: usize = 1 << 20;

/// Rounds close often.
pub const OFTEN: FlushOptions = FlushOptions { every: Duration::from_millis(20), rows: 10_000, bytes: BYTES_IN_ROUND };

/// A round closes when it holds so many rows, and by no clock.
pub const fn when_full(rows: usize) -> FlushOptions {
    FlushOptions { every: Duration::from_secs(3_600), rows, bytes: BYTES_IN_ROUND }
}

/// No round closes before the end.
pub const AT_THE_END: FlushOptions = when_full(1_000_000);

/// The instance between two starts: what survives a power cut, and the senders.
pub struct Engine {
    /// The disk of the journal.
    pub disk: Disk,
    /// Bounds of the journal.
    pub limits: Limits,
    /// Where the lake lies.
    pub lake_dir: PathBuf,
    far: BTreeMap<Arc<str>, MemoryHandle>,
    /// Connected already, for the next start.
    sources: Vec<(Arc<str>, Box<dyn Source>)>,
    _dir: TempDir,
}

/// A running instance.
pub struct Life {
    pub journal: Arc<Journal>,
    pub lake: Arc<Lake>,
    pub ingest: Ingest,
    /// What the store does with each request.
    pub rules: Arc<Rules>,
    /// Simpler faults of the store.
    pub faults: Arc<Faults>,
    /// What was set aside at this start.
    pub set_aside: Vec<SetAside>,
}

impl Engine {
    /// An empty instance with these feeds.
    pub fn new(feeds: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let far = feeds.iter().map(|name| (Arc::from(*name), MemoryHandle::new(name, MAX_PAYLOAD_BYTES))).collect();
        let lake_dir = dir.path().join("lake");
        Self { disk: Disk::new(), limits: Limits::default(), lake_dir, far, sources: Vec::new(), _dir: dir }
    }

    /// The senders of a feed.
    pub fn far(&self, feed: &str) -> &MemoryHandle {
        &self.far[feed]
    }

    /// Sends for `feed`.
    pub fn send(&self, feed: &str, messages: impl IntoIterator<Item = Message>) {
        for message in messages {
            self.far(feed).send(message).unwrap();
        }
    }

    /// Waits until the senders of `feed` were acknowledged so often since the beginning.
    pub async fn acknowledged(&self, feed: &str, messages: usize) {
        until("the senders are acknowledged", || self.far(feed).acknowledged().len() >= messages).await;
    }

    /// Starts with a store that works.
    pub async fn start(&mut self, flush: FlushOptions) -> Life {
        self.try_start(&Rules::well(), flush).await.unwrap()
    }

    /// Starts with a store that does what `rules` say.
    pub async fn start_with(&mut self, rules: &Arc<Rules>, flush: FlushOptions) -> Life {
        self.try_start(rules, flush).await.unwrap()
    }

    /// As [`Engine::start_with`]; the start may fail.
    pub async fn try_start(&mut self, rules: &Arc<Rules>, flush: FlushOptions) -> Result<Life, Box<dyn Error + Send + Sync>> {
        let journal = Arc::new(Journal::open_faulty(&self.disk, self.limits.clone())?);
        self.start_on(journal, rules, flush).await
    }

    /// As [`Engine::try_start`], with a journal that is open already.
    pub async fn start_on(
        &mut self,
        journal: Arc<Journal>,
        rules: &Arc<Rules>,
        flush: FlushOptions,
    ) -> Result<Life, Box<dyn Error + Send + Sync>> {
        let faults: Arc<Faults> = Arc::default();
        let root = self.root(rules, &faults)?;
        let set_aside = Lake::recover(&root, &definitions()).await?;
        let lake = Arc::new(Lake::open(root, &definitions(), Memory::default()).await?);
        if self.sources.is_empty() {
            self.connect();
        }
        let sources = std::mem::take(&mut self.sources);
        let feeds = self.far.keys().map(feed).collect();
        let ingest = Ingest::start(journal.clone(), lake.clone(), feeds, sources, flush, false).await?;
        Ok(Life { journal, lake, ingest, rules: rules.clone(), faults, set_aside })
    }

    fn root(&self, rules: &Arc<Rules>, faults: &Arc<Faults>) -> Result<Root, Box<dyn Error + Send + Sync>> {
        let root = Root::local(&self.lake_dir)?;
        let faulty = root.through(|files| Arc::new(FaultyStore::new(files, faults.clone())));
        Ok(faulty.through(|store| Arc::new(UnrulyStore::new(store, rules.clone()))))
    }

    /// The lake as the next start would find it.
    pub async fn lake(&self) -> Lake {
        Lake::open(Root::local(&self.lake_dir).unwrap(), &definitions(), Memory::default()).await.unwrap()
    }

    /// The lake alone, in a store that does what `rules` say.
    pub async fn lake_with(&self, rules: &Arc<Rules>) -> Lake {
        let root = self.root(rules, &Arc::default()).unwrap();
        Lake::open(root, &definitions(), Memory::default()).await.unwrap()
    }

    /// A second source for `feed` at the next start, beside its senders.
    pub fn add_source(&mut self, feed: &str, source: Box<dyn Source>) {
        if self.sources.is_empty() {
            self.connect();
        }
        self.sources.push((Arc::from(feed), source));
    }

    /// The power fails: of what the journal's disk had not synced, `kept` decides; the store does nothing any more. What is
    /// left of the old process can reach nobody.
    pub async fn cut_power(&mut self, life: Life, kept: impl FnMut(usize) -> Option<usize>) {
        // First nobody is acknowledged any more, then nothing is stored any more, then the disk is looked at.
        self.connect();
        life.rules.cut().await;
        self.disk = self.disk.after_power_cut(kept);
        let _ = timeout(GUARD, life.ingest.stop()).await.expect("what is left of the old process does not end");
    }

    /// New connections for all senders; sources from before are cut off for good.
    fn connect(&mut self) {
        let source = |(name, far): (&Arc<str>, &MemoryHandle)| (name.clone(), Box::new(far.source()) as Box<dyn Source>);
        self.sources = self.far.iter().map(source).collect();
    }
}

impl Life {
    /// Waits until `wanted` holds.
    pub async fn until(&self, wanted: impl FnMut(&Progress) -> bool) -> Progress {
        let mut progress = self.ingest.progress();
        let reached = match timeout(GUARD, progress.wait_for(wanted)).await {
            Ok(Ok(reached)) => Some(reached.clone()),
            Ok(Err(_)) => panic!("the pump has ended"),
            Err(_) => None,
        };
        reached.unwrap_or_else(|| panic!("it stays at {:?}", progress.borrow()))
    }

    /// Waits until SQL shows everything up to `seq`.
    pub async fn visible(&self, seq: u64) {
        self.until(|p| p.visible_seq >= seq).await;
    }

    /// Waits until everything up to `seq` is committed.
    pub async fn committed(&self, seq: u64) {
        self.until(|p| p.committed_seq >= seq).await;
    }

    /// Waits until a commit has failed.
    pub async fn commit_fails(&self) {
        self.until(|p| p.commit_failure.is_some()).await;
    }

    /// Waits until the store has answered `times` more with an error.
    pub async fn refused(&self, times: u64) {
        let mut refused = self.rules.refused();
        let aim = *refused.borrow() + times;
        timeout(GUARD, refused.wait_for(|n| *n >= aim)).await.expect("the store is not asked again").unwrap();
    }

    /// Ends it in order and hands back the lake.
    pub async fn stop(self) -> Arc<Lake> {
        timeout(GUARD, self.ingest.stop()).await.expect("it does not end").unwrap();
        self.lake
    }
}

/// Waits until `done` says so.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let waited = timeout(GUARD, async {
        while !done() {
            sleep(Duration::from_millis(2)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}

fn dataset(feed: &str) -> &'static str {
    if feed == AIR { "temperature" } else { "water_meters" }
}

/// The tables of the town.
pub fn definitions() -> Vec<Arc<Table>> {
    let wanted = |t: &Table| t.name == dataset(METERS) || t.name == dataset(AIR);
    builtin().into_iter().filter(wanted).map(Arc::new).collect()
}

/// How the bytes of a feed are understood.
pub fn decoder(feed: &str) -> Decoder {
    let config = match feed {
        AIR => json!({
            "format": "json",
            "columns": {"sensor_id": "id", "kind": {"value": "air"}, "observed_at": "t", "temperature_degc": "v"},
        }),
        _ => json!({
            "format": "json",
            "topic": "town/{zone_id}",
            "columns": {"meter_id": "id", "zone_id": {"label": "zone_id"}, "observed_at": "t", "register_m3": "v"},
        }),
    };
    let config: DecodeConfig = serde_json::from_value(config).unwrap();
    let table = definitions().into_iter().find(|t| t.name == dataset(feed)).unwrap();
    Decoder::new(table, &config, &Lookups::new()).unwrap()
}

fn feed(name: &Arc<str>) -> Feed {
    Feed { name: name.clone(), decoder: Arc::new(decoder(name)), config_hash: "test".to_owned() }
}

/// How an instant so many seconds after the first midnight is written.
pub fn instant(at_s: i64) -> String {
    let midnight: jiff::Timestamp = FIRST_MIDNIGHT.parse().unwrap();
    (midnight + jiff::SignedDuration::from_secs(at_s)).to_string()
}

/// Days since 1970 of the first midnight.
pub fn first_day() -> i32 {
    let midnight: jiff::Timestamp = FIRST_MIDNIGHT.parse().unwrap();
    i32::try_from(midnight.as_second() / DAY_S).unwrap()
}

/// What a sender says about one moment.
pub fn reading(id: &str, at_s: i64, value: f64) -> Message {
    message(json!({"id": id, "t": instant(at_s), "v": value}).to_string())
}

/// A message of the town with any payload.
pub fn message(payload: impl Into<String>) -> Message {
    let payload: String = payload.into();
    Message::new(Labels::new().with(Labels::TOPIC, "town/z1"), payload)
}

/// Rows of the water table as its feed decodes them.
pub fn decoded(readings: &[(&str, i64, f64)]) -> RecordBatch {
    let decoder = decoder(METERS);
    let mut rows = Rows::new(decoder.table().clone());
    for ((id, at_s, value), origin) in readings.iter().zip(0..) {
        let message = reading(id, *at_s, *value);
        rows.begin(origin);
        decoder.decode(&message.payload, &Arrival { labels: &message.labels, received_at_us: 0, retained: false }, &mut rows);
    }
    rows.finish().unwrap().rows
}

/// The answer of a query, row by row; an absent value is an absent key.
pub async fn ask(lake: &Lake, sql: &str) -> Vec<Value> {
    let batches = lake.sql(sql).await.unwrap().collect().await.unwrap();
    let mut writer = arrow::json::ArrayWriter::new(Vec::new());
    for batch in &batches {
        writer.write(batch).unwrap();
    }
    writer.finish().unwrap();
    serde_json::from_slice(&writer.into_inner()).unwrap()
}

/// The answer of a query for one number called `n`.
pub async fn number(lake: &Lake, sql: &str) -> i64 {
    ask(lake, sql).await[0]["n"].as_i64().unwrap()
}

/// Every reading of the water table by meter and instant; none may be there twice.
pub async fn readings(lake: &Lake) -> BTreeMap<(String, String), f64> {
    let sql = "SELECT meter_id, CAST(observed_at AS VARCHAR) AS at, register_m3 FROM water_meters";
    let mut found = BTreeMap::new();
    for row in ask(lake, sql).await {
        let key = (row["meter_id"].as_str().unwrap().to_owned(), row["at"].as_str().unwrap().to_owned());
        let before = found.insert(key, row["register_m3"].as_f64().unwrap());
        assert_eq!(before, None, "it is there twice: {row}");
    }
    found
}

/// What [`readings`] should show.
pub fn expected(readings: impl IntoIterator<Item = (String, i64, f64)>) -> BTreeMap<(String, String), f64> {
    readings.into_iter().map(|(id, at_s, value)| ((id, instant(at_s)), value)).collect()
}

/// Rows of the water table at rest, revised ones included: what is in the files, before SQL hides anything.
pub fn rows_at_rest(lake: &Lake) -> u64 {
    lake.table("water_meters").unwrap().stats().unwrap().rows
}

/// Sums of the ledger.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub deliveries: i64,
    pub received: i64,
    pub committed: i64,
    pub revised: i64,
    pub duplicate: i64,
    pub rejected: i64,
    pub in_flight: i64,
}

/// The ledger of one feed, after making sure that it balances for every feed and hour.
pub async fn ledger(lake: &Lake, feed: &str) -> Counts {
    let sql = "SELECT feed, hour, sum(deliveries) AS deliveries, sum(received) AS received, sum(committed) AS committed, \
               sum(revised) AS revised, sum(duplicate) AS duplicate, sum(rejected) AS rejected, sum(in_flight) AS in_flight \
               FROM ledger GROUP BY feed, hour ORDER BY feed, hour";
    let mut counts = Counts::default();
    for line in ask(lake, sql).await {
        let count = |name: &str| line[name].as_i64().unwrap();
        let parts = count("committed") + count("duplicate") + count("rejected") + count("in_flight");
        assert_eq!(count("received"), parts, "the ledger does not balance: {line}");
        if line["feed"] == feed {
            counts.deliveries += count("deliveries");
            counts.received += count("received");
            counts.committed += count("committed");
            counts.revised += count("revised");
            counts.duplicate += count("duplicate");
            counts.rejected += count("rejected");
            counts.in_flight += count("in_flight");
        }
    }
    counts
}
