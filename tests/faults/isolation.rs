//! One sick source, or a store or a disk that is sick for a while, never stops the others for good.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datasjo_journal::{Journal, Limits};
use datasjo_sources::memory::Message;
use datasjo_sources::{Delivery, Health, Mark, Source, SourceError, State};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::time::timeout;

use crate::support::engine::{
    AIR, AT_THE_END, Counts, Engine, GUARD, METERS, OFTEN, VALVES, expected, ledger, message, number, reading, readings,
    rows_at_rest, until,
};
use crate::support::store::{Act, Answer, Rules};

/// Longest wait for a pump's first step to fail.
const FIRST_STEP: Duration = Duration::from_millis(500);

/// Ways to be sick.
enum Sick {
    /// The far side refuses for good.
    Refused,
    /// Nothing ever comes.
    Silent,
    /// A defect of the source itself.
    Panics,
}

struct SickSource {
    how: Sick,
    health: Health,
}

#[async_trait]
impl Source for SickSource {
    async fn next(&mut self) -> Result<Option<Delivery>, SourceError> {
        match self.how {
            Sick::Refused => Err(SourceError::Refused { far_side: "broker".to_owned(), reason: "not you".to_owned() }),
            Sick::Silent => std::future::pending().await,
            Sick::Panics => panic!("on purpose"),
        }
    }

    async fn settle(&mut self, _mark: Mark) -> Result<(), SourceError> {
        Ok(())
    }

    async fn stop(&mut self) {}

    fn health(&self) -> Health {
        self.health.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_garbage_and_sick_sources_hold_nobody_back() {
    const FLOOD: usize = 20_000;
    let mut engine = Engine::new(&[METERS, AIR]);
    let mut healths = Vec::new();
    for how in [Sick::Refused, Sick::Silent, Sick::Panics] {
        let health = Health::default();
        healths.push(health.clone());
        engine.add_source(VALVES, Box::new(SickSource { how, health }));
    }
    engine.send(AIR, (0..FLOOD).map(|n| message(format!("garbage {n}"))));
    let life = engine.start(OFTEN).await;
    // The flood is under way; meters are as quick as ever.
    for n in 0..20_u8 {
        engine.send(METERS, [reading("m", i64::from(n) * 60, f64::from(n))]);
        engine.acknowledged(METERS, usize::from(n) + 1).await;
    }
    until("the refused source says so", || healths[0].report().state == State::Failed).await;
    assert!(healths[0].report().reason.contains("not you"));
    engine.acknowledged(AIR, FLOOD).await;
    life.visible(FLOOD as u64 + 20).await;
    life.stop().await;
    let lake = engine.lake().await;
    assert_eq!(rows_at_rest(&lake), 20);
    assert_eq!(number(&lake, "SELECT count(*) AS n FROM rejects").await, 20_000);
    let meters = Counts { deliveries: 20, received: 20, committed: 20, ..Counts::default() };
    assert_eq!(ledger(&lake, METERS).await, meters);
    let air = Counts { deliveries: 20_000, received: 20_000, rejected: 20_000, ..Counts::default() };
    assert_eq!(ledger(&lake, AIR).await, air);
}

fn many(feed: &str) -> Vec<Message> {
    (0..700).map(|n| reading(feed, n * 60, (n % 50) as f64)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_smaller_than_what_comes_makes_senders_wait_and_drops_nothing() {
    let mut engine = Engine::new(&[METERS, VALVES, AIR]);
    engine.limits = Limits { max_bytes: 16 << 10, queue_bytes: 4 << 10, recent_bytes: 0 };
    for feed in [METERS, VALVES, AIR] {
        engine.send(feed, many(feed));
    }
    let life = engine.start(OFTEN).await;
    for feed in [METERS, VALVES, AIR] {
        engine.acknowledged(feed, 700).await;
    }
    life.stop().await;
    let lake = engine.lake().await;
    assert_eq!(rows_at_rest(&lake), 1_400);
    assert_eq!(number(&lake, "SELECT count(*) AS n FROM temperature").await, 700);
    for feed in [METERS, VALVES, AIR] {
        let counts = Counts { deliveries: 700, received: 700, committed: 700, ..Counts::default() };
        assert_eq!(ledger(&lake, feed).await, counts, "{feed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_by_a_crowded_journal_survives_a_power_cut() {
    for seed in 0..6_u64 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut engine = Engine::new(&[METERS, VALVES, AIR]);
        engine.limits = Limits { max_bytes: 16 << 10, queue_bytes: 4 << 10, recent_bytes: 0 };
        for feed in [METERS, VALVES, AIR] {
            engine.send(feed, many(feed));
        }
        for _ in 0..2 {
            let life = engine.start(OFTEN).await;
            let so_far = engine.far(VALVES).acknowledged().len();
            engine.acknowledged(VALVES, (so_far + random.random_range(1..300)).min(700)).await;
            engine.cut_power(life, |bytes| random.random_bool(0.5).then(|| random.random_range(0..=bytes))).await;
        }
        let life = engine.start(OFTEN).await;
        for feed in [METERS, VALVES, AIR] {
            engine.acknowledged(feed, 700).await;
        }
        let deliveries = life.journal.clone();
        life.stop().await;
        let lake = engine.lake().await;
        assert_eq!(rows_at_rest(&lake), 1_400, "seed {seed}");
        assert_eq!(number(&lake, "SELECT count(*) AS n FROM temperature").await, 700, "seed {seed}");
        let mut counted = 0;
        for feed in [METERS, VALVES, AIR] {
            let counts = ledger(&lake, feed).await;
            assert_eq!((counts.committed, counts.in_flight), (700, 0), "seed {seed}: {feed}");
            counted += counts.deliveries;
        }
        assert_eq!(u64::try_from(counted).unwrap(), *deliveries.synced().borrow(), "seed {seed}: one was not counted once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_be_read_for_a_while_does_not_end_ingest() {
    let mut engine = Engine::new(&[METERS]);
    engine.send(METERS, [reading("m", 600, 1.0)]);
    let life = engine.start(OFTEN).await;
    engine.acknowledged(METERS, 1).await;
    life.stop().await;

    // A late reading has to be looked up in the lake, and the lake cannot be read.
    let rules = Rules::well();
    let life = engine.start_with(&rules, OFTEN).await;
    rules.set(|act, path| if act == Act::Read && path.contains("/water_meters") { Answer::Refuse } else { Answer::Do });
    engine.send(METERS, [reading("m", 0, 1.0), reading("m", 1_200, 1.0)]);
    engine.acknowledged(METERS, 3).await;
    timeout(GUARD, rules.refused().wait_for(|n| *n >= 1)).await.expect("the lake is not looked at").unwrap();
    rules.set(|_, _| Answer::Do);
    life.visible(3).await;
    life.stop().await;
    let lake = engine.lake().await;
    let all = [0, 600, 1_200].map(|at_s| ("m".to_owned(), at_s, 1.0));
    assert_eq!((readings(&lake).await, rows_at_rest(&lake)), (expected(all), 3));
    let counts = Counts { deliveries: 3, received: 3, committed: 3, ..Counts::default() };
    assert_eq!(ledger(&lake, METERS).await, counts);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_disk_that_fails_for_a_while_does_not_end_ingest() {
    let mut engine = Engine::new(&[METERS]);
    // Nothing of the journal is kept in memory, so every step has to read the disk.
    engine.limits = Limits { recent_bytes: 0, ..Limits::default() };
    engine.send(METERS, (0..5).map(|n| reading("m", n * 60, 1.0)));
    let life = engine.start(AT_THE_END).await;
    engine.acknowledged(METERS, 5).await;
    engine.cut_power(life, Some).await;

    // Five deliveries wait in the journal and nothing of them is committed.
    let journal = Arc::new(Journal::open_faulty(&engine.disk, engine.limits.clone()).unwrap());
    engine.disk.fail(true);
    journal.release(0).await.unwrap();
    timeout(GUARD, journal.failure().wait_for(Option::is_some)).await.expect("nobody is told").unwrap();
    let life = engine.start_on(journal, &Rules::well(), OFTEN).await.unwrap();
    engine.send(METERS, [reading("m", 600, 1.0)]);
    // A pump that gives up does so at its first step; one that waits is given no more than this.
    let mut progress = life.ingest.progress();
    let gave_up = matches!(timeout(FIRST_STEP, progress.wait_for(|_| false)).await, Ok(Err(_)));
    assert!(!gave_up, "the pump has ended");
    engine.disk.fail(false);
    engine.acknowledged(METERS, 6).await;
    life.visible(6).await;
    life.stop().await;
    assert_eq!(rows_at_rest(&engine.lake().await), 6);
}
