use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use datasjo_table::Labels;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::*;
use crate::Secret;

/// Longer than any step here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &str = "correct-horse-battery-staple";

fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new()
}

fn secret() -> Secret {
    SECRET.to_owned().into()
}

fn listening() -> ListenConfig {
    ListenConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        tls: None,
        behind_proxy: false,
        max_connections: 16,
        request_timeout_s: 30,
    }
}

fn taking(auth: Auth) -> PushConfig {
    PushConfig {
        path: "/push/test".to_owned(),
        tokens: vec![Token { name: "camera".to_owned(), auth }],
        max_payload_bytes: 64,
        requests_per_minute: 600,
        queue_length: 4,
    }
}

/// An open door with one feed behind it; it closes when dropped.
struct Open {
    source: PushSource,
    address: SocketAddr,
    _closes: DropGuard,
}

impl Open {
    fn new(listening: ListenConfig, taking: PushConfig) -> Self {
        let mut listener = Listener::bind(listening).unwrap();
        let source = listener.source("test", taking).unwrap();
        let (address, cancel) = (listener.local_addr(), CancellationToken::new());
        tokio::spawn(listener.run(cancel.clone()));
        Self { source, address, _closes: cancel.drop_guard() }
    }

    fn bearer() -> Self {
        Self::new(listening(), taking(Auth::Bearer(secret())))
    }

    fn url(&self) -> String {
        format!("http://{}/push/test", self.address)
    }

    fn post(&self, body: impl Into<reqwest::Body>) -> RequestBuilder {
        client().post(self.url()).bearer_auth(SECRET).body(body)
    }

    async fn next(&mut self) -> Delivery {
        timeout(PATIENCE, self.source.next()).await.expect("a delivery in time").unwrap().expect("not the end")
    }
}

fn sending(request: RequestBuilder) -> JoinHandle<Response> {
    tokio::spawn(async move { timeout(PATIENCE, request.send()).await.expect("an answer in time").unwrap() })
}

async fn status(request: RequestBuilder) -> StatusCode {
    sending(request).await.unwrap().status()
}

#[tokio::test]
async fn a_sender_is_told_204_when_its_body_is_settled_and_not_before() {
    let mut open = Open::bearer();
    let request = open.post("{\"free\": 3}").header("content-type", "application/json").header("idempotency-key", "k1");
    let sender = sending(request);
    let delivery = open.next().await;
    assert_eq!((&delivery.payload[..], delivery.mark), (&b"{\"free\": 3}"[..], 1));
    let labels: Vec<_> = delivery.labels.iter().collect();
    let expected =
        [(Labels::PATH, "/push/test"), ("token", "camera"), ("content_type", "application/json"), ("idempotency_key", "k1")];
    assert_eq!(labels, expected);
    assert!(!sender.is_finished(), "answered before the body was settled");
    open.source.settle(delivery.mark).await.unwrap();
    assert_eq!(sender.await.unwrap().status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn one_settlement_covers_all_before_it() {
    let mut open = Open::bearer();
    let senders = [sending(open.post("1")), sending(open.post("2"))];
    open.next().await;
    let last = open.next().await;
    open.source.settle(last.mark).await.unwrap();
    for sender in senders {
        assert_eq!(sender.await.unwrap().status(), StatusCode::NO_CONTENT);
    }
}

#[tokio::test]
async fn who_is_not_known_is_refused_with_a_plain_sentence() {
    let open = Open::bearer();
    let (client, url) = (client(), open.url());
    assert_eq!(status(client.post(&url).body("x")).await, StatusCode::UNAUTHORIZED);
    let answer = sending(client.put(&url).bearer_auth("wrong").body("x")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(problem["detail"], "The request shows no token or signature that is known here.");
    assert_eq!(status(client.post(format!("{url}/else")).bearer_auth(SECRET).body("x")).await, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_get_learns_nothing_not_even_which_paths_there_are() {
    let open = Open::bearer();
    let here = sending(client().get(open.url()).bearer_auth(SECRET)).await.unwrap();
    let nowhere = sending(client().get(format!("{}/else", open.url()))).await.unwrap();
    assert_eq!((here.status(), nowhere.status()), (StatusCode::METHOD_NOT_ALLOWED, StatusCode::METHOD_NOT_ALLOWED));
    assert_eq!(here.text().await.unwrap(), nowhere.text().await.unwrap());
}

#[tokio::test]
async fn a_signed_body_is_taken_and_a_changed_one_refused() {
    let auth = Auth::Hmac { secret: secret(), header: "X-Signature".to_owned(), encoding: Encoding::Base64 };
    let mut open = Open::new(listening(), taking(auth));
    let mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap().chain_update("signed").finalize().into_bytes();
    let signature = base64::engine::general_purpose::STANDARD.encode(mac);

    let changed = client().post(open.url()).header("X-Signature", &signature).body("changed");
    assert_eq!(status(changed).await, StatusCode::FORBIDDEN);
    assert_eq!(status(client().post(open.url()).body("signed")).await, StatusCode::UNAUTHORIZED);

    let sender = sending(client().post(open.url()).header("X-Signature", &signature).body("signed"));
    let delivery = open.next().await;
    assert_eq!(delivery.payload, "signed");
    open.source.settle(delivery.mark).await.unwrap();
    assert_eq!(sender.await.unwrap().status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_long_body_is_refused_announced_or_not() {
    let open = Open::bearer();
    assert_eq!(status(open.post(vec![b'x'; 65])).await, StatusCode::PAYLOAD_TOO_LARGE);
    let chunks =
        futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 40])), Ok(Bytes::from_static(&[b'x'; 40]))]);
    assert_eq!(status(open.post(reqwest::Body::wrap_stream(chunks))).await, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(open.source.health().report().refused, 2);
}

#[tokio::test]
async fn a_sender_that_comes_too_often_is_told_when_to_come_again() {
    let mut open = Open::new(listening(), PushConfig { requests_per_minute: 1, ..taking(Auth::Bearer(secret())) });
    let first = sending(open.post("1"));
    let delivery = open.next().await;
    let second = sending(open.post("2")).await.unwrap();
    assert_eq!(second.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait_s: u64 = second.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait_s), "{wait_s}");
    open.source.settle(delivery.mark).await.unwrap();
    assert_eq!(first.await.unwrap().status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_full_queue_asks_the_sender_to_come_again() {
    let mut open = Open::new(listening(), PushConfig { queue_length: 1, ..taking(Auth::Bearer(secret())) });
    let senders = [sending(open.post("1")), sending(open.post("2"))];
    let (refused, _, mut waiting) = futures::future::select_all(senders).await;
    let refused = refused.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let delivery = open.next().await;
    open.source.settle(delivery.mark).await.unwrap();
    assert_eq!(waiting.remove(0).await.unwrap().status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_body_that_is_not_settled_in_time_is_asked_for_again() {
    let mut open = Open::new(ListenConfig { request_timeout_s: 1, ..listening() }, taking(Auth::Bearer(secret())));
    let sender = sending(open.post("1"));
    let delivery = open.next().await;
    assert_eq!(sender.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    open.source.settle(delivery.mark).await.unwrap();
}

#[tokio::test]
async fn a_stop_asks_waiting_senders_to_come_again() {
    let mut open = Open::bearer();
    let sender = sending(open.post("1"));
    open.next().await;
    open.source.stop().await;
    assert_eq!(sender.await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(status(open.post("2")).await, StatusCode::SERVICE_UNAVAILABLE);
}

/// What a raw connection is answered until it is closed.
async fn answer_to(address: SocketAddr, text: String) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset counts as closed.
    let _ = timeout(PATIENCE, connection.read_to_end(&mut answer)).await.expect("closed in time");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn a_slow_sender_is_sent_away() {
    let open = Open::new(ListenConfig { request_timeout_s: 1, ..listening() }, taking(Auth::Bearer(secret())));
    let half_a_head = "POST /push/test HTTP/1.1\r\nhost: x\r\n".to_owned();
    assert!(!answer_to(open.address, half_a_head).await.contains("204"));
    let head = format!("POST /push/test HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {SECRET}\r\ncontent-length: 9\r\n\r\nhalf");
    assert!(answer_to(open.address, head).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let open = Open::new(ListenConfig { max_connections: 1, ..listening() }, taking(Auth::Bearer(secret())));
    let mut held = TcpStream::connect(open.address).await.unwrap();
    held.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    timeout(PATIENCE, held.read(&mut [0; 1])).await.expect("answered in time").unwrap();
    let mut second = TcpStream::connect(open.address).await.unwrap();
    let closed = timeout(PATIENCE, second.read(&mut [0; 1])).await.expect("closed in time");
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
}

#[tokio::test]
async fn a_path_belongs_to_one_feed() {
    let mut listener = Listener::bind(listening()).unwrap();
    assert!(listener.source("one", taking(Auth::Bearer(secret()))).is_ok());
    let again = listener.source("two", taking(Auth::Bearer(secret())));
    assert!(again.is_err_and(|error| error.to_string().contains("another feed")));
}

#[tokio::test]
async fn the_door_speaks_tls() {
    let ours = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert_file, ours.cert.pem()).unwrap();
    std::fs::write(&key_file, ours.signing_key.serialize_pem()).unwrap();
    let tls = Some(TlsFiles { cert_file, key_file });
    let mut open = Open::new(ListenConfig { tls, ..listening() }, taking(Auth::Bearer(secret())));

    let _ = rustls::crypto::ring::default_provider().install_default();
    let trusted = reqwest::Certificate::from_pem(ours.cert.pem().as_bytes()).unwrap();
    let client = Client::builder().tls_certs_only([trusted]).build().unwrap();
    let sender = sending(client.post(format!("https://{}/push/test", open.address)).bearer_auth(SECRET).body("1"));
    let delivery = open.next().await;
    open.source.settle(delivery.mark).await.unwrap();
    assert_eq!(sender.await.unwrap().status(), StatusCode::NO_CONTENT);
}
