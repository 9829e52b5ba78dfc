//! Nominal time: the moments for which a product is computed.

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

const MINUTE_US: i64 = 60_000_000;
const DAY_US: i64 = 24 * 60 * MINUTE_US;

/// When a product's ticks are.
#[derive(Clone, Debug, PartialEq)]
pub enum Every {
    /// At whole multiples of so many microseconds since 1970 UTC; a divisor of a day.
    Interval(i64),
    /// Once a day at a local time.
    Daily(LocalTime),
    /// On the first of each month at a local time.
    Monthly(LocalTime),
}

/// A time of day on a local clock. In the hour that a clock change skips it is an hour later, in the one that comes twice
/// the first.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalTime {
    time: Time,
    zone: TimeZone,
}

impl Every {
    /// Reads `10 minutes`, `1 hour`, `1 day at 06:30 Europe/Oslo`, `1 month at 06:30 Europe/Oslo`.
    ///
    /// # Errors
    /// What is wrong with it, for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let expected = "write 10 minutes, 1 hour, 1 day at 06:30 Europe/Oslo or 1 month at 06:30 Europe/Oslo";
        let (period, at) = match text.split_once(" at ") {
            Some((period, at)) => (period.trim(), Some(local_time(at)?)),
            None => (text.trim(), None),
        };
        match (period, at) {
            ("1 day", Some(at)) => Ok(Self::Daily(at)),
            ("1 month", Some(at)) => Ok(Self::Monthly(at)),
            (_, Some(_)) => Err(format!("only days and months have a time of day; {expected}")),
            (period, None) => {
                let us = duration_us(period).ok_or(expected)?;
                if us == 0 || DAY_US % us != 0 {
                    return Err(format!("{period} does not divide a day; {expected}"));
                }
                Ok(Self::Interval(us))
            }
        }
    }

    /// The ticks after `since_us` up to and including `until_us`, ascending.
    pub fn ticks(&self, since_us: i64, until_us: i64) -> Vec<i64> {
        if until_us <= since_us {
            return Vec::new();
        }
        match self {
            Self::Interval(step) => {
                let first = (since_us.div_euclid(*step) + 1) * step;
                (0..).map(|n| first + n * step).take_while(|tick| *tick <= until_us).collect()
            }
            Self::Daily(at) => at.on_days(since_us, until_us, |_| true),
            Self::Monthly(at) => at.on_days(since_us, until_us, |date| date.day() == 1),
        }
    }

    /// The first tick after `since_us`.
    pub fn next(&self, since_us: i64) -> i64 {
        let longest = 32 * DAY_US;
        self.ticks(since_us, since_us.saturating_add(longest)).first().copied().unwrap_or(i64::MAX)
    }
}

impl LocalTime {
    fn on_days(&self, since_us: i64, until_us: i64, wanted: impl Fn(Date) -> bool) -> Vec<i64> {
        let date = |us: i64| Timestamp::from_microsecond(us).map(|t| t.to_zoned_datetime(self.zone.clone()).date());
        let (Ok(first), Ok(last)) = (date(since_us), date(until_us)) else { return Vec::new() };
        let instant = |date: Date| date.to_datetime(self.time).to_zoned_datetime(self.zone.clone()).ok();
        first
            .series(1.day())
            .take_while(|date| *date <= last)
            .filter(|date| wanted(*date))
            .filter_map(|date| Some(instant(date)?.timestamp().as_microsecond()))
            .filter(|tick| *tick > since_us && *tick <= until_us)
            .collect()
    }
}

fn local_time(text: &str) -> Result<LocalTime, String> {
    let (time, zone) = text.trim().split_once(' ').ok_or("write the time and the zone: 06:30 Europe/Oslo")?;
    let (hour, minute) = time.split_once(':').ok_or("write the time as 06:30")?;
    let number = |text: &str| text.parse::<i8>().map_err(|_| format!("{time} is no time of day"));
    let time = Time::new(number(hour)?, number(minute)?, 0, 0).map_err(|_| format!("{time} is no time of day"))?;
    let zone = TimeZone::get(zone.trim()).map_err(|_| format!("there is no time zone {zone}"))?;
    Ok(LocalTime { time, zone })
}

/// Reads `2 s`, `10 minutes`, `6 hours`, `400 days` as microseconds.
pub(crate) fn duration_us(text: &str) -> Option<i64> {
    let (number, unit) = text.trim().split_once(' ')?;
    let unit = match unit.trim() {
        "s" | "second" | "seconds" => 1_000_000,
        "min" | "minute" | "minutes" => MINUTE_US,
        "h" | "hour" | "hours" => 60 * MINUTE_US,
        "day" | "days" => DAY_US,
        _ => return None,
    };
    number.parse::<i64>().ok().filter(|n| *n >= 0)?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    #[test]
    fn an_interval_ticks_at_whole_multiples_after_since_and_up_to_until() {
        let every = Every::parse("10 minutes").unwrap();
        let ticks = every.ticks(us("2026-03-01T00:10:00Z"), us("2026-03-01T00:30:00Z"));
        assert_eq!(ticks, [us("2026-03-01T00:20:00Z"), us("2026-03-01T00:30:00Z")]);
        assert!(every.ticks(5, 5).is_empty());
    }

    #[test]
    fn a_day_at_a_local_time_follows_the_clock_change() {
        let every = Every::parse("1 day at 06:30 Europe/Oslo").unwrap();
        let ticks = every.ticks(us("2026-03-28T00:00:00Z"), us("2026-03-29T23:00:00Z"));
        assert_eq!(ticks, [us("2026-03-28T05:30:00Z"), us("2026-03-29T04:30:00Z")]);
    }

    #[test]
    fn ticks_in_pieces_are_the_ticks_in_one() {
        for text in ["1 hour", "1 day at 02:30 Europe/Oslo", "1 month at 00:00 Europe/Oslo"] {
            let every = Every::parse(text).unwrap();
            let (from, middle, to) = (us("2026-01-15T03:00:00Z"), us("2026-04-01T00:30:00Z"), us("2026-11-03T00:00:00Z"));
            let pieces = [every.ticks(from, middle), every.ticks(middle, to)].concat();
            assert_eq!(pieces, every.ticks(from, to), "{text}");
        }
    }

    #[test]
    fn what_is_no_period_says_how_to_write_one() {
        for text in
            ["7 minutes", "soon", "1 hour at 06:30 Europe/Oslo", "1 day at 26:30 Europe/Oslo", "1 day at 06:30 Oslo", "0 s"]
        {
            assert!(Every::parse(text).is_err(), "{text}");
        }
    }
}
