//! A Kalman filter of five numbers, with the few steps that a car park needs.
//!
//! The state is: vehicles standing in the lot; the share of entries, and of exits, that the gates miss beyond what they count
//! double; the share of a full lot that an area camera does not see; and by how much of its capacity the lot overfills before
//! nobody can enter. Every measurement is a linear view of these, taken one at a time, so no matrix is ever inverted
//! (sequential update: Bar-Shalom, Li, Kirubarajan, "Estimation with Applications to Tracking and Navigation", 2001, ch. 5).

/// Numbers in the state.
pub const STATES: usize = 5;
/// Vehicles in the lot.
pub const VEHICLES: usize = 0;
/// Entries missed for each entry counted.
pub const MISSED_IN: usize = 1;
/// Exits missed for each exit counted.
pub const MISSED_OUT: usize = 2;
/// Share that an area camera overlooks when the lot is full; the share falls with the occupancy.
pub const HIDDEN: usize = 3;
/// Vehicles beyond the capacity when the lot can take no more, as a share of the capacity.
pub const OVERFULL: usize = 4;

/// A row of weights on the state: what a measurement sees of it.
pub type Weights = [f64; STATES];

/// What is believed: a mean and how sure it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Belief {
    /// Means of the states.
    pub mean: Weights,
    /// Covariance of the states, symmetric.
    pub covariance: [Weights; STATES],
}

/// A measurement against what was expected of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Innovation {
    /// Measured less expected.
    pub difference: f64,
    /// Variance that the difference should have.
    pub variance: f64,
}

impl Innovation {
    /// The difference in its own standard deviations.
    pub fn standardized(&self) -> f64 {
        self.difference / self.variance.sqrt()
    }
}

impl Belief {
    /// Independent states with these means and standard deviations.
    pub fn new(mean: Weights, deviation: Weights) -> Self {
        let mut covariance = [[0.0; STATES]; STATES];
        for (i, sd) in deviation.iter().enumerate() {
            covariance[i][i] = sd * sd;
        }
        Self { mean, covariance }
    }

    /// Standard deviation of the vehicles.
    pub fn deviation(&self) -> f64 {
        self.covariance[VEHICLES][VEHICLES].max(0.0).sqrt()
    }

    /// `counted` vehicles went in (positive) or out (negative): the vehicles change by them and by those missed with them.
    pub fn move_by(&mut self, counted: f64, missed: usize, variance: f64) {
        self.mean[VEHICLES] += counted * (1.0 + self.mean[missed]);
        // Covariance F P F', where F is the identity but for `counted` at [VEHICLES][missed].
        for j in 0..STATES {
            self.covariance[VEHICLES][j] += counted * self.covariance[missed][j];
        }
        for i in 0..STATES {
            self.covariance[i][VEHICLES] += counted * self.covariance[i][missed];
        }
        self.covariance[VEHICLES][VEHICLES] += variance;
    }

    /// Vehicles moved unseen: so many by the best guess, and so unsure.
    pub fn shift(&mut self, vehicles: f64, variance: f64) {
        self.mean[VEHICLES] += vehicles;
        let own = &mut self.covariance[VEHICLES][VEHICLES];
        *own = (*own + variance).max(0.25);
    }

    /// A state that wanders: more variance for it.
    pub fn loosen(&mut self, state: usize, variance: f64) {
        self.covariance[state][state] += variance;
    }

    /// What a measurement would tell, without taking it.
    pub fn innovation(&self, difference: f64, weights: &Weights, variance: f64) -> Innovation {
        let cross = self.cross(weights);
        let own: f64 = weights.iter().zip(&cross).map(|(w, c)| w * c).sum();
        Innovation { difference, variance: own + variance }
    }

    /// Takes a measurement that teaches all states; returns its gain on the vehicles.
    pub fn update(&mut self, innovation: Innovation, weights: &Weights) -> f64 {
        self.learn(innovation, weights, &[true; STATES])
    }

    /// Takes a measurement that teaches only some states; the others stay as they are and as unsure (Schmidt's filter). Its gain
    /// is not the best one then, so the covariance is taken from the form that holds for every gain.
    pub fn learn(&mut self, innovation: Innovation, weights: &Weights, teaches: &[bool; STATES]) -> f64 {
        let cross = self.cross(weights);
        let mut gain = [0.0; STATES];
        for i in 0..STATES {
            gain[i] = if teaches[i] { cross[i] / innovation.variance } else { 0.0 };
            self.mean[i] += gain[i] * innovation.difference;
        }
        for i in 0..STATES {
            for j in 0..STATES {
                let taken = gain[i] * cross[j] + cross[i] * gain[j] - gain[i] * gain[j] * innovation.variance;
                self.covariance[i][j] -= taken;
            }
        }
        gain[VEHICLES]
    }

    /// Keeps a state within what it can be.
    pub fn bound(&mut self, state: usize, low: f64, high: f64) {
        self.mean[state] = self.mean[state].clamp(low, high);
    }

    fn cross(&self, weights: &Weights) -> Weights {
        let mut cross = [0.0; STATES];
        for (i, row) in self.covariance.iter().enumerate() {
            cross[i] = row.iter().zip(weights).map(|(c, w)| c * w).sum();
        }
        cross
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn belief() -> Belief {
        Belief::new([100.0, 0.02, 0.02, 0.0, 0.0], [3.0, 0.01, 0.01, 0.0, 0.0])
    }

    #[test]
    fn a_count_moves_the_mean_to_where_both_are_equally_sure() {
        let mut b = belief();
        let seen = [1.0, 0.0, 0.0, 0.0, 0.0];
        let gain = b.update(b.innovation(10.0, &seen, 9.0), &seen);
        assert!((gain - 0.5).abs() < 1e-12);
        assert!((b.mean[VEHICLES] - 105.0).abs() < 1e-12);
        assert!((b.deviation() - (4.5f64).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_count_after_many_entries_teaches_the_share_missed() {
        let mut b = belief();
        b.move_by(1000.0, MISSED_IN, 0.0);
        assert!((b.mean[VEHICLES] - 1120.0).abs() < 1e-9);
        let seen = [1.0, 0.0, 0.0, 0.0, 0.0];
        b.update(b.innovation(10.0, &seen, 1.0), &seen);
        assert!(b.mean[MISSED_IN] > 0.028 && b.mean[MISSED_IN] < 0.03);
    }
}
