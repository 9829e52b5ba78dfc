//! The lifecycle alone, without a store.

use super::{HOUR_US, KEY, action, row, with};
use crate::actions::act;
use crate::alert::{Action, Alert, AlertState, Silence, Transition, TransitionKind, What};
use crate::lifecycle::{JUDGED_KEPT, Rules, Watch};
use crate::row::ProductRow;

fn take_held(watch: &mut Watch, row: &ProductRow, down_hold_h: i64) -> Vec<Transition> {
    let down_hold_us = down_hold_h * HOUR_US;
    let rules = Rules { product: "leaks", rule_hash: "r1", down_hold_us, up_to_us: 1_000 * HOUR_US };
    watch.take(KEY, row, &rules).unwrap()
}

fn take(watch: &mut Watch, row: ProductRow) -> Vec<Transition> {
    take_held(watch, &row, 0)
}

fn kinds(told: &[Transition]) -> Vec<&'static str> {
    told.iter().map(|transition| transition.transition.name()).collect()
}

/// The transitions of the rows of hours 1, 2, ...
fn levels(watch: &mut Watch, levels: &[Option<u8>]) -> Vec<Transition> {
    (1..).zip(levels).flat_map(|(hour, level)| take(watch, row(hour, *level))).collect()
}

fn raised(level: u8) -> Watch {
    let mut watch = Watch::default();
    levels(&mut watch, &[Some(level)]);
    watch
}

fn open(watch: &Watch) -> &Alert {
    watch.open.as_ref().unwrap()
}

fn silence(from_h: i64, until_h: i64) -> Silence {
    let (from_us, until_us) = (from_h * HOUR_US, until_h * HOUR_US);
    Silence { product: None, key: KEY.to_owned(), from_us, until_us, who: "Kari".to_owned(), why: None }
}

#[test]
fn an_alert_is_raised_once_and_cleared_once() {
    let told = levels(&mut Watch::default(), &[Some(0), Some(1), Some(1), Some(0), Some(0)]);
    assert_eq!(kinds(&told), ["raised", "cleared"]);
    assert_eq!((told[0].number, told[1].number), (1, 2));
    assert_eq!((told[0].state, told[1].state), (AlertState::Raised, AlertState::Cleared));
    assert_eq!(told[1].level, 0);
}

#[test]
fn a_second_time_is_a_second_alert() {
    let told = levels(&mut Watch::default(), &[Some(1), Some(0), Some(1)]);
    assert_eq!(kinds(&told), ["raised", "cleared", "raised"]);
    assert_ne!(told[0].alert_id, told[2].alert_id);
}

#[test]
fn the_same_rows_give_the_same_name() {
    assert_eq!(open(&raised(2)).id, open(&raised(1)).id);
}

#[test]
fn level_class_and_size_are_told_and_figures_are_not() {
    let mut watch = raised(1);
    assert_eq!(take(&mut watch, row(2, 2))[0].why.as_deref(), Some("level 1 to 2"));
    assert_eq!(take(&mut watch, with(row(3, 2), "class", "burst"))[0].why.as_deref(), Some("class none to burst"));
    assert_eq!(take(&mut watch, with(row(4, 2), "step", 2))[0].why.as_deref(), Some("size step 0 to 2"));
    assert!(take(&mut watch, with(row(5, 2), "step", 1)).is_empty());
    assert!(take(&mut watch, with(row(6, 2), "step", 2)).is_empty());
    assert!(take(&mut watch, with(row(7, 2), "flow_l_per_s", 99)).is_empty());
    assert_eq!(open(&watch).highest_level, 2);
    assert_eq!(open(&watch).evidence.newest_at_us, 7 * HOUR_US);
}

#[test]
fn without_a_basis_the_alert_stays_and_that_is_told_once() {
    let mut watch = raised(2);
    let told = take(&mut watch, with(row(2, None), "reason", "meter silent"));
    assert_eq!(told[0].why.as_deref(), Some("no basis to judge by: meter silent"));
    assert!(take(&mut watch, row(3, None)).is_empty());
    assert_eq!((open(&watch).level, open(&watch).has_basis), (2, false));
    assert_eq!(take(&mut watch, row(4, 2))[0].why.as_deref(), Some("there is a basis again"));
}

#[test]
fn without_a_basis_nothing_is_raised() {
    assert!(levels(&mut Watch::default(), &[None, None]).is_empty());
}

#[test]
fn a_level_rises_at_once_and_falls_after_its_hold_to_the_highest_since() {
    let mut watch = Watch::default();
    let hours = [(1, 1), (2, 3), (3, 2), (4, 0), (5, 0), (6, 0), (7, 0)];
    let told: Vec<(i64, Vec<&str>)> =
        hours.into_iter().map(|(hour, level)| (hour, kinds(&take_held(&mut watch, &row(hour, level), 2)))).collect();
    let spoken: Vec<i64> = told.iter().filter(|(_, kinds)| !kinds.is_empty()).map(|(hour, _)| *hour).collect();
    // Below 3 since hour 3, so 2 from hour 5; below 2 since hour 5 (as far as is known then), so over at hour 7.
    assert_eq!(spoken, [1, 2, 5, 7]);
    assert_eq!(told[6].1, ["cleared"]);
}

#[test]
fn a_missing_basis_starts_the_hold_anew() {
    let mut watch = raised(1);
    for (hour, level) in [(2, Some(0)), (3, None), (4, Some(0)), (5, Some(0))] {
        assert!(!kinds(&take_held(&mut watch, &row(hour, level), 2)).contains(&"cleared"), "hour {hour}");
    }
    assert_eq!(kinds(&take_held(&mut watch, &row(6, 0), 2)), ["cleared"]);
}

#[test]
fn what_a_person_closed_is_not_raised_again_until_it_was_over() {
    for what in [What::Resolve, What::FalseAlarm] {
        let mut watch = raised(1);
        watch.act(&action(what), HOUR_US).unwrap();
        assert!(watch.open.is_none());
        assert!(take(&mut watch, row(2, 2)).is_empty());
        assert!(take(&mut watch, row(3, None)).is_empty());
        assert!(take(&mut watch, row(4, 2)).is_empty());
        assert!(take(&mut watch, row(5, 0)).is_empty());
        assert_eq!(kinds(&take(&mut watch, row(6, 1))), ["raised"]);
    }
}

#[test]
fn people_acknowledge_once_assign_and_comment() {
    let mut watch = raised(1);
    let told = watch.act(&action(What::Acknowledge), HOUR_US).unwrap();
    assert_eq!((told.state, told.who.as_deref()), (AlertState::Acknowledged, Some("Kari")));
    assert!(watch.act(&action(What::Acknowledge), HOUR_US).unwrap_err().starts_with("Kari acknowledged it already"));
    let told = watch.act(&action(What::Assign { to: "Ola".to_owned() }), HOUR_US).unwrap();
    assert_eq!((told.why.as_deref(), open(&watch).assignee.as_deref()), (Some("to Ola"), Some("Ola")));
    assert!(watch.act(&action(What::Comment), HOUR_US).is_err());
    let comment = Action { why: Some("valve shut".to_owned()), ..action(What::Comment) };
    assert_eq!(watch.act(&comment, HOUR_US).unwrap().transition, TransitionKind::Commented);
    assert_eq!(kinds(&take(&mut watch, row(2, 0))), ["cleared"]);
}

#[test]
fn a_nameless_person_is_refused() {
    let nameless = Action { who: " ".to_owned(), ..action(What::Acknowledge) };
    assert_eq!(raised(1).act(&nameless, 0).unwrap_err(), "who is empty");
}

#[test]
fn a_cleared_alert_may_be_called_a_false_alarm_and_nothing_else_be_done_to_a_closed_one() {
    let mut watch = Watch::default();
    levels(&mut watch, &[Some(1), Some(0)]);
    let mut alert = watch.closed.clone().unwrap();
    assert!(act(&mut alert, &action(What::Acknowledge), 0).is_err());
    assert_eq!(act(&mut alert, &action(What::FalseAlarm), 9 * HOUR_US).unwrap().state, AlertState::FalseAlarm);
    assert_eq!(alert.closed_at_us, Some(2 * HOUR_US));
    assert!(act(&mut alert, &action(What::Resolve), 0).is_err());
}

#[test]
fn a_silenced_key_raises_in_silence_and_speaks_when_the_silence_is_over() {
    let mut watch = Watch { silences: vec![silence(0, 3)], ..Watch::default() };
    let told = levels(&mut watch, &[Some(1), Some(2), Some(2), Some(0)]);
    assert_eq!(kinds(&told), ["raised", "updated", "updated", "cleared"]);
    assert_eq!(told.iter().map(|t| t.tell).collect::<Vec<_>>(), [false, false, true, true]);
    assert_eq!((told[0].state, told[2].state), (AlertState::Silenced, AlertState::Raised));
    assert_eq!(told[2].why.as_deref(), Some("the silence is over"));
}

#[test]
fn what_ends_in_silence_is_not_told() {
    let mut watch = Watch { silences: vec![silence(0, 9)], ..Watch::default() };
    let told = levels(&mut watch, &[Some(1), Some(0)]);
    assert!(told.iter().all(|transition| !transition.tell));
}

#[test]
fn a_row_that_was_taken_changes_nothing() {
    let mut watch = raised(1);
    levels(&mut watch, &[Some(1), Some(0), Some(2)]);
    let before = watch.clone();
    assert!(levels(&mut watch, &[Some(1), Some(0), Some(2)]).is_empty());
    assert_eq!(watch, before);
}

#[test]
fn a_correction_of_the_newest_tick_is_told_and_followed() {
    let mut watch = raised(1);
    let told = take(&mut watch, row(1, 3));
    assert_eq!(kinds(&told), ["corrected", "updated"]);
    assert!(told[0].why.as_deref().unwrap().ends_with("was judged again: level 3 instead of level 1"));
    assert_eq!(told[0].at_us, 1_000 * HOUR_US);
    assert_eq!(kinds(&take(&mut watch, row(1, 0))), ["corrected", "cleared"]);
}

#[test]
fn a_correction_of_figures_alone_is_kept_and_not_told() {
    let mut watch = raised(1);
    let told = take(&mut watch, with(row(1, 1), "flow_l_per_s", 77));
    assert_eq!((kinds(&told), told[0].tell), (vec!["corrected"], false));
}

#[test]
fn a_correction_of_the_clearing_or_raising_tick_opens_the_same_alert_again() {
    let mut watch = raised(1);
    let id = open(&watch).id.clone();
    levels(&mut watch, &[Some(1), Some(0)]);
    assert_eq!(kinds(&take(&mut watch, row(2, 2))), ["corrected"]);
    assert_eq!((&open(&watch).id, open(&watch).level, open(&watch).closed_at_us), (&id, 2, None));

    let mut watch = raised(1);
    assert_eq!(kinds(&take(&mut watch, row(1, 0))), ["corrected", "cleared"]);
    assert_eq!(kinds(&take(&mut watch, row(1, 2))), ["corrected"]);
    assert_eq!((&open(&watch).id, open(&watch).transitions), (&id, 4));
}

#[test]
fn a_correction_of_an_older_tick_is_told_and_leaves_the_alert_as_it_is() {
    let mut watch = raised(1);
    levels(&mut watch, &[Some(1), Some(2), Some(2)]);
    let told = take(&mut watch, row(2, 0));
    assert_eq!((kinds(&told), told[0].level), (vec!["corrected"], 2));
    assert_eq!(open(&watch).evidence.newest_at_us, 3 * HOUR_US);
}

#[test]
fn a_correction_before_the_alert_or_beyond_memory_is_for_the_lake_alone() {
    let mut watch = Watch::default();
    levels(&mut watch, &[Some(0), Some(1)]);
    assert!(take(&mut watch, row(1, 1)).is_empty());
    for hour in 3..200 {
        take(&mut watch, row(hour, 1));
    }
    assert_eq!(watch.judged.len(), JUDGED_KEPT);
    assert!(take(&mut watch, row(2, 3)).is_empty());
}

#[test]
fn a_column_that_cannot_be_read_is_refused() {
    let rules = Rules { product: "leaks", rule_hash: "", down_hold_us: 0, up_to_us: 0 };
    let error = Watch::default().take(KEY, &with(row(1, 1), "level", "red"), &rules).unwrap_err();
    assert_eq!(error, "level is \"red\": a whole number from 0 to 3 or null");
}
