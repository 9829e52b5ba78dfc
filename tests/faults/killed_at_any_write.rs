//! The process dies at the n-th write its store sees, for every n: before the write, or after it but before its answer. Then it
//! starts again, over a journal that lost any part of what was not synced. The first writes make the tables, so that a start
//! dies too; later ones are data files of three days, commits, rejects and the ledger, twice over.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::support::engine::{
    AIR, AT_THE_END, DAY_S, Engine, GUARD, Life, METERS, ask, expected, ledger, message, number, reading, readings, rows_at_rest,
    when_full,
};
use crate::support::store::{Act, Answer, Rules};

/// Where a life ends.
#[derive(Clone, Copy, Debug)]
struct Death {
    /// How many writes are done before.
    after_writes: u64,
    /// The one after them is done too, and not answered.
    unanswered: bool,
}

/// A store that does `death.after_writes` writes and then nothing any more, and how to learn that it came to that.
fn mortal(death: Death) -> (Arc<Rules>, watch::Receiver<bool>) {
    let (tell, dead) = watch::channel(false);
    let mut writes = 0;
    let rules = Rules::new(move |act, _| {
        let was_dead = *tell.borrow();
        if was_dead {
            return Answer::Refuse;
        }
        if act == Act::Read || writes < death.after_writes {
            writes += u64::from(act == Act::Write);
            return Answer::Do;
        }
        tell.send_replace(true);
        if death.unanswered { Answer::DoAndFail } else { Answer::Refuse }
    });
    (rules, dead)
}

/// Rows in a round: those of one [`portion`].
const ROUND_ROWS: usize = 13;

/// Nine readings of three days, three temperatures and something that is no reading.
fn portion(number: i64) -> Vec<(&'static str, String, i64, f64)> {
    let meters = (0..9).map(|n| (METERS, format!("m{}", n % 2), number * 600 + n * DAY_S / 3, (100 * number + n) as f64));
    let air = (0..3).map(|n| (AIR, "a".to_owned(), number * 600 + n, n as f64));
    meters.chain(air).collect()
}

fn send(engine: &Engine, number: i64) {
    for (feed, id, at_s, value) in portion(number) {
        engine.send(feed, [reading(&id, at_s, value)]);
    }
    engine.send(METERS, [message(format!("garbage {number}"))]);
}

/// Waits until everything up to `seq` is committed, or the store is dead. True if it is dead.
async fn committed_or_dead(life: &Life, seq: u64, dead: &mut watch::Receiver<bool>) -> bool {
    let died = timeout(GUARD, dead.wait_for(|d| *d));
    tokio::select! {
        biased;
        died = died => died.expect("neither committed nor dead").is_ok(),
        () = life.committed(seq) => false,
    }
}

/// What became of the first life.
struct First {
    /// It came to its death.
    died: bool,
    /// It lived long enough for the second portion.
    sent_both: bool,
}

async fn first_life(engine: &mut Engine, death: Death) -> First {
    let (rules, mut dead) = mortal(death);
    let life = match engine.try_start(&rules, when_full(ROUND_ROWS)).await {
        Ok(life) => life,
        Err(error) => {
            assert!(*dead.borrow(), "{death:?}: {error}");
            return First { died: true, sent_both: false };
        }
    };
    let sent_both = !committed_or_dead(&life, 13, &mut dead).await;
    if sent_both {
        send(engine, 1);
        committed_or_dead(&life, 26, &mut dead).await;
    }
    assert_eq!(rules.overwritten(), 0, "{death:?}");
    let mut random = SmallRng::seed_from_u64(death.after_writes);
    engine.cut_power(life, |bytes| random.random_bool(0.5).then(|| random.random_range(0..=bytes))).await;
    First { died: *dead.borrow(), sent_both }
}

/// All rows once and every delivery counted, at rest.
async fn assert_exactly_once(engine: &Engine, deliveries: u64, death: Death) {
    let lake = engine.lake().await;
    let meters = [portion(0), portion(1)].concat().into_iter().filter(|r| r.0 == METERS);
    assert_eq!(readings(&lake).await, expected(meters.map(|(_, id, at_s, value)| (id, at_s, value))), "{death:?}");
    assert_eq!(rows_at_rest(&lake), 18, "{death:?}");
    assert_eq!(number(&lake, "SELECT count(*) AS n FROM temperature").await, 6, "{death:?}");
    let rejects = ask(&lake, "SELECT seq, CAST(raw AS VARCHAR) AS raw FROM rejects ORDER BY seq").await;
    let mut raws: Vec<&str> = rejects.iter().map(|r| r["raw"].as_str().unwrap()).collect();
    raws.sort_unstable();
    raws.dedup();
    assert_eq!(raws, ["garbage 0", "garbage 1"], "{death:?}");
    let numbers: Vec<&Value> = rejects.iter().map(|r| &r["seq"]).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "{death:?}: a delivery is rejected twice: {rejects:?}");
    let (meters, air) = (ledger(&lake, METERS).await, ledger(&lake, AIR).await);
    assert_eq!((meters.committed, air.committed), (18, 6), "{death:?}");
    assert_eq!((meters.in_flight, air.in_flight), (0, 0), "{death:?}");
    assert_eq!(usize::try_from(meters.rejected).unwrap(), rejects.len(), "{death:?}");
    assert_eq!(u64::try_from(meters.deliveries + air.deliveries).unwrap(), deliveries, "{death:?}: one was not counted once");
}

/// Dies as `death` says, starts again, and ends in order. True if it came to that death.
async fn lives_on_after(death: Death) -> bool {
    let mut engine = Engine::new(&[METERS, AIR]);
    send(&engine, 0);
    let first = first_life(&mut engine, death).await;
    if !first.sent_both {
        send(&engine, 1);
    }
    let life = engine.start(AT_THE_END).await;
    engine.acknowledged(METERS, 20).await;
    engine.acknowledged(AIR, 6).await;
    let (journal, rules) = (life.journal.clone(), life.rules.clone());
    life.stop().await;
    assert_eq!(rules.overwritten(), 0, "{death:?}");
    let deliveries = *journal.synced().borrow();
    assert_exactly_once(&engine, deliveries, death).await;
    first.died
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_write_of_the_store_every_row_is_there_exactly_once() {
    for after_writes in 0.. {
        let mut died = false;
        for unanswered in [false, true] {
            died |= lives_on_after(Death { after_writes, unanswered }).await;
        }
        if !died {
            // Four tables, then twice: data files and commits of two tables, of the rejects and of the ledger.
            assert!(after_writes >= 4 + 2 * (3 + 1 + 2 + 2 + 2), "only {after_writes} writes were seen");
            return;
        }
    }
}
