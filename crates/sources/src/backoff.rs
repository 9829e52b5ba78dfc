use std::time::Duration;

use rand::Rng;

/// Waits between tries: doubling from `first` to `longest`, each spread by "full jitter" over its upper half, so that a
/// broker that comes back is not met by every client at once (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015).
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    tries: u32,
}

impl Backoff {
    /// Waits from `first` up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, tries: 0 }
    }

    /// The next wait, between half of and the whole of `first * 2^tries`, at most `longest`.
    pub fn next_wait(&mut self) -> Duration {
        let whole = self.first.saturating_mul(1u32 << self.tries.min(20)).min(self.longest);
        self.tries = self.tries.saturating_add(1);
        whole.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// After a success the next wait is short again.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// Tries since the last success.
    pub fn tries(&self) -> u32 {
        self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for whole_ms in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.next_wait().as_millis();
            assert!((whole_ms / 2..=whole_ms).contains(&wait), "{wait} ms is not in the upper half of {whole_ms} ms");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
