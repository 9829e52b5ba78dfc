use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use tokio::net::TcpListener;

use super::*;
use crate::broker::Broker;
use crate::model::{RAIN_PATH, TownConfig};
use crate::truth::Truth;

const LOOPBACK: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

fn town() -> Town {
    Town::new(TownConfig { seed: 7, start: "2026-05-04T00:00:00Z".parse().unwrap() }).unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A push listener that counts what comes with the right token.
async fn listener(counter: Arc<AtomicU64>) -> String {
    async fn take(State(counter): State<Arc<AtomicU64>>, headers: HeaderMap) -> StatusCode {
        if headers["authorization"] != "Bearer a-token-for-the-town" {
            return StatusCode::UNAUTHORIZED;
        }
        counter.fetch_add(1, Ordering::Relaxed);
        StatusCode::NO_CONTENT
    }
    let listener = TcpListener::bind(SocketAddr::from(LOOPBACK)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route(RAIN_PATH, post(take)).with_state(counter);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn http() -> reqwest::Client {
    // A second test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Subscribes to everything and hands out the number of messages that have come.
async fn subscriber(broker: SocketAddr) -> Arc<AtomicU64> {
    let (client, mut events) = AsyncClient::new(MqttOptions::new("all", broker.ip().to_string(), broker.port()), 10);
    client.subscribe("#", QoS::AtLeastOnce).await.unwrap();
    while !matches!(events.poll().await.unwrap(), Event::Incoming(Packet::SubAck(_))) {}
    let counter = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&counter);
    tokio::spawn(async move {
        let _client = client;
        while let Ok(event) = events.poll().await {
            if matches!(event, Event::Incoming(Packet::Publish(_))) {
                counting.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    counter
}

async fn until_equal(counter: &AtomicU64, wanted: u64) {
    let arrived = async {
        while counter.load(Ordering::Relaxed) < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), arrived).await.unwrap();
    assert_eq!(counter.load(Ordering::Relaxed), wanted);
}

fn posted(truth: &Truth) -> u64 {
    truth.datasets["precipitation"].messages
}

fn published(truth: &Truth) -> u64 {
    let datasets = truth.datasets.iter().filter(|(name, _)| !["precipitation", "traffic_counts"].contains(*name));
    datasets.map(|(_, dataset)| dataset.messages).sum()
}

#[tokio::test]
async fn everything_is_sent_once_and_a_second_run_goes_on_where_the_first_stopped() {
    let (town, broker) = (town(), Broker::start(SocketAddr::from(LOOPBACK)).await.unwrap());
    let posts = Arc::new(AtomicU64::new(0));
    let endpoints = Endpoints {
        mqtt: broker.addr(),
        push_url: listener(Arc::clone(&posts)).await,
        push_token: "a-token-for-the-town".to_owned(),
        http: http(),
        taken: None,
    };
    let messages = subscriber(broker.addr()).await;
    let (dir, cancel) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let (from, half, end) = (at("2026-05-04T05:00:00Z"), at("2026-05-04T06:17:00Z"), at("2026-05-04T08:00:00Z"));
    let clock = VirtualClock::at(from);

    for (from, until) in [(from, half), (half, end)] {
        let pace = Pace { from, until: Some(until), speed: 0.0, step: None };
        let truth = town.truth(from, until);
        let done = run(&town, &endpoints, pace, dir.path(), &clock, &cancel, |_| {}).await.unwrap();
        assert_eq!(done.acknowledged, posted(&truth) + published(&truth));
        assert_eq!((done.sent, done.repeated, done.reached), (done.acknowledged, 0, until));
        assert_eq!(reached(dir.path()).unwrap().unwrap().reached, until);
        assert_eq!(clock.now(), until);
    }
    let whole = town.truth(from, end);
    assert_eq!(posts.load(Ordering::Relaxed), posted(&whole));
    until_equal(&messages, published(&whole)).await;
    broker.stop().await;
}

#[tokio::test]
async fn a_clock_in_steps_moves_on_when_all_of_a_step_is_taken() {
    let (town, broker) = (town(), Broker::start(SocketAddr::from(LOOPBACK)).await.unwrap());
    let messages = subscriber(broker.addr()).await;
    let taken = Arc::clone(&messages);
    let endpoints = Endpoints {
        mqtt: broker.addr(),
        push_url: listener(Arc::default()).await,
        push_token: "a-token-for-the-town".to_owned(),
        http: http(),
        taken: Some(Arc::new(move || taken.load(Ordering::Relaxed))),
    };
    let (dir, cancel) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let (from, until) = (at("2026-05-04T05:00:00Z"), at("2026-05-04T06:05:00Z"));
    let clock = VirtualClock::at(from);
    let pace = Pace { from, until: Some(until), speed: 0.0, step: Some(SignedDuration::from_mins(10)) };
    let done = run(&town, &endpoints, pace, dir.path(), &clock, &cancel, |_| {}).await.unwrap();
    assert_eq!((done.reached, clock.now()), (until, until));
    assert_eq!(messages.load(Ordering::Relaxed), published(&town.truth(from, until)));
    broker.stop().await;
}

#[test]
fn a_message_on_the_border_of_two_steps_belongs_to_the_first() {
    let step = SignedDuration::from_mins(10);
    assert_eq!(end_of_step(at("2026-05-04T05:10:00Z"), step), at("2026-05-04T05:10:00Z"));
    assert_eq!(end_of_step(at("2026-05-04T05:10:00.001Z"), step), at("2026-05-04T05:20:00Z"));
}

#[tokio::test]
async fn a_wrong_token_ends_the_run_with_the_address() {
    let (town, broker) = (town(), Broker::start(SocketAddr::from(LOOPBACK)).await.unwrap());
    let endpoints = Endpoints {
        mqtt: broker.addr(),
        push_url: listener(Arc::default()).await,
        push_token: "another".to_owned(),
        http: http(),
        taken: None,
    };
    let dir = tempfile::tempdir().unwrap();
    let from = at("2026-05-04T05:00:00Z");
    let pace = Pace { from, until: Some(at("2026-05-04T06:00:00Z")), speed: 0.0, step: None };
    let ended = run(&town, &endpoints, pace, dir.path(), &VirtualClock::at(from), &CancellationToken::new(), |_| {}).await;
    assert!(matches!(ended, Err(RunError::Refused { status: 401, .. })), "{ended:?}");
    broker.stop().await;
}

#[tokio::test]
async fn a_cancelled_run_ends_at_once_and_says_how_far_it_was_acknowledged() {
    let town = town();
    let endpoints = Endpoints {
        // Nobody listens there.
        mqtt: SocketAddr::from(([127, 0, 0, 1], 9)),
        push_url: "http://127.0.0.1:9".to_owned(),
        push_token: "a-token-for-the-town".to_owned(),
        http: http(),
        taken: None,
    };
    let (dir, cancel) = (tempfile::tempdir().unwrap(), CancellationToken::new());
    let from = at("2026-05-04T05:00:00Z");
    let pace = Pace { from, until: None, speed: 0.0, step: None };
    let clock = VirtualClock::at(from);
    let running = run(&town, &endpoints, pace, dir.path(), &clock, &cancel, |_| {});
    let (done, ()) = tokio::join!(running, async { cancel.cancel() });
    assert_eq!(done.unwrap().acknowledged, 0);
    assert!(reached(dir.path()).unwrap().unwrap().reached >= from);
}
