use std::fmt::Write;
use std::path::Path;

use datasjo_lake::{MaintenancePlan, TableStats};

use crate::args::Json;
use crate::instance::{open_lake_to_read, open_store};

/// Shows the tables.
pub(crate) async fn run(dir: &Path, args: Json) -> anyhow::Result<bool> {
    let lake = open_lake_to_read(&super::load(dir)?).await?;
    let stats: Vec<TableStats> = lake.tables().map(|t| t.stats()).collect::<Result<_, _>>()?;
    let text = if args.json { format!("{}\n", serde_json::to_string_pretty(&stats)?) } else { lines(&stats) };
    super::say(&text)?;
    Ok(true)
}

fn lines(stats: &[TableStats]) -> String {
    let mut text = format!("{:<20} {:>12} {:>7} {:>12} {:>9}  days\n", "table", "rows", "files", "bytes", "version");
    for TableStats { name, rows, files, bytes, version, first_day, last_day, .. } in stats {
        let days = match (first_day, last_day) {
            (Some(first), Some(last)) => format!("{first} .. {last}"),
            _ => "none yet".to_owned(),
        };
        let _ = writeln!(text, "{name:<20} {rows:>12} {files:>7} {bytes:>12} {version:>9}  {days}");
    }
    text
}

/// Maintenance and vacuum, now.
pub(crate) async fn maintain(dir: &Path) -> anyhow::Result<bool> {
    // With the journal held, no running instance maintains the same tables.
    let (_journal, lake) = open_store(&super::load(dir)?).await?;
    let today = i32::try_from(datasjo_sources::now_us().div_euclid(86_400_000_000))?;
    let plan = MaintenancePlan::for_day(today);
    let mut well = true;
    for report in lake.maintain(plan).await.into_iter().chain(lake.vacuum(plan).await) {
        match report {
            Ok(done) => println!("{}", serde_json::to_string(&done)?),
            Err(error) => {
                well = false;
                eprintln!("{:#}", anyhow::Error::from(error));
            }
        }
    }
    Ok(well)
}
