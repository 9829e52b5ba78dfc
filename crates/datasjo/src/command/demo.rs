//! The demo town on one machine: its broker, its devices, its road counters' service, and a lake that takes it all in.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use datasjo_sources::State;
use datasjo_town::{Broker, Endpoints, Pace, Progress, Town, TownConfig, VirtualClock, served};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::args::Demo;
use crate::config;
use crate::instance::Instance;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// How often, and how long at most, a stopping town looks whether its messages have arrived.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LAST_MESSAGES: Duration = Duration::from_secs(10);
/// Longest wait at the start for every feed to listen.
const FEEDS_UP: Duration = Duration::from_secs(20);

/// A history up to this long has the fine step of the clock.
const SHORT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Steps of the town's clock while the past is sent: what was sent is received at most so much later. Each step costs a pause
/// of some milliseconds, until the journal is synced and says so. Two minutes are what a car park's sign may be late, and a week
/// of them costs about a minute; over months, where leaks are what one looks for, ten minutes are fine enough.
const FINE_STEP: SignedDuration = SignedDuration::from_mins(2);
const COARSE_STEP: SignedDuration = SignedDuration::from_mins(10);

/// Starts the town, or goes on with the one in the directory.
pub(crate) async fn run(args: Demo) -> anyhow::Result<bool> {
    crate::log::start(config::LogFormat::Text);
    let dir = std::path::absolute(&args.dir)?;
    std::fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    let life = Life::of(&args, &dir)?;
    let town = Arc::new(Town::new(TownConfig { seed: life.seed, start: life.start })?);
    let clock = VirtualClock::at(life.from);
    let cancel = CancellationToken::new();
    let broker = Broker::start(LOOPBACK).await?;
    let roads = served::serve(town.clone(), clock.clone(), LOOPBACK, cancel.clone()).await?;
    let token = write_config(&dir, args.port, &town, broker.addr(), roads)?;
    let config = config::load(&dir.join("config"))?;
    // What is received is received in the town's time, and that is the time of its products.
    let town_time = clock.clone();
    datasjo_sources::set_clock(move || town_time.now().as_microsecond());
    let instance = Instance::start(&config).await?;
    let push = instance.push.context("the demo's configuration has no push listener")?;
    greet(&args, &dir, &instance, broker.addr());
    all_listen(&instance).await;
    let sender = Sender {
        town: town.clone(),
        clock,
        dir: dir.clone(),
        cancel: cancel.clone(),
        endpoints: Endpoints {
            mqtt: broker.addr(),
            push_url: format!("http://{push}"),
            push_token: token,
            http: client()?,
            taken: Some(broker.taken()),
        },
    };
    let living = tokio::spawn(sender.live(life.from, life.now, args.speed));
    super::until_stopped(args.run_for).await?;
    eprintln!("stopping: what is visible is committed first; the same command goes on from here");
    cancel.cancel();
    let sent = living.await??;
    let pulled = |feed: &config::Feed| matches!(feed.source, config::SourceConfig::Poll(_));
    let sent_to: Vec<_> = config.feeds.iter().filter(|f| !pulled(f)).map(|f| f.name.clone()).collect();
    all_arrived(&instance, &sent_to, sent.acknowledged).await;
    instance.stop().await?;
    broker.stop().await;
    // Everything before this instant is acknowledged, so the lake holds all of it.
    town.truth(life.start, sent.reached).write(&dir)?;
    println!("sent until {}; what is true of it stands in {}", sent.reached, dir.join("truth").display());
    Ok(true)
}

/// What is published before a feed has subscribed reaches nobody.
async fn all_listen(instance: &Instance) {
    let all_up = || instance.ingest.health().iter().all(|(_, health)| health.report().state == State::Up);
    let all = async {
        while !all_up() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(FEEDS_UP, all).await.is_err() {
        eprintln!("some feeds do not listen yet; /healthz says which");
    }
}

/// What the broker acknowledged may still be with it, and this broker forgets when it stops.
async fn all_arrived(instance: &Instance, feeds: &[Arc<str>], acknowledged: u64) {
    let arrived = || -> u64 {
        let health = instance.ingest.health();
        health.iter().filter(|(name, _)| feeds.contains(name)).map(|(_, health)| health.report().deliveries).sum()
    };
    let all = async {
        while arrived() < acknowledged {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    if tokio::time::timeout(LAST_MESSAGES, all).await.is_err() {
        eprintln!("{} messages are still with the broker and go with it", acknowledged - arrived());
    }
}

/// Which town, and which part of its life comes next.
struct Life {
    seed: u64,
    start: Timestamp,
    /// Where the run before got to.
    from: Timestamp,
    now: Timestamp,
}

impl Life {
    fn of(args: &Demo, dir: &Path) -> anyhow::Result<Self> {
        let now = Timestamp::now();
        if let Some(before) = datasjo_town::run::reached(dir)? {
            eprintln!("going on from {} with the town of seed {}", before.reached, before.seed);
            return Ok(Self { seed: before.seed, start: before.start, from: before.reached, now });
        }
        // A town begins on the hour.
        let begin = now.checked_sub(args.history)?.as_second();
        let start = Timestamp::from_second(begin - begin.rem_euclid(3_600))?;
        Ok(Self { seed: args.seed, start, from: start, now })
    }
}

/// Writes the demo's configuration and its push token, and returns the token.
fn write_config(dir: &Path, port: u16, town: &Town, mqtt: SocketAddr, roads: SocketAddr) -> anyhow::Result<String> {
    let config = dir.join("config");
    for folder in ["feeds", "reference"] {
        std::fs::create_dir_all(config.join(folder))?;
    }
    let token_path = dir.join("push-token");
    let token = match std::fs::read_to_string(&token_path) {
        Ok(token) => token,
        Err(_) => {
            let token = random_token();
            write_private(&token_path, &token)?;
            token
        }
    };
    let instance =
        format!("data_dir = \"../data\"\n\n[sql]\nlisten = \"127.0.0.1:{port}\"\n\n[push]\nlisten = \"127.0.0.1:0\"\n");
    std::fs::write(config.join("datasjo.toml"), instance)?;
    for (name, text) in datasjo_town::config::feed_files() {
        let text = datasjo_town::config::fill(&text, mqtt, roads, &token_path);
        std::fs::write(config.join("feeds").join(format!("{name}.toml")), text)?;
    }
    for (name, text) in datasjo_town::config::reference_files(town) {
        std::fs::write(config.join("reference").join(format!("{name}.csv")), text)?;
    }
    Ok(token)
}

/// 128 bits from the operating system, by way of the hasher's keys.
fn random_token() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let draw = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", draw(), draw())
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

fn client() -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().build()?)
}

fn greet(args: &Demo, dir: &Path, instance: &Instance, broker: SocketAddr) {
    let url = format!("http://{}", instance.sql);
    println!(
        "A small Molde is running (seed {}, {}x). Ctrl-C stops it cleanly; the same command goes on.",
        args.seed, args.speed
    );
    println!("  broker          mqtt://{broker}");
    println!("  SQL             {url}/v1/sql");
    println!("  health          {url}/healthz");
    println!("  tables          {}", dir.join("data/lake").display());
    println!("  configuration   {}", dir.join("config").display());
    println!("Try:");
    println!(
        "  datasjo query --url {url} \"SELECT feed, sum(received) AS received, sum(committed) AS committed, sum(duplicate) AS duplicate, sum(rejected) AS rejected, sum(in_flight) AS in_flight FROM ledger GROUP BY feed ORDER BY feed\""
    );
    println!("  datasjo query --url {url} \"{FREE_SPACES}\"");
    println!("  datasjo query --url {url} \"{OPEN_LEAKS}\"");
    println!("  datasjo query --url {url} \"{WARNINGS}\"");
    println!("  curl '{url}/v1/sql?format=csv' -d 'SELECT * FROM river ORDER BY observed_at DESC LIMIT 5'");
    println!("When it is stopped:");
    println!("  datasjo --config {} alerts", dir.join("config").display());
}

/// What the signs show.
const FREE_SPACES: &str = "SELECT lot, observed_at, shown, free_low, free_high, go_to, go_to_free FROM parking_free \
                           ORDER BY observed_at DESC, lot LIMIT 3";
/// Leaks that are open on the newest day; it takes a history of a month to know what is usual (--history 35d).
const OPEN_LEAKS: &str = "SELECT zone_id, part, level, class, started_at, size_lps, cost_nok_per_week FROM leak_alerts \
                          WHERE level > 0 AND observed_at = (SELECT max(observed_at) FROM leak_alerts)";
/// When the river was expected to reach a threshold.
const WARNINGS: &str = "SELECT observed_at, class, discharge_m3_per_s, expected_m3_per_s, expected_peak_at FROM flood_warnings \
                        WHERE level > 0 ORDER BY observed_at DESC LIMIT 5";

struct Sender {
    town: Arc<Town>,
    clock: VirtualClock,
    dir: PathBuf,
    cancel: CancellationToken,
    endpoints: Endpoints,
}

impl Sender {
    /// Sends the past as fast as it is taken, with a bar, then lives on at `speed`.
    async fn live(self, from: Timestamp, now: Timestamp, speed: f64) -> anyhow::Result<Progress> {
        // After a run at a multiple of our time the town is ahead of us, and there is no past to send.
        let until = now.max(from);
        let step = if until.duration_since(from) <= SHORT { FINE_STEP } else { COARSE_STEP };
        let past = Pace { from, until: Some(until), speed: 0.0, step: Some(step) };
        let bar = bar(from, now);
        let mut sent = self.send(past, |p| show(&bar, from, p)).await?;
        bar.finish_and_clear();
        if !self.cancel.is_cancelled() {
            println!("the past is sent: {} messages acknowledged, {} refused; now live", sent.acknowledged, sent.refused);
            // At speed 0 life goes on as fast as the past did.
            let step = (speed <= 0.0).then_some(COARSE_STEP);
            let live = Pace { from: sent.reached, until: None, speed, step };
            let past = sent.acknowledged;
            sent = self.send(live, |_| {}).await?;
            sent.acknowledged += past;
        }
        Ok(sent)
    }

    async fn send(&self, pace: Pace, progress: impl FnMut(&Progress) + Send) -> anyhow::Result<Progress> {
        Ok(datasjo_town::run(&self.town, &self.endpoints, pace, &self.dir, &self.clock, &self.cancel, progress).await?)
    }
}

fn bar(from: Timestamp, now: Timestamp) -> ProgressBar {
    let hours = (now.as_second() - from.as_second()).max(0) as u64 / 3600;
    let bar = ProgressBar::new(hours);
    if let Ok(style) = ProgressStyle::with_template("the past {bar:40} {pos}/{len} h  {eta} left  {msg}") {
        bar.set_style(style);
    }
    bar
}

fn show(bar: &ProgressBar, from: Timestamp, progress: &Progress) {
    bar.set_position((progress.reached.as_second() - from.as_second()).max(0) as u64 / 3600);
    bar.set_message(format!("{} messages", progress.acknowledged));
}
