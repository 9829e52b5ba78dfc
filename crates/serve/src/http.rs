//! HTTP: `POST /v1/sql` (the query as the body) and `GET /v1/sql?q=`, `/healthz`, `/metrics`.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequest, Query, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use datasjo_ingest::Progress;
use datasjo_sources::{Health, HealthReport};
use futures::stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::connection::{BoundedListener, Bounds, Requests, UnderWay};
use crate::format::{Encoder, Format, Outlet};
use crate::query::{Answer, Queries, QueryError};

/// Largest query text.
const MAX_QUERY_BYTES: usize = 64 << 10;
/// Longest wait for a client to take the next part of its answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Encoded batches waiting for a client.
const BATCHES_AHEAD: usize = 2;
/// Longest wait for the whole body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What the door answers from.
#[derive(Clone)]
pub struct Door {
    /// The query path.
    pub queries: Queries,
    /// How far ingest has come.
    pub progress: watch::Receiver<Progress>,
    /// Health of each source, by feed.
    pub health: Arc<Vec<(Arc<str>, Health)>>,
    /// Why the journal cannot be written, if so.
    pub journal_failure: watch::Receiver<Option<String>>,
    /// How the products are doing, if any run.
    pub pipelines: Option<Arc<dyn Fn() -> serde_json::Value + Send + Sync>>,
    /// The token SQL asks for; `None` only on loopback.
    pub token: Option<Arc<str>>,
}

#[derive(Deserialize)]
struct Asked {
    q: Option<String>,
    format: Option<String>,
}

#[derive(Serialize)]
struct FeedHealth {
    feed: Arc<str>,
    #[serde(flatten)]
    report: HealthReport,
}

/// Binds `listen`; the address is known before anything is served.
pub async fn bind(listen: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(listen).await
}

/// Serves until stopped; requests under way are finished.
pub async fn serve(listener: TcpListener, door: Door, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/v1/sql", get(get_sql).post(post_sql))
        .route("/v1/pipelines", get(pipelines))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(MAX_QUERY_BYTES))
        .layer(from_fn_with_state(door.clone(), loopback_only))
        .layer(from_fn(counted))
        .with_state(door);
    let listener = BoundedListener::new(listener, Bounds::default());
    let service = router.into_make_service_with_connect_info::<Requests>();
    axum::serve(listener, service).with_graceful_shutdown(async move { stop.cancelled().await }).await
}

/// While a request is answered, its connection is not expected to bring another.
async fn counted(ConnectInfo(requests): ConnectInfo<Requests>, request: Request, next: Next) -> Response {
    let _under_way = requests.begin();
    next.run(request).await
}

/// Without a token whoever reaches this machine may ask, and so might a web page in a browser on it, under a name that was
/// pointed here (DNS rebinding). The browser then says that name.
async fn loopback_only(State(door): State<Door>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    let name = host.or(request.uri().authority().map(Authority::as_str));
    if door.token.is_none() && name.is_some_and(|name| !is_loopback(name)) {
        return problem(StatusCode::FORBIDDEN, "Without sql.token this door answers to localhost, 127.0.0.1 and [::1] only.");
    }
    next.run(request).await
}

/// True for this machine's own names and addresses, with a port or without.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn get_sql(
    State(door): State<Door>,
    ConnectInfo(requests): ConnectInfo<Requests>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    if !may_ask(&door, &headers) {
        return unknown();
    }
    match &asked.q {
        Some(sql) => answer(&door, sql, &asked, &headers, requests.begin()).await,
        None => problem(StatusCode::BAD_REQUEST, "Give the query as ?q=SELECT ... or as the body of a POST."),
    }
}

async fn post_sql(
    State(door): State<Door>,
    ConnectInfo(requests): ConnectInfo<Requests>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    if !may_ask(&door, &headers) {
        return unknown();
    }
    match timeout(BODY_TIMEOUT, String::from_request(request, &())).await {
        Ok(Ok(sql)) => answer(&door, &sql, &asked, &headers, requests.begin()).await,
        Ok(Err(refused)) => problem(refused.status(), &refused.body_text()),
        Err(_) => problem(StatusCode::REQUEST_TIMEOUT, "The query did not come in time."),
    }
}

fn unknown() -> Response {
    problem(StatusCode::UNAUTHORIZED, "SQL needs the token of this instance: Authorization: Bearer ...")
}

async fn answer(door: &Door, sql: &str, asked: &Asked, headers: &HeaderMap, under_way: UnderWay) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    let format = match &asked.format {
        None => Format::from_accept(accept),
        Some(name) => match Format::from_name(name) {
            Some(format) => format,
            None => {
                return problem(StatusCode::BAD_REQUEST, "format is one of table, csv, json, ndjson, arrow, parquet.");
            }
        },
    };
    match door.queries.start(sql).await {
        Ok(answer) => streamed(&door.queries, answer, format, under_way),
        Err(error) => failed(&error),
    }
}

fn may_ask(door: &Door, headers: &HeaderMap) -> bool {
    let Some(token) = &door.token else {
        return true;
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(token.as_bytes())))
}

/// Computes and encodes on the threads of the queries, batch by batch, as far as the client reads. A client that does not read for
/// [`CLIENT_TIMEOUT`] gives its turn to the next. An error half-way breaks the connection off, so that a cut answer is never
/// taken for a whole one.
fn streamed(queries: &Queries, answer: Answer, format: Format, under_way: UnderWay) -> Response {
    let outlet = Outlet::default();
    let encoder = match Encoder::new(format, &answer.schema(), outlet.clone()) {
        Ok(encoder) => encoder,
        Err(error) => return failed(&QueryError::Encode(error)),
    };
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    queries.spawn(async move {
        let chunks = Chunks { sender, outlet };
        if let Err(error) = chunks.send_all(answer, encoder).await {
            tracing::info!(reason = %error, "a query ended before its answer was complete");
        }
    });
    let body = stream::unfold(Some((receiver, under_way)), |waiting| async move {
        let (mut receiver, under_way) = waiting?;
        match receiver.recv().await {
            Some(Chunk::Bytes(bytes)) => Some((Ok(bytes), Some((receiver, under_way)))),
            Some(Chunk::End) => None,
            None => Some((Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)), None)),
        }
    });
    ([(header::CONTENT_TYPE, format.media_type())], Body::from_stream(body)).into_response()
}

enum Chunk {
    Bytes(Vec<u8>),
    /// The answer is whole. Without it the body ends with an error.
    End,
}

struct Chunks {
    sender: mpsc::Sender<Chunk>,
    outlet: Outlet,
}

impl Chunks {
    async fn send_all(&self, mut answer: Answer, mut encoder: Encoder<Outlet>) -> Result<(), QueryError> {
        while !encoder.is_full()
            && let Some(batch) = answer.next().await?
        {
            encoder.write(&batch)?;
            self.send(Chunk::Bytes(self.outlet.take())).await?;
        }
        encoder.finish()?;
        self.send(Chunk::Bytes(self.outlet.take())).await?;
        self.send(Chunk::End).await
    }

    async fn send(&self, chunk: Chunk) -> Result<(), QueryError> {
        match self.sender.send_timeout(chunk, CLIENT_TIMEOUT).await {
            Ok(()) => Ok(()),
            Err(_) => Err(QueryError::Client),
        }
    }
}

fn failed(error: &QueryError) -> Response {
    let status = match error {
        QueryError::Sql(_) | QueryError::Run(_) | QueryError::Long | QueryError::NoTable { .. } => StatusCode::BAD_REQUEST,
        QueryError::Rows(_) => StatusCode::PAYLOAD_TOO_LARGE,
        QueryError::Time(_) => StatusCode::GATEWAY_TIMEOUT,
        QueryError::Encode(_) => StatusCode::NOT_ACCEPTABLE,
        QueryError::Client => StatusCode::REQUEST_TIMEOUT,
        QueryError::Task(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    problem(status, &error.to_string())
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({ "type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

/// How each product is doing: up to when it is answered, what its last run cost, why it stands still.
async fn pipelines(State(door): State<Door>) -> Response {
    let statuses = door.pipelines.as_ref().map_or_else(|| serde_json::json!({}), |told| told());
    Json(statuses).into_response()
}

async fn healthz(State(door): State<Door>) -> Response {
    let journal_failure = door.journal_failure.borrow().clone();
    let progress = door.progress.borrow().clone();
    let ingest_runs = door.progress.has_changed().is_ok();
    let well = ingest_runs && journal_failure.is_none() && progress.commit_failure.is_none();
    let feeds: Vec<FeedHealth> =
        door.health.iter().map(|(feed, health)| FeedHealth { feed: feed.clone(), report: health.report() }).collect();
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "status": if well { "ok" } else { "failing" }, "ingest_runs": ingest_runs, "journal_failure": journal_failure, "progress": progress, "feeds": feeds });
    (status, Json(body)).into_response()
}

async fn metrics(State(door): State<Door>) -> Response {
    let progress = door.progress.borrow().clone();
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, lines: Vec<(String, f64)>| {
        let _ = writeln!(text, "# HELP datasjo_{name} {help}\n# TYPE datasjo_{name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(text, "datasjo_{name}{labels} {value}");
        }
    };
    let plain = |value: u64| vec![(String::new(), value as f64)];
    metric("rows_total", "counter", "Rows that became visible since the start.", plain(progress.rows));
    metric("duplicates_total", "counter", "Rows that were there already.", plain(progress.duplicates));
    metric("rejects_total", "counter", "What could not become a row.", plain(progress.rejected));
    metric("visible_seq", "gauge", "Highest journal sequence number visible to SQL.", plain(progress.visible_seq));
    metric("committed_seq", "gauge", "Highest journal sequence number committed.", plain(progress.committed_seq));
    let reports: Vec<_> = door.health.iter().map(|(feed, health)| (format!("{{feed=\"{feed}\"}}"), health.report())).collect();
    let each = |value: fn(&HealthReport) -> f64| reports.iter().map(|(l, r)| (l.clone(), value(r))).collect();
    metric("feed_deliveries_total", "counter", "Deliveries handed on by the source.", each(|r| r.deliveries as f64));
    metric("feed_failures_total", "counter", "Connections lost or requests failed.", each(|r| r.failures as f64));
    metric("feed_refused_total", "counter", "Payloads refused for their size.", each(|r| r.refused as f64));
    metric(
        "feed_last_delivery_seconds",
        "gauge",
        "When the last delivery came, seconds since 1970.",
        each(|r| r.last_delivery_us.unwrap_or(0) as f64 / 1e6),
    );
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for own in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "[::1]"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in
            ["rebound.example:8080", "192.168.1.4:8080", "localhost.example", "127.0.0.1.example", "[fe80::1]", "", "a b"]
        {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
