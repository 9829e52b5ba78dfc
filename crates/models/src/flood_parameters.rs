//! What `calibrate flood` writes for one catchment: parameters of the soil model and of the regression, from its own past.

use crate::calibrate::{Effort, PastHour, calibrate_soil};
use crate::flood_regression::{OBSERVED_TERMS, RegressionRow, TERMS, fit_regression};
use crate::soil::{Hour, SoilParameters, SoilState};

/// Record that a calibration needs: with less, the default parameters warn better (pipelines/flood_state/README.md).
const RECORD_MIN_H: u32 = 8760;
/// Newest part of a long record that the soil model is fitted to: six years hold enough floods, and rivers change.
const RECORD_MAX_H: u32 = 6 * 8766;
const FIRST_EFFORT: Effort = Effort { members: 24, generations: 25 };
/// From last year's parameters on.
const YEARLY_EFFORT: Effort = Effort { members: 24, generations: 6 };

/// One step of the past; steps follow each other without holes.
#[derive(Clone, Copy, Debug)]
pub struct PastStep {
    /// Rain of the step; None if no gauge is known.
    pub rain_mm: Option<f64>,
    /// Mean air temperature, degC.
    pub air_degc: Option<f64>,
    /// Potential evapotranspiration of the step, mm.
    pub evaporation_mm: f64,
    /// Discharge at its end; None where the record has a hole.
    pub discharge_mm_per_h: Option<f64>,
    /// Rain forecast for the next three steps together, as known at the step.
    pub ahead_mm: Option<f64>,
}

/// Parameters of one catchment.
#[derive(Clone, Debug)]
pub struct FloodParameters {
    /// Those of the soil model.
    pub soil: SoilParameters,
    /// 0.6 KGE(Q) + 0.4 KGE(sqrt Q) of the soil model.
    pub fit: f64,
    /// Weights of the regression on observations ([`crate::flood_regression`] names the terms).
    pub observed: [f64; TERMS],
    /// Weights with the rain forecast; None where none was kept.
    pub forecast: Option<[f64; TERMS]>,
}

/// None with under a year of record, or too few discharges in it. `start` are last year's parameters.
pub fn calibrate_flood(
    past: &[PastStep],
    step_h: u32,
    yellow_mm_per_h: f64,
    start: Option<&SoilParameters>,
) -> Option<FloodParameters> {
    if past.len() < (RECORD_MIN_H / step_h) as usize {
        return None;
    }
    let newest = past.len().saturating_sub((RECORD_MAX_H / step_h) as usize);
    let hours: Vec<PastHour> = past[newest..].iter().flat_map(|step| hours(step, step_h)).collect();
    let effort = if start.is_some() { YEARLY_EFFORT } else { FIRST_EFFORT };
    let found = calibrate_soil(&hours, effort, start)?;
    let rows = regression_rows(past, step_h, &found.parameters);
    let known: Vec<RegressionRow> = rows.iter().filter(|row| row.terms[TERMS - 1].is_finite()).copied().collect();
    Some(FloodParameters {
        soil: found.parameters,
        fit: found.fit,
        observed: fit_regression(&rows, OBSERVED_TERMS, yellow_mm_per_h)?,
        forecast: fit_regression(&known, TERMS, yellow_mm_per_h),
    })
}

/// A step as hours; the discharge is that of its last one.
fn hours(step: &PastStep, step_h: u32) -> impl Iterator<Item = PastHour> {
    let drive = Hour {
        rain_mm: step.rain_mm.unwrap_or(0.0) / f64::from(step_h),
        air_degc: step.air_degc,
        evaporation_mm: step.evaporation_mm / f64::from(step_h),
    };
    let discharge_mm_per_h = step.discharge_mm_per_h;
    (1..=step_h).map(move |h| PastHour { drive, observed_mm_per_h: discharge_mm_per_h.filter(|_| h == step_h) })
}

/// Rows whose discharge and following 6 h are known. The terms are those of the SQL in pipelines/flood_state.
fn regression_rows(past: &[PastStep], step_h: u32, parameters: &SoilParameters) -> Vec<RegressionRow> {
    let api_mm = api(past, step_h, parameters);
    let steps = |h: u32| (h / step_h).max(1) as usize;
    let mut rows = Vec::with_capacity(past.len());
    for i in steps(24)..past.len().saturating_sub(steps(6)) {
        let (Some(discharge), Some(highest_mm_per_h)) = (past[i].discharge_mm_per_h, highest(&past[i + 1..=i + steps(6)])) else {
            continue;
        };
        let earlier = past[i - steps(3)].discharge_mm_per_h.unwrap_or(discharge);
        let rain = |from_h: u32, to_h: u32| rain_mm(&past[i + 1 - steps(to_h)..=i - (from_h / step_h) as usize]);
        let terms = [
            1.0,
            discharge,
            discharge - earlier,
            rain(0, 3),
            rain(3, 6),
            rain(6, 12),
            rain(12, 24),
            api_mm[i],
            api_mm[i] * rain(0, 6),
            warmth_degc(&past[i + 1 - steps(6)..=i]),
            past[i].ahead_mm.unwrap_or(f64::NAN),
        ];
        rows.push(RegressionRow { terms, highest_mm_per_h });
    }
    rows
}

fn api(past: &[PastStep], step_h: u32, parameters: &SoilParameters) -> Vec<f64> {
    let mut state = SoilState::default();
    let after = |step: &PastStep| {
        hours(step, step_h).for_each(|hour| state.advance(parameters, hour.drive));
        state.api_mm
    };
    past.iter().map(after).collect()
}

/// None if one of the discharges is missing: the highest may be the missing one.
fn highest(ahead: &[PastStep]) -> Option<f64> {
    ahead.iter().try_fold(0.0_f64, |highest, step| Some(highest.max(step.discharge_mm_per_h?)))
}

fn rain_mm(steps: &[PastStep]) -> f64 {
    steps.iter().filter_map(|step| step.rain_mm).sum()
}

/// Mean temperature, at least 0; 0 without any.
fn warmth_degc(steps: &[PastStep]) -> f64 {
    let (sum, count) = steps.iter().filter_map(|step| step.air_degc).fold((0.0, 0.0), |(sum, n), t| (sum + t, n + 1.0));
    if count > 0.0 { (sum / count).max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(steps: usize) -> Vec<PastStep> {
        let step = |i: usize| PastStep {
            rain_mm: Some(if i % 97 < 9 { 2.0 } else { 0.0 }),
            air_degc: Some(7.0),
            evaporation_mm: 0.05,
            discharge_mm_per_h: Some(0.05 + 0.5 * (-((i % 97) as f64 - 12.0).abs() / 9.0).exp()),
            ahead_mm: None,
        };
        (0..steps).map(step).collect()
    }

    #[test]
    fn half_a_year_is_too_little() {
        assert!(calibrate_flood(&past(4000), 1, 0.5, None).is_none());
    }

    #[test]
    fn a_regular_river_is_learned() {
        let found = calibrate_flood(&past(9000), 1, 0.5, None).expect("a year of record");
        assert!(found.fit > 0.6, "{}", found.fit);
        assert!(found.observed[1] > 0.0 && found.forecast.is_none());
    }

    #[test]
    fn rain_of_a_window_excludes_the_hours_after_it() {
        let past = past(300);
        let rows = regression_rows(&past, 1, &SoilParameters::default());
        let first = &rows[0];
        let all: f64 = first.terms[3..7].iter().sum();
        assert_eq!(all, rain_mm(&past[1..=24]));
    }
}
