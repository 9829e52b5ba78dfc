//! The road counters' service: hourly counts by HTTP, for sources that poll. `GET /traffic/counts?after=<cursor>` answers
//! `{ "items": [...], "next": "<cursor>", "more": true }`; without `after` it begins at the town's start. Answers carry an
//! `ETag`, and a request with the same tag in `If-None-Match` is answered 304.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::calendar::HOUR;
use crate::model::{ROADS_READY_AFTER, Town};
use crate::run::VirtualClock;

/// Where the counts are.
pub const COUNTS_PATH: &str = "/traffic/counts";
/// Hours of counts in one answer: two days, about 850 rows.
const PAGE_HOURS: i64 = 48;

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
#[error("listen for HTTP on {addr}")]
pub struct ServeError {
    addr: SocketAddr,
    #[source]
    source: std::io::Error,
}

#[derive(Clone)]
struct Service {
    town: Arc<Town>,
    clock: VirtualClock,
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    after: i64,
}

/// Starts the service and returns its address; port 0 takes a free one. It knows the hours that are over by `clock`, and
/// runs until `cancel`.
///
/// # Errors
/// If the address cannot be listened on.
pub async fn serve(
    town: Arc<Town>,
    clock: VirtualClock,
    listen: SocketAddr,
    cancel: CancellationToken,
) -> Result<SocketAddr, ServeError> {
    let failed = |source| ServeError { addr: listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    let router = Router::new().route(COUNTS_PATH, get(counts)).with_state(Service { town, clock });
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(cancel.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::warn!(%error, "the road counters' service ended");
        }
    });
    Ok(addr)
}

async fn counts(State(service): State<Service>, Query(asked): Query<Asked>, headers: HeaderMap) -> Response {
    let known = service.known_hours();
    let from = asked.after.clamp(0, known);
    let until = (from + PAGE_HOURS).min(known);
    let tag = format!("\"{from}-{until}-{known}\"");
    if headers.get(header::IF_NONE_MATCH).is_some_and(|have| have.as_bytes() == tag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    let start = service.town.start_ms();
    let items: Vec<Value> = (from..until).flat_map(|hour| service.town.counts(start + hour * HOUR)).collect();
    let page = json!({ "items": items, "next": until.to_string(), "more": until < known });
    ([(header::ETAG, tag)], Json(page)).into_response()
}

impl Service {
    /// Hours since the town's start whose counts are ready.
    fn known_hours(&self) -> i64 {
        ((self.clock.now_ms() - ROADS_READY_AFTER - self.town.start_ms()).div_euclid(HOUR)).max(0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::calendar::{DAY, instant};
    use crate::model::TownConfig;

    async fn ask(addr: SocketAddr, path: &str, more: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: town\r\nConnection: close\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    fn body(answer: &str) -> Value {
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    #[tokio::test]
    async fn pages_lead_through_all_hours_that_are_over_and_a_tag_saves_the_second_answer() {
        let start = "2026-05-04T00:00:00Z".parse().unwrap();
        let town = Arc::new(Town::new(TownConfig { seed: 7, start }).unwrap());
        let clock = VirtualClock::at(instant(town.start_ms() + 3 * DAY + HOUR / 2));
        let cancel = CancellationToken::new();
        let addr = serve(town, clock.clone(), SocketAddr::from(([127, 0, 0, 1], 0)), cancel.clone()).await.unwrap();

        let (mut after, mut rows) = (String::new(), 0);
        loop {
            let page = body(&ask(addr, &format!("{COUNTS_PATH}?{after}"), "").await);
            rows += page["items"].as_array().unwrap().len();
            after = format!("after={}", page["next"].as_str().unwrap());
            if page["more"] == false {
                break;
            }
        }
        assert_eq!(rows, 72 * 18);

        let path = format!("{COUNTS_PATH}?{after}");
        let answer = ask(addr, &path, "").await;
        let tag = answer.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap().to_owned();
        let again = ask(addr, &path, &format!("If-None-Match: {tag}\r\n")).await;
        assert!(again.starts_with("HTTP/1.1 304"), "{again}");
        clock.advance(instant(clock.now_ms() + HOUR));
        let later = ask(addr, &path, &format!("If-None-Match: {tag}\r\n")).await;
        assert_eq!(body(&later)["items"].as_array().unwrap().len(), 18);
        cancel.cancel();
    }
}
