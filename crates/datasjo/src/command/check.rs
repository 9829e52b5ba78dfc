use std::path::Path;

use crate::args::Json;
use crate::config::{self, Problem};

/// Tells every mistake; false if any stops the start.
pub(crate) fn run(dir: &Path, args: Json) -> anyhow::Result<bool> {
    let (problems, well): (Vec<Problem>, bool) = match config::load(dir) {
        Ok(config) => {
            if !args.json {
                let (feeds, tables) = (config.feeds.len(), config.tables.len());
                println!("{}: {feeds} feeds, {tables} datasets, {} reference tables", dir.display(), config.reference.len());
                for feed in &config.feeds {
                    println!("  {:<24} -> {:<20} {}", feed.name, feed.dataset.name, feed.description);
                }
                if !config.disabled.is_empty() {
                    println!("switched off: {}", config.disabled.join(", "));
                }
            }
            (config.warnings, true)
        }
        Err(problems) => (problems.0, false),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&problems)?);
    } else {
        for problem in &problems {
            println!("{problem}");
        }
        println!("{}", if well { "ok" } else { "the configuration cannot be used" });
    }
    Ok(well)
}

/// Prints every setting in force.
pub(crate) fn explain(dir: &Path) -> anyhow::Result<bool> {
    super::say(&config::explain(&super::load(dir)?))?;
    Ok(true)
}

/// Writes the default configuration.
pub(crate) fn init(dir: &Path) -> anyhow::Result<bool> {
    for path in config::write_default(dir)? {
        println!("wrote {}", path.display());
    }
    println!("next: datasjo check --config {}", dir.display());
    Ok(true)
}
