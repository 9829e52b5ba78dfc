//! The walls of a lot, nobody left and nobody more to come in, and what a level stretch at the upper one tells.

use crate::occupancy::{Lot, Occupancy};
use crate::occupancy_kalman::{OVERFULL, VEHICLES, Weights};
use crate::occupancy_tuning::*;

impl Occupancy {
    /// Puts an estimate beyond a wall back to it, and takes a level stretch at the wall as a count of a full lot.
    pub(crate) fn stay_within(&mut self, lot: &Lot, now: i64) {
        let full = lot.capacity * (1.0 + self.belief.mean[OVERFULL]);
        let beyond = self.belief.mean[VEHICLES] - full;
        let weights = [1.0, 0.0, 0.0, 0.0, -lot.capacity];
        if beyond > 0.0 {
            self.see(-beyond, &weights, (WALL_SD * lot.capacity).powi(2));
        }
        let below = -self.belief.mean[VEHICLES];
        if below > 0.0 {
            self.see(below, &[1.0, 0.0, 0.0, 0.0, 0.0], EMPTY_SD * EMPTY_SD);
        }
        if now >= self.level_at + LEVEL_EVERY_US && self.is_level() {
            self.level_at = now;
            let sd = LEVEL_SD * lot.capacity;
            let innovation = self.belief.innovation(-beyond, &weights, sd * sd);
            if innovation.standardized().abs() < LEVEL_SDS {
                self.belief.learn(innovation, &weights, &WALL_TEACHES);
            }
        }
    }

    fn see(&mut self, difference: f64, weights: &Weights, variance: f64) {
        let innovation = self.belief.innovation(difference, weights, variance);
        self.belief.learn(innovation, weights, &WALL_TEACHES);
    }

    /// True if many crossed in the last minutes and the count hardly wandered.
    fn is_level(&self) -> bool {
        if self.minutes.len() < LEVEL_MINUTES {
            return false;
        }
        let (mut gross, mut net, mut low, mut high) = (0.0, 0.0, 0.0f64, 0.0f64);
        for slot in &self.minutes[..LEVEL_MINUTES] {
            gross += slot.entries + slot.exits;
            net += slot.entries - slot.exits;
            low = low.min(net);
            high = high.max(net);
        }
        gross >= LEVEL_CROSSINGS && high - low <= LEVEL_WANDER * f64::sqrt(gross)
    }
}
