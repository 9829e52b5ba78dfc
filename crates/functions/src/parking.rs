//! `lot_occupancy(kind, received_at, observed_at, device_id, counter, epoch, direction, vehicles, total, by_clock, capacity,
//! initial_occupied, stale_after_s, gates, memory)`: vehicles in one car park, in the order of arrival; answers stand on the rows
//! of kind `tick`, the others have null. See [`datasjo_models::occupancy`].
//!
//! `hold_state(free, full_at, free_again_at, as_of, hold_s, state_before, since_before)`: FULL and FREE without flicker; see
//! [`datasjo_models::hysteresis`].

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Builder, StringBuilder, TimestampMicrosecondBuilder};
use arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::WindowUDF;
use datasjo_models::hysteresis::{Held, State};
use datasjo_models::occupancy::{Kind, Lot, Occupancy, Row};

use crate::answers::{answers, fields};
use crate::arguments::{Arguments, float, instant, micros, text};
use crate::ordered::ordered;

pub(crate) fn lot_occupancy() -> WindowUDF {
    use DataType::{Boolean, Float64, Int64, Utf8};
    let row = [Utf8, instant(), instant(), Utf8, Utf8, Utf8, Utf8, Float64, Int64, Boolean];
    let lot = [Float64, Float64, Float64, Utf8, Utf8];
    ordered("lot_occupancy", row.into_iter().chain(lot).collect(), occupancy_result(), occupancy)
}

fn occupancy_result() -> DataType {
    fields(&[
        ("occupied", DataType::Float64),
        ("low", DataType::Float64),
        ("high", DataType::Float64),
        ("put_in", DataType::Float64),
        ("heard_until", instant()),
        ("view_until", instant()),
        ("anchored_at", instant()),
        ("basis_at", instant()),
        ("memory", DataType::Utf8),
    ])
}

fn occupancy(values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let columns = Arguments(values);
    let (kinds, received) = (columns.texts(0)?, columns.instants(1)?);
    let lot = lot(&columns, rows)?;
    let mut occupancy = start(&columns, &lot, rows)?;
    let mut floats: [Float64Builder; 4] = Default::default();
    let mut instants: [TimestampMicrosecondBuilder; 4] =
        std::array::from_fn(|_| TimestampMicrosecondBuilder::new().with_timezone("UTC"));
    let mut memories = StringBuilder::new();
    for row in 0..rows {
        if kinds.value(row) != "tick" {
            occupancy.take(&lot, &taken(&columns, row)?);
            floats.iter_mut().for_each(Float64Builder::append_null);
            instants.iter_mut().for_each(TimestampMicrosecondBuilder::append_null);
            memories.append_null();
            continue;
        }
        let estimate = occupancy.estimate(&lot, received.value(row));
        let told = [estimate.occupied, estimate.low, estimate.high, estimate.put_in];
        floats.iter_mut().zip(told).for_each(|(column, value)| column.append_value(value));
        let told = [estimate.heard_until, estimate.view_until, estimate.anchored_at, estimate.basis_at];
        instants.iter_mut().zip(told).for_each(|(column, value)| column.append_value(value));
        memories.append_value(occupancy.to_text());
    }
    let floats = floats.into_iter().map(|mut column| Arc::new(column.finish()) as ArrayRef);
    let instants = instants.into_iter().map(|mut column| Arc::new(column.finish()) as ArrayRef);
    let memories = Arc::new(memories.finish()) as ArrayRef;
    answers(&occupancy_result(), floats.chain(instants).chain([memories]).collect())
}

fn lot(columns: &Arguments<'_>, rows: usize) -> Result<Lot> {
    let first =
        |at: usize| Ok::<_, DataFusionError>((rows > 0).then(|| float(columns.floats(at).ok()?, 0)).flatten().unwrap_or(0.0));
    Ok(Lot { capacity: first(10)?, initial_occupied: first(11)?, stale_after_s: first(12)? })
}

/// The lot's memory, or its very start.
fn start(columns: &Arguments<'_>, lot: &Lot, rows: usize) -> Result<Occupancy> {
    let (gates, memories) = (columns.texts(13)?, columns.texts(14)?);
    let memory = (rows > 0).then(|| text(memories, 0)).flatten().and_then(Occupancy::from_text);
    let gates = (rows > 0).then(|| text(gates, 0)).flatten().unwrap_or_default();
    Ok(memory.unwrap_or_else(|| Occupancy::new(lot, gates.lines())))
}

fn taken<'a>(columns: &Arguments<'a>, row: usize) -> Result<Row<'a>> {
    let total = columns.ints(8)?;
    let kind = match text(columns.texts(0)?, row) {
        Some("heard") => Kind::Heard,
        Some("crossing") => Kind::Crossing,
        Some("view") => Kind::View,
        Some("manual") => Kind::Manual,
        other => return Err(DataFusionError::Execution(format!("lot_occupancy knows no kind {other:?}"))),
    };
    Ok(Row {
        kind,
        received_at: columns.instants(1)?.value(row),
        observed_at: micros(columns.instants(2)?, row),
        device: text(columns.texts(3)?, row).unwrap_or_default(),
        counter: text(columns.texts(4)?, row).unwrap_or_default(),
        epoch: text(columns.texts(5)?, row).unwrap_or_default(),
        out: text(columns.texts(6)?, row) == Some("out"),
        vehicles: float(columns.floats(7)?, row).unwrap_or(0.0),
        total: total.is_valid(row).then(|| total.value(row)),
        by_clock: columns.bools(9)?.is_valid(row) && columns.bools(9)?.value(row),
    })
}

pub(crate) fn hold_state() -> WindowUDF {
    use DataType::{Float64, Utf8};
    let arguments = vec![Float64, Float64, Float64, instant(), Float64, Utf8, instant()];
    ordered("hold_state", arguments, state_result(), hold)
}

fn state_result() -> DataType {
    fields(&[("state", DataType::Utf8), ("since", instant())])
}

fn hold(values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let columns = Arguments(values);
    let (free, full_at, again) = (columns.floats(0)?, columns.floats(1)?, columns.floats(2)?);
    let (as_of, hold_s) = (columns.instants(3)?, columns.floats(4)?);
    let mut held = Held::NONE;
    if rows > 0 {
        let state = match text(columns.texts(5)?, 0) {
            Some("FULL") => State::Full,
            Some("FREE") => State::Free,
            _ => State::Unknown,
        };
        held = Held { state, since: micros(columns.instants(6)?, 0).unwrap_or(0) };
    }
    let mut states = StringBuilder::new();
    let mut since = TimestampMicrosecondBuilder::new().with_timezone("UTC");
    for row in 0..rows {
        let hold_us = (hold_s.value(row) * 1e6) as i64;
        held = held.next(float(free, row), full_at.value(row), again.value(row), as_of.value(row), hold_us);
        states.append_value(match held.state {
            State::Full => "FULL",
            State::Free => "FREE",
            State::Unknown => "UNKNOWN",
        });
        since.append_value(held.since);
    }
    answers(&state_result(), vec![Arc::new(states.finish()), Arc::new(since.finish())])
}
