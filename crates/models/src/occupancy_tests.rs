//! What the estimate must do, a car park of a hundred spaces at a time.

use crate::occupancy::{Kind, Lot, Occupancy, Row};
use crate::occupancy_gates::MINUTE_US;

const LOT: Lot = Lot { capacity: 100.0, initial_occupied: 50.0, stale_after_s: 300.0 };
const START: i64 = 1_773_964_800_000_000;

fn row(kind: Kind, minute: f64, vehicles: f64) -> Row<'static> {
    let at = START + (minute * MINUTE_US as f64) as i64;
    let (device, counter, epoch) = if kind == Kind::View { ("view", "", "") } else { ("gate", "gate/in/car", "a") };
    let observed_at = Some(at);
    Row { kind, received_at: at, observed_at, device, counter, epoch, out: false, vehicles, total: None, by_clock: false }
}

fn crossing(minute: f64, out: bool) -> Row<'static> {
    Row { out, ..row(Kind::Crossing, minute, 1.0) }
}

fn lot() -> Occupancy {
    Occupancy::new(&LOT, ["gate"].into_iter())
}

fn occupied(lot: &Occupancy, minute: f64) -> f64 {
    lot.estimate(&LOT, START + (minute * MINUTE_US as f64) as i64).occupied
}

#[test]
fn a_crossing_moves_by_one_and_what_gates_miss() {
    let mut lot = lot();
    (1..=10).for_each(|minute| lot.take(&LOT, &crossing(f64::from(minute), false)));
    assert!((occupied(&lot, 10.0) - 60.2).abs() < 0.01);
}

#[test]
fn totals_repair_what_was_lost_and_repeats_add_nothing() {
    let mut lot = lot();
    for (minute, total) in [(1.0, 100), (2.0, 101), (5.0, 111), (5.1, 111), (5.2, 104)] {
        lot.take(&LOT, &Row { total: Some(total), ..row(Kind::Crossing, minute, 1.0) });
    }
    assert!((occupied(&lot, 6.0) - 62.24).abs() < 0.01);
}

#[test]
fn a_count_is_compared_with_the_time_it_was_seen() {
    let mut lot = lot();
    (1..=10).for_each(|minute| lot.take(&LOT, &crossing(f64::from(minute), false)));
    // Seen at minute 0, when 50 stood there; told at minute 11. It confirms us, although 60 stand there now.
    let manual = Row { observed_at: Some(START), vehicles: 50.0, ..row(Kind::Manual, 11.0, 0.0) };
    lot.take(&LOT, &manual);
    assert!((occupied(&lot, 11.0) - 60.2).abs() < 0.2, "{}", occupied(&lot, 11.0));
}

#[test]
fn a_late_crossing_was_already_in_a_count_taken_since() {
    let mut lot = lot();
    lot.take(&LOT, &row(Kind::Heard, 9.5, 0.0));
    lot.take(&LOT, &row(Kind::Manual, 10.0, 55.0));
    let before = occupied(&lot, 11.0);
    let late = Row { observed_at: Some(START + 5 * MINUTE_US), ..crossing(11.0, false) };
    lot.take(&LOT, &late);
    let moved = occupied(&lot, 11.0) - before;
    assert!(moved > 0.0 && moved < 0.3, "{moved}");
}

#[test]
fn a_clock_that_is_an_hour_wrong_is_put_right_by_the_signs_of_life() {
    let hour = 60 * MINUTE_US;
    let mut lot = lot();
    lot.take(&LOT, &Row { observed_at: Some(START - hour), ..row(Kind::Heard, 0.0, 0.0) });
    lot.take(&LOT, &row(Kind::Manual, 1.0, 50.0));
    lot.take(&LOT, &Row { observed_at: Some(START + 2 * MINUTE_US - hour), ..crossing(2.0, false) });
    assert!((occupied(&lot, 2.0) - 51.0).abs() < 0.1);
}

#[test]
fn a_silent_gate_makes_blind_and_a_view_sees_for_five_minutes() {
    let mut lot = lot();
    lot.take(&LOT, &row(Kind::Heard, 0.0, 0.0));
    let until = |lot: &Occupancy| (lot.estimate(&LOT, START).seen_until() - START) / MINUTE_US;
    assert_eq!(until(&lot), 5);
    lot.take(&LOT, &row(Kind::View, 20.0, 50.0));
    assert_eq!(until(&lot), 25);
}

#[test]
fn snow_on_the_camera_is_refused() {
    let mut lot = lot();
    lot.take(&LOT, &row(Kind::View, 1.0, 48.0));
    let before = occupied(&lot, 1.0);
    lot.take(&LOT, &row(Kind::View, 11.0, 32.0));
    assert!((occupied(&lot, 11.0) - before).abs() < 1e-9);
}

#[test]
fn nobody_enters_a_full_lot_so_the_estimate_stays_at_the_wall() {
    let mut lot = lot();
    (1..=80).for_each(|minute| lot.take(&LOT, &crossing(f64::from(minute), false)));
    (81..=90).for_each(|minute| lot.take(&LOT, &crossing(f64::from(minute), true)));
    let left = occupied(&lot, 90.0);
    assert!(left > 85.0 && left < 95.0, "{left}");
}

#[test]
fn the_text_is_the_whole_memory() {
    let mut whole = lot();
    let mut restarted = lot();
    for step in 0..300 {
        let minute = f64::from(step) * 0.7;
        let next = match step % 11 {
            0 => Row { total: Some(i64::from(step)), ..row(Kind::Crossing, minute, 1.0) },
            1 => row(Kind::View, minute, 60.0 - f64::from(step % 7)),
            2 => row(Kind::Heard, minute, 0.0),
            3 => row(Kind::Manual, minute, 58.0),
            n => crossing(minute, n % 2 == 0),
        };
        whole.take(&LOT, &next);
        restarted = Occupancy::from_text(&restarted.to_text()).unwrap_or_else(lot);
        restarted.take(&LOT, &next);
    }
    assert_eq!(whole, restarted);
    assert_eq!(Occupancy::from_text("occupancy-0\t1"), None);
}
