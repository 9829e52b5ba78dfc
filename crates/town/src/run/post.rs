use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Endpoints, Item, Report, RunError};

/// POSTs at once: a listener that answers after a sync to disk takes as many in one sync.
const AT_ONCE: usize = 16;
const TIMEOUT: Duration = Duration::from_secs(30);
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Posts items until their channel ends and all are answered, or `stop`.
pub(super) async fn post(
    to: Endpoints,
    mut items: mpsc::Receiver<Item>,
    reports: mpsc::Sender<Report>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let mut under_way = JoinSet::new();
    let mut more = true;
    while more || !under_way.is_empty() {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            item = items.recv(), if more && under_way.len() < AT_ONCE => match item {
                None => more = false,
                Some(item) => {
                    under_way.spawn(post_one(to.clone(), item, reports.clone()));
                }
            },
            Some(ended) = under_way.join_next(), if !under_way.is_empty() => {
                let report = ended.map_err(|_| RunError::SenderEnded)??;
                // Nobody listening means the run is over.
                let _ = reports.send(report).await;
            }
        }
    }
    Ok(())
}

/// Posts one item until it is answered for good.
async fn post_one(to: Endpoints, item: Item, reports: mpsc::Sender<Report>) -> Result<Report, RunError> {
    let url = format!("{}{}", to.push_url.trim_end_matches('/'), item.place);
    let mut wait = SHORTEST_WAIT;
    loop {
        let request = to.http.post(&url).bearer_auth(&to.push_token).header(CONTENT_TYPE, "application/json");
        match request.timeout(TIMEOUT).body(item.payload.clone()).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(Report::Taken(item.number)),
            Ok(answer) if is_shut_out(answer.status()) => {
                return Err(RunError::Refused { url, status: answer.status().as_u16() });
            }
            Ok(answer) if answer.status().is_client_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS => {
                return Ok(Report::Refused(item.number));
            }
            Ok(answer) => tracing::debug!(url, status = answer.status().as_u16(), "posting again"),
            Err(error) => {
                tracing::debug!(url, %error, "posting again");
                // It may have arrived and only the answer been lost. Nobody listening means the run is over.
                let _ = reports.send(Report::Repeated).await;
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

fn is_shut_out(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
}
