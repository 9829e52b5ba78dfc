//! The stateful function behind the SQL `soil_state`: a row of input in, the catchment's state and crests out.

use crate::soil::{BANDS, Crest, Hour, SoilParameters, SoilState};

/// How far ahead a crest is looked for, h: catchments of this product answer within half a day.
const AHEAD_H: u32 = 12;
/// Rain that is falling dies out by this factor an hour where nothing is forecast. Measured on development sets: 0.6 is the
/// least that gives the crest a head start; 0.8 and more warn too often. See pipelines/flood_state/README.md.
const RAIN_KEPT_PER_H: f64 = 0.6;
/// Numbers in a state's text.
const NUMBERS: usize = 2 * BANDS + 8;

/// Input of one step.
#[derive(Clone, Copy, Debug)]
pub struct SoilInput {
    /// Length of the step, whole hours.
    pub step_h: u32,
    /// Rain of the step. None (no gauge known) counts as none.
    pub rain_mm: Option<f64>,
    /// Mean air temperature of the step, degC. None where nobody measures it.
    pub air_degc: Option<f64>,
    /// Potential evapotranspiration of the step.
    pub evaporation_mm: f64,
    /// Discharge at the end of the step, of the whole area.
    pub discharge_mm_per_h: Option<f64>,
    /// Mean rain of the last 3 h.
    pub persisting_mm_per_h: f64,
    /// Rain forecast for the next steps, as known now.
    pub ahead_mm: [Option<f64>; 3],
}

/// State and outlook after one step.
#[derive(Clone, Debug, PartialEq)]
pub struct SoilOutput {
    /// Water in the production store, share of its capacity.
    pub saturation: f64,
    /// Water in the snow, mm over the area.
    pub snow_water_mm: f64,
    /// Rain and melt that reached the soil in the step.
    pub liquid_mm: f64,
    /// Antecedent precipitation index, half-life 5 d.
    pub api_mm: f64,
    /// Simulated discharge at the end of the step.
    pub simulated_mm_per_h: f64,
    /// ln(observed / simulated).
    pub error: f64,
    /// Crest if the rain dies out.
    pub crest: Crest,
    /// Crest with the forecast rain, and dying rain after it. The same as `crest` without a forecast.
    pub forecast_crest: Crest,
    /// What the next step starts from.
    pub state: String,
}

impl SoilState {
    /// Shortest numbers that read back as they were, with spaces between.
    pub fn to_text(&self) -> String {
        let numbers = self.snow_mm.iter().chain(&self.held_mm).chain(&self.cascade_mm);
        let single = [self.saturation, self.routing, self.error, self.api_mm, self.simulated_mm_per_h];
        let words: Vec<String> = numbers.chain(&single).map(f64::to_string).collect();
        words.join(" ")
    }

    /// None if the text is not a state.
    pub fn from_text(text: &str) -> Option<Self> {
        let numbers: Vec<f64> = text.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        if numbers.len() != NUMBERS || numbers.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let (snow, rest) = numbers.split_at(BANDS);
        let (held, rest) = rest.split_at(BANDS);
        let (cascade, single) = rest.split_at(3);
        Some(Self {
            snow_mm: snow.try_into().ok()?,
            held_mm: held.try_into().ok()?,
            cascade_mm: cascade.try_into().ok()?,
            saturation: single[0],
            routing: single[1],
            error: single[2],
            api_mm: single[3],
            simulated_mm_per_h: single[4],
            liquid_mm: 0.0,
        })
    }
}

/// One step on.
pub fn soil_step(state: &mut SoilState, parameters: &SoilParameters, input: &SoilInput) -> SoilOutput {
    let drive = Hour { rain_mm: input.rain_mm.unwrap_or(0.0), air_degc: input.air_degc, evaporation_mm: input.evaporation_mm };
    state.advance_step(parameters, input.step_h, drive);
    if let Some(observed_mm_per_h) = input.discharge_mm_per_h {
        state.compare(observed_mm_per_h);
    }
    let calm = |rain_mm| Hour { rain_mm, evaporation_mm: input.evaporation_mm / f64::from(input.step_h), ..drive };
    let dying = |ahead_h: u32| input.persisting_mm_per_h * RAIN_KEPT_PER_H.powi(ahead_h as i32);
    let crest = state.crest(parameters, (1..=AHEAD_H).map(|h| calm(dying(h))));
    let forecast_crest = match input.ahead_mm {
        [None, None, None] => crest,
        _ => state.crest(parameters, (1..=AHEAD_H).map(|h| calm(forecast_mm_per_h(input, h).unwrap_or(dying(h))))),
    };
    SoilOutput {
        saturation: state.saturation,
        snow_water_mm: state.snow_water_mm(),
        liquid_mm: state.liquid_mm,
        api_mm: state.api_mm,
        simulated_mm_per_h: state.simulated_mm_per_h,
        error: state.error,
        crest,
        forecast_crest,
        state: state.to_text(),
    }
}

/// Forecast rain of the hour that ends `ahead_h` from now.
fn forecast_mm_per_h(input: &SoilInput, ahead_h: u32) -> Option<f64> {
    let step = (ahead_h - 1) / input.step_h;
    let rain_mm = (*input.ahead_mm.get(step as usize)?)?;
    Some(rain_mm / f64::from(input.step_h))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(rain_mm: f64) -> SoilInput {
        SoilInput {
            step_h: 1,
            rain_mm: Some(rain_mm),
            air_degc: Some(0.3),
            evaporation_mm: 0.02,
            discharge_mm_per_h: Some(0.1 + rain_mm / 7.0),
            persisting_mm_per_h: rain_mm,
            ahead_mm: [None; 3],
        }
    }

    #[test]
    fn going_on_from_the_text_is_going_on() {
        let parameters = SoilParameters::default();
        let mut through = SoilState::default();
        let mut text = through.to_text();
        for i in 0..200 {
            let input = input(f64::from(i % 7) / 3.0);
            let whole = soil_step(&mut through, &parameters, &input);
            let mut resumed = SoilState::from_text(&text).expect("own text");
            assert_eq!(soil_step(&mut resumed, &parameters, &input), whole);
            text = whole.state;
        }
    }

    #[test]
    fn text_that_is_no_state_is_refused() {
        assert_eq!(SoilState::from_text("1 2 3"), None);
        assert_eq!(SoilState::from_text(&SoilState::default().to_text().replacen('0', "NaN", 1)), None);
    }

    #[test]
    fn forecast_rain_counts_and_rain_dies_out_after_it() {
        let parameters = SoilParameters::default();
        let mut state = SoilState::default();
        let with = SoilInput { ahead_mm: [Some(20.0), Some(20.0), Some(20.0)], ..input(2.0) };
        let output = soil_step(&mut state, &parameters, &with);
        assert!(output.forecast_crest.discharge_mm_per_h > output.crest.discharge_mm_per_h);
    }
}
