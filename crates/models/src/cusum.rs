//! The watch over one series of days for a leak: a cumulative sum that raises, and a level that clears. Pure, one day a step.
//!
//! The sum is Page's one-sided CUSUM (Page 1954, "Continuous inspection schemes", Biometrika 41) of a rise told in the series'
//! own scale. Constants are measured on development sets, see `pipelines/leak_alerts/README.md`.

use std::fmt;

/// What a day must rise above, in scales, to add to the sum.
const ALLOWANCE: f64 = 0.75;
/// After a day that rose less, in scales, the leak is held to have started anew: a slow drift before is not its beginning.
const RESTART: f64 = 0.5;
/// The most one day counts, in scales: a flushing or a day's filling must not raise an alert by itself.
const CAP: f64 = 2.0;
/// The newest day must stand this high, in scales, when an alert is raised: what has already passed is no alert.
const STILL_HIGH: f64 = 1.5;
/// A leak runs day and night: the rises of the level and of the lowest hours differ by less than this factor.
const ALIKE: f64 = 2.0;
/// The sum stays at most this many thresholds high, so that it comes down within days when the rise is over.
const CEILING: f64 = 3.0;
/// So many days the sum must have rested below the threshold before it may raise anew.
const QUIET_DAYS: i64 = 8;
/// A leak counts as repaired on the second day below this share of its size.
const REPAIRED_BELOW: f64 = 0.4;
const REPAIRED_DAYS: i64 = 2;
/// After so long a rise is the zone's new usual level; what it was cannot be told any more.
const LONGEST_DAYS: i64 = 60;
/// A leak that stands at more than this many times its first day has grown.
const GROWN: f64 = 1.5;
/// Size and kind are taken from so many newest days.
const RECENT: usize = 3;

/// One judged day of a series. Flows in l/s; `None` where readings do not tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct Day {
    /// Days since 1970-01-01 of the local day.
    pub day: i64,
    /// The smaller of the rises of the level and of the lowest hours, each in its own scale.
    pub rise: Option<f64>,
    /// The day's level.
    pub level: Option<f64>,
    /// Its lowest hours.
    pub low: Option<f64>,
    /// The level usual before.
    pub level_base: Option<f64>,
    /// The lowest hours usual before.
    pub low_base: Option<f64>,
    /// Sum from which an alert is raised, in scales.
    pub threshold: f64,
}

/// How a leak came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From one day to the next.
    Burst,
    /// Over days.
    Growing,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Burst => "burst",
            Kind::Growing => "growing",
        })
    }
}

/// An alert that is open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Open {
    /// First day of the newest step.
    pub started_day: i64,
    /// Day of the newest step's raising.
    pub raised_day: i64,
    /// Middle of level and lowest hours before the first step, l/s. Frozen, so that the leak cannot become its own base.
    pub base: f64,
    /// Size of the leak, l/s: that of the newest step when raised.
    pub size: f64,
    /// How many times the sum has risen.
    pub steps: i64,
    /// Days in a row at the level before.
    pub down: i64,
    /// How it came.
    pub kind: Kind,
}

/// The watch's memory from day to day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watch {
    /// The cumulative sum, in scales.
    pub sum: f64,
    /// First day of the rise that the sum tells of.
    pub started_day: i64,
    /// Newest day on which the sum stood above the threshold.
    pub above_day: Option<i64>,
    /// Rises in l/s of the newest days, oldest first.
    pub recent: Vec<f64>,
    /// Rise in l/s on that first day.
    pub first_rise: f64,
    /// The newest day's rise, in scales.
    pub last_rise: f64,
    /// The open alert.
    pub open: Option<Open>,
}

/// What a day changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// An alert, or a further step of one, was raised.
    pub raised: bool,
    /// The alert is over.
    pub cleared: bool,
}

impl Watch {
    /// Takes one day in. A day without a rise changes nothing but may still clear.
    pub fn step(&mut self, day: &Day) -> Change {
        let cleared = self.clear(day);
        let raised = match rise_lps(day) {
            Some((level, low)) => self.rise(day, level, low),
            None => false,
        };
        Change { raised, cleared: cleared && !raised }
    }

    fn rise(&mut self, day: &Day, level: f64, low: f64) -> bool {
        let Some(rise) = day.rise else { return false };
        let lps = f64::midpoint(level, low);
        self.remember(lps);
        let before = self.sum;
        self.sum = (before + rise.clamp(-CAP, CAP) - ALLOWANCE).clamp(0.0, CEILING * day.threshold);
        if self.sum > 0.0 && (before == 0.0 || self.last_rise < RESTART) {
            self.started_day = day.day;
            self.first_rise = lps;
        }
        self.last_rise = rise;
        if self.sum <= day.threshold || rise < STILL_HIGH || level > ALIKE * low || low > ALIKE * level {
            return false;
        }
        let rested = self.above_day.is_none_or(|above| day.day - above > QUIET_DAYS);
        self.above_day = Some(day.day);
        if rested {
            self.open(day, lps);
        }
        rested
    }

    fn remember(&mut self, lps: f64) {
        self.recent.push(lps);
        if self.recent.len() > RECENT {
            self.recent.remove(0);
        }
    }

    fn open(&mut self, day: &Day, lps: f64) {
        let size = middle(&self.recent);
        let usual = f64::midpoint(day.level.unwrap_or(0.0), day.low.unwrap_or(0.0)) - lps;
        self.open = Some(Open {
            started_day: self.started_day,
            raised_day: day.day,
            base: self.open.map_or(usual, |open| open.base),
            size,
            steps: self.open.map_or(0, |open| open.steps) + 1,
            down: 0,
            kind: if size > GROWN * self.first_rise { Kind::Growing } else { Kind::Burst },
        });
    }

    fn clear(&mut self, day: &Day) -> bool {
        let (Some(open), Some(level), Some(low)) = (self.open.as_mut(), day.level, day.low) else { return false };
        let above = f64::midpoint(level, low) - open.base;
        open.down = if above < REPAIRED_BELOW * open.size { open.down + 1 } else { 0 };
        let over = open.down >= REPAIRED_DAYS || day.day - open.raised_day > LONGEST_DAYS;
        if over {
            self.open = None;
        }
        over
    }

    /// The memory as text, numbers in their shortest exact form.
    pub fn to_text(&self) -> String {
        let above = self.above_day.map_or(String::from("-"), |day| day.to_string());
        let recent: Vec<String> = self.recent.iter().map(f64::to_string).collect();
        let open = self.open.map_or(String::from("-"), |o| {
            let parts = [o.started_day.to_string(), o.raised_day.to_string(), o.base.to_string(), o.size.to_string()];
            format!("{} {} {} {}", parts.join(" "), o.steps, o.down, o.kind)
        });
        let (first, last) = (self.first_rise, self.last_rise);
        format!("{};{};{above};{};{first};{last};{open}", self.sum, self.started_day, recent.join(" "))
    }

    /// The memory back from its text; `None` if it is not such a text.
    pub fn from_text(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(';').collect();
        let [sum, started_day, above, recent, first_rise, last_rise, open] = parts.as_slice() else { return None };
        Some(Watch {
            sum: sum.parse().ok()?,
            started_day: started_day.parse().ok()?,
            above_day: if *above == "-" { None } else { Some(above.parse().ok()?) },
            recent: recent.split_whitespace().map(|lps| lps.parse().ok()).collect::<Option<_>>()?,
            first_rise: first_rise.parse().ok()?,
            last_rise: last_rise.parse().ok()?,
            open: if *open == "-" { None } else { Some(open_from_text(open)?) },
        })
    }
}

fn open_from_text(text: &str) -> Option<Open> {
    let parts: Vec<&str> = text.split(' ').collect();
    let [started_day, raised_day, base, size, steps, down, kind] = parts.as_slice() else { return None };
    Some(Open {
        started_day: started_day.parse().ok()?,
        raised_day: raised_day.parse().ok()?,
        base: base.parse().ok()?,
        size: size.parse().ok()?,
        steps: steps.parse().ok()?,
        down: down.parse().ok()?,
        kind: match *kind {
            "burst" => Kind::Burst,
            "growing" => Kind::Growing,
            _ => return None,
        },
    })
}

fn rise_lps(day: &Day) -> Option<(f64, f64)> {
    Some((day.level? - day.level_base?, day.low? - day.low_base?))
}

/// The median of a few numbers; 0 of none.
fn middle(values: &[f64]) -> f64 {
    let mut ordered = values.to_vec();
    ordered.sort_by(f64::total_cmp);
    let half = ordered.len() / 2;
    match (ordered.get(half), ordered.len() % 2) {
        (Some(upper), 1) => *upper,
        (Some(upper), _) => f64::midpoint(ordered[half - 1], *upper),
        (None, _) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: i64, leak: f64) -> Day {
        Day {
            day,
            rise: Some(leak / 0.25),
            level: Some(10.0 + leak),
            low: Some(4.0 + leak),
            level_base: Some(10.0),
            low_base: Some(4.0),
            threshold: 3.5,
        }
    }

    fn run(watch: &mut Watch, leaks: &[f64]) -> Vec<(bool, bool)> {
        let step = |(at, leak): (usize, &f64)| {
            let change = watch.step(&day(at as i64, *leak));
            (change.raised, change.cleared)
        };
        leaks.iter().enumerate().map(step).collect()
    }

    #[test]
    fn a_rise_that_stays_is_raised_once_and_cleared_on_the_second_day_down() {
        let mut watch = Watch::default();
        let told = run(&mut watch, &[0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
        let raised: Vec<usize> = (0..told.len()).filter(|at| told[*at].0).collect();
        let cleared: Vec<usize> = (0..told.len()).filter(|at| told[*at].1).collect();
        assert_eq!((raised, cleared), (vec![3], vec![6]));
    }

    #[test]
    fn an_alert_tells_since_when_and_how_much() {
        let mut watch = Watch::default();
        run(&mut watch, &[0.0, 1.0, 1.0, 1.0]);
        let told = watch.open.map(|open| (open.started_day, open.size, open.kind));
        assert_eq!(told, Some((1, 1.0, Kind::Burst)));
    }

    #[test]
    fn a_day_of_filling_raises_nothing() {
        let told = run(&mut Watch::default(), &[0.0, 9.0, 9.0, 0.0, 0.0, 9.0]);
        assert!(told.iter().all(|(raised, _)| !raised));
    }

    #[test]
    fn a_rise_by_day_alone_is_use_and_no_leak() {
        let mut watch = Watch::default();
        for at in 0..8 {
            let use_by_day = Day { low: Some(4.375), ..day(at, 1.5) };
            assert!(!watch.step(&use_by_day).raised);
        }
    }

    #[test]
    fn a_day_without_readings_changes_nothing() {
        let mut watch = Watch::default();
        run(&mut watch, &[1.0, 1.0]);
        let before = watch.clone();
        watch.step(&Day { day: 2, threshold: 3.5, ..Day::default() });
        assert_eq!(watch, before);
    }

    #[test]
    fn the_memory_survives_as_text() {
        let mut watch = Watch::default();
        run(&mut watch, &[0.1, 1.0, 1.1, 1.2, 1.3]);
        assert_eq!(Watch::from_text(&watch.to_text()).as_ref(), Some(&watch));
        let fresh = Watch::default();
        assert_eq!(Watch::from_text(&fresh.to_text()), Some(fresh));
        assert_eq!(Watch::from_text("nonsense"), None);
    }
}
