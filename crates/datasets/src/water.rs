//! From the readings of one meter's register to the volume of each interval. Pure functions over one series.

/// The largest share of its range that a register has at least used when it starts again at zero.
const NEAR_THE_END: f64 = 0.9;
/// An interval longer than this many nominal ones is a gap.
const GAP_FACTOR: f64 = 1.5;
/// Volumes are rounded to a millilitre, which no register shows: the noise of subtraction goes.
const STEPS_PER_M3: f64 = 1e6;

/// What is known about a meter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegisterRules {
    /// Where the register starts again at zero, in m3 (100 000 for a five-digit register). `None`: never.
    pub register_max_m3: Option<f64>,
    /// Nominal time between readings, in seconds.
    pub interval_s: u32,
    /// The most that can flow, in m3 an hour; a larger growth is no reading of this register (litres for m3, a misread digit).
    pub max_flow_m3_per_h: f64,
    /// The largest fall that is water flowing back, in m3.
    pub reverse_at_most_m3: f64,
    /// From how many intervals without any growth on the register counts as stuck. `None`: standing still is no fault.
    pub stuck_after: Option<u32>,
}

/// A reading of the register.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading<'a> {
    /// When the register stood there, in microseconds since 1970 UTC.
    pub observed_at_us: i64,
    /// Where it stood, in m3.
    pub register_m3: f64,
    /// The number of the meter. Another number is another meter.
    pub serial: Option<&'a str>,
}

/// How an interval's volume came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// The growth over one nominal interval.
    Ok,
    /// The register passed its end; the volume counts across it.
    Rollover,
    /// Readings are missing; the volume is that of the whole gap.
    Gap,
    /// The register fell a little: water flowed back; the volume is negative.
    Reverse,
    /// Another meter, or a register that began anew and went on from there; no volume.
    MeterSwap,
    /// The register has not moved for too long; no volume.
    Stuck,
    /// A reading that cannot belong to the register; no volume, and the next interval starts before it.
    Implausible,
}

/// What flowed between two readings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Its start, in microseconds since 1970 UTC.
    pub from_us: i64,
    /// Its end.
    pub to_us: i64,
    /// What flowed, in m3; negative for reverse flow; `None` if the readings do not tell.
    pub volume_m3: Option<f64>,
    /// How it came about.
    pub flag: Flag,
}

/// The intervals between the readings of one place of measurement, ordered by time. Readings may come in any order; of
/// several with one time the last given counts; a register that is no finite number is ignored. Fewer than two readings give
/// nothing.
pub fn intervals(readings: &[Reading<'_>], rules: &RegisterRules) -> Vec<Interval> {
    let ordered = in_order(readings);
    let mut found = Vec::new();
    let Some(mut base) = ordered.first().copied() else {
        return found;
    };
    let mut still = 0;
    for (at, reading) in ordered.iter().enumerate().skip(1) {
        let mut interval = between(&base, reading, rules);
        if interval.flag == Flag::Implausible && begins_anew(&base, reading, ordered.get(at + 1), rules) {
            interval.flag = Flag::MeterSwap;
        }
        still = if interval.volume_m3 == Some(0.0) { still + 1 } else { 0 };
        if rules.stuck_after.is_some_and(|after| still >= after) {
            interval.flag = Flag::Stuck;
            interval.volume_m3 = None;
        }
        if interval.flag != Flag::Implausible {
            base = *reading;
        }
        found.push(interval);
    }
    found
}

fn in_order<'a>(readings: &[Reading<'a>]) -> Vec<Reading<'a>> {
    let mut ordered: Vec<Reading<'a>> = readings.iter().filter(|r| r.register_m3.is_finite()).copied().collect();
    ordered.sort_by_key(|reading| reading.observed_at_us);
    let mut kept: Vec<Reading<'a>> = Vec::new();
    for reading in ordered {
        match kept.last_mut() {
            Some(last) if last.observed_at_us == reading.observed_at_us => *last = reading,
            _ => kept.push(reading),
        }
    }
    kept
}

fn between(from: &Reading<'_>, to: &Reading<'_>, rules: &RegisterRules) -> Interval {
    let (volume_m3, flag) = volume(from, to, rules);
    Interval { from_us: from.observed_at_us, to_us: to.observed_at_us, volume_m3, flag }
}

fn volume(from: &Reading<'_>, to: &Reading<'_>, rules: &RegisterRules) -> (Option<f64>, Flag) {
    if from.serial != to.serial {
        return (None, Flag::MeterSwap);
    }
    let seconds = (to.observed_at_us - from.observed_at_us) as f64 / 1e6;
    let most = rules.max_flow_m3_per_h * seconds / 3600.0;
    let growth = to.register_m3 - from.register_m3;
    if growth >= 0.0 {
        let gap = seconds > f64::from(rules.interval_s) * GAP_FACTOR;
        return match (growth <= most, gap) {
            (false, _) => (None, Flag::Implausible),
            (true, true) => (Some(rounded(growth)), Flag::Gap),
            (true, false) => (Some(rounded(growth)), Flag::Ok),
        };
    }
    if let Some(max) = rules.register_max_m3
        && from.register_m3 >= NEAR_THE_END * max
        && (0.0..=most).contains(&(growth + max))
    {
        return (Some(rounded(growth + max)), Flag::Rollover);
    }
    if -growth <= rules.reverse_at_most_m3 {
        return (Some(rounded(growth)), Flag::Reverse);
    }
    (None, Flag::Implausible)
}

/// A single wild value is followed by one that fits the readings before it; a register that began anew is followed by one
/// that fits the new value and not the old.
fn begins_anew(base: &Reading<'_>, reading: &Reading<'_>, next: Option<&Reading<'_>>, rules: &RegisterRules) -> bool {
    let Some(next) = next else { return false };
    let fits = |from: &Reading<'_>| volume(from, next, rules).1 != Flag::Implausible;
    fits(reading) && !fits(base)
}

fn rounded(volume_m3: f64) -> f64 {
    (volume_m3 * STEPS_PER_M3).round() / STEPS_PER_M3
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;
    const RULES: RegisterRules = RegisterRules {
        register_max_m3: Some(10_000.0),
        interval_s: 3600,
        max_flow_m3_per_h: 20.0,
        reverse_at_most_m3: 0.5,
        stuck_after: None,
    };

    fn series(values: &[(i64, f64)]) -> Vec<Reading<'static>> {
        let reading = |(hour, register_m3): &(i64, f64)| Reading {
            observed_at_us: hour * HOUR_US,
            register_m3: *register_m3,
            serial: Some("a"),
        };
        values.iter().map(reading).collect()
    }

    fn told(readings: &[Reading<'_>], rules: &RegisterRules) -> Vec<(i64, i64, Option<f64>, Flag)> {
        let told = |i: Interval| (i.from_us / HOUR_US, i.to_us / HOUR_US, i.volume_m3, i.flag);
        intervals(readings, rules).into_iter().map(told).collect()
    }

    #[test]
    fn a_register_that_passes_its_end_counts_across_it() {
        let found = told(&series(&[(0, 9_998.5), (1, 9_999.75), (2, 1.25), (3, 2.5)]), &RULES);
        assert_eq!(found, [(0, 1, Some(1.25), Flag::Ok), (1, 2, Some(1.5), Flag::Rollover), (2, 3, Some(1.25), Flag::Ok)]);
    }

    #[test]
    fn a_small_fall_is_reverse_flow() {
        let found = told(&series(&[(0, 50.0), (1, 49.75), (2, 50.5)]), &RULES);
        assert_eq!(found, [(0, 1, Some(-0.25), Flag::Reverse), (1, 2, Some(0.75), Flag::Ok)]);
    }

    #[test]
    fn late_and_repeated_readings_fall_into_their_place() {
        let found = told(&series(&[(0, 1.0), (2, 3.0), (2, 3.0), (1, 2.5)]), &RULES);
        assert_eq!(found, [(0, 1, Some(1.5), Flag::Ok), (1, 2, Some(0.5), Flag::Ok)]);
    }

    #[test]
    fn a_gap_gives_the_volume_of_the_whole_gap() {
        assert_eq!(told(&series(&[(0, 1.0), (5, 6.0)]), &RULES), [(0, 5, Some(5.0), Flag::Gap)]);
    }

    #[test]
    fn an_exchanged_meter_gives_no_volume_and_starts_anew() {
        let mut readings = series(&[(0, 4_890.0), (1, 0.125), (2, 0.625)]);
        readings[1].serial = Some("b");
        readings[2].serial = Some("b");
        assert_eq!(told(&readings, &RULES), [(0, 1, None, Flag::MeterSwap), (1, 2, Some(0.5), Flag::Ok)]);
    }

    #[test]
    fn a_single_wild_value_is_left_out_and_bridged() {
        let found = told(&series(&[(0, 1.0), (1, 671.0), (2, 1.5), (3, 2.0)]), &RULES);
        assert_eq!(found, [(0, 1, None, Flag::Implausible), (0, 2, Some(0.5), Flag::Gap), (2, 3, Some(0.5), Flag::Ok)]);
    }

    #[test]
    fn a_register_that_began_anew_without_a_new_number_is_an_exchange() {
        let found = told(&series(&[(0, 5_000.0), (1, 0.5), (2, 1.0)]), &RULES);
        assert_eq!(found, [(0, 1, None, Flag::MeterSwap), (1, 2, Some(0.5), Flag::Ok)]);
    }

    #[test]
    fn a_register_that_stands_still_is_stuck_only_if_the_rules_say_so() {
        let still = series(&[(0, 1.0), (1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0)]);
        let flags = |rules: &RegisterRules| intervals(&still, rules).iter().map(|i| i.flag).collect::<Vec<_>>();
        assert_eq!(flags(&RULES), [Flag::Ok, Flag::Ok, Flag::Ok, Flag::Ok]);
        let strict = RegisterRules { stuck_after: Some(3), ..RULES };
        assert_eq!(flags(&strict), [Flag::Ok, Flag::Ok, Flag::Stuck, Flag::Ok]);
    }

    #[test]
    fn nothing_comes_of_fewer_than_two_readings() {
        assert!(intervals(&[], &RULES).is_empty());
        assert!(intervals(&series(&[(0, 1.0)]), &RULES).is_empty());
        assert!(intervals(&series(&[(0, 1.0), (1, f64::NAN)]), &RULES).is_empty());
    }
}
