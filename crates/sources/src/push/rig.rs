use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::{Client, StatusCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::handler::Posted;
use super::{Auth, ListenConfig, Listener, PushConfig, Token};
use crate::Source;
use crate::conformance::{self, Rig};

const SECRET: &str = "correct-horse-battery-staple";
const PATH: &str = "/push/test";
const MAX_PAYLOAD_BYTES: usize = 64;

/// A sender that keeps each body until it is told 204, or that it is too long, and sends the rest again to a new door.
struct PushRig {
    client: Client,
    bodies: Vec<Body>,
    under_way: Vec<JoinHandle<()>>,
    door: Option<OpenDoor>,
}

struct Body {
    payload: Bytes,
    is_done: Arc<AtomicBool>,
}

struct OpenDoor {
    url: String,
    queue: mpsc::Sender<Posted>,
    _closes: DropGuard,
}

impl PushRig {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { client: Client::new(), bodies: Vec::new(), under_way: Vec::new(), door: None }
    }

    /// Posts one body; returns when it is in the queue of the feed or answered.
    async fn post(&mut self, number: usize) {
        let (Some(door), body) = (&self.door, &self.bodies[number]) else {
            return;
        };
        let room = door.queue.capacity();
        let request = self.client.post(&door.url).bearer_auth(SECRET).body(body.payload.clone());
        let is_done = body.is_done.clone();
        self.under_way.push(tokio::spawn(async move {
            let status = request.send().await.unwrap().status();
            let forgets = matches!(status, StatusCode::NO_CONTENT | StatusCode::PAYLOAD_TOO_LARGE);
            is_done.store(forgets, Ordering::SeqCst);
        }));
        while door.queue.capacity() == room && !body.is_done.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn done(&self) -> Vec<Bytes> {
        let done = self.bodies.iter().filter(|body| body.is_done.load(Ordering::SeqCst));
        done.map(|body| body.payload.clone()).collect()
    }
}

#[async_trait]
impl Rig for PushRig {
    async fn source(&mut self) -> Box<dyn Source> {
        for answered in self.under_way.drain(..) {
            answered.await.unwrap();
        }
        let listening: ListenConfig = serde_json::from_value(serde_json::json!({ "listen": "127.0.0.1:0" })).unwrap();
        let mut listener = Listener::bind(listening).unwrap();
        let token = Token { name: "sender".to_owned(), auth: Auth::Bearer(SECRET.to_owned().into()) };
        let taking = PushConfig {
            path: PATH.to_owned(),
            tokens: vec![token],
            max_payload_bytes: MAX_PAYLOAD_BYTES,
            requests_per_minute: 60_000,
            queue_length: 64,
        };
        let source = listener.source("test", taking).unwrap();
        let (url, queue) = (format!("http://{}{PATH}", listener.local_addr()), listener.doors[PATH].queue.clone());
        let cancel = CancellationToken::new();
        tokio::spawn(listener.run(cancel.clone()));
        self.door = Some(OpenDoor { url, queue, _closes: cancel.drop_guard() });
        for number in 0..self.bodies.len() {
            if !self.bodies[number].is_done.load(Ordering::SeqCst) {
                self.post(number).await;
            }
        }
        Box::new(source)
    }

    async fn send(&mut self, payload: Bytes) {
        self.bodies.push(Body { payload, is_done: Arc::default() });
        self.post(self.bodies.len() - 1).await;
    }

    /// A sender opens a connection when it needs one.
    async fn drop_connection(&mut self) {}

    async fn acknowledged(&mut self, at_least: usize) -> Option<Vec<Bytes>> {
        while self.done().len() < at_least {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Some(self.done())
    }

    fn max_payload_bytes(&self) -> usize {
        MAX_PAYLOAD_BYTES
    }
}

#[tokio::test]
async fn it_behaves_as_every_source_does() {
    conformance::whole_list(|| async { PushRig::new() }).await;
}
