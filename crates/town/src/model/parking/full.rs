use std::ops::RangeInclusive;

use jiff::Timestamp;
use serde::Serialize;

use super::{Crossing, LOTS, Lot, ParkingDay, TWO_WHEELER};
use crate::calendar::instant;
use crate::model::Town;

/// A match begins and ends at these local hours.
const MATCH_BEGINS_H: i64 = 19;
const MATCH_ENDS_H: i64 = 21;

/// A time for which a car park was full.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Full {
    /// The car park.
    pub lot: &'static str,
    /// When no more than [`Lot::full_at`] spaces were free.
    pub from: Timestamp,
    /// When there were [`Lot::free_again_at`] again.
    pub until: Timestamp,
}

/// A match at the stadium, known long before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// The car park that it fills.
    pub lot: &'static str,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

impl Town {
    /// The times in a span for which car parks were full, in order for each car park.
    pub fn full(&self, from: Timestamp, until: Timestamp) -> Vec<Full> {
        let mut found = Vec::new();
        for lot in &LOTS {
            for number in self.parking_days(from, until) {
                found.extend(self.parking_day(lot, number).full(lot));
            }
        }
        found.retain(|full| full.from < until && full.until > from);
        found
    }

    /// The matches in a span of time.
    pub fn matches(&self, from: Timestamp, until: Timestamp) -> Vec<Match> {
        let mut found = Vec::new();
        for lot in &LOTS {
            let days = self.parking_days(from, until).filter(|day| lot.has_match(self.visits(lot, *day)));
            found.extend(days.map(|day| {
                let at = |hour: i64| instant(self.calendar.at(day, hour));
                Match { lot: lot.id, from: at(MATCH_BEGINS_H), until: at(MATCH_ENDS_H) }
            }));
        }
        found.retain(|one| one.from < until && one.until > from);
        found
    }

    fn parking_days(&self, from: Timestamp, until: Timestamp) -> RangeInclusive<i64> {
        self.parking_day_number(from.as_millisecond())..=self.parking_day_number(until.as_millisecond())
    }
}

impl Lot {
    /// The car park is full when so many spaces are free, or fewer: 2 % of them, for a driver who circles finds no other.
    pub fn full_at(&self) -> u32 {
        self.spaces / 50
    }

    /// It has room again when so many spaces are free: 5 % of them.
    pub fn free_again_at(&self) -> u32 {
        self.spaces / 20
    }
}

impl ParkingDay {
    /// When it was full; the day ends with an empty lot, so each time ends too.
    fn full(&self, lot: &Lot) -> Vec<Full> {
        let cars = |crossings: &[Crossing], change: i64| -> Vec<(i64, i64)> {
            crossings.iter().filter(|c| c.class != TWO_WHEELER).map(|c| (c.at, change)).collect()
        };
        let mut changes = cars(&self.entering, -1);
        changes.extend(cars(&self.leaving, 1));
        changes.sort_unstable();
        let (mut free, mut full_from, mut found) = (i64::from(lot.spaces - lot.overnight), None, Vec::new());
        for (at, change) in changes {
            free += change;
            match full_from {
                None if free <= i64::from(lot.full_at()) => full_from = Some(at),
                Some(from) if free >= i64::from(lot.free_again_at()) => {
                    found.push(Full { lot: lot.id, from: instant(from), until: instant(at) });
                    full_from = None;
                }
                _ => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::DAY;
    use crate::model::TownConfig;

    #[test]
    fn every_match_fills_the_stadium_before_it_begins() {
        let start = "2026-05-04T00:00:00Z".parse().unwrap();
        let town = Town::new(TownConfig { seed: 7, start }).unwrap();
        let (from, until) = (instant(town.start_ms()), instant(town.start_ms() + 60 * DAY));
        let (matches, full) = (town.matches(from, until), town.full(from, until));
        assert!(!matches.is_empty());
        for one in &matches {
            let filled = full.iter().find(|full| full.lot == one.lot && full.from < one.from && full.until > one.from);
            let filled = filled.unwrap_or_else(|| panic!("{one:?} does not fill it: {full:?}"));
            let stadium = LOTS.iter().find(|lot| lot.id == one.lot).unwrap();
            assert!(stadium.spaces - town.cars_in(stadium, filled.from) <= stadium.full_at(), "{filled:?}");
            assert!(stadium.spaces - town.cars_in(stadium, filled.until) >= stadium.free_again_at(), "{filled:?}");
        }
    }
}
