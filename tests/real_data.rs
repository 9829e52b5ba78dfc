//! Recordings of real devices, rivers and roads through the real program, by the feeds of `config/examples`. What must come out
//! is computed here from the same files by simpler means. The recordings are not part of the repository: without them the
//! tests say so and end.

mod flood;
mod parking;
mod traffic;
mod water;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::datasjo::Datasjo;

/// Names the directory of the recordings.
const VARIABLE: &str = "DATASJO_SHARED";
/// Sums may be added up in another order.
const TOLERANCE: f64 = 1e-9;

/// The recordings of one kind, if they are there.
fn recordings(kind: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let directory = std::env::var_os(VARIABLE).map_or(beside, PathBuf::from).join(kind);
    if !directory.is_dir() {
        println!("no recordings in {}: set {VARIABLE} to the directory that holds {kind}/", directory.display());
        return None;
    }
    Some(directory)
}

/// The text of a file, unpacked if it is gzip.
fn text(file: &Path) -> String {
    if file.extension().is_none_or(|extension| extension != "gz") {
        return fs::read_to_string(file).unwrap();
    }
    let unpacked = Command::new("gzip").arg("-dc").arg(file).output().unwrap();
    assert!(unpacked.status.success(), "unpack {}", file.display());
    String::from_utf8(unpacked.stdout).unwrap()
}

/// A CSV file without quotes: the place of each column, and the lines.
struct Csv {
    columns: HashMap<String, usize>,
    lines: Vec<Vec<String>>,
}

impl Csv {
    fn read(file: &Path) -> Self {
        let text = text(file);
        let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<String>>());
        let columns = lines.next().unwrap().into_iter().zip(0..).collect();
        Self { columns, lines: lines.collect() }
    }

    fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    fn cell<'l>(&self, line: &'l [String], column: &str) -> &'l str {
        &line[self.columns[column]]
    }

    /// The number in a cell; `None` if the cell is empty or the file has no such column.
    fn number(&self, line: &[String], column: &str) -> Option<f64> {
        let cell = line.get(*self.columns.get(column)?)?;
        (!cell.is_empty()).then(|| cell.parse().unwrap())
    }
}

/// What `datasjo ingest` says it did.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    rows: u64,
    duplicates: u64,
    rejects: u64,
}

/// The same by simpler means: records by key, with the newest values.
struct Tally<V> {
    newest: BTreeMap<String, V>,
    rows: u64,
    duplicates: u64,
    rejects: u64,
}

impl<V: PartialEq> Tally<V> {
    fn new() -> Self {
        Self { newest: BTreeMap::new(), rows: 0, duplicates: 0, rejects: 0 }
    }

    fn take(&mut self, key: String, value: V) {
        let is_duplicate = self.newest.get(&key) == Some(&value);
        self.newest.insert(key, value);
        self.rows += u64::from(!is_duplicate);
        self.duplicates += u64::from(is_duplicate);
    }

    fn told(&self) -> Told {
        Told { rows: self.rows, duplicates: self.duplicates, rejects: self.rejects }
    }
}

/// Figures by name: how many values, their sum, the largest.
struct Figures(BTreeMap<String, [f64; 3]>);

impl Figures {
    fn of(values: impl IntoIterator<Item = (String, f64)>) -> Self {
        let mut figures = BTreeMap::new();
        for (name, value) in values {
            let [count, sum, largest] = figures.entry(name).or_insert([0.0, 0.0, f64::MIN]);
            *count += 1.0;
            *sum += value;
            *largest = largest.max(value);
        }
        Self(figures)
    }

    /// Counts alone.
    fn counts(names: impl IntoIterator<Item = String>) -> Self {
        Self::of(names.into_iter().map(|name| (name, 0.0)))
    }

    fn assert_same(&self, expected: &Self, what: &str) {
        assert!(!expected.0.is_empty(), "{what}: nothing was expected");
        let names = |figures: &Self| figures.0.keys().cloned().collect::<Vec<String>>();
        assert_eq!(names(self), names(expected), "{what}");
        for (name, wanted) in &expected.0 {
            let found = &self.0[name];
            let near = found.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= TOLERANCE * a.abs().max(1.0));
            assert!(near, "{what}, {name}: {found:?} instead of {wanted:?}");
        }
    }
}

/// An instance of its own with feeds of `config/examples`.
struct Town {
    dir: TempDir,
    datasjo: Datasjo,
    is_running: bool,
}

impl Town {
    /// With the feeds whose names begin with one of `prefixes`.
    fn new(prefixes: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/examples");
        for sub in ["feeds", "reference"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
            for file in fs::read_dir(examples.join(sub)).unwrap() {
                let file = file.unwrap();
                let name = file.file_name().into_string().unwrap();
                if sub == "reference" || prefixes.iter().any(|prefix| name.starts_with(prefix)) {
                    fs::copy(file.path(), dir.path().join(sub).join(name)).unwrap();
                }
            }
        }
        let datasjo = Datasjo::new(dir.path());
        Self { dir, datasjo, is_running: false }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).unwrap();
    }

    /// Starts it and waits until every source is up.
    async fn start(&mut self) {
        self.datasjo.start().await;
        self.datasjo.sources_up().await;
        self.is_running = true;
    }

    /// Runs a command that ends by itself.
    fn command(&self, args: &[&str], files: &[PathBuf]) -> Output {
        let test = std::env::current_exe().unwrap();
        let program = test.parent().and_then(Path::parent).unwrap().join("datasjo");
        let mut command = Command::new(program);
        command.arg("--config").arg(self.dir.path()).args(args).args(files).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    fn ingest(&self, feed: &str, files: &[PathBuf]) -> Told {
        let output = self.command(&["ingest", "--json", feed], files);
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let count = |name: &str| told[name].as_u64().unwrap();
        Told { rows: count("rows"), duplicates: count("duplicates"), rejects: count("rejects") }
    }

    async fn ask(&self, sql: &str) -> Vec<Value> {
        if self.is_running { self.datasjo.sql(sql).await } else { self.datasjo.query(sql).await }
    }

    /// Count, sum and largest of `value` for each `name`, of the rows that `rest` (from FROM on) gives.
    async fn figures(&self, name: &str, value: &str, rest: &str) -> Figures {
        let sql =
            format!("SELECT {name} AS name, count({value}) AS n, sum({value}) AS total, max({value}) AS top {rest} GROUP BY 1");
        let mut figures = BTreeMap::new();
        for line in self.ask(&sql).await {
            let number = |column: &str| line[column].as_f64().unwrap();
            figures.insert(line["name"].as_str().unwrap().to_owned(), [number("n"), number("total"), number("top")]);
        }
        Figures(figures)
    }

    /// How many rows there are for each `name`.
    async fn counts(&self, name: &str, rest: &str) -> Figures {
        self.figures(name, "0.0", rest).await
    }

    /// Rejects by code.
    async fn rejects(&self, feed: &str) -> Vec<(String, u64)> {
        let sql = format!("SELECT code, count(*) AS n FROM rejects WHERE feed = '{feed}' GROUP BY code ORDER BY code");
        let lines = self.ask(&sql).await;
        lines.iter().map(|line| (line["code"].as_str().unwrap().to_owned(), line["n"].as_u64().unwrap())).collect()
    }
}
