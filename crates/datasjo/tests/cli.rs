//! The terminal: what a person types and what they are told.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn command(directory: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_datasjo"));
    command.current_dir(directory).args(words).env_remove("DATASJO_CONFIG").env("NO_COLOR", "1");
    command
}

fn datasjo(directory: &Path, words: &[&str]) -> Output {
    command(directory, words).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A town with one feed of rain gauges, read from files.
fn town() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let feeds = directory.path().join("config/feeds");
    std::fs::create_dir_all(&feeds).unwrap();
    let feed = "dataset = \"precipitation\"\n\n[source]\nkind = \"file\"\npath = \"rain.csv\"\n\n[decode]\nformat = \"csv\"\n\n\
                [decode.columns]\ngauge_id = \"gauge\"\nobserved_at = { field = \"to\", time = \"rfc3339\" }\n\
                interval_s = { value = 600 }\nrain_mm = { field = \"mm\", unit = \"mm\" }\n";
    std::fs::write(feeds.join("rain.toml"), feed).unwrap();
    let rows = "gauge,to,mm\nG1,2026-03-01T00:10:00Z,0.2\nG1,2026-03-01T00:20:00Z,0.4\nG1,2026-03-01T00:30:00Z,minus\n";
    std::fs::write(directory.path().join("config/rain.csv"), rows).unwrap();
    directory
}

#[test]
fn help_teaches_by_example_and_a_wrong_word_ends_with_2() {
    let directory = tempfile::tempdir().unwrap();
    let help = datasjo(directory.path(), &["--help"]);
    assert!(said(&help).contains("datasjo demo"), "{}", said(&help));
    let wrong = datasjo(directory.path(), &["qurey", "SELECT 1"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(said(&wrong).contains("query"), "the nearest right word is told: {}", said(&wrong));
}

#[test]
fn the_default_configuration_is_written_once_and_passes_the_check() {
    let directory = tempfile::tempdir().unwrap();
    assert!(datasjo(directory.path(), &["init", "town"]).status.success());
    let own = directory.path().join("town/datasjo.toml");
    std::fs::write(&own, "[lake]\nflush_every_s = 20\n").unwrap();
    assert!(datasjo(directory.path(), &["init", "town"]).status.success());
    assert_eq!(std::fs::read_to_string(&own).unwrap(), "[lake]\nflush_every_s = 20\n", "nothing is overwritten");
    let check = datasjo(directory.path(), &["check", "--config", "town"]);
    assert_eq!(check.status.code(), Some(0), "{}", said(&check));
}

#[test]
fn a_wrong_configuration_is_told_with_its_place_and_starts_nothing() {
    let town = town();
    let feed = town.path().join("config/feeds/rain.toml");
    let wrong = std::fs::read_to_string(&feed).unwrap().replace("precipitation", "precipitatoin");
    std::fs::write(&feed, wrong).unwrap();
    for words in [&["check"][..], &["run"], &["query", "SELECT 1"]] {
        let told = datasjo(town.path(), words);
        assert_eq!(told.status.code(), Some(1), "{words:?}");
        let place = "config/feeds/rain.toml:1:11: no dataset \"precipitatoin\"; did you mean \"precipitation\"?";
        assert!(said(&told).contains(place), "{words:?}: {}", said(&told));
    }
    assert!(!town.path().join("config/data").exists(), "a wrong configuration leaves no half a system");
}

#[test]
fn files_are_brought_in_once_and_can_be_asked_for() {
    let town = town();
    let first = datasjo(town.path(), &["ingest", "rain", "config/rain.csv", "--json"]);
    assert!(first.status.success(), "{}", said(&first));
    let told: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!((&told["rows"], &told["duplicates"], &told["rejects"]), (&2.into(), &0.into(), &1.into()), "{told}");
    let again = datasjo(town.path(), &["ingest", "rain", "config/rain.csv", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&told["rows"], &told["duplicates"]), (&0.into(), &2.into()), "the same file twice changes nothing: {told}");
    let sum = datasjo(town.path(), &["query", "SELECT sum(rain_mm) AS mm FROM precipitation", "--format", "csv"]);
    assert_eq!(said(&sum), "mm\n0.6000000000000001\n");
    let doctor = datasjo(town.path(), &["doctor", "--json"]);
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&doctor.stdout).unwrap();
    let ill: Vec<_> = findings.iter().filter(|f| f["well"] == false && f["check"] != "silent").collect();
    assert!(ill.is_empty(), "{ill:?}");
}

#[test]
fn an_empty_file_is_no_reason_to_wait() {
    let town = town();
    assert!(datasjo(town.path(), &["ingest", "rain", "config/rain.csv"]).status.success());
    std::fs::write(town.path().join("empty.csv"), "").unwrap();
    let done = datasjo(town.path(), &["ingest", "rain", "empty.csv"]);
    assert!(done.status.success(), "{}", said(&done));
}

#[test]
fn a_wrong_query_names_what_there_is() {
    let town = town();
    let column = datasjo(town.path(), &["query", "SELECT rain FROM precipitation"]);
    assert_eq!(column.status.code(), Some(1));
    assert!(said(&column).contains("rain_mm"), "{}", said(&column));
    let table = datasjo(town.path(), &["query", "SELECT * FROM precipitatoin"]);
    assert_eq!(table.status.code(), Some(1));
    assert!(said(&table).contains("did you mean \"precipitation\"?"), "{}", said(&table));
    for (item, sign) in [("1", "+"), ("\"ice\"", "OR")] {
        let deep = format!("SELECT {}", vec![item; 5_000].join(sign));
        let deep = datasjo(town.path(), &["query", &deep]);
        assert_eq!(deep.status.code(), Some(1), "a deep expression is refused, not a crash");
        assert!(said(&deep).contains("words and signs"), "{}", said(&deep));
    }
}

#[test]
fn whoever_reads_only_the_beginning_is_not_told_of_a_failure() {
    let town = town();
    let sql = "SELECT value FROM generate_series(1, 500000)";
    let mut query = command(town.path(), &["query", sql, "--format", "csv"]);
    let mut query = query.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(query.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "value\n");
    let ended = query.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), said(&ended).as_str()), (Some(0), ""));
}

#[test]
fn a_folder_that_is_not_there_yet_is_told_by_check_and_not_by_every_command() {
    let town = town();
    std::fs::remove_file(town.path().join("config/rain.csv")).unwrap();
    assert!(said(&datasjo(town.path(), &["check"])).contains("there is no"), "check tells it");
    let query = datasjo(town.path(), &["query", "SELECT 1 AS one", "--format", "csv"]);
    assert_eq!(said(&query), "one\n1\n");
}

#[test]
fn looking_changes_nothing() {
    let town = town();
    let looks = [&["tables"][..], &["query", "SELECT count(*) FROM river"], &["doctor"]];
    for words in looks {
        assert!(datasjo(town.path(), words).status.success(), "{words:?}");
        assert!(!town.path().join("config/data").exists(), "{words:?} made something");
    }
    assert!(datasjo(town.path(), &["ingest", "rain", "config/rain.csv"]).status.success());
    let before = files(&town.path().join("config/data"));
    assert!(before.keys().any(|path| path.ends_with("journal.redb")), "{:?}", before.keys());
    for words in looks {
        let look = datasjo(town.path(), words);
        assert!(!said(&look).contains("cannot"), "{}", said(&look));
        assert!(files(&town.path().join("config/data")) == before, "{words:?} changed something");
    }
}

/// Every file under `directory` with its bytes.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

#[test]
fn a_doubled_ledger_is_found() {
    let town = town();
    assert!(datasjo(town.path(), &["ingest", "rain", "config/rain.csv"]).status.success());
    assert_eq!(accounts(town.path()), [("precipitation".to_owned(), true)]);
    double_newest_commit(&town.path().join("config/data/lake/ledger"));
    assert_eq!(accounts(town.path()), [("precipitation".to_owned(), false)]);
}

/// What doctor says of the tables that hold rows or should.
fn accounts(directory: &Path) -> Vec<(String, bool)> {
    let doctor = datasjo(directory, &["doctor", "--json"]);
    let findings: Vec<serde_json::Value> = serde_json::from_slice(&doctor.stdout).unwrap();
    let accounts = findings.iter().filter(|f| f["check"] == "account" && f["found"] != "0 rows are there, the ledger has 0");
    accounts.map(|f| (f["subject"].as_str().unwrap().to_owned(), f["well"].as_bool().unwrap())).collect()
}

/// Adds copies of the files of a Delta table's newest commit in one more commit.
fn double_newest_commit(table: &Path) {
    let log = table.join("_delta_log");
    let is_commit = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    let newest = std::fs::read_dir(&log).unwrap().map(|e| e.unwrap().path()).filter(is_commit).max().unwrap();
    let version: u64 = newest.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let mut commit = String::new();
    for line in std::fs::read_to_string(&newest).unwrap().lines() {
        let mut action: serde_json::Value = serde_json::from_str(line).unwrap();
        let Some(path) = action["add"]["path"].as_str().map(str::to_owned) else { continue };
        let copy = path.replace(".parquet", "-copy.parquet");
        std::fs::copy(table.join(&path), table.join(&copy)).unwrap();
        action["add"]["path"] = copy.into();
        commit.push_str(&format!("{action}\n"));
    }
    assert!(!commit.is_empty(), "the newest commit adds nothing");
    std::fs::write(log.join(format!("{:020}.json", version + 1)), commit).unwrap();
}

#[test]
fn shell_completions_are_printed() {
    let directory = tempfile::tempdir().unwrap();
    assert!(said(&datasjo(directory.path(), &["completions", "bash"])).contains("_datasjo"));
}
