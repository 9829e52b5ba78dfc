use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use datasjo_sources::Secret;
use datasjo_sources::push::ListenConfig;
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::de::DeValue;
use url::Url;

use super::document::Document;
use super::outside::Outside;
use super::problem::{Found, Place};

/// The file's name in the configuration directory.
pub(super) const FILE: &str = "datasjo.toml";

/// Stores the lake can lie in: a directory, S3 and what speaks like it, Azure.
const LAKE_SCHEMES: &[&str] = &["file", "s3", "az", "abfss"];

/// From "a person waits for it" to five minutes: what is not flushed is read from memory, and after a crash decoded again.
const FLUSH_EVERY_S: RangeInclusive<u64> = 1..=300;
/// At about 100 bytes a row the largest is 1 GB of hot rows.
const FLUSH_ROWS: RangeInclusive<u64> = 1..=10_000_000;
/// From 1 MiB, a few payloads of the largest size, to 1 TiB, more than a week of any municipality.
const JOURNAL_BYTES: RangeInclusive<u64> = (1 << 20)..=(1 << 40);
/// Below 16 MiB no sort of a day fits; 1 TiB is more memory than machines have.
const QUERY_BYTES: RangeInclusive<u64> = (16 << 20)..=(1 << 40);

/// Where rows rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lake {
    /// The directory of all tables; ends in `/`. `file`, `s3`, `az` or `abfss`.
    pub url: Url,
}

/// When hot rows become a commit: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flush {
    /// Longest time a row is hot; 1 to 300 s.
    pub every: Duration,
    /// Most hot rows of one table.
    pub rows: usize,
}

/// The log of raw deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Journal {
    /// Most bytes on disk; when it is full, sources wait.
    pub max_bytes: u64,
}

/// The SQL door.
#[derive(Clone, Debug)]
pub struct Sql {
    /// Address and port; port 0 takes any free one.
    pub listen: SocketAddr,
    /// What callers show as `Authorization: Bearer`; `None` lets everyone in who can reach the address.
    pub token: Option<Secret>,
}

/// Limits on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Most bytes all running queries may hold together.
    pub query_bytes: usize,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For a person at a terminal.
    #[default]
    Text,
    /// One JSON object a line, for a collector.
    Json,
}

/// The program's own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
}

/// What `datasjo.toml` says, checked.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub data_dir: PathBuf,
    pub lake: Lake,
    pub flush: Flush,
    pub journal: Journal,
    pub push: Option<ListenConfig>,
    pub sql: Sql,
    pub memory: Memory,
    pub log: Log,
}

/// The file as it is written; every key has its default.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawInstance {
    data_dir: String,
    lake: RawLake,
    journal: RawJournal,
    push: Option<ListenConfig>,
    sql: RawSql,
    memory: RawMemory,
    log: Log,
    /// Read on its own, for it lacks what the feeds add.
    #[serde(rename = "broker")]
    _broker: Option<IgnoredAny>,
}

impl Default for RawInstance {
    fn default() -> Self {
        Self {
            data_dir: "data".to_owned(),
            lake: RawLake::default(),
            journal: RawJournal::default(),
            push: None,
            sql: RawSql::default(),
            memory: RawMemory::default(),
            log: Log::default(),
            _broker: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawLake {
    url: Option<String>,
    flush_every_s: u64,
    flush_rows: u64,
}

impl Default for RawLake {
    fn default() -> Self {
        Self { url: None, flush_every_s: 10, flush_rows: 200_000 }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawJournal {
    max_bytes: u64,
}

impl Default for RawJournal {
    fn default() -> Self {
        Self { max_bytes: 2 << 30 }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawSql {
    listen: SocketAddr,
    token: Option<Secret>,
    behind_proxy: bool,
}

impl Default for RawSql {
    fn default() -> Self {
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080), token: None, behind_proxy: false }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawMemory {
    query_bytes: u64,
}

impl Default for RawMemory {
    fn default() -> Self {
        Self { query_bytes: 1 << 30 }
    }
}

/// Reads the instance from `document`, or all defaults if there is no file; `None` if something is wrong with it. `dir`
/// must be absolute.
pub(super) fn read(dir: &Path, document: Option<&Document<'_>>, found: &mut Found) -> Option<Instance> {
    let raw = match document {
        Some(document) => read_raw(dir, document, found)?,
        None => RawInstance::default(),
    };
    if let Some(document) = document {
        check_ranges(&raw, document, found);
        for problem in raw.push.iter().flat_map(ListenConfig::problems) {
            found.error(document.place_of_key(&["push"], &problem), problem);
        }
        for problem in sql_problems(&raw.sql) {
            found.error(document.place_of(&["sql", "listen"]), problem);
        }
    }
    let data_dir = dir.join(&raw.data_dir);
    match lake_url(dir, &data_dir, raw.lake.url.as_deref()) {
        Ok(url) => Some(checked(raw, data_dir, url)),
        Err(message) => {
            let place = document.map_or(Place::whole(FILE), |document| document.place_of(&["lake", "url"]));
            found.error(place, message);
            None
        }
    }
}

/// Beyond this machine the door needs a token, and something in front of it that speaks TLS.
fn sql_problems(sql: &RawSql) -> Vec<String> {
    let mut problems = Vec::new();
    if sql.listen.ip().is_loopback() {
        return problems;
    }
    if sql.token.is_none() {
        problems.push(format!("everyone who reaches {} can read every table: set sql.token", sql.listen));
    }
    if !sql.behind_proxy {
        problems.push(format!(
            "{} is beyond this machine and the door speaks no TLS: put a proxy in front of it and say behind_proxy = true",
            sql.listen
        ));
    }
    problems
}

fn read_raw(dir: &Path, document: &Document<'_>, found: &mut Found) -> Option<RawInstance> {
    let mut whole = document.whole();
    if let DeValue::Table(root) = whole.get_mut() {
        root.remove("broker");
    }
    let absent = Outside { dir, wanted: true }.settle(document, &mut whole, found);
    document.read(whole, absent, found)
}

fn check_ranges(raw: &RawInstance, document: &Document<'_>, found: &mut Found) {
    let mut within = |path: [&str; 2], value: u64, range: RangeInclusive<u64>| {
        if !range.contains(&value) {
            let message = format!("{value} is outside {} to {}", range.start(), range.end());
            found.error(document.place_of(&path), message);
        }
    };
    within(["lake", "flush_every_s"], raw.lake.flush_every_s, FLUSH_EVERY_S);
    within(["lake", "flush_rows"], raw.lake.flush_rows, FLUSH_ROWS);
    within(["journal", "max_bytes"], raw.journal.max_bytes, JOURNAL_BYTES);
    within(["memory", "query_bytes"], raw.memory.query_bytes, QUERY_BYTES);
}

fn checked(raw: RawInstance, data_dir: PathBuf, lake: Url) -> Instance {
    Instance {
        data_dir,
        lake: Lake { url: lake },
        flush: Flush { every: Duration::from_secs(raw.lake.flush_every_s), rows: as_usize(raw.lake.flush_rows) },
        journal: Journal { max_bytes: raw.journal.max_bytes },
        push: raw.push,
        sql: Sql { listen: raw.sql.listen, token: raw.sql.token },
        memory: Memory { query_bytes: as_usize(raw.memory.query_bytes) },
        log: raw.log,
    }
}

/// The range was checked; a machine with smaller words gets its largest.
fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A URL as it stands, a path under `dir`, or the default `<data_dir>/lake`.
fn lake_url(dir: &Path, data_dir: &Path, written: Option<&str>) -> Result<Url, String> {
    match written {
        Some(url) if url.contains("://") => store_url(url),
        Some(path) => directory_url(&dir.join(path)),
        None => directory_url(&data_dir.join("lake")),
    }
}

fn store_url(written: &str) -> Result<Url, String> {
    let mut url = Url::parse(written).map_err(|error| format!("\"{written}\" is no URL: {error}"))?;
    if !LAKE_SCHEMES.contains(&url.scheme()) {
        return Err(format!("the lake cannot lie in {}: only in {}", url.scheme(), LAKE_SCHEMES.join(", ")));
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

fn directory_url(path: &Path) -> Result<Url, String> {
    Url::from_directory_path(path).map_err(|()| format!("{} is not an absolute path", path.display()))
}
