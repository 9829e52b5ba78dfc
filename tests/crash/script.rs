//! What is published, and when the program dies; all of it follows from a seed.

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;

/// Messages of a town.
const MESSAGES: usize = 400;
/// Deaths of the program.
const CUTS: usize = 3;
/// Half an hour before midnight, so that commits hold two days: 2026-03-01T23:30:00Z.
const START_S: i64 = 1_772_407_800;

/// A meter and an instant, as SQL shows it.
pub type Key = (String, String);

/// When a process is killed.
#[derive(Clone, Copy, Debug)]
pub enum Trigger {
    /// At once.
    Ready,
    /// When the broker has taken so many of the messages sent since the last death.
    Published(usize),
    /// When SQL shows everything up to this sequence number.
    Visible(u64),
    /// When everything up to this sequence number is committed.
    Committed(u64),
}

/// One death.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// Messages are sent up to this one, and the death comes meanwhile.
    pub until: usize,
    pub trigger: Trigger,
    /// The rest of them is sent while nobody is there; else during the next start.
    pub broker_keeps_the_rest: bool,
}

/// A town's messages and deaths.
pub struct Script {
    /// Payloads in the order they are published: readings, exact duplicates, revisions and garbage. The last is a reading of
    /// its own.
    pub messages: Vec<String>,
    /// What each key must show in the end.
    pub readings: BTreeMap<Key, i64>,
    /// Every payload that is no reading; each is sent once.
    pub garbage: Vec<String>,
    pub cuts: Vec<Cut>,
    pub flush_rows: u64,
}

fn instant(at_s: i64) -> String {
    jiff::Timestamp::from_second(at_s).unwrap().to_string()
}

impl Script {
    pub fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let flush_rows = *[5, 20, 60].choose(&mut random).unwrap();
        let mut script =
            Self { messages: Vec::new(), readings: BTreeMap::new(), garbage: Vec::new(), cuts: Vec::new(), flush_rows };
        let mut keys: Vec<Key> = Vec::new();
        for n in 0..i64::try_from(MESSAGES).unwrap() - 1 {
            let old = keys.choose(&mut random).cloned();
            match (random.random_range(0..10), old) {
                (0, _) => script.garble(seed, n),
                (1, Some(key)) => script.say(&key, script.readings[&key]),
                (2, Some(key)) => script.say(&key, 10_000 + n),
                _ => {
                    let key = (format!("m{}", random.random_range(0..7)), instant(START_S + n * 10));
                    script.say(&key, n);
                    keys.push(key);
                }
            }
        }
        script.say(&Self::last(), 0);
        script.cuts = cuts(&mut random);
        script
    }

    /// The key of the last message: once it is visible, everything before it is.
    pub fn last() -> Key {
        ("last".to_owned(), instant(START_S))
    }

    fn say(&mut self, key: &Key, register_m3: i64) {
        self.messages.push(json!({"id": key.0, "t": key.1, "v": register_m3}).to_string());
        self.readings.insert(key.clone(), register_m3);
    }

    fn garble(&mut self, seed: u64, n: i64) {
        let payload = format!("{{\"id\": \"m{n}\", seed {seed}");
        self.messages.push(payload.clone());
        self.garbage.push(payload);
    }
}

fn cuts(random: &mut SmallRng) -> Vec<Cut> {
    let mut sent = 0;
    let mut cuts = Vec::new();
    for nth in 0..CUTS {
        let until = 20 + nth * 120 + random.random_range(0..110);
        // Each message becomes a delivery at least once, so these numbers are reached.
        let message = random.random_range(sent + 1..=until);
        let seq = u64::try_from(message).unwrap();
        let trigger = match random.random_range(0..5) {
            0 => Trigger::Ready,
            1 => Trigger::Published(message - sent),
            2 => Trigger::Committed(seq),
            _ => Trigger::Visible(seq),
        };
        cuts.push(Cut { until, trigger, broker_keeps_the_rest: random.random_bool(0.5) });
        sent = until;
    }
    cuts
}
