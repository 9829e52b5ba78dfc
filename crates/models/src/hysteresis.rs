//! FULL or FREE from a number of free spaces, without flicker.

/// What a sign says of a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not known yet.
    Unknown,
    /// There is room.
    Free,
    /// There is none.
    Full,
}

/// The state and since when it holds, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// What it is.
    pub state: State,
    /// Since when; zero while unknown.
    pub since: i64,
}

impl Held {
    /// Nothing known yet.
    pub const NONE: Self = Self { state: State::Unknown, since: 0 };

    /// The state after a number of free spaces at `now`.
    ///
    /// FULL from `free <= full_at` until `free >= free_again_at`; in between it stays as it was. A state holds for at least
    /// `hold_us`. Without a number (blind) the memory stays, so that a short gap does not turn the sign round.
    #[must_use]
    pub fn next(self, free: Option<f64>, full_at: f64, free_again_at: f64, now: i64, hold_us: i64) -> Self {
        let Some(free) = free else { return self };
        let wanted = match self.state {
            State::Full if free < free_again_at => State::Full,
            _ if free <= full_at => State::Full,
            _ => State::Free,
        };
        let may_change = self.state == State::Unknown || now - self.since >= hold_us;
        if wanted != self.state && may_change { Self { state: wanted, since: now } } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(free: &[f64]) -> Vec<State> {
        let mut held = Held::NONE;
        let step = |(minute, free): (usize, &f64)| {
            held = held.next(Some(*free), 5.0, 9.0, minute as i64 + 1, 2);
            held.state
        };
        free.iter().enumerate().map(step).collect()
    }

    #[test]
    fn full_until_there_is_room_again() {
        use State::{Free, Full};
        assert_eq!(states(&[6.0, 6.0, 5.0, 6.0, 8.0, 9.0, 6.0]), [Free, Free, Full, Full, Full, Free, Free]);
    }

    #[test]
    fn a_state_is_held_for_its_time() {
        use State::{Free, Full};
        assert_eq!(states(&[9.0, 5.0, 5.0, 9.0, 9.0]), [Free, Free, Full, Full, Free]);
    }

    #[test]
    fn a_blind_minute_turns_nothing_round() {
        let full = Held { state: State::Full, since: 1 };
        assert_eq!(full.next(None, 5.0, 9.0, 100, 2), full);
    }
}
