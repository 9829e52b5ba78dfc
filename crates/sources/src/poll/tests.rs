use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use datasjo_table::Labels;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::State;

/// Longer than any step here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(super) struct Kept(Mutex<HashMap<String, Vec<u8>>>);

impl Cursors for Kept {
    fn load(&self, feed: &str) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.lock().unwrap().get(feed).cloned())
    }

    fn store(&self, feed: &str, place: &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0.lock().unwrap().insert(feed.to_owned(), place.to_vec());
        Ok(())
    }
}

/// What a test server was asked: the query of each request, in order.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    fn note(&self, query: RawQuery) -> String {
        let query = query.0.unwrap_or_default();
        self.0.lock().unwrap().push(query.clone());
        query
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

fn source_with(cursors: &Arc<Kept>, config: Value) -> PollSource {
    let config = serde_json::from_value(config).unwrap();
    PollSource::new("test", config, cursors.clone()).unwrap()
}

fn source(config: Value) -> PollSource {
    source_with(&Arc::default(), config)
}

async fn next(source: &mut PollSource) -> Delivery {
    timeout(PATIENCE, source.next()).await.expect("a delivery in time").unwrap().expect("not the end")
}

async fn payloads<const N: usize>(source: &mut PollSource) -> [Bytes; N] {
    let mut all = Vec::new();
    for _ in 0..N {
        all.push(next(source).await.payload);
    }
    all.try_into().unwrap()
}

/// Lets the source run until its health is as wanted; it must not deliver meanwhile.
async fn until(source: &mut PollSource, wanted: impl Fn(&crate::HealthReport) -> bool) {
    let health = source.health();
    let reached = async {
        while !wanted(&health.report()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        delivery = source.next() => panic!("delivered {delivery:?}"),
        done = timeout(PATIENCE, reached) => done.expect("the wanted health in time"),
    }
}

#[tokio::test]
async fn pages_are_followed_by_number_until_one_is_empty() {
    let asked = Asked::default();
    let seen = asked.clone();
    let answer = async move |query: RawQuery| match seen.note(query).as_str() {
        "page=3" => r#"{"items": []}"#,
        _ => r#"{"items": [1]}"#,
    };
    let address = serve(Router::new().route("/", get(answer))).await;
    let mut source = source(json!({
        "url": format!("http://{address}/"),
        "paging": { "page_number": { "param": "page", "until_empty": "/items" } },
    }));
    payloads::<3>(&mut source).await;
    assert_eq!(asked.all(), ["page=1", "page=2", "page=3"]);
}

#[tokio::test]
async fn pages_are_followed_by_link_in_body_and_in_header() {
    let in_body = async |RawQuery(query): RawQuery| match query.as_deref() {
        None => r#"{"next": "/body?page=2"}"#,
        Some(_) => r#"{"next": null}"#,
    };
    let in_header = async |RawQuery(query): RawQuery| match query.as_deref() {
        None => ([("link", "</header?page=2>; rel=\"next\"")], "1").into_response(),
        Some(_) => "2".into_response(),
    };
    let address = serve(Router::new().route("/body", get(in_body)).route("/header", get(in_header))).await;

    let paging = json!({ "next_link": { "pointer": "/next" } });
    let mut by_body = source(json!({ "url": format!("http://{address}/body"), "paging": paging }));
    assert_eq!(payloads::<2>(&mut by_body).await, [r#"{"next": "/body?page=2"}"#, r#"{"next": null}"#]);

    let mut by_header = source(json!({ "url": format!("http://{address}/header"), "paging": "link_header" }));
    assert_eq!(payloads::<2>(&mut by_header).await, ["1", "2"]);
}

#[tokio::test]
async fn a_graphql_cursor_goes_into_the_body() {
    let answer = async |body: String| match body.as_str() {
        r#"{"after": null}"# => r#"{"page": {"end": "c1", "more": true}}"#,
        r#"{"after": "c1"}"# => r#"{"page": {"end": "c2", "more": false}}"#,
        _ => "unexpected",
    };
    let address = serve(Router::new().route("/", axum::routing::post(answer))).await;
    let mut source = source(json!({
        "url": format!("http://{address}/"),
        "method": "POST",
        "body": r#"{"after": {cursor}}"#,
        "paging": { "cursor": { "pointer": "/page/end", "has_more": "/page/more" } },
    }));
    let [_, last] = payloads::<2>(&mut source).await;
    assert_eq!(last, r#"{"page": {"end": "c2", "more": false}}"#);
}

#[tokio::test]
async fn a_next_page_on_another_host_is_not_asked() {
    let address = serve(Router::new().route("/", get(async || r#"{"next": "http://elsewhere.example/"}"#))).await;
    let mut source = source(json!({ "url": format!("http://{address}/"), "paging": { "next_link": { "pointer": "/next" } } }));
    next(&mut source).await;
    until(&mut source, |health| health.reason.contains("another host")).await;
}

#[tokio::test]
async fn a_redirect_to_another_host_is_refused() {
    let away = async || (StatusCode::FOUND, [("location", "http://localhost:1/")]);
    let address = serve(Router::new().route("/", get(away))).await;
    let mut source = source(json!({ "url": format!("http://{address}/") }));
    until(&mut source, |health| health.reason.contains("redirects to another host")).await;
}

/// Answers 304 to its own ETag, and tells how often it did.
async fn etag_server(unchanged: Arc<AtomicUsize>) -> SocketAddr {
    let answer = async move |headers: HeaderMap| -> Response {
        if headers.get("if-none-match").is_some_and(|etag| etag == "\"one\"") {
            unchanged.fetch_add(1, Ordering::SeqCst);
            return StatusCode::NOT_MODIFIED.into_response();
        }
        ([("etag", "\"one\"")], "value").into_response()
    };
    serve(Router::new().route("/", get(answer))).await
}

#[tokio::test]
async fn an_unchanged_answer_is_not_delivered_again_even_after_a_restart() {
    let unchanged = Arc::new(AtomicUsize::new(0));
    let address = etag_server(unchanged.clone()).await;
    let (cursors, config) = (Arc::default(), json!({ "url": format!("http://{address}/"), "every_s": 1 }));

    let mut first = source_with(&cursors, config.clone());
    let delivery = next(&mut first).await;
    assert_eq!((delivery.labels.get("status"), delivery.labels.get("etag")), (Some("200"), Some("\"one\"")));
    first.settle(delivery.mark).await.unwrap();
    until(&mut first, |_| unchanged.load(Ordering::SeqCst) >= 1).await;
    first.stop().await;

    let before = unchanged.load(Ordering::SeqCst);
    let mut second = source_with(&cursors, config);
    until(&mut second, |_| unchanged.load(Ordering::SeqCst) > before).await;
}

#[tokio::test]
async fn what_was_not_settled_is_delivered_again_after_a_restart() {
    let address = etag_server(Arc::default()).await;
    let (cursors, config) = (Arc::default(), json!({ "url": format!("http://{address}/") }));
    let mut first = source_with(&cursors, config.clone());
    next(&mut first).await;
    first.stop().await;
    assert_eq!(next(&mut source_with(&cursors, config)).await.payload, "value");
}

#[tokio::test]
async fn a_restart_asks_from_the_stored_place_less_the_overlap() {
    let asked = Asked::default();
    let seen = asked.clone();
    let answer = async move |query: RawQuery| {
        seen.note(query);
        "[]"
    };
    let address = serve(Router::new().route("/", get(answer))).await;
    let cursors = Arc::new(Kept::default());
    cursors.store("test", br#"{"fetched_at":"2001-08-01T10:00:00Z","asked":"","etag":null,"last_modified":null,"cursor":null,"not_before":null}"#).unwrap();

    let config = json!({ "url": format!("http://{address}/?from={{since}}"), "overlap_s": 600 });
    let mut source = source_with(&cursors, config);
    let delivery = next(&mut source).await;
    assert_eq!(asked.all(), ["from=2001-08-01T09:50:00Z"]);

    source.settle(delivery.mark).await.unwrap();
    let place = Place::from_bytes(&cursors.load("test").unwrap().unwrap()).unwrap();
    assert!(place.fetched_at.unwrap() > "2001-08-01T10:00:00Z".parse().unwrap());
}

#[tokio::test]
async fn the_place_moves_with_the_last_page_of_a_round_only() {
    let answer = async |RawQuery(query): RawQuery| {
        if query.as_deref() == Some("page=1") { "[1]" } else { "[]" }
    };
    let address = serve(Router::new().route("/", get(answer))).await;
    let cursors = Arc::new(Kept::default());
    let paging = json!({ "page_number": { "param": "page", "until_empty": "" } });
    let mut source = source_with(&cursors, json!({ "url": format!("http://{address}/"), "paging": paging }));
    let (first, last) = (next(&mut source).await, next(&mut source).await);
    source.settle(first.mark).await.unwrap();
    assert_eq!(cursors.load("test").unwrap(), None);
    source.settle(last.mark).await.unwrap();
    assert!(cursors.load("test").unwrap().is_some());
}

/// Answers with each of `answers` once, then with 200 and `value`.
async fn serve_first(answers: Vec<Response>) -> SocketAddr {
    let answers = Arc::new(Mutex::new(answers.into_iter()));
    let answer = async move || answers.lock().unwrap().next().unwrap_or_else(|| "value".into_response());
    serve(Router::new().route("/", get(answer))).await
}

#[tokio::test]
async fn a_busy_service_is_asked_again_after_its_retry_after() {
    let busy = (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response();
    let address = serve_first(vec![busy, StatusCode::BAD_GATEWAY.into_response()]).await;
    let mut source = source(json!({ "url": format!("http://{address}/"), "every_s": 3600 }));
    assert_eq!(next(&mut source).await.payload, "value");
    let report = source.health().report();
    assert_eq!((report.failures, report.state, report.reason.as_str()), (2, State::Up, ""));
}

#[tokio::test]
async fn a_missing_resource_is_reported_and_asked_again_at_the_next_round() {
    let address = serve_first(vec![StatusCode::NOT_FOUND.into_response()]).await;
    let mut source = source(json!({ "url": format!("http://{address}/"), "every_s": 1 }));
    until(&mut source, |health| health.state == State::Waiting && health.reason.contains("404")).await;
    assert_eq!(next(&mut source).await.payload, "value");
    assert_eq!(source.health().report().failures, 1);
}

#[tokio::test]
async fn a_cut_answer_is_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for length in [100, 5] {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 4096]).await.unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\nvalue");
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let mut source = source(json!({ "url": format!("http://{address}/"), "every_s": 3600 }));
    assert_eq!(next(&mut source).await.payload, "value");
    assert_eq!(source.health().report().failures, 1);
}

#[tokio::test]
async fn an_endless_answer_is_refused_while_it_arrives() {
    let endless = async || {
        let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 512]));
        Body::from_stream(futures::stream::repeat_with(chunk))
    };
    let address = serve(Router::new().route("/", get(endless))).await;
    let mut source = source(json!({ "url": format!("http://{address}/"), "max_payload_bytes": 4096 }));
    until(&mut source, |health| health.refused == 1 && health.reason.contains("4096")).await;
}

#[tokio::test]
async fn we_say_who_we_are_and_never_show_the_key() {
    let answer = async |request: Request| {
        let agent = request.headers()["user-agent"].to_str().unwrap().to_owned();
        format!("{agent} {}", request.uri().query().unwrap())
    };
    let address = serve(Router::new().route("/", get(answer))).await;
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "s3cret").unwrap();
    let mut source = source(json!({
        "url": format!("http://{address}/?a=1"),
        "api_key": { "query": "key", "secret": { "file": key.path() } },
        "contact": "drift@kommune.example",
    }));
    let delivery = next(&mut source).await;
    let sent = format!("datasjo/{} (+drift@kommune.example) a=1&key=s3cret", env!("CARGO_PKG_VERSION"));
    assert_eq!(delivery.payload, sent);
    assert_eq!(delivery.labels.get(Labels::PATH), Some(format!("http://{address}/?a=1").as_str()));
}

#[tokio::test]
async fn a_service_that_is_down_is_waited_for_without_showing_the_key() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "s3cret").unwrap();
    let mut source = source(json!({
        "url": format!("http://{gone}/"),
        "api_key": { "query": "key", "secret": { "file": key.path() } },
    }));
    until(&mut source, |health| health.failures >= 1).await;
    let reason = source.health().report().reason;
    assert!(!reason.contains("s3cret") && !reason.contains("key="), "{reason}");
}

#[tokio::test]
async fn it_stops_while_it_waits_for_an_answer() {
    let never = async || std::future::pending::<&'static str>().await;
    let address = serve(Router::new().route("/", get(never))).await;
    let mut source = source(json!({ "url": format!("http://{address}/") }));
    assert!(timeout(Duration::from_millis(50), source.next()).await.is_err());
    timeout(Duration::from_secs(1), source.stop()).await.expect("stops within a second");
    assert!(source.next().await.unwrap().is_none());
    assert_eq!(source.health().report().state, State::Ended);
}
