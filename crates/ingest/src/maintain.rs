//! Maintenance on a clock of its own: what is due is looked for once a minute, files nothing refers to are removed four
//! times a day.

use std::sync::Arc;
use std::time::Duration;

use datasjo_lake::{Lake, LakeError, MaintenancePlan, MaintenanceReport};
use datasjo_table::causes;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_secs(60);
const VACUUM_EVERY: u32 = 6 * 60;
const DAY_US: i64 = 86_400_000_000;
/// How long maintenance under way may go on when ingest stops. What it then leaves are files that nothing refers to.
const LAST_STEP: Duration = Duration::from_secs(2);
/// A closed day is compacted when nothing late has come for an hour.
const QUIET_US: i64 = 3_600_000_000;

pub(crate) async fn keep(lake: Arc<Lake>, stop: CancellationToken) {
    let mut ticks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turn: u32 = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        turn = turn.wrapping_add(1);
        // What is too old is so by the time of what is taken in; files were written by this machine's clock.
        let today = i32::try_from(datasjo_sources::now_us().div_euclid(DAY_US)).unwrap_or(0);
        let quiet_since_ms = (datasjo_sources::machine_now_us() - QUIET_US) / 1_000;
        let plan = MaintenancePlan { quiet_since_ms, ..MaintenancePlan::for_day(today) };
        let work = async {
            tell(lake.maintain(plan).await);
            if turn.is_multiple_of(VACUUM_EVERY) {
                tell(lake.vacuum(plan).await);
            }
        };
        tokio::select! {
            () = work => {}
            () = stopped_for(&stop, LAST_STEP) => return,
        }
    }
}

/// Waits until ingest stops, and then a little.
pub(crate) async fn stopped_for(stop: &CancellationToken, more: Duration) {
    stop.cancelled().await;
    tokio::time::sleep(more).await;
}

fn tell(reports: Vec<Result<MaintenanceReport, LakeError>>) {
    for report in reports {
        match report {
            Ok(done) if done != MaintenanceReport { table: done.table.clone(), ..Default::default() } => {
                tracing::info!(
                    table = done.table,
                    compacted = done.compacted_days.len(),
                    dropped = done.dropped_days.len(),
                    vacuumed_files = done.vacuumed_files,
                    "maintenance"
                );
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(reason = causes(&error), "maintenance is tried again at its next turn"),
        }
    }
}
