//! `calibrate flood`: parameters of each catchment from its own past, as lines of the reference table `flood_parameters`.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, TimestampMicrosecondType};
use arrow_array::{Array, Float64Array};
use datasjo_lake::RecordBatch;
use datasjo_models::flood_parameters::{FloodParameters, PastStep, calibrate_flood};
use datasjo_models::soil::SoilParameters;

/// The columns of `flood_parameters`.
pub(crate) const HEADER: &str = "catchment_id,valid_from,production_mm,exchange_mm_per_h,routing_mm,delay_h,melt_mm_per_degc_day,\
snow_correction,band_range_degc,evaporation_factor,fit,\
observed_constant,observed_discharge,observed_rise,observed_rain_0_3,observed_rain_3_6,observed_rain_6_12,observed_rain_12_24,\
observed_api,observed_api_rain,observed_warmth,\
forecast_constant,forecast_discharge,forecast_rise,forecast_rain_0_3,forecast_rain_3_6,forecast_rain_6_12,forecast_rain_12_24,\
forecast_api,forecast_api_rain,forecast_warmth,forecast_ahead";
/// A line of no catchment: it tells the types of columns that the others may leave empty.
pub(crate) const PLACEHOLDER: &str = "none,1900-01-01T00:00:00Z,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5";
/// Terms of the regression on measurements; the last one needs a forecast.
const OBSERVED: usize = 10;
const YEAR_H: usize = 8_766;

/// Which past parameters are fitted to, and from when they hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// All rows, from the first on: looks into the future, for comparison only.
    Everything,
    /// The rows up to an instant, from then on.
    Until(i64),
    /// Each year those of the years before.
    Yearly,
}

/// The steps of one catchment, from rows of `flood_hours` in their order.
pub(crate) struct Past {
    ticks_us: Vec<i64>,
    steps: Vec<PastStep>,
    step_h: u32,
}

impl Past {
    pub fn new(rows: &RecordBatch, catchment: &str, step_h: u32) -> anyhow::Result<Self> {
        let ids = rows.column_by_name("catchment_id").and_then(|c| c.as_string_opt::<i32>()).context("no catchment_id")?;
        let tick = rows.column_by_name("as_of").or_else(|| rows.column_by_name("observed_at"));
        let ticks = tick.and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>()).context("no tick")?;
        let float = |name: &str| -> anyhow::Result<&Float64Array> {
            rows.column_by_name(name).and_then(|c| c.as_primitive_opt::<Float64Type>()).with_context(|| format!("no {name}"))
        };
        let (rain, air, evaporation) = (float("rain_mm")?, float("air_degc")?, float("evaporation_mm")?);
        let discharge = float("discharge_mm_per_h")?;
        let ahead = [float("ahead_1_mm")?, float("ahead_2_mm")?, float("ahead_3_mm")?];
        let at = |column: &Float64Array, row: usize| column.is_valid(row).then(|| column.value(row));
        let mut past = Self { ticks_us: Vec::new(), steps: Vec::new(), step_h };
        for row in (0..rows.num_rows()).filter(|row| ids.value(*row) == catchment) {
            let expected: Vec<f64> = ahead.iter().filter_map(|column| at(column, row)).collect();
            past.ticks_us.push(ticks.value(row));
            past.steps.push(PastStep {
                rain_mm: at(rain, row),
                air_degc: at(air, row),
                evaporation_mm: at(evaporation, row).unwrap_or(0.0),
                discharge_mm_per_h: at(discharge, row),
                ahead_mm: (!expected.is_empty()).then(|| expected.iter().sum()),
            });
        }
        Ok(past)
    }

    /// Writes a line for each fit.
    pub fn calibrate(&self, catchment: &str, yellow_mm_per_h: f64, cut: Cut, out: &mut dyn Write) -> anyhow::Result<usize> {
        let mut start: Option<SoilParameters> = None;
        let mut lines = 0;
        for (rows, valid_from_us) in self.cuts(cut) {
            let found = calibrate_flood(&self.steps[..rows], self.step_h, yellow_mm_per_h, start.as_ref());
            let Some(found) = found else { continue };
            write_line(catchment, valid_from_us, &found, out)?;
            start = Some(found.soil);
            lines += 1;
        }
        Ok(lines)
    }

    /// How many of the first rows are fitted to, and from when the fit holds.
    fn cuts(&self, cut: Cut) -> Vec<(usize, i64)> {
        match cut {
            Cut::Everything => self.ticks_us.first().map(|first| (self.steps.len(), *first - 1)).into_iter().collect(),
            Cut::Until(end_us) => {
                let rows = self.ticks_us.partition_point(|tick| *tick <= end_us);
                if rows > 0 { vec![(rows, self.ticks_us[rows - 1])] } else { Vec::new() }
            }
            Cut::Yearly => {
                let year = (YEAR_H / self.step_h as usize).max(1);
                (year..=self.steps.len()).step_by(year).map(|rows| (rows, self.ticks_us[rows - 1])).collect()
            }
        }
    }
}

fn write_line(catchment: &str, valid_from_us: i64, found: &FloodParameters, out: &mut dyn Write) -> anyhow::Result<()> {
    let soil = &found.soil;
    let mut cells =
        vec![catchment.to_owned(), jiff::Timestamp::from_microsecond(valid_from_us)?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()];
    let numbers = [
        soil.production_mm,
        soil.exchange_mm_per_h,
        soil.routing_mm,
        soil.delay_h,
        soil.melt_mm_per_degc_day,
        soil.snow_correction,
        soil.band_range_degc,
        soil.evaporation_factor,
        found.fit,
    ];
    cells.extend(numbers.iter().chain(&found.observed[..OBSERVED]).map(|number| format!("{number:?}")));
    match &found.forecast {
        Some(weights) => cells.extend(weights.iter().map(|number| format!("{number:?}"))),
        None => cells.extend(std::iter::repeat_n(String::new(), OBSERVED + 1)),
    }
    writeln!(out, "{}", cells.join(","))?;
    Ok(())
}

/// The command: fits every catchment of the configuration to what the lake holds, and writes the reference table.
pub(crate) async fn run(dir: &Path) -> anyhow::Result<bool> {
    let config = super::load(dir)?;
    let lake = crate::instance::open_lake_to_read(&config).await?;
    let Some(catchments) = lake.reference("catchments") else {
        bail!("there is no reference table catchments: write {}/reference/catchments.csv", dir.display());
    };
    let catchments = super::rows_of(&catchments)?;
    let hours = lake.sql("SELECT * FROM flood_hours ORDER BY observed_at").await?.collect().await?;
    let Some(schema) = hours.first().map(RecordBatch::schema) else {
        bail!("the product flood_hours has no rows yet: it makes them while datasjo runs");
    };
    let hours = datasjo_lake::concat(&schema, &hours)?;
    let path = dir.join("reference").join("flood_parameters.csv");
    let mut text = Vec::new();
    writeln!(text, "{HEADER}\n{PLACEHOLDER}")?;
    for row in catchments {
        let number = |name: &str| row.get(name).and_then(serde_json::Value::as_f64);
        let (Some(id), Some(area_km2), Some(step_s)) =
            (row.get("catchment_id").and_then(|id| id.as_str()), number("area_km2"), number("step_s"))
        else {
            continue;
        };
        let yellow_mm_per_h = number("yellow_m3_per_s").unwrap_or(f64::INFINITY) * 3.6 / area_km2;
        let past = Past::new(&hours, id, (step_s / 3_600.0) as u32)?;
        let years = past.steps.len() as f64 * step_s / 3_600.0 / YEAR_H as f64;
        match past.calibrate(id, yellow_mm_per_h, Cut::Yearly, &mut text)? {
            0 => println!("{id}: {years:.1} years of record; the default parameters hold until there is one"),
            fits => println!("{id}: {years:.1} years of record, fitted {fits} times"),
        }
    }
    std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    println!("wrote {}; a running instance reads it at its next start", path.display());
    Ok(true)
}
