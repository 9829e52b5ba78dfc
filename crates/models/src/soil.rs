//! Water in a catchment, hour by hour: snow, soil, routing, and the river's own word on how far off the model is.
//!
//! A degree-day snow pack in five temperature bands feeds the GR4H stores (Perrin, Michel and Andréassian 2003, J. Hydrol. 279;
//! hourly constants: Mathevet 2005). The unit hydrographs are replaced by a Nash cascade, as in the state-space form of
//! Santos, Thirel and Perrin (2018, GMD 11), so that the whole state is twenty-odd numbers that fit in a text column.
//! The stores hold fractions of their capacity: new parameters then start from the same wetness.

/// Temperature bands of the snow pack, each a fifth of the area.
pub const BANDS: usize = 5;
/// Stores of the Nash cascade: three make a response with a clear peak.
const CASCADE: usize = 3;
/// Share of the effective rain that goes through the routing store; the rest runs off directly (Perrin et al. 2003).
const ROUTED: f64 = 0.9;
/// Percolation leaves from 4/21 of the production store's height at an hourly step (Mathevet 2005).
const PERCOLATION: f64 = 4.0 / 21.0;
/// Snow holds a tenth of its water equivalent as liquid before it drips (HBV, Bergström 1992).
const SNOW_HOLDS: f64 = 0.10;
/// Rain turns to snow over two degrees around this temperature, degC.
const SNOW_BELOW_DEGC: f64 = 1.0;
/// Largest |ln(observed / simulated)| the forecast is corrected by.
const ERROR_MAX: f64 = 1.2;
/// How much of that error is left an hour later, and so on into the forecast.
const ERROR_KEPT_PER_H: f64 = 0.95;
/// The antecedent precipitation index halves in five days.
const API_KEPT_PER_H: f64 = 0.994_240_2;

/// Least discharge the logarithm of the error is taken of, mm/h: a litre a second from 36 km2.
const DISCHARGE_MIN_MM_PER_H: f64 = 1e-4;

/// The eight calibrated parameters of a catchment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoilParameters {
    /// Capacity of the production store (GR4H X1), mm.
    pub production_mm: f64,
    /// Exchange with the groundwater when the routing store is full (X2), mm/h; negative is a loss.
    pub exchange_mm_per_h: f64,
    /// Capacity of the routing store (X3), mm.
    pub routing_mm: f64,
    /// Mean delay of the cascade (in the place of X4), h.
    pub delay_h: f64,
    /// Melt a day and degree above zero, mm.
    pub melt_mm_per_degc_day: f64,
    /// What a gauge's snow is multiplied by: gauges catch too little of it in wind.
    pub snow_correction: f64,
    /// Temperature between the warmest and the coldest band, degC.
    pub band_range_degc: f64,
    /// What the potential evapotranspiration is multiplied by.
    pub evaporation_factor: f64,
}

/// The catchment's water at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct SoilState {
    /// Snow of each band, mm of water, without the liquid in it.
    pub snow_mm: [f64; BANDS],
    /// Liquid water held in each band's snow, mm.
    pub held_mm: [f64; BANDS],
    /// Production store, share of its capacity.
    pub saturation: f64,
    /// Routing store, share of its capacity.
    pub routing: f64,
    /// Water under way in the cascade, mm.
    pub cascade_mm: [f64; CASCADE],
    /// ln(observed / simulated discharge), as it stands.
    pub error: f64,
    /// Antecedent precipitation (rain and melt), mm.
    pub api_mm: f64,
    /// Rain and melt that reached the soil in the last step, mm.
    pub liquid_mm: f64,
    /// Simulated discharge at the end of the last step, mm/h.
    pub simulated_mm_per_h: f64,
}

/// What drives one hour.
#[derive(Clone, Copy, Debug)]
pub struct Hour {
    /// Rain of the hour, mm.
    pub rain_mm: f64,
    /// None where nobody measures it: then there is no snow.
    pub air_degc: Option<f64>,
    /// Potential evapotranspiration of the hour, mm.
    pub evaporation_mm: f64,
}

/// The highest discharge of the hours ahead.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crest {
    /// The discharge, of the whole area, mm/h.
    pub discharge_mm_per_h: f64,
    /// How many hours ahead it is reached.
    pub ahead_h: u32,
}

impl Default for SoilParameters {
    /// For a river without a year of record: ordinary values in round numbers, not fitted to any river. Scores with it:
    /// pipelines/flood_state/README.md.
    fn default() -> Self {
        Self {
            production_mm: 200.0,
            exchange_mm_per_h: 0.0,
            routing_mm: 60.0,
            delay_h: 4.0,
            melt_mm_per_degc_day: 3.0,
            snow_correction: 1.2,
            band_range_degc: 4.0,
            evaporation_factor: 1.0,
        }
    }
}

impl Default for SoilState {
    /// Half-full soil and no snow; a spring and an autumn make it forget.
    fn default() -> Self {
        Self {
            snow_mm: [0.0; BANDS],
            held_mm: [0.0; BANDS],
            saturation: 0.5,
            routing: 0.3,
            cascade_mm: [0.0; CASCADE],
            error: 0.0,
            api_mm: 0.0,
            liquid_mm: 0.0,
            simulated_mm_per_h: 0.0,
        }
    }
}

impl SoilState {
    /// One step of whole hours on: rain and evaporation are spread evenly over it.
    pub fn advance_step(&mut self, parameters: &SoilParameters, step_h: u32, step: Hour) {
        let hours = f64::from(step_h);
        let hour = Hour { rain_mm: step.rain_mm / hours, evaporation_mm: step.evaporation_mm / hours, ..step };
        let mut liquid_mm = 0.0;
        for _ in 0..step_h {
            self.advance(parameters, hour);
            liquid_mm += self.liquid_mm;
        }
        self.liquid_mm = liquid_mm;
    }

    /// One hour on, without looking at the river.
    pub fn advance(&mut self, parameters: &SoilParameters, hour: Hour) {
        self.liquid_mm = match hour.air_degc {
            Some(air_degc) => self.through_snow(parameters, hour.rain_mm, air_degc),
            None => hour.rain_mm,
        };
        self.api_mm = self.api_mm * API_KEPT_PER_H + self.liquid_mm;
        let effective_mm = self.through_soil(parameters, self.liquid_mm, hour.evaporation_mm * parameters.evaporation_factor);
        let arrived_mm = self.through_cascade(parameters, effective_mm);
        self.simulated_mm_per_h = self.through_routing(parameters, arrived_mm);
        self.error *= ERROR_KEPT_PER_H;
    }

    /// Holds the model against the river: what it is off by is carried into the forecasts.
    pub fn compare(&mut self, observed_mm_per_h: f64) {
        let ratio = observed_mm_per_h.max(DISCHARGE_MIN_MM_PER_H) / self.simulated_mm_per_h.max(DISCHARGE_MIN_MM_PER_H);
        self.error = ratio.ln().clamp(-ERROR_MAX, ERROR_MAX);
    }

    /// The crest of the coming hours if they are as given.
    pub fn crest(&self, parameters: &SoilParameters, ahead: impl Iterator<Item = Hour>) -> Crest {
        let mut state = self.clone();
        let mut crest = Crest { discharge_mm_per_h: self.corrected_mm_per_h(), ahead_h: 0 };
        for (ahead_h, hour) in (1..).zip(ahead) {
            state.advance(parameters, hour);
            let discharge_mm_per_h = state.corrected_mm_per_h();
            if discharge_mm_per_h > crest.discharge_mm_per_h {
                crest = Crest { discharge_mm_per_h, ahead_h };
            }
        }
        crest
    }

    /// Simulated discharge with the error as it stands, mm/h.
    pub fn corrected_mm_per_h(&self) -> f64 {
        self.simulated_mm_per_h * self.error.exp()
    }

    /// Mean snow of the catchment with the water in it, mm.
    pub fn snow_water_mm(&self) -> f64 {
        (self.snow_mm.iter().sum::<f64>() + self.held_mm.iter().sum::<f64>()) / BANDS as f64
    }

    /// Degree-day snow; gives rain and melt that reach the soil, mm.
    fn through_snow(&mut self, parameters: &SoilParameters, rain_mm: f64, air_degc: f64) -> f64 {
        let half_range = parameters.band_range_degc / 2.0;
        let snowless = self.snow_mm.iter().all(|mm| *mm == 0.0);
        if snowless && air_degc - half_range > SNOW_BELOW_DEGC + 1.0 {
            return rain_mm;
        }
        let melt_mm_per_degc = parameters.melt_mm_per_degc_day / 24.0;
        let mut liquid_mm = 0.0;
        for (band, (snow, held)) in self.snow_mm.iter_mut().zip(&mut self.held_mm).enumerate() {
            let degc = air_degc + half_range * (1.0 - 2.0 * band as f64 / (BANDS - 1) as f64);
            let solid = ((SNOW_BELOW_DEGC + 1.0 - degc) / 2.0).clamp(0.0, 1.0);
            *snow += rain_mm * solid * parameters.snow_correction;
            let melt = (melt_mm_per_degc * degc).clamp(0.0, *snow);
            *snow -= melt;
            *held += melt + rain_mm * (1.0 - solid);
            let dripping = (*held - SNOW_HOLDS * *snow).max(0.0);
            *held -= dripping;
            liquid_mm += dripping;
        }
        liquid_mm / BANDS as f64
    }

    /// GR4H production store; gives the water that goes on, mm.
    fn through_soil(&mut self, parameters: &SoilParameters, liquid_mm: f64, evaporation_mm: f64) -> f64 {
        let capacity = parameters.production_mm;
        let mut effective_mm = 0.0;
        let net_mm = liquid_mm - evaporation_mm;
        if net_mm > 0.0 {
            let wet = (net_mm / capacity).tanh();
            let stored = (1.0 - self.saturation * self.saturation) * wet / (1.0 + self.saturation * wet);
            self.saturation += stored;
            effective_mm = net_mm - stored * capacity;
        } else if net_mm < 0.0 {
            let dry = (-net_mm / capacity).tanh();
            self.saturation -= self.saturation * (2.0 - self.saturation) * dry / (1.0 + (1.0 - self.saturation) * dry);
        }
        let percolated = self.saturation * emptied(PERCOLATION * self.saturation);
        self.saturation -= percolated;
        effective_mm + percolated * capacity
    }

    /// Three equal linear stores in a row.
    fn through_cascade(&mut self, parameters: &SoilParameters, effective_mm: f64) -> f64 {
        let leaving = 1.0 - (-(CASCADE as f64) / parameters.delay_h).exp();
        let mut flow_mm = effective_mm;
        for store in &mut self.cascade_mm {
            *store += flow_mm;
            flow_mm = *store * leaving;
            *store -= flow_mm;
        }
        flow_mm
    }

    /// GR4H routing store, groundwater exchange and direct runoff; gives the discharge, mm/h.
    fn through_routing(&mut self, parameters: &SoilParameters, arrived_mm: f64) -> f64 {
        let capacity = parameters.routing_mm;
        let exchange_mm = parameters.exchange_mm_per_h * self.routing.powi(3) * self.routing.sqrt();
        let filled = (self.routing + (ROUTED * arrived_mm + exchange_mm) / capacity).max(0.0);
        let released = filled * emptied(filled);
        self.routing = filled - released;
        let direct_mm = ((1.0 - ROUTED) * arrived_mm + exchange_mm).max(0.0);
        released * capacity + direct_mm
    }
}

/// Share that leaves a store in an hour when it empties with the fifth power of its level (Perrin et al. 2003).
fn emptied(level: f64) -> f64 {
    let fourth = level.powi(4);
    1.0 - 1.0 / (1.0 + fourth).sqrt().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(rain_mm: f64, air_degc: f64) -> Hour {
        Hour { rain_mm, air_degc: Some(air_degc), evaporation_mm: 0.0 }
    }

    #[test]
    fn water_is_kept() {
        let parameters = SoilParameters::default();
        let stored = |s: &SoilState| {
            let stores = s.saturation * parameters.production_mm + s.routing * parameters.routing_mm;
            stores + s.cascade_mm.iter().sum::<f64>() + s.snow_water_mm()
        };
        let mut state = SoilState::default();
        let before_mm = stored(&state);
        let mut out_mm = 0.0;
        for _ in 0..500 {
            state.advance(&parameters, hour(1.0, 10.0));
            out_mm += state.simulated_mm_per_h;
        }
        assert!((before_mm + 500.0 - stored(&state) - out_mm).abs() < 1e-6);
    }

    #[test]
    fn snow_lies_until_it_is_warm() {
        let parameters = SoilParameters::default();
        let mut state = SoilState::default();
        for _ in 0..24 {
            state.advance(&parameters, hour(1.0, -8.0));
        }
        assert!((state.snow_water_mm() - 24.0 * parameters.snow_correction).abs() < 1e-9);
        assert_eq!(state.liquid_mm, 0.0);
        for _ in 0..240 {
            state.advance(&parameters, hour(0.0, 8.0));
        }
        assert!(state.snow_water_mm() < 10.0);
    }

    #[test]
    fn rain_ahead_raises_the_crest() {
        let parameters = SoilParameters::default();
        let mut state = SoilState::default();
        state.advance(&parameters, hour(5.0, 10.0));
        let observed_mm_per_h = state.simulated_mm_per_h * 1.5;
        state.compare(observed_mm_per_h);
        let dry = state.crest(&parameters, (0..12).map(|_| hour(0.0, 10.0)));
        let wet = state.crest(&parameters, (0..12).map(|_| hour(8.0, 10.0)));
        assert!(dry.discharge_mm_per_h >= observed_mm_per_h - 1e-9);
        assert!(wet.discharge_mm_per_h > dry.discharge_mm_per_h && wet.ahead_h > 0);
    }

    #[test]
    fn three_hours_are_three_times_one() {
        let parameters = SoilParameters::default();
        let (mut one, mut three) = (SoilState::default(), SoilState::default());
        for _ in 0..3 {
            one.advance(&parameters, hour(2.0, 3.0));
        }
        three.advance_step(&parameters, 3, hour(6.0, 3.0));
        assert_eq!(one.saturation, three.saturation);
        assert_eq!(one.cascade_mm, three.cascade_mm);
    }
}
