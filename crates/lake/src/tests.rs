//! The lake as a whole, on a directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use datasjo_table::{OBSERVED_AT, Table};
use serde_json::{Value, json};

use crate::print::HOUR_US;
use crate::{Incoming, Lake, MaintenancePlan, Marker, Memory, RecordBatch, Root};

const DAY_US: i64 = 24 * HOUR_US;

/// Levels by sensor and time, with further nullable numbers.
fn levels(further: &[&str]) -> Arc<Table> {
    let mut columns = vec![
        json!({"name": "id", "kind": "text", "meaning": "sensor"}),
        json!({"name": OBSERVED_AT, "kind": "time", "meaning": "when"}),
        json!({"name": "level", "kind": "float", "meaning": "level"}),
    ];
    let nullable = |name: &&str| json!({"name": name, "kind": "float", "nullable": true, "meaning": "more"});
    columns.extend(further.iter().map(nullable));
    let definition = json!({
        "name": "levels", "meaning": "levels", "key": ["id", OBSERVED_AT], "lateness_h": 1, "owner": "water",
        "licence": "CC0-1.0", "access": "public", "column": columns,
    });
    Arc::new(serde_json::from_value(definition).unwrap())
}

fn decoded(definition: &Table, readings: &[(&str, i64, f64)]) -> RecordBatch {
    let column = |name: &str| -> ArrayRef {
        match name {
            "id" => Arc::new(StringArray::from_iter_values(readings.iter().map(|r| r.0))),
            OBSERVED_AT => {
                Arc::new(TimestampMicrosecondArray::from_iter_values(readings.iter().map(|r| r.1)).with_timezone("UTC"))
            }
            _ => Arc::new(Float64Array::from_iter_values(readings.iter().map(|r| r.2))),
        }
    };
    let columns = definition.columns.iter().map(|c| column(&c.name)).collect();
    RecordBatch::try_new(definition.decoded_schema(), columns).unwrap()
}

async fn open(directory: &Path, definition: &Arc<Table>) -> Lake {
    Lake::open(Root::local(directory).unwrap(), std::slice::from_ref(definition), Memory::default()).await.unwrap()
}

async fn open_to_read(directory: &Path, definition: &Arc<Table>) -> Lake {
    let root = Root::to_read(&format!("file://{}", directory.display())).unwrap();
    Lake::open_to_read(root, std::slice::from_ref(definition), Memory::default()).await.unwrap()
}

/// Commits readings as one file a day.
async fn commit(lake: &Lake, readings: &[(&str, i64, f64)], seq: u64) {
    let table = lake.table("levels").unwrap();
    let arrived = vec![(0, seq); readings.len()];
    let part = Incoming { feed: "f", rows: &decoded(table.definition().unwrap(), readings), arrived: &arrived };
    table.accept(&[part]).await.unwrap();
    table.cut().await;
    table.flush(&Marker { journal_id: "journal".to_owned(), seq }, Value::Null).await.unwrap();
}

async fn number(lake: &Lake, sql: &str) -> i64 {
    let found = lake.sql(sql).await.unwrap().collect().await.unwrap();
    found[0].column(0).as_primitive::<Int64Type>().value(0)
}

fn files(day: &Path) -> Vec<PathBuf> {
    fs::read_dir(day).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Overwrites one file of a day with as many zeros.
fn damage(directory: &Path, day: &str) {
    let file = files(&directory.join("levels").join(format!("day={day}"))).swap_remove(0);
    let zeros = vec![0; usize::try_from(fs::metadata(&file).unwrap().len()).unwrap()];
    fs::write(&file, zeros).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_keeps_a_column_that_is_no_longer_declared() {
    let directory = tempfile::tempdir().unwrap();
    let before = levels(&["flow"]);
    let lake = open(directory.path(), &before).await;
    commit(&lake, &[("a", 1, 1.0)], 1).await;
    commit(&lake, &[("a", 2, 2.0)], 2).await;
    let lake = open(directory.path(), &levels(&[])).await;
    commit(&lake, &[("a", 3, 3.0)], 3).await;
    for report in lake.maintain(MaintenancePlan::for_day(10)).await {
        report.unwrap();
    }
    assert_eq!(lake.table("levels").unwrap().stats().unwrap().files, 1);
    assert_eq!(number(&lake, "SELECT count(*) FROM levels").await, 3);
    let lake = open(directory.path(), &before).await;
    assert_eq!(number(&lake, "SELECT count(flow) FROM levels").await, 2, "the values of the lost column are gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_cannot_be_compacted_keeps_neither_other_days_nor_the_checkpoint_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let lake = open(directory.path(), &levels(&[])).await;
    commit(&lake, &[("a", 1, 1.0), ("a", DAY_US, 1.0)], 1).await;
    commit(&lake, &[("b", 2, 1.0), ("b", DAY_US, 1.0)], 2).await;
    damage(directory.path(), "1970-01-01");
    let plan = MaintenancePlan { checkpoint_versions: 1, ..MaintenancePlan::for_day(10) };
    let (done, failed): (Vec<_>, Vec<_>) = lake.maintain(plan).await.into_iter().partition(Result::is_ok);
    assert_eq!(failed.len(), 1, "{failed:?}");
    let compacted: Vec<String> = done.into_iter().flat_map(|report| report.unwrap().compacted_days).collect();
    assert_eq!(compacted, ["1970-01-02"]);
    assert!(directory.path().join("levels/_delta_log/_last_checkpoint").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_day_keeps_only_its_own_rows_out() {
    let directory = tempfile::tempdir().unwrap();
    let definition = levels(&[]);
    let lake = open(directory.path(), &definition).await;
    commit(&lake, &[("a", HOUR_US, 1.0), ("a", 2 * DAY_US, 1.0)], 1).await;
    damage(directory.path(), "1970-01-01");
    let lake = open(directory.path(), &definition).await;
    let table = lake.table("levels").unwrap();
    let rows = decoded(&definition, &[("b", HOUR_US + 1, 1.0), ("a", 2 * DAY_US, 1.0), ("b", 2 * DAY_US, 1.0)]);
    let part = Incoming { feed: "f", rows: &rows, arrived: &[(0, 2), (0, 2), (0, 2)] };
    table.accept(&[part]).await.unwrap_err();
    assert_eq!(table.hot_rows(), 0, "nothing is judged by halves");
    let accepted = table.accept_readable(&[part]).await.unwrap().swap_remove(0);
    assert_eq!((accepted.unreadable, accepted.kept), (vec![true, false, false], vec![false, false, true]));
    let accepted = table.accept(&[part]).await.unwrap().swap_remove(0);
    assert_eq!((accepted.unreadable, accepted.kept), (vec![true, false, false], vec![false; 3]), "it is known to be damaged");
    assert_eq!(table.hot_rows(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_makes_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("lake");
    let lake = open_to_read(&directory, &levels(&[])).await;
    for table in ["levels", "rejects", "ledger"] {
        assert_eq!(number(&lake, &format!("SELECT count(*) FROM {table}")).await, 0);
        let stats = lake.table(table).unwrap().stats().unwrap();
        assert_eq!((stats.rows, stats.files, stats.first_day), (0, 0, None));
        assert_eq!(lake.table(table).unwrap().marker("journal").await.unwrap(), 0);
    }
    assert!(!directory.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_sees_a_column_that_is_not_there_as_null_and_does_not_add_it() {
    let directory = tempfile::tempdir().unwrap();
    let lake = open(directory.path(), &levels(&[])).await;
    commit(&lake, &[("a", 1, 1.0), ("a", 2, 1.0)], 1).await;
    let version = lake.table("levels").unwrap().stats().unwrap().version;
    let reader = open_to_read(directory.path(), &levels(&["flow"])).await;
    assert_eq!(number(&reader, "SELECT count(*) FROM levels WHERE flow IS NULL AND level = 1.0").await, 2);
    let reader = open_to_read(directory.path(), &levels(&[])).await;
    assert_eq!(reader.table("levels").unwrap().stats().unwrap().version, version);
}
