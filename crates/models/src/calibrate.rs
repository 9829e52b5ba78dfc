//! Parameters of [`crate::soil`] from a catchment's own past, by differential evolution (Storn and Price 1997).

use crate::soil::{Hour, SoilParameters, SoilState};

/// Lowest and highest value of each parameter, in the order of [`SoilParameters`]. Capacities and delays are searched in
/// their logarithm.
const RANGE: [(f64, f64); 8] =
    [(20.0, 1500.0), (-2.0, 1.0), (5.0, 500.0), (0.5, 30.0), (1.0, 12.0), (0.7, 2.0), (0.0, 12.0), (0.4, 1.8)];
const LOGARITHMIC: [bool; 8] = [true, false, true, true, false, false, false, false];
/// Hours at the start that only wet the model.
const WARM_UP_H: usize = 60 * 24;
/// Scale of the difference and share of genes taken over: the usual values of Storn and Price.
const SCALE: f64 = 0.6;
const CROSSOVER: f64 = 0.8;
/// How far a member moves toward the best one.
const TOWARD_BEST: f64 = 0.5;
/// Width of the first members around known parameters, share of the range.
const AROUND: f64 = 0.3;
/// Any number: the same parameters come from the same past.
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// Parameters as shares of their ranges.
type Genes = [f64; 8];

/// The past of a catchment, hour by hour.
#[derive(Clone, Copy, Debug)]
pub struct PastHour {
    /// Rain, air and evaporation of the hour.
    pub drive: Hour,
    /// Discharge at its end; None where the record has a hole.
    pub observed_mm_per_h: Option<f64>,
}

/// How long to search: runs of the model are members x (generations + 1).
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Sets of parameters that compete.
    pub members: usize,
    /// How many times each is challenged.
    pub generations: usize,
}

/// What a search found.
#[derive(Clone, Debug)]
pub struct Calibrated {
    /// The best of the last generation.
    pub parameters: SoilParameters,
    /// 0.6 KGE(Q) + 0.4 KGE(sqrt Q) on the rows it was fitted to.
    pub fit: f64,
}

/// The parameters that fit the past best; None if it holds too few discharges to tell. `start` are those of a year ago.
pub fn calibrate_soil(past: &[PastHour], effort: Effort, start: Option<&SoilParameters>) -> Option<Calibrated> {
    let mut random = Random(SEED);
    let mut members = first_members(effort.members, start, &mut random);
    let mut fits: Vec<f64> = members.iter().map(|m| fit(past, &parameters(m))).collect();
    for _ in 0..effort.generations {
        for i in 0..members.len() {
            let trial = cross(&members, &fits, i, &mut random);
            let value = fit(past, &parameters(&trial));
            if value > fits[i] || fits[i].is_nan() {
                members[i] = trial;
                fits[i] = value;
            }
        }
    }
    let best = (0..members.len()).max_by(|a, b| fits[*a].total_cmp(&fits[*b]))?;
    fits[best].is_finite().then(|| Calibrated { parameters: parameters(&members[best]), fit: fits[best] })
}

/// Anywhere in the ranges, or around known parameters.
fn first_members(count: usize, start: Option<&SoilParameters>, random: &mut Random) -> Vec<Genes> {
    let Some(start) = start else {
        return (0..count).map(|_| std::array::from_fn(|_| random.unit())).collect();
    };
    let known = genes(start);
    let mut members = vec![known];
    let near = |random: &mut Random| std::array::from_fn(|g| reflected(known[g] + AROUND * (random.unit() - 0.5)));
    members.extend((1..count).map(|_| near(random)));
    members
}

/// A mixture of a member, the best one and the difference of two others ("current to best", Storn and Price).
fn cross(members: &[Genes], fits: &[f64], i: usize, random: &mut Random) -> Genes {
    let best = (0..members.len()).max_by(|a, b| fits[*a].total_cmp(&fits[*b])).unwrap_or(i);
    let (a, b) = (random.below(members.len()), random.below(members.len()));
    let always = random.below(8);
    std::array::from_fn(|g| {
        if g != always && random.unit() > CROSSOVER {
            return members[i][g];
        }
        let toward = members[i][g] + TOWARD_BEST * (members[best][g] - members[i][g]);
        reflected(toward + SCALE * (members[a][g] - members[b][g]))
    })
}

/// Back into 0..1 from where it left.
fn reflected(x: f64) -> f64 {
    let up = x.abs();
    let down = if up > 1.0 { 2.0 - up } else { up };
    down.clamp(0.0, 1.0)
}

fn parameters(genes: &Genes) -> SoilParameters {
    let v: [f64; 8] = std::array::from_fn(|g| {
        let (low, high) = RANGE[g];
        if LOGARITHMIC[g] { low * (high / low).powf(genes[g]) } else { low + (high - low) * genes[g] }
    });
    SoilParameters {
        production_mm: v[0],
        exchange_mm_per_h: v[1],
        routing_mm: v[2],
        delay_h: v[3],
        melt_mm_per_degc_day: v[4],
        snow_correction: v[5],
        band_range_degc: v[6],
        evaporation_factor: v[7],
    }
}

fn genes(p: &SoilParameters) -> Genes {
    let v = [
        p.production_mm,
        p.exchange_mm_per_h,
        p.routing_mm,
        p.delay_h,
        p.melt_mm_per_degc_day,
        p.snow_correction,
        p.band_range_degc,
        p.evaporation_factor,
    ];
    std::array::from_fn(|g| {
        let (low, high) = RANGE[g];
        let x = if LOGARITHMIC[g] { (v[g] / low).ln() / (high / low).ln() } else { (v[g] - low) / (high - low) };
        x.clamp(0.0, 1.0)
    })
}

/// 0.6 KGE(Q) + 0.4 KGE(sqrt Q): floods first, but not at the price of everything else.
pub fn fit(past: &[PastHour], parameters: &SoilParameters) -> f64 {
    let mut state = SoilState::default();
    let (mut plain, mut root) = (Sums::default(), Sums::default());
    for (i, hour) in past.iter().enumerate() {
        state.advance(parameters, hour.drive);
        if let (Some(observed), true) = (hour.observed_mm_per_h, i >= WARM_UP_H) {
            plain.add(observed, state.simulated_mm_per_h);
            root.add(observed.sqrt(), state.simulated_mm_per_h.sqrt());
        }
    }
    0.6 * plain.kling_gupta() + 0.4 * root.kling_gupta()
}

#[derive(Default)]
struct Sums {
    n: f64,
    x: f64,
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Sums {
    fn add(&mut self, x: f64, y: f64) {
        self.n += 1.0;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.yy += y * y;
        self.xy += x * y;
    }

    /// Kling-Gupta efficiency (Gupta et al. 2009): correlation, spread and mean together.
    fn kling_gupta(&self) -> f64 {
        let (mx, my) = (self.x / self.n, self.y / self.n);
        let sx = (self.xx / self.n - mx * mx).sqrt();
        let sy = (self.yy / self.n - my * my).sqrt();
        let r = (self.xy / self.n - mx * my) / (sx * sy);
        1.0 - ((r - 1.0).powi(2) + (sy / sx - 1.0).powi(2) + (my / mx - 1.0).powi(2)).sqrt()
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same parameters from the same past, always.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A year of made-up weather with showers, and the river of known parameters.
    fn past(parameters: &SoilParameters) -> Vec<PastHour> {
        let mut random = Random(7);
        let mut state = SoilState::default();
        let mut shower_h = 0;
        let hour = |_| {
            shower_h = if random.unit() < 0.02 { 12 } else { shower_h - 1 };
            let rain_mm = if shower_h > 0 { 3.0 * random.unit() } else { 0.0 };
            let drive = Hour { rain_mm, air_degc: Some(8.0), evaporation_mm: 0.05 };
            state.advance(parameters, drive);
            PastHour { drive, observed_mm_per_h: Some(state.simulated_mm_per_h) }
        };
        (0..8766).map(hour).collect()
    }

    #[test]
    fn known_parameters_are_nearly_found() {
        let known = SoilParameters { production_mm: 120.0, routing_mm: 40.0, delay_h: 6.0, ..SoilParameters::default() };
        let effort = Effort { members: 24, generations: 30 };
        let found = calibrate_soil(&past(&known), effort, None).expect("enough record");
        assert!(found.fit > 0.9, "{found:?}");
        assert!((found.parameters.delay_h - 6.0).abs() < 2.0, "{found:?}");
    }

    #[test]
    fn genes_are_the_parameters() {
        let known = SoilParameters::default();
        let back = parameters(&genes(&known));
        assert!((back.production_mm - known.production_mm).abs() < 1e-9);
        assert!((back.evaporation_factor - known.evaporation_factor).abs() < 1e-9);
    }

    #[test]
    fn a_river_without_record_is_not_calibrated() {
        let mut past = past(&SoilParameters::default());
        past.iter_mut().for_each(|hour| hour.observed_mm_per_h = None);
        assert!(calibrate_soil(&past, Effort { members: 6, generations: 1 }, None).is_none());
    }
}
