use std::path::Path;

use datasjo_lake::{MaintenancePlan, TableStats};

use crate::args::Json;
use crate::instance::{open_lake, open_store};

/// Shows the tables.
pub(crate) async fn run(dir: &Path, args: Json) -> anyhow::Result<bool> {
    let lake = open_lake(&super::load(dir)?).await?;
    let stats: Vec<TableStats> = lake.tables().map(|t| t.stats()).collect::<Result<_, _>>()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&stats)?);
        return Ok(true);
    }
    println!("{:<20} {:>12} {:>7} {:>12} {:>9}  days", "table", "rows", "files", "bytes", "version");
    for table in stats {
        let days = match (&table.first_day, &table.last_day) {
            (Some(first), Some(last)) => format!("{first} .. {last}"),
            _ => "none yet".to_owned(),
        };
        println!("{:<20} {:>12} {:>7} {:>12} {:>9}  {days}", table.name, table.rows, table.files, table.bytes, table.version);
    }
    Ok(true)
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
