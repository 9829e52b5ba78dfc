//! The demo town shows what the products are for: the program's own demo runs a month of it as fast as it is taken, and what
//! the products said is compared with what is true of the town: a car park that filled, a flood, a leak.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use datasjo_town::model::RIVER;
use datasjo_town::{Town, TownConfig};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// Ahead of our time, so that the demo has no past to send and every run sends the same.
const START: &str = "2035-05-07T00:00:00Z";
const SEED: u64 = 7;
/// Two matches and a storm.
const FIRST_DAYS: i64 = 4;
/// The leak on the college's pipes begins on day 28; it is judged the mornings after, and three days raise it.
const ALL_DAYS: i64 = 33;
/// A month of a town on two busy cores.
const GUARD: Duration = Duration::from_secs(30 * 60);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// What is sent is received in steps of ten minutes, and a sign holds its state for two.
const SIGN_MAY_LAG: SignedDuration = SignedDuration::from_mins(20);
/// In time of free traffic a lot's estimate may be a few vehicles off.
const SIGN_MAY_LEAD: SignedDuration = SignedDuration::from_mins(30);

#[tokio::test]
async fn the_demo_town_shows_its_full_stadium_its_flood_and_its_leak() {
    let town = Town::new(TownConfig { seed: SEED, start: START.parse().unwrap() }).unwrap();
    let mut demo = Demo::start().await;

    let until = day(FIRST_DAYS);
    demo.answers_until(&["parking_free", "flood_warnings"], until).await;
    the_stadium_is_full_when_it_is_and_guides_on(&demo, &town, until).await;
    the_river_rises_three_hours_after_the_rain(&demo, until).await;
    the_flood_is_warned_of(&demo, &town, until).await;

    let until = day(ALL_DAYS);
    demo.answers_until(&["leak_alerts"], until).await;
    the_leak_is_one_alert_with_its_start_and_size(&mut demo, &town, until).await;
    demo.terminate().await;
}

async fn the_stadium_is_full_when_it_is_and_guides_on(demo: &Demo, town: &Town, until: Timestamp) {
    let mut full = town.full(day(0), until);
    full.retain(|full| full.lot == "aker-stadion");
    assert!(full.len() >= 2, "{full:?}");
    let mut elsewhere = String::new();
    for one in &full {
        let (from, to) = (one.from + SIGN_MAY_LAG, one.until - SIGN_MAY_LAG);
        let told = demo.row(&signs(&format!("observed_at BETWEEN {} AND {}", instant(from), instant(to)))).await;
        assert!(number(&told, "minutes") >= 40, "{told} of {one:?}");
        assert!(10 * number(&told, "said_full") >= 9 * number(&told, "minutes"), "{told} of {one:?}");
        assert_eq!(number(&told, "guided"), number(&told, "said_full"), "{told} of {one:?}");
        let (from, to) = (one.from - SIGN_MAY_LEAD, one.until + SIGN_MAY_LEAD);
        elsewhere += &format!(" AND NOT observed_at BETWEEN {} AND {}", instant(from), instant(to));
    }
    let told = demo.row(&signs(&format!("observed_at <= {}{elsewhere}", instant(until)))).await;
    assert!(number(&told, "minutes") > 3 * 1_440, "{told}");
    assert_eq!(number(&told, "said_full"), 0, "FULL when it was not: {told}");
}

/// Minutes of the stadium's sign, those that said FULL, and those of them that named another car park.
fn signs(when: &str) -> String {
    format!(
        "SELECT count(*) AS minutes, count(*) FILTER (WHERE state = 'FULL') AS said_full, \
         count(*) FILTER (WHERE state = 'FULL' AND go_to IN ('sentrum', 'traffhuset') AND go_to_free > 0) AS guided \
         FROM parking_free WHERE lot = 'aker-stadion' AND {when}"
    )
}

async fn the_river_rises_three_hours_after_the_rain(demo: &Demo, until: Timestamp) {
    let until = instant(until);
    let sql = format!(
        "WITH rain AS (
            SELECT CAST(date_part('epoch', observed_at) AS BIGINT) / 600 AS slot, avg(rain_mm) AS rain_mm
            FROM precipitation WHERE observed_at <= {until} GROUP BY observed_at
        ), stage AS (
            SELECT CAST(date_part('epoch', observed_at) AS BIGINT) / 600 AS slot, stage_cm
            FROM river WHERE observed_at <= {until}
        ), lags AS (SELECT unnest(range(0, 49)) AS steps)
        SELECT l.steps * 10 AS lag_min, corr(r.rain_mm, s.stage_cm) AS likeness
        FROM lags l CROSS JOIN rain r JOIN stage s ON s.slot = r.slot + l.steps
        GROUP BY l.steps ORDER BY likeness DESC LIMIT 1"
    );
    let best = demo.row(&sql).await;
    assert!((150..=240).contains(&number(&best, "lag_min")), "{best}");
    assert!(best["likeness"].as_f64().unwrap() > 0.7, "{best}");
}

async fn the_flood_is_warned_of(demo: &Demo, town: &Town, until: Timestamp) {
    let ticks = (0..FIRST_DAYS * 144).map(|tick| day(0) + SignedDuration::from_mins(10 * tick));
    let highest = ticks.map(|at| town.stage_cm(at)).fold(0.0, f64::max);
    assert!(highest > f64::from(RIVER.thresholds_cm[2]), "{highest} cm is no red flood");
    let sql = format!("SELECT max(level) AS level FROM flood_warnings WHERE observed_at <= {}", instant(until));
    assert_eq!(number(&demo.row(&sql).await, "level"), 3);
}

async fn the_leak_is_one_alert_with_its_start_and_size(demo: &mut Demo, town: &Town, until: Timestamp) {
    let planted = town.faults(day(0), until);
    let planted = planted.iter().find(|fault| fault.kind.is_leak() && fault.what == "hogskolen").unwrap();
    let raised = format!(
        "SELECT count(DISTINCT alert_id) AS alerts, min(\"key\") AS alert_key FROM alert_history \
         WHERE product = 'leak_alerts' AND transition = 'raised' AND \"key\" LIKE 'zone_id=hogskolen%' AND observed_at <= {}",
        instant(until)
    );
    // The history of alerts is written after the rows that raise them.
    demo.until_true("an alert in alert_history", async |demo: &Demo| number(&demo.row(&raised).await, "alerts") > 0).await;
    assert_eq!(demo.row(&raised).await, json!({ "alerts": 1, "alert_key": "zone_id=hogskolen/part=pipes" }));

    let sql = format!(
        "SELECT CAST(date_part('epoch', min(started_at)) AS BIGINT) AS started_s, max(size_lps) AS size_lps FROM leak_alerts \
         WHERE zone_id = 'hogskolen' AND part = 'pipes' AND level > 0 AND observed_at <= {}",
        instant(until)
    );
    let alert = demo.row(&sql).await;
    let off_h = (number(&alert, "started_s") - planted.from.as_second()).abs() / 3_600;
    assert!(off_h <= 72, "{alert} starts {off_h} h off {planted:?}");
    let size = alert["size_lps"].as_f64().unwrap();
    assert!((planted.size / 2.0..planted.size * 2.0).contains(&size), "{alert} of {planted:?}");
}

fn day(number: i64) -> Timestamp {
    START.parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * number)
}

/// An instant as SQL.
fn instant(at: Timestamp) -> String {
    format!("TIMESTAMP '{at}'")
}

fn number(row: &Value, column: &str) -> i64 {
    row[column].as_i64().unwrap_or_else(|| panic!("{column} is no number in {row}"))
}

/// The demo of the program, in a directory of its own.
struct Demo {
    dir: TempDir,
    http: reqwest::Client,
    child: Child,
    /// Kept open, so that the program can write to it.
    _out: Lines<BufReader<ChildStdout>>,
    /// `http://127.0.0.1:port`.
    url: String,
}

impl Demo {
    /// Starts it and waits until it says where SQL is answered.
    async fn start() -> Self {
        let _ = rumqttc::tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let dir = tempfile::tempdir().unwrap();
        let state = json!({ "seed": SEED, "start": START, "reached": START });
        std::fs::write(dir.path().join("town-state.json"), state.to_string()).unwrap();
        let log = std::fs::File::create(dir.path().join("demo.log")).unwrap();
        let mut child = Command::new(program())
            .args(["demo", "--port", "0", "--speed", "0", "--dir"])
            .arg(dir.path())
            .env_remove("DATASJO_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(log))
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|e| panic!("start {}: {e}; build it first", program().display()));
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = timeout(GUARD, async {
            while let Some(line) = out.next_line().await.unwrap() {
                if let Some(url) = line.split_whitespace().find_map(|word| word.strip_suffix("/v1/sql")) {
                    return Some(url.to_owned());
                }
            }
            None
        });
        let url = said.await.expect("it never says where SQL is answered");
        let url = url.unwrap_or_else(|| panic!("it ends at once:\n{}", log_in(dir.path())));
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().unwrap();
        Self { dir, http, child, _out: out, url }
    }

    /// Waits until products have answered every tick up to an instant. One that stands still fails the test at once.
    async fn answers_until(&mut self, products: &[&str], until: Timestamp) {
        let what = format!("{products:?} up to {until}");
        let answered = async |demo: &Demo| {
            let statuses = demo.pipelines().await;
            let answered = |product: &&str| {
                let status = &statuses[*product];
                assert!(status["failure"].is_null(), "{product}: {status}\n{}", log_in(demo.dir.path()));
                status["answered_to_us"].as_i64().is_some_and(|us| us >= until.as_microsecond())
            };
            products.iter().all(answered)
        };
        self.until_true(&what, answered).await;
    }

    async fn pipelines(&self) -> Value {
        let answer = self.http.get(format!("{}/v1/pipelines", self.url)).send().await.unwrap();
        serde_json::from_str(&answer.text().await.unwrap()).unwrap()
    }

    /// Looks again and again until it is so; not after the demo has ended.
    async fn until_true(&mut self, what: &str, is_so: impl AsyncFn(&Demo) -> bool) {
        let all = async {
            while !is_so(&*self).await {
                let ended = self.child.try_wait().unwrap();
                assert!(ended.is_none(), "it ends with {ended:?}:\n{}", log_in(self.dir.path()));
                sleep(LOOK_AGAIN).await;
            }
        };
        let done = timeout(GUARD, all).await;
        assert!(done.is_ok(), "never {what}: {}", self.pipelines().await);
    }

    /// The only row of an answer.
    async fn row(&self, sql: &str) -> Value {
        let request = self.http.post(format!("{}/v1/sql?format=json", self.url)).body(sql.to_owned());
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{sql}: {status} {text}");
        let mut rows: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(rows.len(), 1, "{sql}: {text}");
        rows.remove(0)
    }

    /// Lets it end in order (SIGTERM); it then writes what was true.
    async fn terminate(mut self) {
        let id = self.child.id().expect("it has ended by itself");
        let signalled = Command::new("sh").arg("-c").arg(format!("kill -TERM {id}")).status().await.unwrap();
        assert!(signalled.success());
        let ended = timeout(GUARD, self.child.wait()).await.expect("it does not end").unwrap();
        assert!(ended.success(), "it ends with {ended}:\n{}", log_in(self.dir.path()));
        let full = std::fs::read_to_string(self.dir.path().join("truth/full_car_parks.csv")).unwrap();
        assert!(full.lines().any(|line| line.starts_with("aker-stadion,")), "{full}");
    }
}

/// The end of what it wrote to its log.
fn log_in(dir: &Path) -> String {
    let text = std::fs::read_to_string(dir.join("demo.log")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// The program lies beside the directory of the test's own executable.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("datasjo")
}
