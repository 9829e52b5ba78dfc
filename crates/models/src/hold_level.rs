//! When a warning is raised, held, lowered and renewed: behind the SQL `hold_level`.

/// A warning is held at least this long before it is lowered, h.
const HOLD_H: f64 = 6.0;
/// A warning in force is issued again before a day has passed: what is older ends by itself.
const RENEW_H: f64 = 23.0;

/// A warning as it stands. Times are microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct HeldLevel {
    /// 0 nothing, 1 yellow, 2 orange, 3 red.
    pub level: i32,
    /// When it came to this level.
    pub since_us: i64,
    /// When it was last raised, lowered or renewed.
    pub issued_us: i64,
}

impl HeldLevel {
    /// What stands at `as_of_us`. `raised` is the level the index reaches; `kept` the level it still supports, with the lower
    /// bounds for letting go. None, None (no basis) leaves everything as it is.
    pub fn then(self, as_of_us: i64, raised: Option<i32>, kept: Option<i32>) -> Self {
        let (Some(raised), Some(kept)) = (raised, kept) else { return self };
        let held_h = hours(as_of_us - self.since_us);
        if raised > self.level || (kept < self.level && held_h >= HOLD_H) {
            let level = if raised > self.level { raised } else { kept };
            return Self { level, since_us: as_of_us, issued_us: as_of_us };
        }
        let renewed = self.level > 0 && hours(as_of_us - self.issued_us) >= RENEW_H;
        Self { issued_us: if renewed { as_of_us } else { self.issued_us }, ..self }
    }
}

fn hours(us: i64) -> f64 {
    us as f64 / 3.6e9
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    fn levels(rows: &[(i64, Option<i32>, Option<i32>)]) -> Vec<i32> {
        let mut held = HeldLevel::default();
        let step = |(hour, raised, kept): &(i64, Option<i32>, Option<i32>)| {
            held = held.then(hour * HOUR_US, *raised, *kept);
            held.level
        };
        rows.iter().map(step).collect()
    }

    #[test]
    fn raised_at_once_and_lowered_after_six_hours() {
        let rows = [(10, Some(1), Some(1)), (11, Some(2), Some(2)), (13, Some(0), Some(0)), (17, Some(0), Some(1))];
        assert_eq!(levels(&rows), [1, 2, 2, 1]);
    }

    #[test]
    fn no_basis_changes_nothing() {
        assert_eq!(levels(&[(10, Some(2), Some(2)), (30, None, None), (31, Some(0), Some(0))]), [2, 2, 0]);
    }

    #[test]
    fn renewed_before_a_day_has_passed() {
        let held = HeldLevel::default().then(HOUR_US, Some(1), Some(1)).then(24 * HOUR_US, Some(1), Some(1));
        assert_eq!(held, HeldLevel { level: 1, since_us: HOUR_US, issued_us: 24 * HOUR_US });
    }
}
