//! What is known of keys is a function of what is committed and what is hot, never of attempts or of the life of a process; and
//! what is understood of a delivery is the same however often and in whatever steps the journal is read.

use std::sync::Arc;

use datasjo_journal::faulty::Disk;
use datasjo_lake::{Incoming, Lake, Marker};
use datasjo_sources::memory::Message;
use datasjo_table::Labels;
use serde_json::Value;

use crate::support::engine::{
    AT_THE_END, Counts, DAY_S, Engine, METERS, OFTEN, VALVES, ask, decoded, expected, ledger, message, number, reading, readings,
    rows_at_rest,
};
use crate::support::store::{Act, Answer, Rules};

async fn accept_one(lake: &Lake) -> bool {
    let table = lake.table("water_meters").unwrap();
    let part = Incoming { feed: METERS, rows: &decoded(&[("a", 0, 1.0)]), arrived: &[(0, 1)] };
    table.accept(&[part]).await.unwrap()[0].kept[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_whose_commit_failed_for_good_is_new_to_the_next_process() {
    let engine = Engine::new(&[METERS]);
    let rules = Rules::well();
    let marker = Marker { journal_id: "journal".to_owned(), seq: 1 };
    {
        let lake = engine.lake_with(&rules).await;
        let table = lake.table("water_meters").unwrap();
        rules.set(|act, _| if act == Act::Write { Answer::Refuse } else { Answer::Do });
        assert!(accept_one(&lake).await);
        table.cut().await;
        table.flush(&marker, Value::Null).await.unwrap_err();
        assert!(!accept_one(&lake).await, "it is hot, so it is known");
        assert_eq!(number(&lake, "SELECT count(*) AS n FROM water_meters").await, 1);
    }
    let lake = engine.lake().await;
    assert_eq!(number(&lake, "SELECT count(*) AS n FROM water_meters").await, 0);
    assert!(accept_one(&lake).await, "it was claimed by an attempt");
    let table = lake.table("water_meters").unwrap();
    table.cut().await;
    table.flush(&marker, Value::Null).await.unwrap();
    assert!(!accept_one(&lake).await, "it is committed, so it is known");
    let lake = engine.lake().await;
    assert!(!accept_one(&lake).await, "it is committed, so the next process knows it");
    assert_eq!(rows_at_rest(&lake), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_delivery_after_a_restart_is_a_duplicate_and_another_value_a_revision() {
    let mut engine = Engine::new(&[METERS]);
    let sent: Vec<Message> = (0..5).map(|n| reading("m", n * 600, n as f64)).collect();
    for _ in 0..3 {
        engine.send(METERS, sent.clone());
        let acknowledged = engine.far(METERS).acknowledged().len() + 5;
        let life = engine.start(OFTEN).await;
        engine.acknowledged(METERS, acknowledged).await;
        life.stop().await;
    }
    engine.send(METERS, [reading("m", 600, 10.0), reading("m", 600, 10.0)]);
    let life = engine.start(OFTEN).await;
    engine.acknowledged(METERS, 17).await;
    life.stop().await;
    let lake = engine.lake().await;
    let shown = (0..5).map(|n| ("m".to_owned(), n * 600, if n == 1 { 10.0 } else { n as f64 }));
    assert_eq!((readings(&lake).await, rows_at_rest(&lake)), (expected(shown), 6));
    let counts = Counts { deliveries: 17, received: 17, committed: 6, revised: 1, duplicate: 11, ..Counts::default() };
    assert_eq!(ledger(&lake, METERS).await, counts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_older_than_all_that_is_remembered_at_start_is_looked_up() {
    let mut engine = Engine::new(&[METERS]);
    engine.send(METERS, [reading("old", -60 * DAY_S, 1.0), reading("new", 0, 1.0)]);
    let life = engine.start(OFTEN).await;
    engine.acknowledged(METERS, 2).await;
    life.stop().await;
    engine.send(METERS, [reading("old", -60 * DAY_S, 1.0), reading("old", -61 * DAY_S, 1.0)]);
    let life = engine.start(OFTEN).await;
    engine.acknowledged(METERS, 4).await;
    life.stop().await;
    let lake = engine.lake().await;
    assert_eq!(rows_at_rest(&lake), 3);
    let counts = Counts { deliveries: 4, received: 4, committed: 3, duplicate: 1, ..Counts::default() };
    assert_eq!(ledger(&lake, METERS).await, counts);
}

/// Readings, a duplicate, a revision, late ones, values out of range, wrong topics and garbage.
fn corpus() -> Vec<Message> {
    let elsewhere = Labels::new().with(Labels::TOPIC, "elsewhere/z1/x");
    let mut all: Vec<Message> = (0..6).map(|n| reading("m", n * 600, n as f64)).collect();
    all.extend([
        reading("m", 600, 1.0),
        reading("m", 600, 7.0),
        reading("late", -3 * DAY_S, 1.0),
        reading("m", 900, 1.0),
        reading("m", 1_200, -5.0),
        Message { labels: elsewhere, ..reading("m", 1_800, 1.0) },
        Message { labels: Labels::new(), ..reading("m", 1_800, 1.0) },
        Message { retained: true, ..reading("kept", 0, 1.0) },
        message("garbage"),
        message(""),
        message("{\"id\":\"m\",\"t\":\"yesterday\",\"v\":1}"),
        message("[{\"id\":\"x\",\"t\":\"2026-03-01T00:00:00Z\",\"v\":1},{\"id\":\"y\"},3]"),
        reading("m", 600, 1.0),
    ]);
    all
}

/// Everything SQL shows of rows and rejects, each row with all its columns.
async fn everything(lake: &Lake) -> (Vec<Value>, Vec<Value>) {
    let rows = ask(lake, "SELECT * FROM water_meters ORDER BY meter_id, observed_at, seq").await;
    (rows, ask(lake, "SELECT * FROM rejects ORDER BY seq, raw").await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_mean_the_same_live_and_replayed() {
    let mut engine = Engine::new(&[METERS]);
    // Live: one delivery a step. Nothing is committed before the power fails.
    let life = engine.start(AT_THE_END).await;
    let mut seq = 0;
    for message in corpus() {
        engine.send(METERS, [message]);
        seq += 1;
        life.visible(seq).await;
    }
    engine.acknowledged(METERS, corpus().len()).await;
    let live = everything(&life.lake).await;
    assert!(live.0.len() >= 10 && live.1.len() >= 7, "the corpus shows both: {live:?}");
    let counts = ledger(&life.lake, METERS).await;
    engine.cut_power(life, Some).await;

    // Replayed: all of them in one step.
    let life = engine.start(AT_THE_END).await;
    life.visible(seq).await;
    assert_eq!(everything(&life.lake).await, live);
    assert_eq!(ledger(&life.lake, METERS).await, counts);
    life.stop().await;
    assert_eq!(everything(&engine.lake().await).await, live, "and the same at rest");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_feeds_of_one_table_are_judged_in_the_order_of_arrival() {
    // The later delivery holds, whichever feed brought it and however many are read in one step.
    for order in [[METERS, VALVES], [VALVES, METERS]] {
        let mut engine = Engine::new(&[METERS, VALVES]);
        let rules = Rules::well();
        let life = engine.start_with(&rules, AT_THE_END).await;
        for (feed, (value, seq)) in order.into_iter().zip([(1.0, 1), (2.0, 2)]) {
            engine.send(feed, [reading("m", 0, value)]);
            engine.acknowledged(feed, 1).await;
            life.visible(seq).await;
        }
        let live = readings(&life.lake).await;
        assert_eq!(live, expected([("m".to_owned(), 0, 2.0)]), "{order:?}");
        engine.cut_power(life, Some).await;
        let life = engine.start(AT_THE_END).await;
        life.visible(2).await;
        assert_eq!(readings(&life.lake).await, live, "{order:?}: replayed");
        life.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_journal_beside_an_old_lake_takes_new_rows_and_knows_the_old_ones() {
    let mut engine = Engine::new(&[METERS]);
    let first: Vec<Message> = (0..5).map(|n| reading("m", n * 600, 1.0)).collect();
    engine.send(METERS, first.clone());
    let life = engine.start(OFTEN).await;
    let old_journal = life.journal.id().to_owned();
    engine.acknowledged(METERS, 5).await;
    life.stop().await;

    engine.disk = Disk::new();
    engine.send(METERS, first);
    engine.send(METERS, (5..8).map(|n| reading("m", n * 600, 1.0)));
    let life = engine.start(OFTEN).await;
    engine.acknowledged(METERS, 13).await;
    let journal = Arc::clone(&life.journal);
    let lake = life.stop().await;
    assert_ne!(journal.id(), old_journal);
    assert_eq!(lake.table("water_meters").unwrap().marker(journal.id()).await.unwrap(), 8);
    assert_eq!(lake.table("water_meters").unwrap().marker(&old_journal).await.unwrap(), 5);
    let lake = engine.lake().await;
    let all = (0..8).map(|n| ("m".to_owned(), n * 600, 1.0));
    assert_eq!((readings(&lake).await, rows_at_rest(&lake)), (expected(all), 8));
    let counts = Counts { deliveries: 13, received: 13, committed: 8, duplicate: 5, ..Counts::default() };
    assert_eq!(ledger(&lake, METERS).await, counts);
}
