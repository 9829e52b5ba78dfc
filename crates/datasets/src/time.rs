//! Written times to microseconds since 1970 UTC.

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use crate::config::Fold;

/// How a column's times are written.
#[derive(Clone, Debug)]
pub(crate) struct TimePlan {
    shape: Shape,
    zone: Zone,
    fold: Fold,
}

#[derive(Clone, Debug)]
enum Shape {
    Rfc3339,
    /// A number with so many units a second.
    Unix(i64),
    Strptime(String),
}

#[derive(Clone, Debug)]
enum Zone {
    /// Every time must state its own offset.
    Stated,
    Utc,
    Named(TimeZone, String),
}

impl TimePlan {
    /// The plan for a column's `time`, `zone` and `fold`.
    ///
    /// # Errors
    /// The word that is wrong and a sentence about it.
    pub fn new(time: Option<&str>, zone: Option<&str>, fold: Option<Fold>) -> Result<Self, (String, String)> {
        let shape = match time.unwrap_or("rfc3339") {
            "rfc3339" => Shape::Rfc3339,
            "unix_s" => Shape::Unix(1),
            "unix_ms" => Shape::Unix(1000),
            "unix_us" => Shape::Unix(1_000_000),
            format if format.contains('%') => Shape::Strptime(format.to_owned()),
            other => {
                let message = format!("time \"{other}\" is none of rfc3339, unix_s, unix_ms, unix_us and no strptime format");
                return Err((other.to_owned(), message));
            }
        };
        let zone = match zone {
            None => Zone::Stated,
            Some("UTC" | "Z") => Zone::Utc,
            Some(name) => match TimeZone::get(name) {
                Ok(zone) => Zone::Named(zone, name.to_owned()),
                Err(_) => {
                    return Err((name.to_owned(), format!("no time zone \"{name}\"; write it like Europe/Oslo")));
                }
            },
        };
        if let (Shape::Strptime(format), Zone::Stated) = (&shape, &zone)
            && !["%z", "%:z", "%s"].iter().any(|offset| format.contains(offset))
        {
            return Err((format.clone(), format!("\"{format}\" has no offset: give the zone of these times")));
        }
        Ok(Self { shape, zone, fold: fold.unwrap_or_default() })
    }

    /// For the records of device formats, whose times are microseconds already.
    pub fn unix_us() -> Self {
        Self { shape: Shape::Unix(1_000_000), zone: Zone::Stated, fold: Fold::First }
    }

    /// True if times are numbers.
    pub fn is_number(&self) -> bool {
        matches!(self.shape, Shape::Unix(_))
    }

    /// The instant of a number of the plan's units.
    pub fn whole(&self, number: i64) -> Option<i64> {
        match self.shape {
            Shape::Unix(per_second) => number.checked_mul(1_000_000 / per_second),
            _ => None,
        }
    }

    /// The instant of a broken number of the plan's units, rounded to the microsecond.
    pub fn broken(&self, number: f64) -> Option<i64> {
        let Shape::Unix(per_second) = self.shape else {
            return None;
        };
        let us = (number * (1_000_000 / per_second) as f64).round();
        // Far inside i64 and far outside any date.
        (us.abs() < 1e18).then_some(us as i64)
    }

    /// The instant of a written time.
    ///
    /// # Errors
    /// The end of a sentence that begins with the time.
    pub fn text(&self, text: &str) -> Result<i64, String> {
        match &self.shape {
            Shape::Rfc3339 => self.rfc3339(text),
            Shape::Unix(_) => {
                let whole = text.parse::<i64>().ok().and_then(|n| self.whole(n));
                let broken = || text.parse::<f64>().ok().and_then(|n| self.broken(n));
                whole.or_else(broken).ok_or_else(|| "is no number of seconds".to_owned())
            }
            Shape::Strptime(format) => self.strptime(format, text),
        }
    }

    fn rfc3339(&self, text: &str) -> Result<i64, String> {
        let Some(parts) = Parts::read(text.as_bytes()) else {
            let parsed = text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_microsecond);
            return parsed.map_err(|_| "is no time like 2026-03-29T01:00:00Z".to_owned());
        };
        match (parts.offset_s, &self.zone) {
            (Some(offset_s), _) => Ok(parts.us() - i64::from(offset_s) * 1_000_000),
            (None, Zone::Utc) => Ok(parts.us()),
            (None, Zone::Stated) => Err("has no offset from UTC, and the feed names no zone".to_owned()),
            (None, Zone::Named(..)) => self.local(parts.civil()?),
        }
    }

    fn strptime(&self, format: &str, text: &str) -> Result<i64, String> {
        let parsed = strtime::parse(format, text).map_err(|_| format!("is no time like {format}"))?;
        if let Ok(instant) = parsed.to_timestamp() {
            return Ok(instant.as_microsecond());
        }
        let civil = parsed.to_datetime().map_err(|_| format!("is no time like {format}"))?;
        self.local(civil)
    }

    fn local(&self, civil: DateTime) -> Result<i64, String> {
        let offset = match &self.zone {
            Zone::Stated => {
                return Err("has no offset from UTC, and the feed names no zone".to_owned());
            }
            Zone::Utc => Offset::UTC,
            Zone::Named(zone, name) => self.offset_at(zone, name, civil)?,
        };
        offset.to_timestamp(civil).map(jiff::Timestamp::as_microsecond).map_err(|_| "is out of range".to_owned())
    }

    fn offset_at(&self, zone: &TimeZone, name: &str, civil: DateTime) -> Result<Offset, String> {
        match (zone.to_ambiguous_timestamp(civil).offset(), self.fold) {
            (AmbiguousOffset::Unambiguous { offset }, _) => Ok(offset),
            (AmbiguousOffset::Gap { .. }, _) => Err(format!("does not exist in {name}: clocks were put forward over it")),
            (AmbiguousOffset::Fold { before, .. }, Fold::First) => Ok(before),
            (AmbiguousOffset::Fold { after, .. }, Fold::Second) => Ok(after),
            (AmbiguousOffset::Fold { .. }, Fold::Reject) => {
                Err(format!("occurs twice in {name}: clocks were put back over it, and the feed takes neither"))
            }
        }
    }
}

/// The common shape `YYYY-MM-DD[T ]HH:MM[:SS[.f]][Z|+HH:MM|+HHMM]`, read by hand.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    year: i32,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    micro: u32,
    offset_s: Option<i32>,
}

impl Parts {
    fn read(text: &[u8]) -> Option<Self> {
        let fixed = text.get(..16)?;
        let separators = fixed[4] == b'-' && fixed[7] == b'-' && matches!(fixed[10], b'T' | b' ') && fixed[13] == b':';
        if !separators {
            return None;
        }
        let (second, micro, rest) = seconds(&text[16..])?;
        let parts = Self {
            year: number(&fixed[..4])? as i32,
            month: number(&fixed[5..7])?,
            day: number(&fixed[8..10])?,
            hour: number(&fixed[11..13])?,
            minute: number(&fixed[14..16])?,
            second,
            micro,
            offset_s: offset(rest)?,
        };
        parts.is_valid().then_some(parts)
    }

    fn is_valid(&self) -> bool {
        (1..=12).contains(&self.month)
            && (1..=days_in_month(self.year, self.month)).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
    }

    /// Microseconds since 1970 as if it were UTC.
    fn us(&self) -> i64 {
        let days = days_from_civil(i64::from(self.year), i64::from(self.month), i64::from(self.day));
        let seconds = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        (days * 86400 + seconds) * 1_000_000 + i64::from(self.micro)
    }

    fn civil(&self) -> Result<DateTime, String> {
        let nanos = self.micro as i32 * 1000;
        let (month, day, hour) = (self.month as i8, self.day as i8, self.hour as i8);
        DateTime::new(self.year as i16, month, day, hour, self.minute as i8, self.second as i8, nanos)
            .map_err(|_| "is no date".to_owned())
    }
}

/// `[:SS[.f]]`: seconds, microseconds (further digits are cut) and what follows.
fn seconds(text: &[u8]) -> Option<(u32, u32, &[u8])> {
    let Some(after) = text.strip_prefix(b":") else {
        return Some((0, 0, text));
    };
    let second = number(after.get(..2)?)?;
    let rest = &after[2..];
    let Some(fraction) = rest.strip_prefix(b".") else {
        return Some((second, 0, rest));
    };
    let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let mut micro = number(&fraction[..digits.min(6)])?;
    for _ in digits..6 {
        micro *= 10;
    }
    Some((second, micro, &fraction[digits..]))
}

/// `Some(None)` if there is none, `None` if it cannot be read.
fn offset(text: &[u8]) -> Option<Option<i32>> {
    let (sign, digits) = match text {
        [] => return Some(None),
        [b'Z'] => return Some(Some(0)),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.len() {
        5 if digits[2] == b':' => (number(&digits[..2])?, number(&digits[3..])?),
        4 => (number(&digits[..2])?, number(&digits[2..])?),
        2 => (number(digits)?, 0),
        _ => return None,
    };
    (hours < 24 && minutes < 60).then_some(Some(sign * (hours * 3600 + minutes * 60) as i32))
}

/// At most nine digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
}

fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// An instant that states its own offset, for device formats.
pub(crate) fn instant(text: &str) -> Result<i64, String> {
    TimePlan { shape: Shape::Rfc3339, zone: Zone::Stated, fold: Fold::First }.text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_microsecond()
    }

    fn plan(time: &str, zone: &str, fold: Fold) -> TimePlan {
        TimePlan::new(Some(time), Some(zone), Some(fold)).unwrap()
    }

    #[test]
    fn the_common_shape_is_read_as_the_library_reads_it() {
        for text in [
            "2026-03-20T00:07:01.536Z",
            "2026-03-20T00:07:01Z",
            "1899-12-31T23:59:59.999999Z",
            "2000-02-29T12:00:00+05:30",
            "1969-07-20T20:17:40-04:00",
            "2026-12-31T23:59:59.123456789Z",
        ] {
            assert_eq!(instant(text), Ok(us(text)), "{text}");
        }
        assert_eq!(instant("2026-03-20T00:07Z"), Ok(us("2026-03-20T00:07:00Z")));
        assert_eq!(instant("2026-03-20 00:07:00+0100"), Ok(us("2026-03-19T23:07:00Z")));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-02-30T00:00:00Z",
            "2026-03-20T24:00:00Z",
            "yesterday",
            "2026-03-20T00:00:00",
            "20260320",
            "2026-03-20T00:00:0xZ",
        ] {
            assert!(instant(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_doubled_hour_of_october_is_the_one_the_feed_says() {
        let text = "2026-10-25T02:30:00";
        assert_eq!(plan("rfc3339", "Europe/Oslo", Fold::First).text(text), Ok(us("2026-10-25T00:30:00Z")));
        assert_eq!(plan("rfc3339", "Europe/Oslo", Fold::Second).text(text), Ok(us("2026-10-25T01:30:00Z")));
        assert!(plan("rfc3339", "Europe/Oslo", Fold::Reject).text(text).unwrap_err().contains("occurs twice"));
    }

    #[test]
    fn a_time_in_the_gap_of_march_does_not_exist() {
        let plan = plan("%d.%m.%Y %H:%M", "Europe/Oslo", Fold::First);
        assert!(plan.text("29.03.2026 02:30").unwrap_err().contains("does not exist"));
        assert_eq!(plan.text("29.03.2026 03:30"), Ok(us("2026-03-29T01:30:00Z")));
    }

    #[test]
    fn numbers_of_seconds_and_milliseconds_are_instants() {
        let seconds = TimePlan::new(Some("unix_s"), None, None).unwrap();
        assert_eq!(seconds.broken(1_773_965_729.328_619), Some(1_773_965_729_328_619));
        assert_eq!(seconds.whole(i64::MAX), None);
        assert_eq!(seconds.broken(f64::NAN), None);
        let millis = TimePlan::new(Some("unix_ms"), None, None).unwrap();
        assert_eq!(millis.text("1670518346712"), Ok(1_670_518_346_712_000));
    }

    #[test]
    fn a_plan_that_cannot_work_names_the_word() {
        assert_eq!(TimePlan::new(Some("iso"), None, None).unwrap_err().0, "iso");
        assert_eq!(TimePlan::new(None, Some("Europe/Olso"), None).unwrap_err().0, "Europe/Olso");
        assert!(TimePlan::new(Some("%Y-%m-%d"), None, None).is_err());
    }
}
