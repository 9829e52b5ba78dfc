//! Ingest over a store that refuses, lies and goes blind.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datasjo_lake::{Incoming, Lake, LakeTable, MaintenancePlan, Marker};
use serde_json::Value;

use crate::support::engine::{
    AIR, AT_THE_END, Counts, DAY_S, Engine, METERS, OFTEN, ask, decoded, expected, first_day, ledger, message, number, reading,
    readings, rows_at_rest, when_full,
};
use crate::support::store::{Act, Answer, Rules};

/// True for the commit files of `table`.
fn is_commit(path: &str, table: &str) -> bool {
    path.contains(&format!("/{table}/_delta_log/")) && path.ends_with(".json")
}

/// Ten readings a round, from `first` on.
fn ten(first: i64) -> Vec<(String, i64, f64)> {
    (first..first + 10).map(|n| (format!("m{}", n % 3), n * 600, n as f64)).collect()
}

fn send(engine: &Engine, readings: &[(String, i64, f64)]) {
    engine.send(METERS, readings.iter().map(|(id, at_s, value)| reading(id, *at_s, *value)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_whose_commit_was_stored_but_answered_with_an_error_are_there_once() {
    let mut engine = Engine::new(&[METERS]);
    let life = engine.start(when_full(10)).await;
    let mut sent = Vec::new();
    for round in 0..4 {
        // The commits of water_meters and of the ledger, or only the first of them.
        life.faults.lie_about_commits.store(1 + round % 2, Ordering::SeqCst);
        let readings = ten(10 * i64::try_from(round).unwrap());
        send(&engine, &readings);
        sent.extend(readings);
        life.committed(10 * (round + 1)).await;
        assert_eq!(life.faults.lie_about_commits.load(Ordering::SeqCst), 0, "the lie was not told");
    }
    let lake = life.stop().await;
    assert_eq!(lake.table("water_meters").unwrap().stats().unwrap().version, 4, "each round is one commit");
    let lake = engine.lake().await;
    assert_eq!((readings(&lake).await, rows_at_rest(&lake)), (expected(sent), 40));
    let counts = ledger(&lake, METERS).await;
    assert_eq!(counts, Counts { deliveries: 40, received: 40, committed: 40, ..Counts::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_the_store_refuses_stay_visible_and_are_committed_once() {
    let mut engine = Engine::new(&[METERS]);
    let life = engine.start(OFTEN).await;
    life.faults.refuse_writes.store(true, Ordering::SeqCst);
    let sent = [ten(0), ten(10)].concat();
    send(&engine, &sent);
    engine.send(METERS, [message("garbage")]);
    // The sender is acknowledged all the same: the journal has it.
    engine.acknowledged(METERS, 21).await;
    life.visible(21).await;
    life.commit_fails().await;
    assert_eq!(readings(&life.lake).await, expected(sent.clone()));
    let shown = ledger(&life.lake, METERS).await;
    assert_eq!(shown, Counts { deliveries: 21, received: 21, rejected: 1, in_flight: 20, ..Counts::default() });
    assert_eq!(life.journal.read(1, usize::MAX).unwrap().len(), 21, "the journal let go");

    life.faults.refuse_writes.store(false, Ordering::SeqCst);
    life.committed(21).await;
    assert_eq!(life.until(|p| p.commit_failure.is_none()).await.rows, 20);
    life.stop().await;
    let lake = engine.lake().await;
    assert_eq!((readings(&lake).await, rows_at_rest(&lake)), (expected(sent), 20));
    assert_eq!(number(&lake, "SELECT count(*) AS n FROM rejects").await, 1);
    let counts = ledger(&lake, METERS).await;
    assert_eq!(counts, Counts { deliveries: 21, received: 21, committed: 20, rejected: 1, ..Counts::default() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_whose_commit_was_refused_are_never_read_and_vacuumed() {
    let mut engine = Engine::new(&[METERS]);
    let life = engine.start(when_full(9)).await;
    life.rules.set(|act, path| match act {
        Act::Write if is_commit(path, "water_meters") => Answer::Refuse,
        _ => Answer::Do,
    });
    // Three days: three files a try.
    let sent: Vec<(String, i64, f64)> = (0..9).map(|n| ("m1".to_owned(), n * DAY_S / 3, n as f64)).collect();
    send(&engine, &sent);
    life.visible(9).await;
    life.refused(2).await;
    let table = engine.lake_dir.join("water_meters");
    assert!(data_files(&table) >= 6, "the files are written before the commit");
    assert_eq!(readings(&life.lake).await, expected(sent.clone()));
    assert_eq!(ledger(&life.lake, METERS).await.in_flight, 9);

    life.rules.set(|_, _| Answer::Do);
    life.committed(9).await;
    assert_eq!(readings(&life.lake).await, expected(sent.clone()));
    for _ in 0..2 {
        for report in life.lake.vacuum(MaintenancePlan { vacuum_after_h: 0, ..MaintenancePlan::for_day(0) }).await {
            report.unwrap();
        }
        assert_eq!(readings(&life.lake).await, expected(sent.clone()));
    }
    let stats = life.lake.table("water_meters").unwrap().stats().unwrap();
    assert_eq!((stats.files, data_files(&table)), (3, 3));
    life.stop().await;
    let lake = engine.lake().await;
    assert_eq!((readings(&lake).await, rows_at_rest(&lake)), (expected(sent), 9));
}

/// How many data files lie in a table's directory, referred to or not.
fn data_files(table: &Path) -> u64 {
    let mut files = 0;
    for entry in std::fs::read_dir(table).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("_delta_log") {
            files += data_files(&path);
        }
        files += u64::from(path.extension().is_some_and(|e| e == "parquet"));
    }
    files
}

/// A store that stores the next commit of the water table, answers with an error and cannot be read until `sees`.
fn goes_blind_at_the_next_commit(rules: &Rules, sees: &Arc<AtomicBool>) {
    let sees = sees.clone();
    let mut stored = false;
    rules.set(move |act, path| match act {
        Act::Write if is_commit(path, "water_meters") && !stored => {
            stored = true;
            Answer::DoAndFail
        }
        _ if stored && path.contains("/water_meters") && !sees.load(Ordering::SeqCst) => Answer::Refuse,
        _ => Answer::Do,
    });
}

fn marker(seq: u64) -> Marker {
    Marker { journal_id: "journal".to_owned(), seq }
}

/// Makes rows visible and closes a flush with them.
async fn accept(table: &LakeTable, readings: &[(&str, i64, f64)], seq: u64) {
    let arrived = vec![(0, seq); readings.len()];
    let part = Incoming { feed: METERS, rows: &decoded(readings), arrived: &arrived };
    table.accept(&[part]).await.unwrap();
    table.cut().await;
}

async fn count(lake: &Lake) -> i64 {
    number(lake, "SELECT count(*) AS n FROM water_meters").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_with_an_unknown_outcome_is_looked_for_before_it_is_repeated() {
    let engine = Engine::new(&[METERS]);
    let rules = Rules::well();
    let lake = engine.lake_with(&rules).await;
    let table = lake.table("water_meters").unwrap();
    accept(table, &[("a", 0, 1.0), ("b", 0, 1.0)], 1).await;
    let sees = Arc::new(AtomicBool::new(false));
    goes_blind_at_the_next_commit(&rules, &sees);
    for _ in 0..3 {
        table.flush(&marker(1), Value::Null).await.unwrap_err();
    }
    sees.store(true, Ordering::SeqCst);
    assert_eq!(count(&lake).await, 2);
    table.flush(&marker(1), Value::Null).await.unwrap();
    assert_eq!((count(&lake).await, rows_at_rest(&lake)), (2, 2));
    assert_eq!(table.marker("journal").await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_between_an_unknown_commit_and_the_next_try_shows_and_adds_nothing_twice() {
    let engine = Engine::new(&[METERS]);
    let rules = Rules::well();
    let lake = engine.lake_with(&rules).await;
    let table = lake.table("water_meters").unwrap();
    for (seq, at_s) in [(1, 0), (2, 60)] {
        accept(table, &[("a", at_s, 1.0)], seq).await;
        table.flush(&marker(seq), Value::Null).await.unwrap();
    }
    accept(table, &[("a", 120, 1.0)], 3).await;
    let sees = Arc::new(AtomicBool::new(false));
    goes_blind_at_the_next_commit(&rules, &sees);
    table.flush(&marker(3), Value::Null).await.unwrap_err();
    sees.store(true, Ordering::SeqCst);
    // The version after the unknown commit may be taken by a compaction; whether it is or waits, nobody sees a row twice.
    for report in lake.maintain(MaintenancePlan::for_day(first_day() + 1)).await {
        report.unwrap();
    }
    assert_eq!(count(&lake).await, 3, "before the next try");
    table.flush(&marker(3), Value::Null).await.unwrap();
    assert_eq!((count(&lake).await, rows_at_rest(&lake)), (3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_came_after_an_unknown_commit_do_not_take_its_rows_along() {
    let engine = Engine::new(&[METERS]);
    let rules = Rules::well();
    let lake = engine.lake_with(&rules).await;
    let table = lake.table("water_meters").unwrap();
    accept(table, &[("a", 0, 1.0), ("b", 0, 1.0)], 1).await;
    let sees = Arc::new(AtomicBool::new(false));
    goes_blind_at_the_next_commit(&rules, &sees);
    table.flush(&marker(1), Value::Null).await.unwrap_err();
    sees.store(true, Ordering::SeqCst);
    // The next round closes although the outcome of the last one is not known.
    accept(table, &[("a", 60, 1.0)], 2).await;
    table.flush(&marker(2), Value::Null).await.unwrap();
    assert_eq!((count(&lake).await, rows_at_rest(&lake)), (3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_see_each_row_once_while_rows_move_to_the_table_and_are_compacted() {
    let engine = Engine::new(&[METERS]);
    let lake = Arc::new(engine.lake_with(&Rules::well()).await);
    let table = lake.table("water_meters").unwrap();
    for round in 1..=6_i64 {
        let rows: Vec<(&str, i64, f64)> = (0..20).map(|n| ("a", round * 1_200 + n * 60, 1.0)).collect();
        accept(table, &rows, u64::try_from(round).unwrap()).await;
        let moving = tokio::spawn({
            let lake = lake.clone();
            async move {
                let table = lake.table("water_meters").unwrap();
                table.flush(&marker(u64::try_from(round).unwrap()), Value::Null).await.unwrap();
                for report in lake.maintain(MaintenancePlan::for_day(first_day() + 1)).await {
                    report.unwrap();
                }
            }
        });
        while !moving.is_finished() {
            assert_eq!(count(&lake).await, 20 * round);
        }
        moving.await.unwrap();
        assert_eq!(rows_at_rest(&lake), u64::try_from(20 * round).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rounds_that_never_reached_the_ledger_are_counted_once() {
    let mut engine = Engine::new(&[METERS, AIR]);
    let mut sent = Vec::new();
    // Twice in a row the process dies after the tables have committed and before the ledger has.
    for round in 0..2_u64 {
        let rules = Rules::new(|act, path| match act {
            Act::Write if path.contains("/ledger/") && !path.ends_with("00000000000000000000.json") => Answer::Refuse,
            _ => Answer::Do,
        });
        let life = engine.start_with(&rules, when_full(10)).await;
        let readings = ten(10 * i64::try_from(round).unwrap());
        send(&engine, &readings);
        sent.extend(readings);
        engine.acknowledged(METERS, sent.len()).await;
        life.commit_fails().await;
        assert_eq!(engine.lake().await.table("water_meters").unwrap().marker(life.journal.id()).await.unwrap(), 10 * (round + 1));
        engine.cut_power(life, Some).await;
    }
    engine.start(AT_THE_END).await.stop().await;
    let lake = engine.lake().await;
    assert_eq!((readings(&lake).await, rows_at_rest(&lake)), (expected(sent), 20));
    let counts = ledger(&lake, METERS).await;
    assert_eq!(counts, Counts { deliveries: 20, received: 20, committed: 20, ..Counts::default() });
    assert_eq!(ask(&lake, "SELECT feed FROM ledger WHERE in_flight <> 0").await, Vec::<Value>::new());
}
