//! The terminal: what a person types and what they are told.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};

fn datasjo(directory: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_datasjo"));
    command.current_dir(directory).args(words).env_remove("DATASJO_CONFIG").env("NO_COLOR", "1");
    command.output().unwrap()
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
    let deep = format!("SELECT {}", vec!["1"; 20_000].join("+"));
    let deep = datasjo(town.path(), &["query", &deep]);
    assert_eq!(deep.status.code(), Some(1), "a deep expression is refused, not a crash");
    assert!(said(&deep).contains("operators"), "{}", said(&deep));
}

#[test]
fn shell_completions_are_printed() {
    let directory = tempfile::tempdir().unwrap();
    assert!(said(&datasjo(directory.path(), &["completions", "bash"])).contains("_datasjo"));
}
