//! What holds for any sequence of rows, actions and restarts.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{HOUR_US, action, row_of, with};
use crate::alert::{Alert, Transition, What};
use crate::row::ProductRow;
use crate::{Batch, Filter, Kind, State};

/// One row of one of three zones; the hour is its place in the sequence.
type Said = (u8, Option<u8>, u8);

fn said() -> impl Strategy<Value = Said> {
    (0..3u8, prop_oneof![Just(None), (0..4u8).prop_map(Some)], 0..3u8)
}

fn rows(said: &[Said]) -> Vec<ProductRow> {
    let hours = 1..;
    hours
        .zip(said)
        .map(|(hour, (zone, level, class))| with(row_of(&format!("Z{zone}"), hour, *level), "class", class.to_string()))
        .collect()
}

/// A state in a directory of its own, which can be closed and opened again.
struct Kept {
    directory: tempfile::TempDir,
    state: Option<State>,
}

/// Alerts with their histories, the outbox, and the mark.
type Seen = (Vec<(Alert, Vec<Transition>)>, Vec<(u64, Transition)>, Option<i64>);

impl Kept {
    fn new() -> Self {
        let mut kept = Self { directory: tempfile::tempdir().unwrap(), state: None };
        kept.restart();
        kept
    }

    fn restart(&mut self) {
        self.state = None;
        self.state = Some(State::open(&self.directory.path().join("state.redb")).unwrap());
    }

    fn state(&self) -> &State {
        self.state.as_ref().unwrap()
    }

    fn take(&self, rows: &[ProductRow], down_hold_s: u32) -> Vec<Transition> {
        let up_to_us = rows.iter().map(|row| row.as_of_us).max().unwrap_or(0);
        let kind = Kind::Alert { down_hold_s };
        self.state().apply(&Batch { product: "leaks", kind, rows, up_to_us, retrieved_at_us: 0, rule_hash: "r" }).unwrap()
    }

    /// Everything a caller can see.
    fn seen(&self) -> Seen {
        let alerts = self.state().alerts(&Filter::default()).unwrap();
        let whole = alerts.iter().map(|alert| self.state().alert(&alert.id).unwrap().unwrap()).collect();
        (whole, self.state().outbox(10_000).unwrap(), self.state().mark("leaks").unwrap())
    }

    fn open_keys(&self) -> Vec<String> {
        let open = Filter { open: Some(true), ..Filter::default() };
        self.state().alerts(&open).unwrap().into_iter().map(|alert| alert.key).collect()
    }
}

/// What a person does to the first alert, if it can be done.
fn try_act(kept: &Kept, number: u8, at_us: i64) {
    let what = match number % 5 {
        0 => What::Acknowledge,
        1 => What::Resolve,
        2 => What::FalseAlarm,
        3 => What::Silence { until_us: at_us + 3 * HOUR_US },
        _ => What::Assign { to: "Ola".to_owned() },
    };
    if let Some(alert) = kept.state().alerts(&Filter::default()).unwrap().first() {
        let _ = kept.state().act(&alert.id, &action(what), at_us);
    }
}

proptest! {
    // Every call is synced, so few cases of some length.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn one_batch_or_tick_by_tick_with_restarts_is_the_same(
        said in vec(said(), 1..30),
        hold_h in 0..3u32,
        restarts in any::<u32>(),
    ) {
        let rows = rows(&said);
        let whole = Kept::new();
        let told = whole.take(&rows, hold_h * 3_600);
        let mut single = Kept::new();
        let mut told_singly = Vec::new();
        for (n, row) in rows.iter().enumerate() {
            if (restarts >> n) & 1 == 1 {
                single.restart();
            }
            told_singly.extend(single.take(std::slice::from_ref(row), hold_h * 3_600));
        }
        prop_assert_eq!(told, told_singly);
        prop_assert_eq!(whole.seen(), single.seen());
    }

    #[test]
    fn at_most_one_alert_of_a_key_is_open_and_a_repetition_changes_nothing(
        said in vec(said(), 1..25),
        doing in vec((any::<bool>(), any::<u8>(), any::<bool>()), 25),
    ) {
        let rows = rows(&said);
        let mut kept = Kept::new();
        for (row, (acts, number, restarts)) in rows.iter().zip(doing) {
            kept.take(std::slice::from_ref(row), 0);
            if acts {
                try_act(&kept, number, row.as_of_us + HOUR_US / 2);
            }
            if restarts {
                kept.restart();
            }
            let keys = kept.open_keys();
            prop_assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        }
        let before = kept.seen();
        prop_assert!(kept.take(&rows, 0).is_empty());
        prop_assert_eq!(kept.seen(), before);
    }

    #[test]
    fn any_tick_may_be_judged_again_without_a_second_alert(
        said in vec(said(), 1..20),
        again in vec((any::<prop::sample::Index>(), prop_oneof![Just(None), (0..4u8).prop_map(Some)]), 1..10),
    ) {
        let rows = rows(&said);
        let kept = Kept::new();
        kept.take(&rows, 0);
        for (index, level) in again {
            let corrected = with(index.get(&rows).clone(), "level", level);
            kept.take(&[corrected], 0);
            let keys = kept.open_keys();
            prop_assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        }
        for (alert, history) in kept.seen().0 {
            let numbers: Vec<u64> = history.iter().map(|transition| transition.number).collect();
            prop_assert_eq!(numbers, (1..=alert.transitions).collect::<Vec<_>>());
        }
    }
}
