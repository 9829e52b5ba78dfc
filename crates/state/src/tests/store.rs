//! The store: what a run leaves behind, and what becomes of damaged files.

use std::path::PathBuf;

use super::{HOUR_US, KEY, action, row, row_of, with};
use crate::alert::{AlertState, Silence, What};
use crate::row::ProductRow;
use crate::{Batch, CLOSED_KEPT, Filter, Kind, State, StateError};

const ALERT: Kind = Kind::Alert { down_hold_s: 0 };

fn batch(kind: Kind, rows: &[ProductRow], up_to_h: i64) -> Batch<'_> {
    Batch { product: "leaks", kind, rows, up_to_us: up_to_h * HOUR_US, retrieved_at_us: 7, rule_hash: "r1" }
}

struct Kept {
    directory: tempfile::TempDir,
    state: State,
}

impl Kept {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = State::open(&directory.path().join("state.redb")).unwrap();
        Self { directory, state }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("state.redb")
    }

    fn open_alerts(&self) -> Vec<crate::Alert> {
        self.state.alerts(&Filter { open: Some(true), ..Filter::default() }).unwrap()
    }
}

#[test]
fn a_run_moves_the_mark_also_without_rows_and_never_back() {
    let kept = Kept::new();
    assert_eq!(kept.state.mark("leaks").unwrap(), None);
    for (up_to_h, mark_h) in [(5, 5), (9, 9), (3, 9)] {
        kept.state.apply(&batch(Kind::Table, &[], up_to_h)).unwrap();
        assert_eq!(kept.state.mark("leaks").unwrap(), Some(mark_h * HOUR_US));
    }
    assert_eq!(kept.state.mark("other").unwrap(), None);
}

#[test]
fn a_sign_shows_the_newest_row_and_knows_its_end() {
    let kept = Kept::new();
    let newest = with(row(3, None), "valid_until", "1970-01-01T04:00:00Z");
    kept.state.apply(&batch(Kind::Sign, &[row(1, None), newest, row(2, None)], 3)).unwrap();
    let sign = kept.state.sign("leaks", KEY).unwrap().unwrap();
    assert_eq!((sign.as_of_us, sign.valid_until_us, sign.retrieved_at_us), (3 * HOUR_US, Some(4 * HOUR_US), 7));
    assert_eq!(kept.state.signs("leaks").unwrap(), [sign]);
    assert_eq!(kept.state.sign("leaks", "zone_id=Z2").unwrap(), None);
    assert!(kept.state.signs("leak").unwrap().is_empty());
}

#[test]
fn a_value_between_ticks_leaves_the_mark_and_never_replaces_a_newer_one() {
    let kept = Kept::new();
    kept.state.apply(&batch(Kind::Sign, &[row(3, None)], 3)).unwrap();
    assert_eq!(kept.state.put_signs_now("leaks", &[row(2, None)], 8).unwrap(), 0);
    assert_eq!(kept.state.put_signs_now("leaks", &[row(4, None)], 8).unwrap(), 1);
    kept.state.apply(&batch(Kind::Sign, &[row(3, None)], 3)).unwrap();
    assert_eq!(kept.state.sign("leaks", KEY).unwrap().unwrap().as_of_us, 4 * HOUR_US);
    assert_eq!(kept.state.mark("leaks").unwrap(), Some(3 * HOUR_US));
}

#[test]
fn transitions_wait_for_the_lake_and_their_numbers_go_on() {
    let kept = Kept::new();
    let told = kept.state.apply(&batch(ALERT, &[row(1, 1), row(2, 2)], 2)).unwrap();
    let waiting = kept.state.outbox(10).unwrap();
    assert_eq!(waiting, [(1, told[0].clone()), (2, told[1].clone())]);
    assert_eq!(kept.state.outbox(1).unwrap().len(), 1);
    kept.state.outbox_done(2).unwrap();
    assert_eq!(kept.state.outbox_len().unwrap(), 0);
    kept.state.apply(&batch(ALERT, &[row(3, 0)], 3)).unwrap();
    assert_eq!(kept.state.outbox(10).unwrap()[0].0, 3);
}

#[test]
fn an_alert_is_read_with_its_history_and_changed_by_people() {
    let kept = Kept::new();
    let id = kept.state.apply(&batch(ALERT, &[row(1, 1)], 1)).unwrap()[0].alert_id.clone();
    kept.state.act(&id, &action(What::Acknowledge), 2 * HOUR_US).unwrap();
    kept.state.act(&id, &action(What::Resolve), 3 * HOUR_US).unwrap();
    let (alert, history) = kept.state.alert(&id).unwrap().unwrap();
    assert_eq!((alert.state, alert.closed_at_us), (AlertState::Resolved, Some(3 * HOUR_US)));
    assert_eq!(history.iter().map(|t| t.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(kept.state.apply(&batch(ALERT, &[row(4, 3)], 4)).unwrap().is_empty());
    assert!(matches!(kept.state.act(&id, &action(What::Acknowledge), 0), Err(StateError::Refused { .. })));
    assert!(matches!(kept.state.act("nobody", &action(What::Acknowledge), 0), Err(StateError::Unknown { .. })));
    assert_eq!(kept.state.outbox_len().unwrap(), 3);
}

#[test]
fn alerts_are_listed_by_level_and_filtered() {
    let kept = Kept::new();
    let rows = [row_of("A", 1, Some(1)), row_of("B", 1, Some(3)), row_of("C", 1, Some(2)), row_of("C", 2, Some(0))];
    kept.state.apply(&batch(ALERT, &rows, 2)).unwrap();
    let keys = |filter: Filter| -> Vec<String> { kept.state.alerts(&filter).unwrap().into_iter().map(|a| a.key).collect() };
    assert_eq!(keys(Filter::default()), ["zone_id=B", "zone_id=A", "zone_id=C"]);
    assert_eq!(keys(Filter { open: Some(false), ..Filter::default() }), ["zone_id=C"]);
    assert_eq!(keys(Filter { since_us: Some(2 * HOUR_US), ..Filter::default() }), ["zone_id=C"]);
    assert!(keys(Filter { product: Some("floods".to_owned()), ..Filter::default() }).is_empty());
}

#[test]
fn a_silence_of_a_key_holds_for_open_and_for_new_alerts() {
    let kept = Kept::new();
    kept.state.apply(&batch(ALERT, &[row(1, 1)], 1)).unwrap();
    let key = KEY.to_owned();
    let silence = Silence { product: None, key, from_us: HOUR_US, until_us: 9 * HOUR_US, who: "Kari".to_owned(), why: None };
    assert_eq!(kept.state.silence(&silence).unwrap().len(), 1);
    assert_eq!(kept.open_alerts()[0].state, AlertState::Silenced);
    let told = kept.state.apply(&batch(ALERT, &[row(2, 0), row(3, 1), row(10, 1)], 10)).unwrap();
    assert_eq!(told.iter().map(|t| t.tell).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!(kept.state.silences(8 * HOUR_US).unwrap(), std::slice::from_ref(&silence));
    assert!(kept.state.silences(9 * HOUR_US).unwrap().is_empty());
    let backwards = Silence { until_us: 0, ..silence };
    assert!(matches!(kept.state.silence(&backwards), Err(StateError::Refused { .. })));
}

#[test]
fn silencing_an_alert_silences_its_key() {
    let kept = Kept::new();
    let id = kept.state.apply(&batch(ALERT, &[row(1, 1)], 1)).unwrap()[0].alert_id.clone();
    kept.state.act(&id, &action(What::Silence { until_us: 9 * HOUR_US }), HOUR_US).unwrap();
    let told = kept.state.apply(&batch(ALERT, &[row(2, 0), row(3, 2)], 3)).unwrap();
    assert!(told.iter().all(|transition| !transition.tell));
    assert_eq!(kept.state.silences(HOUR_US).unwrap()[0].product.as_deref(), Some("leaks"));
}

#[test]
fn a_row_that_cannot_be_read_refuses_the_whole_run() {
    let kept = Kept::new();
    let rows = [row(1, 1), with(row(2, 1), "level", "red")];
    assert!(matches!(kept.state.apply(&batch(ALERT, &rows, 2)), Err(StateError::Row { .. })));
    assert!(kept.open_alerts().is_empty());
    assert_eq!(kept.state.mark("leaks").unwrap(), None);
}

#[test]
fn the_alerts_closed_longest_ago_are_forgotten_with_their_history() {
    let kept = Kept::new();
    let hours = 2 * (CLOSED_KEPT as i64 + 5);
    let rows: Vec<ProductRow> = (0..hours).map(|hour| row(hour, u8::from(hour % 2 == 0))).collect();
    let first = kept.state.apply(&batch(ALERT, &rows, hours)).unwrap()[0].clone();
    assert_eq!(kept.state.alerts(&Filter::default()).unwrap().len(), CLOSED_KEPT);
    assert!(kept.state.alert(&first.alert_id).unwrap().is_none());
    assert_eq!(kept.state.outbox_len().unwrap(), hours as u64);
}

#[test]
fn a_damaged_file_is_set_aside_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.redb");
    std::fs::write(&path, [0x5a; 10_000]).unwrap();
    let state = State::open(&path).unwrap();
    let aside = state.set_aside().unwrap();
    assert_eq!(std::fs::read(&aside.path).unwrap(), [0x5a; 10_000]);
    state.apply(&batch(Kind::Table, &[], 1)).unwrap();
    assert_eq!(state.mark("leaks").unwrap(), Some(HOUR_US));
}

#[test]
fn a_second_opening_is_told_that_it_is_in_use() {
    let kept = Kept::new();
    assert!(matches!(State::open(&kept.path()), Err(StateError::InUse { .. })));
}
