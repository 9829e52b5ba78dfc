//! One file per command. Each returns true if all is well, false if something was found.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod ingest;
pub(crate) mod query;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod tables;

use std::path::Path;
use std::time::Duration;

use crate::config::{self, Config};

/// Loads the configuration, with warnings told and the log started.
fn load(dir: &Path) -> anyhow::Result<Config> {
    let config = config::load(dir)
        .map_err(|problems| anyhow::anyhow!("the configuration in {} cannot be used:\n{problems}", dir.display()))?;
    crate::log::start(config.log.format);
    for warning in &config.warnings {
        eprintln!("{warning}");
    }
    Ok(config)
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
