//! What every source does, as functions that take any of them: a new source is done when [`whole_list`] passes. They panic
//! where a source misbehaves, and are meant for tests only.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Delivery, Mark, Source, State};

/// How long to wait for something that must come. Only there to end a test that hangs; no promise about speed.
pub const GUARD: Duration = Duration::from_secs(60);

/// One far side (a broker, a server, a directory) with one feed, and the sources that read it.
#[async_trait]
pub trait Rig: Send {
    /// Builds a source as a process that starts again would, and returns it once the far side keeps for it what is sent from
    /// now on.
    async fn source(&mut self) -> Box<dyn Source>;

    /// Makes the far side send `payload`, after those before it; returns when the far side has it.
    async fn send(&mut self, payload: Bytes);

    /// Cuts every connection; the far side can be reached again at once. Does nothing where there are none.
    async fn drop_connection(&mut self);

    /// The payloads the far side counts as acknowledged, in that order, as soon as they are `at_least` so many; `None` where it
    /// cannot tell.
    async fn acknowledged(&mut self, at_least: usize) -> Option<Vec<Bytes>>;

    /// The longest payload its sources take.
    fn max_payload_bytes(&self) -> usize;
}

/// All of it, each with a far side of its own from `fresh`.
pub async fn whole_list<R, F, Fut>(fresh: F)
where
    R: Rig,
    F: Fn() -> Fut,
    Fut: Future<Output = R>,
{
    delivers_in_order(&mut fresh().await).await;
    reports_health(&mut fresh().await).await;
    settles_in_order_only_when_told(&mut fresh().await).await;
    resumes(&mut fresh().await).await;
    loses_nothing_in_a_crash(&mut fresh().await).await;
    survives_a_dropped_connection(&mut fresh().await).await;
    refuses_an_over_long_payload(&mut fresh().await).await;
    loses_nothing_when_a_wait_is_dropped(&mut fresh().await).await;
    stops_within_a_second(&mut fresh().await).await;
}

/// Payloads come untouched, up to the longest, in order, with marks 1, 2, 3 and the time of arrival.
pub async fn delivers_in_order(rig: &mut dyn Rig) {
    let mut source = rig.source().await;
    let longest = Bytes::from(vec![b'x'; rig.max_payload_bytes()]);
    let payloads = [Bytes::from_static(b"a"), Bytes::from_static(b"\0\xff\r\n"), longest];
    for payload in &payloads {
        rig.send(payload.clone()).await;
    }
    for (payload, mark) in payloads.iter().zip(1..) {
        let delivery = take(source.as_mut()).await;
        assert_eq!((&delivery.payload, delivery.mark), (payload, mark));
        assert!(delivery.received_at_us > 0, "no time of arrival");
    }
    source.stop().await;
}

/// Health is up after a delivery and counts it.
pub async fn reports_health(rig: &mut dyn Rig) {
    let mut source = rig.source().await;
    let health = source.health();
    let before = health.report();
    assert!(matches!(before.state, State::Starting | State::Up), "{before:?}");
    assert_eq!((before.deliveries, before.payload_bytes, before.last_delivery_us), (0, 0, None));
    rig.send(Bytes::from_static(b"abc")).await;
    take(source.as_mut()).await;
    let after = health.report();
    assert_eq!((after.state, after.reason.as_str()), (State::Up, ""));
    assert_eq!((after.deliveries, after.payload_bytes, after.refused), (1, 3, 0));
    assert!(after.last_delivery_us.is_some());
    source.stop().await;
    assert_eq!(health.report().state, State::Ended);
}

/// Nothing is acknowledged before it is settled, and then in the order of arrival; settling twice or backwards is harmless.
pub async fn settles_in_order_only_when_told(rig: &mut dyn Rig) {
    let mut source = rig.source().await;
    let sent = numbered(1..=3);
    send_all(rig, &sent).await;
    let marks = [take(source.as_mut()).await.mark, take(source.as_mut()).await.mark, take(source.as_mut()).await.mark];
    assert_acknowledged(rig, &[]).await;
    for mark in [marks[1], marks[1], marks[0]] {
        settle(source.as_mut(), mark).await;
    }
    assert_acknowledged(rig, &sent[..2]).await;
    settle(source.as_mut(), marks[2]).await;
    assert_acknowledged(rig, &sent).await;
    source.stop().await;
    assert_next_after_start(rig, "last").await;
}

/// A process that stops and starts again gets what was not settled, in order, and nothing that was.
pub async fn resumes(rig: &mut dyn Rig) {
    let mut source = rig.source().await;
    let sent = numbered(1..=3);
    send_all(rig, &sent).await;
    let first = take(source.as_mut()).await;
    take(source.as_mut()).await;
    settle(source.as_mut(), first.mark).await;
    source.stop().await;
    drop(source);

    let mut source = rig.source().await;
    rig.send(Bytes::from_static(b"4")).await;
    let came = take_until(source.as_mut(), b"4").await;
    assert_eq!(payloads(&came), numbered(2..=4));
    assert_eq!(came[0].mark, 1, "marks start at 1 again");
    source.stop().await;
}

/// A process that dies without a stop loses nothing that was not settled.
pub async fn loses_nothing_in_a_crash(rig: &mut dyn Rig) {
    let mut source = rig.source().await;
    let sent = numbered(1..=3);
    send_all(rig, &sent).await;
    let first = take(source.as_mut()).await;
    take(source.as_mut()).await;
    settle(source.as_mut(), first.mark).await;
    drop(source);

    let mut source = rig.source().await;
    rig.send(Bytes::from_static(b"4")).await;
    let came = payloads(&take_until(source.as_mut(), b"4").await);
    for payload in &numbered(2..=4) {
        assert!(came.contains(payload), "{payload:?} is lost; {came:?} came");
    }
    source.stop().await;
}

/// A cut connection is mended by the source itself, and nothing that was not settled is lost.
pub async fn survives_a_dropped_connection(rig: &mut dyn Rig) {
    let mut source = rig.source().await;
    rig.send(Bytes::from_static(b"1")).await;
    take(source.as_mut()).await;
    rig.drop_connection().await;
    rig.send(Bytes::from_static(b"2")).await;
    let came = take_until(source.as_mut(), b"2").await;
    let last = came[came.len() - 1].mark;
    assert!(came.windows(2).all(|pair| pair[0].mark + 1 == pair[1].mark), "marks are not consecutive");
    assert_eq!(source.health().report().state, State::Up);
    settle(source.as_mut(), last).await;
    source.stop().await;
}

/// A payload that is too long is counted, never delivered in part, holds nothing back and does not come again.
pub async fn refuses_an_over_long_payload(rig: &mut dyn Rig) {
    let mut source = rig.source().await;
    rig.send(Bytes::from_static(b"before")).await;
    rig.send(Bytes::from(vec![b'x'; rig.max_payload_bytes() + 1])).await;
    rig.send(Bytes::from_static(b"after")).await;
    let before = take(source.as_mut()).await;
    let after = take(source.as_mut()).await;
    assert_eq!((&before.payload[..], &after.payload[..]), (&b"before"[..], &b"after"[..]));
    assert_eq!(after.mark, before.mark + 1);
    let report = source.health().report();
    assert_eq!((report.refused, report.deliveries), (1, 2));
    assert!(!report.reason.is_empty(), "the reason tells nothing");
    settle(source.as_mut(), after.mark).await;
    source.stop().await;
    assert_next_after_start(rig, "last").await;
}

/// A wait for the next delivery can be dropped at any time.
pub async fn loses_nothing_when_a_wait_is_dropped(rig: &mut dyn Rig) {
    let mut source = rig.source().await;
    let sent = numbered(1..=20);
    let mut came = Vec::new();
    for payload in &sent {
        rig.send(payload.clone()).await;
        came.extend(glance(source.as_mut(), Duration::from_micros(50)).await);
    }
    // Longer and longer, so that a source that has to ask a server gets its answer in the end.
    let mut patience = Duration::from_millis(1);
    while came.len() < sent.len() {
        assert!(patience < GUARD, "only {} of {} came", came.len(), sent.len());
        match glance(source.as_mut(), patience).await {
            Some(delivery) => came.push(delivery),
            None => patience *= 2,
        }
    }
    assert_eq!(payloads(&came), sent);
    source.stop().await;
}

/// A stop comes to an end, also while nothing is settled; afterwards nothing comes and settling is harmless.
pub async fn stops_within_a_second(rig: &mut dyn Rig) {
    let mut source = rig.source().await;
    send_all(rig, &numbered(1..=10)).await;
    let delivery = take(source.as_mut()).await;
    for _ in 0..2 {
        if tokio::time::timeout(GUARD, source.stop()).await.is_err() {
            panic!("the source does not stop");
        }
    }
    assert_eq!(source.health().report().state, State::Ended);
    settle(source.as_mut(), delivery.mark).await;
    assert!(matches!(tokio::time::timeout(GUARD, source.next()).await, Ok(Ok(None))), "something came after the stop");
}

/// Waits for the next delivery; panics when there is none.
pub async fn take(source: &mut dyn Source) -> Delivery {
    match tokio::time::timeout(GUARD, source.next()).await {
        Ok(Ok(Some(delivery))) => delivery,
        Ok(Ok(None)) => panic!("the source has ended"),
        Ok(Err(error)) => panic!("the source failed: {error}"),
        Err(_) => panic!("nothing came; health: {:?}", source.health().report()),
    }
}

/// Takes deliveries up to and with the first whose payload is `last`.
pub async fn take_until(source: &mut dyn Source, last: &[u8]) -> Vec<Delivery> {
    let mut came = Vec::new();
    loop {
        let delivery = take(source).await;
        let found = delivery.payload == last;
        came.push(delivery);
        if found {
            return came;
        }
    }
}

async fn glance(source: &mut dyn Source, patience: Duration) -> Option<Delivery> {
    match tokio::time::timeout(patience, source.next()).await {
        Ok(Ok(Some(delivery))) => Some(delivery),
        Ok(Ok(None)) => panic!("the source has ended"),
        Ok(Err(error)) => panic!("the source failed: {error}"),
        Err(_) => None,
    }
}

async fn settle(source: &mut dyn Source, mark: Mark) {
    if let Err(error) = source.settle(mark).await {
        panic!("settle {mark}: {error}");
    }
}

async fn send_all(rig: &mut dyn Rig, payloads: &[Bytes]) {
    for payload in payloads {
        rig.send(payload.clone()).await;
    }
}

async fn assert_acknowledged(rig: &mut dyn Rig, expected: &[Bytes]) {
    match tokio::time::timeout(GUARD, rig.acknowledged(expected.len())).await {
        Ok(Some(acknowledged)) => assert_eq!(acknowledged, expected),
        Ok(None) => {}
        Err(_) => panic!("fewer than {} are acknowledged", expected.len()),
    }
}

/// A source built now gets nothing old: the next thing to come is what is sent next.
async fn assert_next_after_start(rig: &mut dyn Rig, payload: &'static str) {
    let mut source = rig.source().await;
    rig.send(Bytes::from_static(payload.as_bytes())).await;
    assert_eq!(take(source.as_mut()).await.payload, payload);
    source.stop().await;
}

fn numbered(range: std::ops::RangeInclusive<u32>) -> Vec<Bytes> {
    range.map(|number| Bytes::from(number.to_string())).collect()
}

fn payloads(deliveries: &[Delivery]) -> Vec<Bytes> {
    deliveries.iter().map(|delivery| delivery.payload.clone()).collect()
}
