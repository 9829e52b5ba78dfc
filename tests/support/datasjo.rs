//! The real program: started with a configuration directory, asked over HTTP, killed as a power cut would, ended in order.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

/// What has not happened by then does not happen.
pub const GUARD: Duration = Duration::from_secs(60);
/// Between two looks at something that takes a while.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// An instance: its configuration directory, and the process while there is one.
pub struct Datasjo {
    config: PathBuf,
    http: reqwest::Client,
    running: Option<Running>,
}

struct Running {
    child: Child,
    /// Kept open, so that the program can write to it.
    _out: Lines<BufReader<ChildStdout>>,
    /// `http://127.0.0.1:port`.
    sql: String,
}

impl Datasjo {
    /// For a configuration directory; nothing is started.
    pub fn new(config: &Path) -> Self {
        let _ = rumqttc::tokio_rustls::rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(GUARD).build().unwrap();
        Self { config: config.to_owned(), http, running: None }
    }

    /// Starts it and waits for the line that says it is ready.
    pub async fn start(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let mut child = self
            .command()
            .arg("run")
            .stdout(Stdio::piped())
            .stderr(Stdio::from(OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap()))
            .spawn()
            .unwrap_or_else(|e| panic!("start {}: {e}; build it first", binary().display()));
        let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
        let line =
            timeout(GUARD, out.next_line()).await.unwrap_or_else(|_| panic!("it is never ready:\n{}", self.log())).unwrap();
        let line = line.unwrap_or_else(|| panic!("it ends instead of being ready:\n{}", self.log()));
        let sql = line.split_whitespace().find_map(|word| word.strip_prefix("sql="));
        let sql = sql.unwrap_or_else(|| panic!("{line:?} does not say where SQL is answered")).to_owned();
        self.running = Some(Running { child, _out: out, sql });
    }

    /// Kills it (SIGKILL).
    pub async fn kill(&mut self) {
        let mut running = self.running.take().expect("it does not run");
        running.child.kill().await.unwrap();
    }

    /// Lets it end in order (SIGTERM); it must end well and in time.
    pub async fn terminate(&mut self) {
        let mut running = self.running.take().expect("it does not run");
        let id = running.child.id().expect("it has ended by itself");
        let signalled = Command::new("sh").arg("-c").arg(format!("kill -TERM {id}")).status().await.unwrap();
        assert!(signalled.success());
        let ended = timeout(GUARD, running.child.wait()).await.expect("it does not end").unwrap();
        assert!(ended.success(), "it ends with {ended}:\n{}", self.log());
    }

    /// The answer of a running instance, row by row; an absent value is an absent key.
    pub async fn sql(&self, query: &str) -> Vec<Value> {
        let request = self.http.post(self.url("/v1/sql?format=json")).body(query.to_owned());
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{query}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }

    /// A plain metric of a running instance, without the prefix `datasjo_`.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.http.get(self.url("/metrics")).send().await.unwrap().text().await.unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("datasjo_")?.strip_prefix(name)?.strip_prefix(' '));
        let value = lines.map(|value| value.parse::<f64>().unwrap()).next();
        value.unwrap_or_else(|| panic!("there is no metric {name}")) as u64
    }

    /// Waits until a metric has come so far.
    pub async fn reaches(&self, name: &str, value: u64) {
        let reached = timeout(GUARD, async {
            while self.metric(name).await < value {
                sleep(LOOK_AGAIN).await;
            }
        });
        reached.await.unwrap_or_else(|_| panic!("{name} never reaches {value}:\n{}", self.log()));
    }

    /// Waits until every source is connected and subscribed.
    pub async fn sources_up(&self) {
        let up = timeout(GUARD, async {
            while !self.all_up().await {
                sleep(LOOK_AGAIN).await;
            }
        });
        up.await.unwrap_or_else(|_| panic!("a source is never up:\n{}", self.log()));
    }

    async fn all_up(&self) -> bool {
        let text = self.http.get(self.url("/healthz")).send().await.unwrap().text().await.unwrap();
        let health: Value = serde_json::from_str(&text).unwrap();
        health["feeds"].as_array().unwrap().iter().all(|feed| feed["state"] == "up")
    }

    /// The answer of the lake while nothing runs.
    pub async fn query(&self, query: &str) -> Vec<Value> {
        let output = self.output(&["query", "--format", "json", query]).await;
        assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Rows of a table at rest while nothing runs, revised ones included.
    pub async fn rows_at_rest(&self, table: &str) -> u64 {
        let output = self.output(&["tables", "--json"]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tables: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        tables.iter().find(|t| t["name"] == table).unwrap()["rows"].as_u64().unwrap()
    }

    /// What `doctor` finds while nothing runs.
    pub async fn doctor(&self) -> Vec<Value> {
        let output = self.output(&["doctor", "--json"]).await;
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    }

    /// What it wrote to its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.config.join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.config.join("datasjo.log")
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.as_ref().expect("it does not run").sql)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(binary());
        command.arg("--config").arg(&self.config).env_remove("DATASJO_LOG").stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    async fn output(&self, args: &[&str]) -> Output {
        assert!(self.running.is_none(), "stop it first");
        timeout(GUARD, self.command().args(args).output()).await.expect("the command does not end").unwrap()
    }
}

/// The program lies beside the directory of the test's own executable.
fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("datasjo")
}
