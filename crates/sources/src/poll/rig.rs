use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use tokio::net::TcpListener;

use super::PollSource;
use super::tests::Kept;
use crate::Source;
use crate::conformance::{self, Rig};

const MAX_PAYLOAD_BYTES: usize = 64;

/// A service with one value after another at one address; the ETag tells which one was seen.
#[derive(Default)]
struct Service {
    values: Mutex<Vec<Bytes>>,
    is_cut: Mutex<bool>,
}

struct PollRig {
    service: Arc<Service>,
    cursors: Arc<Kept>,
    url: String,
}

/// The value after the one seen; nothing new when there is none. A value that is too long is the current one only once.
async fn answer(State(service): State<Arc<Service>>, headers: HeaderMap) -> Response {
    if std::mem::take(&mut *service.is_cut.lock().unwrap()) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let seen: usize = headers.get("if-none-match").map_or(0, |etag| etag.to_str().unwrap().trim_matches('"').parse().unwrap());
    let mut values = service.values.lock().unwrap();
    match values.get(seen).cloned() {
        None => StatusCode::NOT_MODIFIED.into_response(),
        Some(value) if value.len() > MAX_PAYLOAD_BYTES => values.remove(seen).into_response(),
        Some(value) => ([("etag", format!("\"{}\"", seen + 1))], value).into_response(),
    }
}

impl PollRig {
    async fn new() -> Self {
        let service = Arc::new(Service::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let app = Router::new().route("/", get(answer)).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { service, cursors: Arc::default(), url }
    }
}

#[async_trait]
impl Rig for PollRig {
    async fn source(&mut self) -> Box<dyn Source> {
        // No pause between rounds, which no configuration may ask for, so that the list does not take minutes.
        let config = serde_json::json!({
            "url": self.url, "every_s": 0, "requests_per_minute": 6000, "max_payload_bytes": MAX_PAYLOAD_BYTES,
        });
        let config = serde_json::from_value(config).unwrap();
        Box::new(PollSource::checked("test".into(), config, self.cursors.clone()).unwrap())
    }

    async fn send(&mut self, payload: Bytes) {
        self.service.values.lock().unwrap().push(payload);
    }

    async fn drop_connection(&mut self) {
        *self.service.is_cut.lock().unwrap() = true;
    }

    /// A service does not know what became of its answers.
    async fn acknowledged(&mut self, _at_least: usize) -> Option<Vec<Bytes>> {
        None
    }

    fn max_payload_bytes(&self) -> usize {
        MAX_PAYLOAD_BYTES
    }
}

#[tokio::test]
async fn it_behaves_as_every_source_does() {
    conformance::whole_list(PollRig::new).await;
}
