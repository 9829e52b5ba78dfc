//! `soil_state(step_h, rain_mm, air_degc, evaporation_mm, discharge_mm_per_h, persisting_mm_per_h, ahead_1_mm, ahead_2_mm, ahead_3_mm,
//! production_mm, exchange_mm_per_h, routing_mm, delay_h, melt_mm_per_degc_day, snow_correction, band_range_degc,
//! evaporation_factor, state_before)`: snow, soil and crests of one catchment, step by step; see [`datasjo_models::soil_state`].
//!
//! `hold_level(as_of, raised, kept, level_before, since_before, issued_before)`: warnings that are raised at once, held, lowered
//! and renewed; see [`datasjo_models::hold_level`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::WindowUDF;
use datasjo_models::hold_level::HeldLevel;
use datasjo_models::soil::{SoilParameters, SoilState};
use datasjo_models::soil_state::{SoilInput, SoilOutput, soil_step};

use crate::answers::{answers, fields};
use crate::arguments::{Arguments, float, instant, micros, text};
use crate::ordered::ordered;

/// The fields of `soil_state` that are numbers, in their order.
const SOIL_FIELDS: [&str; 10] = [
    "saturation",
    "snow_water_mm",
    "liquid_mm",
    "api_mm",
    "simulated_mm_per_h",
    "error",
    "crest_mm_per_h",
    "crest_ahead_h",
    "forecast_crest_mm_per_h",
    "forecast_crest_ahead_h",
];

pub(crate) fn soil_state() -> WindowUDF {
    let arguments = [DataType::Int64].into_iter().chain(vec![DataType::Float64; 16]).chain([DataType::Utf8]);
    ordered("soil_state", arguments.collect(), soil_result(), soil)
}

fn soil_result() -> DataType {
    let numbers = SOIL_FIELDS.iter().map(|name| (*name, DataType::Float64));
    fields(&numbers.chain([("state", DataType::Utf8)]).collect::<Vec<_>>())
}

fn soil(values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let columns = Arguments(values);
    let steps = columns.ints(0)?;
    let floats = (1..17).map(|at| columns.floats(at)).collect::<Result<Vec<_>>>()?;
    let before = columns.texts(17)?;
    let mut state = (rows > 0).then(|| text(before, 0)).flatten().and_then(SoilState::from_text).unwrap_or_default();
    let mut numbers: [Float64Builder; 10] = Default::default();
    let mut states = StringBuilder::new();
    for row in 0..rows {
        let at = |n: usize| float(floats[n], row);
        let step_h = u32::try_from(steps.value(row)).unwrap_or(1).max(1);
        let told = soil_step(&mut state, &parameters(at), &input(step_h, at));
        numbers.iter_mut().zip(as_numbers(&told)).for_each(|(column, value)| column.append_value(value));
        states.append_value(&told.state);
    }
    let numbers = numbers.into_iter().map(|mut column| Arc::new(column.finish()) as ArrayRef);
    answers(&soil_result(), numbers.chain([Arc::new(states.finish()) as ArrayRef]).collect())
}

fn input(step_h: u32, at: impl Fn(usize) -> Option<f64>) -> SoilInput {
    SoilInput {
        step_h,
        rain_mm: at(0),
        air_degc: at(1),
        evaporation_mm: at(2).unwrap_or(0.0),
        discharge_mm_per_h: at(3),
        persisting_mm_per_h: at(4).unwrap_or(0.0),
        ahead_mm: [at(5), at(6), at(7)],
    }
}

/// A catchment that is not calibrated has those of the middle catchment.
fn parameters(at: impl Fn(usize) -> Option<f64>) -> SoilParameters {
    let usual = SoilParameters::default();
    SoilParameters {
        production_mm: at(8).unwrap_or(usual.production_mm),
        exchange_mm_per_h: at(9).unwrap_or(usual.exchange_mm_per_h),
        routing_mm: at(10).unwrap_or(usual.routing_mm),
        delay_h: at(11).unwrap_or(usual.delay_h),
        melt_mm_per_degc_day: at(12).unwrap_or(usual.melt_mm_per_degc_day),
        snow_correction: at(13).unwrap_or(usual.snow_correction),
        band_range_degc: at(14).unwrap_or(usual.band_range_degc),
        evaporation_factor: at(15).unwrap_or(usual.evaporation_factor),
    }
}

fn as_numbers(told: &SoilOutput) -> [f64; 10] {
    [
        told.saturation,
        told.snow_water_mm,
        told.liquid_mm,
        told.api_mm,
        told.simulated_mm_per_h,
        told.error,
        told.crest.discharge_mm_per_h,
        f64::from(told.crest.ahead_h),
        told.forecast_crest.discharge_mm_per_h,
        f64::from(told.forecast_crest.ahead_h),
    ]
}

pub(crate) fn hold_level() -> WindowUDF {
    use DataType::Int64;
    ordered("hold_level", vec![instant(), Int64, Int64, Int64, instant(), instant()], level_result(), hold)
}

fn level_result() -> DataType {
    fields(&[("level", DataType::Int64), ("since", instant()), ("issued_at", instant())])
}

fn hold(values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let columns = Arguments(values);
    let (as_of, raised, kept) = (columns.instants(0)?, columns.ints(1)?, columns.ints(2)?);
    let mut held = HeldLevel::default();
    let levels_before = columns.ints(3)?;
    if rows > 0 && levels_before.is_valid(0) {
        held.level = i32::try_from(levels_before.value(0)).unwrap_or(0);
        held.since_us = micros(columns.instants(4)?, 0).unwrap_or(0);
        held.issued_us = micros(columns.instants(5)?, 0).unwrap_or(0);
    }
    let mut levels = Int64Builder::new();
    let mut since = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    let mut issued = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    for row in 0..rows {
        let level =
            |column: &arrow::array::Int64Array| column.is_valid(row).then(|| i32::try_from(column.value(row)).unwrap_or(0));
        held = held.then(as_of.value(row), level(raised), level(kept));
        levels.append_value(i64::from(held.level));
        since.append_value(held.since_us);
        issued.append_value(held.issued_us);
    }
    answers(&level_result(), vec![Arc::new(levels.finish()), Arc::new(since.finish()), Arc::new(issued.finish())])
}
