//! Public holidays of Norway and Italy. Pure; dates of the Gregorian calendar.

/// Whose holidays count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Country {
    /// Law on public holidays (lov 1995-02-24 nr. 12, § 2; 1 and 17 May by the law of 1947-04-26 nr. 1).
    Norway,
    /// Legge 27 maggio 1949 n. 260 with its later changes.
    Italy,
}

impl Country {
    /// By its two letters (ISO 3166-1).
    pub fn from_code(code: &str) -> Option<Self> {
        match code {
            "NO" => Some(Country::Norway),
            "IT" => Some(Country::Italy),
            _ => None,
        }
    }
}

/// Holidays on a fixed date, as month and day.
const NORWAY: [(i64, i64); 5] = [(1, 1), (5, 1), (5, 17), (12, 25), (12, 26)];
const ITALY: [(i64, i64); 10] = [(1, 1), (1, 6), (4, 25), (5, 1), (6, 2), (8, 15), (11, 1), (12, 8), (12, 25), (12, 26)];
/// Days after Easter Sunday: Maundy Thursday, Good Friday, Easter, Ascension, Whitsun.
const NORWAY_AFTER_EASTER: [i64; 7] = [-3, -2, 0, 1, 39, 49, 50];
/// Easter Sunday and Monday.
const ITALY_AFTER_EASTER: [i64; 2] = [0, 1];

/// Whether a day, counted from 1970-01-01, is a public holiday.
pub fn is_public_holiday(day: i64, country: Country) -> bool {
    let (year, month, of_month) = date(day);
    let after_easter = day - easter(year);
    let fixed = (month, of_month);
    match country {
        Country::Norway => NORWAY.contains(&fixed) || NORWAY_AFTER_EASTER.contains(&after_easter),
        Country::Italy => ITALY.contains(&fixed) || ITALY_AFTER_EASTER.contains(&after_easter),
    }
}

/// Easter Sunday, in days since 1970-01-01 (anonymous Gregorian computus; Meeus, Astronomical Algorithms, ch. 8).
pub fn easter(year: i64) -> i64 {
    let golden = year % 19;
    let (century, of_century) = (year / 100, year % 100);
    let leap_shift = (century - (century + 8) / 25 + 1) / 3;
    let moon = (19 * golden + century - century / 4 - leap_shift + 15) % 30;
    let weekday = (32 + 2 * (century % 4) + 2 * (of_century / 4) - moon - of_century % 4) % 7;
    let late = (golden + 11 * moon + 22 * weekday) / 451;
    let sum = moon + weekday - 7 * late + 114;
    day(year, sum / 31, sum % 31 + 1)
}

/// Days since 1970-01-01 of a date (Hinnant, "chrono-compatible low-level date algorithms"); years after 0.
fn day(year: i64, month: i64, of_month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let of_era = year - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + of_month - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day of month of a day since 1970-01-01 (Hinnant, as above); years after 0.
fn date(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let in_era = shifted - era * 146_097;
    let of_era = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let of_year = in_era - (365 * of_era + of_era / 4 - of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = of_era + era * 400 + i64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn easter_falls_on_its_dates() {
        let known = [(1961, 4, 2), (2000, 4, 23), (2021, 4, 4), (2022, 4, 17), (2024, 3, 31), (2038, 4, 25)];
        for (year, month, of_month) in known {
            assert_eq!(date(easter(year)), (year, month, of_month));
        }
    }

    #[test]
    fn days_and_dates_are_each_other_s_inverse() {
        for at in -100_000..100_000 {
            let (year, month, of_month) = date(at);
            assert_eq!(day(year, month, of_month), at);
        }
    }

    #[test]
    fn each_country_has_its_own_holidays() {
        let told = |y, m, d| {
            let at = day(y, m, d);
            (is_public_holiday(at, Country::Norway), is_public_holiday(at, Country::Italy))
        };
        assert_eq!(told(2022, 5, 17), (true, false));
        assert_eq!(told(2022, 4, 25), (false, true));
        assert_eq!(told(2022, 4, 14), (true, false)); // Maundy Thursday
        assert_eq!(told(2022, 4, 18), (true, true)); // Easter Monday
        assert_eq!(told(2022, 5, 26), (true, false)); // Ascension
        assert_eq!(told(2022, 6, 15), (false, false));
    }

    #[test]
    fn a_country_we_do_not_know_has_no_calendar() {
        assert_eq!((Country::from_code("NO"), Country::from_code("xx")), (Some(Country::Norway), None));
    }
}
