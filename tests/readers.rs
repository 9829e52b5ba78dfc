//! What outside readers see: deltalake, Polars and DuckDB agree with `datasjo query` on every row and every type, over many
//! files, after compaction, and from a checkpoint.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::datasjo::{Datasjo, GUARD};

const TABLE: &str = "water_meters";
const KEY: [&str; 2] = ["meter_id", "observed_at"];
const READERS: [&str; 3] = ["deltalake", "polars", "duckdb"];
/// What is asked so that a reader may leave out files: how many rows of this day have a flow above this.
const CONDITION: [&str; 3] = ["2026-03-02", "flow_l_per_s", "5.5"];
/// Maintenance makes a checkpoint after 50 commits.
const CORRECTIONS: u64 = 55;

/// Every row is committed at once.
const INSTANCE: &str = r#"
[sql]
listen = "127.0.0.1:0"

[lake]
flush_rows = 1
"#;

const FEED: &str = r#"
dataset = "water_meters"

[source]
kind = "file"
path = "incoming"
watch = true
settle_for_ms = 0
header_lines = 1

[decode]
format = "csv"

[decode.columns]
meter_id = "meter"
observed_at = "time"
zone_id = "zone"
flow_l_per_s = "flow"
register_m3 = "register"
status = "status"
"#;

#[tokio::test]
async fn outside_readers_agree_with_sql_over_many_files_after_compaction_and_from_a_checkpoint() {
    let mut lake = Lake::new();
    lake.datasjo.start().await;
    lake.bring(0, &three_days()).await;
    for number in 1..=CORRECTIONS {
        lake.bring(number, &correction(number)).await;
    }
    lake.datasjo.terminate().await;
    assert!(lake.commits() > CORRECTIONS as usize, "{} commits are too few", lake.commits());
    lake.agree("over many files").await;

    lake.command(&["maintain"]).await;
    assert_eq!(lake.checkpoints(), 1);
    lake.agree("after maintenance").await;

    let late = lake.config().join("late.csv");
    fs::write(&late, csv("m-0,2026-03-01T00:00:00Z,sør,0.25,17.5,late\n")).unwrap();
    lake.command(&["ingest", "meters", late.to_str().unwrap()]).await;
    lake.agree("with a revision after the checkpoint").await;
}

/// Five meters, every hour of three days; one of them has a register and no flow.
fn three_days() -> String {
    let mut rows = String::new();
    for meter in 0..5_i32 {
        for hour in 0..72_i32 {
            let (day, hour_of_day) = (1 + hour / 24, hour % 24);
            let flow = if meter == 3 { String::new() } else { format!("{}", 0.37 * f64::from(meter) + 0.11 * f64::from(hour)) };
            let status = if hour % 3 == 0 { "" } else { "OK" };
            rows += &format!("m-{meter},2026-03-0{day}T{hour_of_day:02}:00:00Z,sør,{flow},{},{status}\n", 100 + hour);
        }
    }
    rows
}

/// A correction of one reading, a reading of a new meter with a name that wants quoting and a time down to the microsecond, a
/// reading that is there already, and one that is none.
fn correction(number: u64) -> String {
    let (meter, hour) = (number % 5, number % 72);
    let corrected = format!("m-{meter},2026-03-0{}T{:02}:00:00Z,sør,{number}.5,0.1,checked\n", 1 + hour / 24, hour % 24);
    let new = format!("\"new, \"\"{number}\"\"\",2026-03-0{}T12:00:00.{:06}Z,,-{number}.25,,\n", 1 + number % 3, number * 17);
    let again = three_days().lines().last().unwrap().to_owned() + "\n";
    let none = "m-0,2026-03-01T00:30:00Z,sør,9000,,\n";
    corrected + &new + &again + none
}

fn csv(rows: &str) -> String {
    format!("meter,time,zone,flow,register,status\n{rows}")
}

struct Lake {
    dir: TempDir,
    datasjo: Datasjo,
}

impl Lake {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["feeds", "incoming"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("datasjo.toml"), INSTANCE).unwrap();
        fs::write(dir.path().join("feeds/meters.toml"), FEED).unwrap();
        let datasjo = Datasjo::new(dir.path());
        Self { dir, datasjo }
    }

    fn config(&self) -> &Path {
        self.dir.path()
    }

    /// Puts a file into the folder that is watched, and waits until its rows are committed.
    async fn bring(&self, number: u64, rows: &str) {
        let incoming = self.config().join("incoming");
        let (unfinished, finished) = (incoming.join(format!(".{number}")), incoming.join(format!("{number}.csv")));
        fs::write(&unfinished, csv(rows)).unwrap();
        fs::rename(&unfinished, &finished).unwrap();
        self.datasjo.reaches("committed_seq", number + 1).await;
    }

    /// Runs a command of the program that must end well.
    async fn command(&self, args: &[&str]) {
        let mut command = Command::new(program());
        command.arg("--config").arg(self.config()).args(args).kill_on_drop(true);
        let output = timeout(GUARD, command.output()).await.expect("the command does not end").unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// All readers see what SQL shows.
    async fn agree(&self, when: &str) {
        let mut rows = self.datasjo.query(&format!("SELECT * FROM {TABLE}")).await;
        rows.sort_by_key(|row| KEY.map(|column| row[column].as_str().unwrap().to_owned()));
        let types = self.types().await;
        let at_rest = self.datasjo.rows_at_rest(TABLE).await;
        assert!(at_rest > rows.len() as u64, "{when}: there are no older revisions at rest");
        let seen = self.read().await;
        for reader in READERS {
            let (told, seen) = (format!("{reader} {when}"), &seen[reader]);
            assert_eq!(seen["types"], types, "{told}");
            assert_eq!(seen["at_rest"], at_rest, "{told}");
            let newest = seen["newest"].as_array().unwrap();
            assert_eq!(newest.len(), rows.len(), "{told}");
            for (theirs, ours) in newest.iter().zip(&rows) {
                assert_eq!(theirs, ours, "{told}");
            }
        }
        for reader in READERS {
            assert_eq!(seen[reader]["filtered"], seen["by_hand"], "{reader} leaves out files it should not {when}");
        }
    }

    /// The types of the columns, as SQL tells them.
    async fn types(&self) -> Value {
        let described = self.datasjo.query(&format!("DESCRIBE {TABLE}")).await;
        let named = described.iter().map(|c| (c["column_name"].as_str().unwrap().to_owned(), c["data_type"].clone()));
        Value::Object(named.collect::<Map<String, Value>>())
    }

    async fn read(&self) -> Value {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/read_lake.py");
        let mut command = Command::new(python());
        command.arg(script).arg(self.table()).arg(KEY.join(",")).args(CONDITION).kill_on_drop(true);
        let output = timeout(GUARD, command.output()).await.expect("the readers do not end").unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn table(&self) -> PathBuf {
        self.datasjo.data_dir().join("lake").join(TABLE)
    }

    fn commits(&self) -> usize {
        self.log_files(".json")
    }

    fn checkpoints(&self) -> usize {
        self.log_files(".checkpoint.parquet")
    }

    fn log_files(&self, ending: &str) -> usize {
        let files = fs::read_dir(self.table().join("_delta_log")).unwrap();
        files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(ending)).count()
    }
}

/// The program lies beside the directory of the test's own executable.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("datasjo")
}

/// The Python that has the readers.
fn python() -> PathBuf {
    let usual = || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache/datasjo/venv/bin/python");
    let python = std::env::var_os("DATASJO_PYTHON").map_or_else(usual, PathBuf::from);
    assert!(
        python.exists(),
        "there is no {}: tests/run installs the readers and names their Python in DATASJO_PYTHON",
        python.display()
    );
    python
}
