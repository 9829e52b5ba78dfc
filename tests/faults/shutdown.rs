//! An end in order while the store fails: it is bounded, loses nothing, and leaves nothing half counted for the next start.

use std::sync::Arc;

use crate::support::engine::{
    AT_THE_END, Counts, Engine, Life, METERS, OFTEN, expected, ledger, reading, readings, rows_at_rest, when_full,
};
use crate::support::store::{Act, Answer, Rules};

fn send(engine: &Engine, from: i64, to: i64) {
    engine.send(METERS, (from..to).map(|n| reading("m", n * 60, n as f64)));
}

/// Ends and starts with a store that works until all is committed; then all readings up to `n` are there once and counted once.
async fn assert_next_start_has_all(engine: &mut Engine, n: i64) {
    engine.start(AT_THE_END).await.stop().await;
    let lake = engine.lake().await;
    assert_eq!(readings(&lake).await, expected((0..n).map(|n| ("m".to_owned(), n * 60, n as f64))));
    assert_eq!(rows_at_rest(&lake), u64::try_from(n).unwrap());
    let counts = Counts { deliveries: n, received: n, committed: n, ..Counts::default() };
    assert_eq!(ledger(&lake, METERS).await, counts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_while_the_store_refuses_keeps_everything_for_the_next_start() {
    let mut engine = Engine::new(&[METERS]);
    let life = engine.start(OFTEN).await;
    life.rules.set(|act, _| if act == Act::Write { Answer::Refuse } else { Answer::Do });
    send(&engine, 0, 30);
    engine.acknowledged(METERS, 30).await;
    life.commit_fails().await;
    life.stop().await;
    assert_eq!(rows_at_rest(&engine.lake().await), 0);
    let journal = datasjo_journal::Journal::open_faulty(&engine.disk, engine.limits.clone()).unwrap();
    assert_eq!(journal.read(1, usize::MAX).unwrap().len(), 30, "the journal let go of what is not committed");
    drop(journal);
    assert_next_start_has_all(&mut engine, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_commits_what_is_visible_when_the_store_works() {
    let mut engine = Engine::new(&[METERS]);
    let life = engine.start(AT_THE_END).await;
    send(&engine, 0, 30);
    engine.acknowledged(METERS, 30).await;
    let journal = life.journal.clone();
    life.stop().await;
    assert_eq!(rows_at_rest(&engine.lake().await), 30);
    drop(journal);
    assert_next_start_has_all(&mut engine, 30).await;
}

/// A round of three is being tried and cannot be finished; two more readings are visible. Waits of the round are long by now.
async fn a_round_that_cannot_end(engine: &mut Engine, rules: &Arc<Rules>) -> Life {
    let life = engine.start_with(rules, when_full(3)).await;
    send(engine, 0, 3);
    life.commit_fails().await;
    life.refused(2).await;
    send(engine, 3, 5);
    life.visible(5).await;
    life
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_recovers_during_the_end_counts_the_round_it_refused_before() {
    let mut engine = Engine::new(&[METERS]);
    let ledger_is_refused = |act, path: &str| match act {
        Act::Write if path.contains("/ledger/day") => Answer::Refuse,
        _ => Answer::Do,
    };
    let rules = Rules::new(ledger_is_refused);
    let life = a_round_that_cannot_end(&mut engine, &rules).await;
    // The round's last try is refused as those before; then the store is well again, while the program is still ending.
    let mut refusals = 1;
    rules.set(move |act, path| match ledger_is_refused(act, path) {
        Answer::Refuse if refusals > 0 => {
            refusals -= 1;
            Answer::Refuse
        }
        _ => Answer::Do,
    });
    life.stop().await;
    assert_next_start_has_all(&mut engine, 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_recovers_during_the_end_does_not_double_a_commit_it_answered_with_an_error() {
    let mut engine = Engine::new(&[METERS]);
    let mut stored = false;
    let rules = Rules::new(move |act, path| match act {
        Act::Write if path.contains("/water_meters/_delta_log/00000000000000000001.json") => {
            stored = true;
            Answer::DoAndFail
        }
        _ if stored && path.contains("/water_meters") => Answer::Refuse,
        _ => Answer::Do,
    });
    let life = a_round_that_cannot_end(&mut engine, &rules).await;
    let mut refusals = 1;
    rules.set(move |_, path| {
        if refusals > 0 && path.contains("/water_meters") {
            refusals -= 1;
            return Answer::Refuse;
        }
        Answer::Do
    });
    life.stop().await;
    assert_next_start_has_all(&mut engine, 5).await;
}
