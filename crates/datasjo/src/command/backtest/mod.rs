//! What products would have published: over a recording, on its own clock, or over the lake before a rule is switched on.

mod flood;
mod leaks;
mod parking;
mod play;
mod write;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;

use crate::args::{Backtest, BacktestArea};
use crate::command::calibrate::{HEADER, PLACEHOLDER, Past};
use play::Played;

/// Plays the recording and writes what would have been published.
pub(crate) async fn run(args: Backtest) -> anyhow::Result<bool> {
    crate::log::start(crate::config::LogFormat::Text);
    let began = Instant::now();
    let mut out = BufWriter::new(File::create(&args.out).with_context(|| format!("write {}", args.out.display()))?);
    let lines = match args.area {
        BacktestArea::Parking => one(parking::recording, "parking_free", parking::published, &args.data, &mut out).await?,
        BacktestArea::Leaks => one(leaks::recording, "leak_alerts", leaks::published, &args.data, &mut out).await?,
        BacktestArea::Flood => floods(&args, &mut out).await?,
    };
    out.flush()?;
    println!("{lines} lines in {}, {:.1} s", args.out.display(), began.elapsed().as_secs_f64());
    Ok(true)
}

type Read = fn(&Path, &Path) -> anyhow::Result<play::Recording>;
type Publish = fn(&datasjo_lake::RecordBatch, &mut dyn Write) -> anyhow::Result<usize>;

async fn one(read: Read, product: &str, publish: Publish, data: &Path, out: &mut dyn Write) -> anyhow::Result<usize> {
    let dir = tempfile::tempdir()?;
    let mut played = Played::new(read(data, dir.path())?).await?;
    let made = played.run(&[product]).await?;
    let rows = made.get(product).with_context(|| format!("{product} gave nothing"))?;
    let lines = publish(rows, out)?;
    played.end();
    Ok(lines)
}

async fn floods(args: &Backtest, out: &mut dyn Write) -> anyhow::Result<usize> {
    let mut lags: Option<BufWriter<File>> = match &args.lags {
        Some(path) => Some(BufWriter::new(File::create(path).with_context(|| format!("write {}", path.display()))?)),
        None => None,
    };
    let mut lines = 0;
    for (name, catchment) in flood::catchments(&args.data)? {
        let began = Instant::now();
        let dir = tempfile::tempdir()?;
        let history: Option<PathBuf> = args.history.clone();
        let recording = flood::recording(&args.data, history.as_deref(), &name, &catchment, dir.path())?;
        let mut played = Played::new(recording).await?;
        let hours = played.run(&["flood_hours"]).await?;
        let hours = hours.get("flood_hours").context("flood_hours gave nothing")?;
        let past = Past::new(hours, &name, catchment.step_h())?;
        let mut parameters = format!("{HEADER}\n{PLACEHOLDER}\n").into_bytes();
        let fits = past.calibrate(&name, catchment.yellow_mm_per_h(), catchment.cut(args.in_sample)?, &mut parameters)?;
        let file = dir.path().join("reference/flood_parameters.csv");
        std::fs::write(&file, parameters)?;
        played.load_reference("flood_parameters", &file)?;
        let product = args.product.as_deref().unwrap_or("flood_warnings");
        let made = played.run_on(&[product], &["flood_hours"]).await?;
        let from_us = flood::begins(&args.data, &name)?;
        lines += flood::published(&name, made.get(product).context("no warnings")?, from_us, out)?;
        if let Some(lags) = &mut lags {
            let made = played.run_on(&["river_lag"], &["flood_hours"]).await?;
            flood::lag(&name, made.get("river_lag").context("no lags")?, lags)?;
        }
        played.end();
        println!("{name}: parameters fitted {fits} times, {:.1} s", began.elapsed().as_secs_f64());
    }
    if let Some(mut lags) = lags {
        lags.flush()?;
    }
    Ok(lines)
}
