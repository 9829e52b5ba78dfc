/// Chance without memory: a number for any (seed, name, tick), computed by hashing, so that no instant depends on having
/// computed the ones before it. Finaliser of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014); names are folded in as by FNV-1a.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noise(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

impl Noise {
    /// The root of everything that is random in one town.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ GOLDEN))
    }

    /// The branch called `name`.
    pub fn of(self, name: &str) -> Self {
        let folded = name.bytes().fold(self.0, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME));
        Self(mix(folded ^ GOLDEN))
    }

    /// The branch of instant or item `tick`.
    pub fn at(self, tick: i64) -> Self {
        Self(mix(self.0 ^ mix(tick.cast_unsigned().wrapping_mul(GOLDEN).wrapping_add(1))))
    }

    /// A number in `[0, 1)`, always the same for one branch.
    pub fn unit(self) -> f64 {
        (mix(self.0.wrapping_add(GOLDEN)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number in `[low, high)`.
    pub fn between(self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True with probability `p`.
    pub fn chance(self, p: f64) -> bool {
        self.unit() < p
    }

    /// Roughly normal with mean 0 and standard deviation 1, within ±3.5: the sum of four even numbers, scaled.
    pub fn bell(self) -> f64 {
        let sum: f64 = (0..4).map(|i| self.at(i).unit()).sum();
        (sum - 2.0) * 3.0_f64.sqrt()
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_even_and_depend_on_seed_name_and_tick() {
        let noise = Noise::new(1).of("rain");
        let mean: f64 = (0..10_000).map(|tick| noise.at(tick).unit()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "mean {mean}");
        assert_eq!(noise.at(7).unit(), Noise::new(1).of("rain").at(7).unit());
        assert_ne!(noise.at(7).unit(), Noise::new(2).of("rain").at(7).unit());
        assert_ne!(noise.at(7).unit(), Noise::new(1).of("snow").at(7).unit());
        assert_ne!(noise.at(7).unit(), noise.at(8).unit());
    }

    #[test]
    fn the_bell_has_mean_0_and_deviation_1() {
        let noise = Noise::new(3);
        let values: Vec<f64> = (0..10_000).map(|tick| noise.at(tick).bell()).collect();
        let mean = values.iter().sum::<f64>() / 10_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05, "mean {mean}, variance {variance}");
    }
}
