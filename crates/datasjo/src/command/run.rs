use std::io::Write;
use std::path::Path;

use crate::args::Run;
use crate::instance::Instance;

/// Takes in and answers until stopped.
pub(crate) async fn run(dir: &Path, args: Run) -> anyhow::Result<bool> {
    let config = super::load(dir)?;
    for warning in &config.warnings {
        eprintln!("{warning}");
    }
    let instance = Instance::start(&config).await?;
    let mut out = std::io::stdout();
    write!(out, "ready sql=http://{}", instance.sql)?;
    if let Some(push) = instance.push {
        write!(out, " push=http://{push}")?;
    }
    writeln!(out, " feeds={}", config.feeds.len())?;
    out.flush()?;
    tokio::select! {
        stopped = super::until_stopped(args.run_for) => stopped?,
        () = instance.ingest.pump_ended() => eprintln!("ingest ended by itself"),
    }
    eprintln!("stopping: what is visible is committed first");
    instance.stop().await?;
    Ok(true)
}
