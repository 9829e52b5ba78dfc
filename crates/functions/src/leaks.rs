//! `leak_watch(day_no, rise_in_scales, level_lps, low_lps, level_base_lps, low_base_lps, threshold, state_before)`: the watch over
//! one series of days, in their order; see [`datasjo_models::cusum`].

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, StringBuilder};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::WindowUDF;
use datasjo_models::cusum::{Day, Watch};

use crate::answers::{answers, fields};
use crate::arguments::{Arguments, float, text};
use crate::ordered::ordered;

pub(crate) fn leak_watch() -> WindowUDF {
    use DataType::{Float64, Int64, Utf8};
    let arguments = vec![Int64, Float64, Float64, Float64, Float64, Float64, Float64, Utf8];
    ordered("leak_watch", arguments, result(), evaluate)
}

fn result() -> DataType {
    fields(&[
        ("sum", DataType::Float64),
        ("is_open", DataType::Boolean),
        ("raised", DataType::Boolean),
        ("cleared", DataType::Boolean),
        ("started_day", DataType::Int64),
        ("size_lps", DataType::Float64),
        ("steps", DataType::Int64),
        ("class", DataType::Utf8),
        ("state", DataType::Utf8),
    ])
}

fn evaluate(values: &[ArrayRef], rows: usize) -> Result<ArrayRef> {
    let columns = Arguments(values);
    let days = columns.ints(0)?;
    let floats = (1..7).map(|at| columns.floats(at)).collect::<Result<Vec<_>>>()?;
    let before = columns.texts(7)?;
    let mut watch = (rows > 0).then(|| text(before, 0)).flatten().and_then(Watch::from_text).unwrap_or_default();
    let (mut sums, mut sizes) = (Float64Builder::new(), Float64Builder::new());
    let (mut opens, mut raised, mut cleared) = (BooleanBuilder::new(), BooleanBuilder::new(), BooleanBuilder::new());
    let (mut started, mut steps) = (Int64Builder::new(), Int64Builder::new());
    let (mut classes, mut states) = (StringBuilder::new(), StringBuilder::new());
    for row in 0..rows {
        let day = Day {
            day: days.value(row),
            rise: float(floats[0], row),
            level: float(floats[1], row),
            low: float(floats[2], row),
            level_base: float(floats[3], row),
            low_base: float(floats[4], row),
            threshold: float(floats[5], row).unwrap_or(f64::MAX),
        };
        let change = watch.step(&day);
        sums.append_value(watch.sum);
        opens.append_value(watch.open.is_some());
        raised.append_value(change.raised);
        cleared.append_value(change.cleared);
        started.append_value(watch.open.map_or(0, |open| open.started_day));
        sizes.append_value(watch.open.map_or(0.0, |open| open.size));
        steps.append_value(watch.open.map_or(0, |open| open.steps));
        classes.append_option(watch.open.map(|open| open.kind.to_string()));
        states.append_value(watch.to_text());
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(sums.finish()),
        Arc::new(opens.finish()),
        Arc::new(raised.finish()),
        Arc::new(cleared.finish()),
        Arc::new(started.finish()),
        Arc::new(sizes.finish()),
        Arc::new(steps.finish()),
        Arc::new(classes.finish()),
        Arc::new(states.finish()),
    ];
    answers(&result(), columns)
}
