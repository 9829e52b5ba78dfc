//! The running program: journal, lake, sources, pump and door, opened in that order and closed in the other.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use datasjo_ingest::{Feed, FlushOptions, Ingest, JournalCursors, start_seq};
use datasjo_journal::{Journal, Limits};
use datasjo_lake::{Lake, Memory, Root};
use datasjo_pipeline::{ALERT_FEED, Engine, Planned, Runner, Statuses, alert_history, feed_name};
use datasjo_serve::http::{self, Door};
use datasjo_serve::query::{self, Queries};
use datasjo_sources::file::FileSource;
use datasjo_sources::mqtt::MqttSource;
use datasjo_sources::poll::PollSource;
use datasjo_sources::push::Listener;
use datasjo_sources::{Cursors, Source};
use datasjo_state::State;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, SourceConfig};

/// Longest wait for requests under way when the program stops.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

/// Longest wait for a product under way when the program stops.
const LAST_RUN: Duration = Duration::from_secs(5);

/// The one crypto provider of every TLS connection in the process.
pub(crate) fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Where things are.
pub(crate) fn journal_path(config: &Config) -> PathBuf {
    config.data_dir.join("journal.redb")
}

/// The lake for the process that writes it: what is not there is made.
async fn open_lake(config: &Config) -> anyhow::Result<Lake> {
    let lake = Lake::open(Root::from_url(config.lake.url.as_str())?, &config.definitions(), memory(config)).await?;
    with_references(lake, config)
}

/// The lake for commands that only read, also beside a running instance: nothing is made or changed.
pub(crate) async fn open_lake_to_read(config: &Config) -> anyhow::Result<Lake> {
    let lake = Lake::open_to_read(Root::to_read(config.lake.url.as_str())?, &config.definitions(), memory(config)).await?;
    with_references(lake, config)
}

fn memory(config: &Config) -> Memory {
    Memory { query_bytes: config.memory.query_bytes, ..Memory::default() }
}

fn with_references(lake: Lake, config: &Config) -> anyhow::Result<Lake> {
    for reference in &config.reference {
        lake.load_reference(&reference.name, &reference.path)?;
    }
    Ok(lake)
}

/// Journal and lake, fitting each other.
pub(crate) async fn open_store(config: &Config) -> anyhow::Result<(Arc<Journal>, Arc<Lake>)> {
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("make the data directory {}", config.data_dir.display()))?;
    let path = journal_path(config);
    let mut journal = open_journal(config, &path)?;
    look_over(config).await?;
    let lake = open_lake(config).await?;
    let held = start_seq(&lake, journal.id()).await?;
    if held > *journal.synced().borrow() {
        let aside = path.with_extension(format!("older-{}.redb", datasjo_sources::now_us()));
        tracing::warn!(path = %aside.display(), "the journal is an older copy than the lake; it is set aside, all it holds is committed");
        journal.close();
        std::fs::rename(&path, &aside).with_context(|| format!("set {} aside", path.display()))?;
        journal = open_journal(config, &path)?;
    }
    Ok((Arc::new(journal), Arc::new(lake)))
}

/// With the journal held, nobody else writes the lake.
async fn look_over(config: &Config) -> anyhow::Result<()> {
    for found in Lake::recover(&Root::from_url(config.lake.url.as_str())?, &config.definitions()).await? {
        tracing::warn!(table = found.table, path = %found.path.display(), reason = found.reason, "damaged and out of the way; what the journal still has comes again");
    }
    Ok(())
}

fn open_journal(config: &Config, path: &Path) -> anyhow::Result<Journal> {
    let limits = Limits { max_bytes: config.journal.max_bytes, ..Limits::default() };
    let journal = Journal::open(path, limits).context("another datasjo may be running on this data directory")?;
    if let Some(aside) = journal.set_aside() {
        tracing::warn!(path = %aside.path.display(), reason = aside.reason, "the journal was damaged; it is set aside and a new one begun");
    }
    Ok(journal)
}

pub(crate) fn flush_options(config: &Config) -> FlushOptions {
    FlushOptions { every: config.flush.every, rows: config.flush.rows, ..FlushOptions::default() }
}

/// The decoding half of every feed.
pub(crate) fn feeds(config: &Config) -> Vec<Feed> {
    let feed =
        |f: &crate::config::Feed| Feed { name: f.name.clone(), decoder: f.decoder.clone(), config_hash: f.config_hash.clone() };
    config.feeds.iter().map(feed).collect()
}

/// The feeds of products and of alerts: what they say goes the way of everything that arrives.
pub(crate) fn product_feeds(config: &Config) -> anyhow::Result<Vec<Feed>> {
    let feed = |name: String, decoder, config_hash| Feed { name: name.into(), decoder, config_hash };
    let of_product = |p: &Arc<Planned>| feed(feed_name(p.product.name()), p.decoder.clone(), p.product.hash.clone());
    let mut feeds: Vec<Feed> = config.products.products.iter().map(of_product).collect();
    let (_, decoder) = alert_history().map_err(anyhow::Error::msg)?;
    feeds.push(feed(ALERT_FEED.to_owned(), decoder, String::new()));
    Ok(feeds)
}

/// Where signs, alerts and marks of products are kept.
pub(crate) fn state_path(config: &Config) -> PathBuf {
    config.data_dir.join("state.redb")
}

fn open_state(config: &Config) -> anyhow::Result<State> {
    let state = State::open(&state_path(config))?;
    if let Some(aside) = state.set_aside() {
        tracing::warn!(path = %aside.path.display(), reason = aside.reason, "the state was damaged; it is set aside, and alerts and signs are made anew");
    }
    Ok(state)
}

/// A running instance.
pub(crate) struct Instance {
    pub sql: SocketAddr,
    pub push: Option<SocketAddr>,
    pub ingest: Ingest,
    stop_engine: CancellationToken,
    engine: JoinHandle<()>,
    stop_doors: CancellationToken,
    doors: Vec<JoinHandle<()>>,
}

impl Instance {
    /// Opens everything; the addresses are bound when this returns. Nothing is left half started after an error.
    pub async fn start(config: &Config) -> anyhow::Result<Self> {
        let door = http::bind(config.sql.listen).await.with_context(|| format!("listen on {} for SQL", config.sql.listen))?;
        let sql = door.local_addr()?;
        let (journal, lake) = open_store(config).await?;
        let cursors: Arc<dyn Cursors> = Arc::new(JournalCursors(journal.clone()));
        let (sources, listener) = sources(config, &cursors)?;
        let journal_failure = journal.failure();
        let queries = Queries::new(lake.clone(), query::Limits::default()).context("start the threads of the queries")?;
        let all_feeds = feeds(config).into_iter().chain(product_feeds(config)?).collect();
        let state = open_state(config)?;
        let ingest = Ingest::start(journal.clone(), lake.clone(), all_feeds, sources, flush_options(config), true).await?;
        let runner = Runner::new(lake.clone(), journal.clone(), ingest.progress(), &config.products);
        let engine = Engine::new(lake, journal, state, config.products.clone(), runner, datasjo_sources::now_us);
        let statuses = engine.statuses();
        let stop_engine = CancellationToken::new();
        let engine = tokio::spawn(engine.run(stop_engine.clone()));
        let stop_doors = CancellationToken::new();
        let mut doors = Vec::new();
        let push = listener.as_ref().map(Listener::local_addr);
        if let Some(listener) = listener {
            let stop = stop_doors.clone();
            doors.push(tokio::spawn(async move {
                if let Err(error) = listener.run(stop).await {
                    tracing::error!(%error, "the push listener ended");
                }
            }));
        }
        let token = config.sql.token.as_ref().map(|t| Arc::from(t.reveal()));
        let pipelines = move || as_json(&statuses);
        let pipelines: Option<Arc<dyn Fn() -> serde_json::Value + Send + Sync>> = Some(Arc::new(pipelines));
        let state =
            Door { pipelines, queries, progress: ingest.progress(), health: Arc::new(ingest.health()), journal_failure, token };
        let stop = stop_doors.clone();
        doors.push(tokio::spawn(async move {
            if let Err(error) = http::serve(door, state, stop).await {
                tracing::error!(%error, "the SQL door ended");
            }
        }));
        Ok(Self { sql, push, ingest, stop_engine, engine, stop_doors, doors })
    }

    /// Products first, then sources, then what is visible is committed, then the doors.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop_engine.cancel();
        if tokio::time::timeout(LAST_RUN, self.engine).await.is_err() {
            tracing::warn!("a product is left in the middle of a run; it is run again at the next start");
        }
        let ended = self.ingest.stop().await;
        self.stop_doors.cancel();
        for door in self.doors {
            let _ = tokio::time::timeout(LAST_REQUESTS, door).await;
        }
        Ok(ended?)
    }
}

fn as_json(statuses: &Statuses) -> serde_json::Value {
    let statuses = statuses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    serde_json::to_value(&*statuses).unwrap_or_default()
}

type Named = (Arc<str>, Box<dyn Source>);

fn sources(config: &Config, cursors: &Arc<dyn Cursors>) -> anyhow::Result<(Vec<Named>, Option<Listener>)> {
    let mut listener = match &config.push {
        Some(listen) => Some(Listener::bind(listen.clone()).context("listen for pushed deliveries")?),
        None => None,
    };
    let mut sources = Vec::new();
    for feed in &config.feeds {
        let source =
            source(&feed.name, &feed.source, cursors, &mut listener).with_context(|| format!("start feed {}", feed.name))?;
        sources.push((feed.name.clone(), source));
    }
    Ok((sources, listener))
}

fn source(
    name: &Arc<str>,
    source: &SourceConfig,
    cursors: &Arc<dyn Cursors>,
    listener: &mut Option<Listener>,
) -> anyhow::Result<Box<dyn Source>> {
    Ok(match source {
        SourceConfig::Mqtt(mqtt) => {
            let key = format!("topics/{name}");
            let stored = cursors.load(&key).ok().flatten().unwrap_or_default();
            let previous: Vec<String> = serde_json::from_slice(&stored).unwrap_or_default();
            if previous != mqtt.topics {
                let topics = serde_json::to_vec(&mqtt.topics)?;
                cursors.store(&key, &topics).map_err(anyhow::Error::from_boxed)?;
            }
            Box::new(MqttSource::new(name, mqtt.clone())?.with_previous_topics(previous))
        }
        SourceConfig::Poll(poll) => Box::new(PollSource::new(name.clone(), poll.clone(), cursors.clone())?),
        SourceConfig::File(file) => Box::new(FileSource::new(name.clone(), file.clone(), cursors.clone())?),
        SourceConfig::Push(push) => {
            let listener = listener.as_mut().context("a push feed needs [push] in datasjo.toml")?;
            Box::new(listener.source(name.clone(), push.clone())?)
        }
    })
}
