use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A second in milliseconds; instants inside the town are milliseconds since 1970 UTC.
pub(crate) const SECOND: i64 = 1000;
/// A minute in milliseconds.
pub(crate) const MINUTE: i64 = 60 * SECOND;
/// An hour in milliseconds.
pub(crate) const HOUR: i64 = 60 * MINUTE;
/// A day of 24 hours in milliseconds.
pub(crate) const DAY: i64 = 24 * HOUR;

/// The instant `at_ms`; beyond what a timestamp can hold, the last one.
pub(crate) fn instant(at_ms: i64) -> Timestamp {
    Timestamp::from_millisecond(at_ms).unwrap_or(Timestamp::MAX)
}

/// Milliseconds since 1970 UTC.
pub(crate) fn millis(at: Timestamp) -> i64 {
    at.as_millisecond()
}

/// The local time people in Molde live by. Days are numbered from 1970-01-01 in local time.
#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    zone: TimeZone,
}

impl Calendar {
    /// Norwegian time.
    pub fn oslo() -> Result<Self, jiff::Error> {
        Ok(Self { zone: TimeZone::get("Europe/Oslo")? })
    }

    /// How far local time is ahead of UTC at an instant, in milliseconds.
    pub fn offset(&self, at_ms: i64) -> i64 {
        i64::from(self.zone.to_offset(instant(at_ms)).seconds()) * SECOND
    }

    /// The local day an instant lies in.
    pub fn day(&self, at_ms: i64) -> i64 {
        (at_ms + self.offset(at_ms)).div_euclid(DAY)
    }

    /// The instant of a full local hour of a day; right for every hour but those of the night the clocks change (02, 03).
    pub fn at(&self, day: i64, hour: i64) -> i64 {
        let local = day * DAY + hour * HOUR;
        local - self.offset(local - HOUR - HOUR / 2)
    }

    /// Local hours since midnight, 0 to 24.
    pub fn hour_of_day(&self, at_ms: i64) -> f64 {
        (at_ms + self.offset(at_ms)).rem_euclid(DAY) as f64 / HOUR as f64
    }

    /// Saturday or Sunday. 1970-01-01 was a Thursday.
    pub fn is_weekend(day: i64) -> bool {
        (day + 3).rem_euclid(7) >= 5
    }

    /// Local date and time without an offset, as loggers with a wall clock write it.
    pub fn wall_clock(&self, at_ms: i64) -> String {
        instant(at_ms + self.offset(at_ms)).to_string().trim_end_matches('Z').to_owned()
    }

    /// The instant a reader takes a wall-clock time of this instant for: of the hour that comes twice in October, the first.
    pub fn first_with_same_wall_clock(&self, at_ms: i64) -> i64 {
        let step = self.offset(at_ms - HOUR) - self.offset(at_ms);
        if step > 0 { at_ms - step } else { at_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        millis(text.parse().unwrap())
    }

    #[test]
    fn local_days_start_at_local_midnight_on_both_sides_of_the_clock_change() {
        let oslo = Calendar::oslo().unwrap();
        let sunday = oslo.day(ms("2026-10-25T12:00:00Z"));
        assert_eq!(oslo.at(sunday, 0), ms("2026-10-24T22:00:00Z"));
        assert_eq!(oslo.at(sunday, 4), ms("2026-10-25T03:00:00Z"));
        assert_eq!(oslo.at(sunday + 1, 0), ms("2026-10-25T23:00:00Z"));
        assert!(Calendar::is_weekend(sunday) && !Calendar::is_weekend(sunday + 1));
    }

    #[test]
    fn the_october_hour_is_read_as_its_first_pass() {
        let oslo = Calendar::oslo().unwrap();
        let (first, second) = (ms("2026-10-25T00:00:00Z"), ms("2026-10-25T01:00:00Z"));
        assert_eq!(oslo.wall_clock(first), "2026-10-25T02:00:00");
        assert_eq!(oslo.wall_clock(second), "2026-10-25T02:00:00");
        assert_eq!(oslo.first_with_same_wall_clock(second), first);
        assert_eq!(oslo.first_with_same_wall_clock(first), first);
        assert_eq!(oslo.first_with_same_wall_clock(second + HOUR), second + HOUR);
    }
}
