//! What is known of the counters at a lot's gates: when each was last heard, how its clock runs, its running totals and its flow.

/// Microseconds in a minute; all times are microseconds since 1970, as in the tables.
pub const MINUTE_US: i64 = 60_000_000;
/// How fast the memory of a gate's flow fades, minutes. Two LoRaWAN frames of ten minutes; measured, see the product's README.
const FLOW_MEMORY_MIN: f64 = 20.0;

/// One counting device at a gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Gate {
    /// The device.
    pub device: String,
    /// True if it tells its totals by the clock, so that its silence in between means nothing.
    pub by_clock: bool,
    /// When it last spoke, by our clock.
    pub heard_at: i64,
    /// Its clock less ours by its last sign of life, microseconds.
    pub clock_ahead: i64,
    /// Entries less exits a minute, of late.
    pub net_per_min: f64,
    /// Entries and exits a minute, of late.
    pub gross_per_min: f64,
    /// Until when the flow above is reckoned.
    pub flow_at: i64,
    /// Since when nothing has been put in for it; `heard_at`, or later if a count was taken while it was silent.
    pub open_from: i64,
    /// Vehicles put in for it while it was silent that its totals may still tell.
    pub put_in: f64,
    /// Variance put in with them.
    pub put_in_variance: f64,
    /// The end of its last long silence; what it tells of a time before that catches up. Zero: nothing to catch up.
    pub silent_until: i64,
}

impl Gate {
    /// A gate that has not been heard yet.
    pub fn new(device: &str) -> Self {
        Self {
            device: device.to_owned(),
            by_clock: false,
            heard_at: 0,
            clock_ahead: 0,
            net_per_min: 0.0,
            gross_per_min: 0.0,
            flow_at: 0,
            open_from: 0,
            put_in: 0.0,
            put_in_variance: 0.0,
            silent_until: 0,
        }
    }

    /// When something happened by our clock: the device's time put right, never after we heard of it.
    pub fn our_time(&self, observed_at: i64, received_at: i64) -> i64 {
        (observed_at - self.clock_ahead).min(received_at)
    }

    /// Reckons `net` and `gross` crossings between `from` and `to` into the flow: an exponential mean over time.
    pub fn flowed(&mut self, net: f64, gross: f64, from: i64, to: i64) {
        let minutes = (to - from.max(self.flow_at)).max(0) as f64 / MINUTE_US as f64;
        let gap = (from.max(self.flow_at) - self.flow_at).max(0) as f64 / MINUTE_US as f64;
        let kept = (-(minutes + gap) / FLOW_MEMORY_MIN).exp();
        // Spread evenly over `minutes`; in the limit of none it is one crossing at one moment.
        let share = if minutes > 0.1 { (1.0 - (-minutes / FLOW_MEMORY_MIN).exp()) / minutes } else { 1.0 / FLOW_MEMORY_MIN };
        self.net_per_min = self.net_per_min * kept + net * share;
        self.gross_per_min = self.gross_per_min * kept + gross * share;
        self.flow_at = self.flow_at.max(to);
    }
}

/// A running total of one line and class.
#[derive(Clone, Debug, PartialEq)]
pub struct Total {
    /// Device, line and class.
    pub counter: String,
    /// Where it counts now.
    pub epoch: String,
    /// The highest total heard in it.
    pub highest: i64,
    /// Where it counted before; late messages come from there.
    pub epoch_before: String,
    /// The highest total heard there.
    pub highest_before: i64,
    /// When its newest total was true, by our clock.
    pub told_at: i64,
}

/// How a total grew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Crossings.
    pub count: i64,
    /// Since when they happened; none if only the last is known.
    pub since: Option<i64>,
}

/// All totals of a lot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals(pub Vec<Total>);

impl Totals {
    /// How far a total brings us beyond what was told before. Only growth counts, since losses heal and repeats add nothing.
    ///
    /// A new epoch starts from zero. The first total ever tells of `first` crossings: one if each crossing is a message of its
    /// own, none if the totals come by the clock.
    pub fn grow(&mut self, counter: &str, epoch: &str, total: i64, at: i64, first: i64) -> Growth {
        let Some(known) = self.0.iter_mut().find(|t| t.counter == counter) else {
            self.0.push(Total {
                counter: counter.to_owned(),
                epoch: epoch.to_owned(),
                highest: total,
                epoch_before: String::new(),
                highest_before: 0,
                told_at: at,
            });
            return Growth { count: first, since: None };
        };
        if known.epoch == epoch {
            let growth = Growth { count: (total - known.highest).max(0), since: Some(known.told_at.min(at)) };
            known.highest = known.highest.max(total);
            known.told_at = known.told_at.max(at);
            return growth;
        }
        if !known.epoch_before.is_empty() && known.epoch_before == epoch {
            let count = (total - known.highest_before).max(0);
            known.highest_before = known.highest_before.max(total);
            return Growth { count, since: None };
        }
        known.epoch_before = std::mem::replace(&mut known.epoch, epoch.to_owned());
        known.highest_before = std::mem::replace(&mut known.highest, total);
        known.told_at = at;
        Growth { count: total, since: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_heal_losses_and_ignore_repeats() {
        let mut totals = Totals::default();
        assert_eq!(totals.grow("c", "a", 100, 1, 1).count, 1);
        assert_eq!(totals.grow("c", "a", 101, 2, 1).count, 1);
        assert_eq!(totals.grow("c", "a", 101, 2, 1).count, 0);
        assert_eq!(totals.grow("c", "a", 109, 9, 1), Growth { count: 8, since: Some(2) });
        assert_eq!(totals.grow("c", "a", 105, 5, 1).count, 0);
    }

    #[test]
    fn a_new_epoch_starts_from_zero_and_the_old_may_still_speak() {
        let mut totals = Totals::default();
        totals.grow("c", "a", 100, 1, 1);
        assert_eq!(totals.grow("c", "b", 3, 2, 1).count, 3);
        assert_eq!(totals.grow("c", "a", 102, 1, 1).count, 2);
        assert_eq!(totals.grow("c", "b", 4, 3, 1).count, 1);
    }

    #[test]
    fn flow_is_a_mean_over_time_however_it_is_told() {
        let mut by_frame = Gate::new("a");
        let mut one_by_one = Gate::new("b");
        for minute in 1..=120 {
            one_by_one.flowed(2.0, 2.0, minute * MINUTE_US, minute * MINUTE_US);
            if minute % 10 == 0 {
                by_frame.flowed(20.0, 20.0, (minute - 10) * MINUTE_US, minute * MINUTE_US);
            }
        }
        assert!((by_frame.net_per_min - 2.0).abs() < 0.02);
        assert!((one_by_one.net_per_min - 2.0).abs() < 0.1);
    }
}
