//! One file per command. Each returns true if all is well, false if something was found.

pub(crate) mod alerts;
pub(crate) mod backtest;
pub(crate) mod calibrate;
pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod ingest;
pub(crate) mod pipelines;
pub(crate) mod query;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod run_product;
pub(crate) mod tables;
pub(crate) mod test;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::config::{self, Config};

/// Loads the configuration and starts the log. Its warnings are for who writes or starts it: `check` and `run` tell them.
fn load(dir: &Path) -> anyhow::Result<Config> {
    let config = config::load(dir)
        .map_err(|problems| anyhow::anyhow!("the configuration in {} cannot be used:\n{problems}", dir.display()))?;
    crate::log::start(config.log.format);
    Ok(config)
}

/// Writes `text` to standard output. Who reads only its beginning (`| head`) has what they wanted.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Waits for Ctrl-C or SIGTERM, or until the time is over.
async fn until_stopped(run_for: Option<Duration>) -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let time_is_over = async {
        match run_for {
            Some(time) => tokio::time::sleep(time).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminate.recv() => Ok(()),
        () = time_is_over => Ok(()),
    }
}

/// Rows as JSON objects; a null is absent.
fn rows_of(rows: &datasjo_lake::RecordBatch) -> anyhow::Result<Vec<serde_json::Map<String, serde_json::Value>>> {
    use datasjo_serve::format::{Encoder, Format};
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(Format::Ndjson, &rows.schema(), &mut bytes)?;
    encoder.write(rows)?;
    encoder.finish()?;
    bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()).map(|line| Ok(serde_json::from_slice(line)?)).collect()
}
