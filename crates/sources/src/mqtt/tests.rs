//! What goes over the line, seen from a broker that is told what to do.

use std::time::Duration;

use futures::FutureExt;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::script::{Broker, DISCONNECT, GUARD, SUBSCRIBE, UNSUBSCRIBE};
use super::{MqttConfig, MqttSource, Version};
use crate::{Delivery, HealthReport, Source, SourceError, State};

const VERSIONS: [Version; 2] = [Version::V5, Version::V311];

fn source(broker: &Broker, version: Version, changes: Value) -> MqttSource {
    let version = if version == Version::V5 { "5" } else { "3.1.1" };
    let mut config = json!({"url": broker.url(), "topics": ["meters/#"], "client_id": "lake", "version": version});
    if let (Value::Object(all), Value::Object(changes)) = (&mut config, changes) {
        all.extend(changes);
    }
    let config: MqttConfig = serde_json::from_value(config).unwrap();
    MqttSource::new("meters", config).unwrap()
}

async fn take(source: &mut MqttSource) -> Delivery {
    timeout(GUARD, source.next()).await.expect("nothing came").unwrap().expect("the source has ended")
}

async fn until(source: &MqttSource, wanted: impl Fn(&HealthReport) -> bool) -> HealthReport {
    let health = source.health();
    let waited = timeout(GUARD, async {
        while !wanted(&health.report()) {
            sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("health stays at {:?}", health.report()));
    health.report()
}

async fn until_up(source: &MqttSource) -> HealthReport {
    until(source, |report| report.state == State::Up).await
}

#[tokio::test]
async fn pubacks_go_out_in_order_and_not_before_they_are_settled() {
    for version in VERSIONS {
        let broker = Broker::start(version).await;
        let mut source = source(&broker, version, json!({}));
        source.connect();
        let mut line = broker.accept_and_grant(false).await;
        for packet_id in [5u16, 2, 9] {
            line.publish("meters/1", packet_id, &packet_id.to_be_bytes()).await;
        }
        let marks = [take(&mut source).await.mark, take(&mut source).await.mark, take(&mut source).await.mark];
        assert_eq!(marks, [1, 2, 3]);
        source.settle(2).await.unwrap();
        source.settle(2).await.unwrap();
        assert_eq!([line.puback().await, line.puback().await], [5, 2]);
        source.stop().await;
        line.expect(DISCONNECT).await;
    }
}

#[tokio::test]
async fn a_stop_sends_the_settled_acknowledgements_before_it_takes_leave() {
    for version in VERSIONS {
        let broker = Broker::start(version).await;
        let mut source = source(&broker, version, json!({}));
        source.connect();
        let mut line = broker.accept_and_grant(false).await;
        for packet_id in 1..=20 {
            line.publish("meters/1", packet_id, b"x").await;
        }
        for _ in 1..=20 {
            take(&mut source).await;
        }
        source.settle(20).await.unwrap();
        source.stop().await;
        for packet_id in 1..=20 {
            assert_eq!(line.puback().await, packet_id);
        }
        line.expect(DISCONNECT).await;
        assert!(source.next().await.unwrap().is_none());
        assert_eq!(source.health().report().state, State::Ended);
    }
}

#[tokio::test]
async fn an_acknowledgement_of_a_lost_connection_is_never_sent_on_the_next() {
    for version in VERSIONS {
        let broker = Broker::start(version).await;
        let mut source = source(&broker, version, json!({}));
        source.connect();
        let mut line = broker.accept_and_grant(false).await;
        line.publish("meters/1", 1, b"old").await;
        let old = take(&mut source).await;
        drop(line);

        let mut line = broker.accept_and_grant(false).await;
        line.publish("meters/1", 1, b"new").await;
        let new = take(&mut source).await;
        assert_eq!((old.mark, new.mark), (1, 2));
        source.settle(old.mark).await.unwrap();
        source.stop().await;
        line.expect(DISCONNECT).await;
    }
}

#[tokio::test]
async fn filters_are_asked_for_on_the_first_connection_and_whenever_the_session_is_lost() {
    for version in VERSIONS {
        let broker = Broker::start(version).await;
        let mut source = source(&broker, version, json!({}));
        source.connect();
        let line = broker.accept_and_grant(true).await;
        until_up(&source).await;
        drop(line);

        let line = broker.accept(true).await;
        until(&source, |report| report.state == State::Up && report.failures == 1).await;
        drop(line);

        let mut line = broker.accept_and_grant(false).await;
        until(&source, |report| report.state == State::Up && report.failures == 2).await;
        source.stop().await;
        line.expect(DISCONNECT).await;
    }
}

#[tokio::test]
async fn a_kept_session_needs_no_second_subscribe() {
    for version in VERSIONS {
        let broker = Broker::start(version).await;
        let mut source = source(&broker, version, json!({}));
        source.connect();
        let line = broker.accept_and_grant(false).await;
        until_up(&source).await;
        drop(line);

        let mut line = broker.accept(true).await;
        until(&source, |report| report.state == State::Up && report.failures == 1).await;
        source.stop().await;
        line.expect(DISCONNECT).await;
    }
}

#[tokio::test]
async fn a_refused_filter_is_named_and_asked_again_while_the_others_go_on() {
    for version in VERSIONS {
        let broker = Broker::start(version).await;
        let mut source = source(&broker, version, json!({"topics": ["meters/#", "secret/#"]}));
        source.connect();
        let mut line = broker.accept(false).await;
        let subscribe = line.expect(SUBSCRIBE).await;
        assert_eq!(line.filters(&subscribe), ["meters/#", "secret/#"]);
        line.suback(&subscribe, &[1, if version == Version::V5 { 0x87 } else { 0x80 }]).await;

        let report = until_up(&source).await;
        let report = if report.reason.is_empty() { until(&source, |r| !r.reason.is_empty()).await } else { report };
        assert!(report.reason.contains("secret/#") && !report.reason.contains("meters/#"), "{}", report.reason);
        line.publish("meters/1", 1, b"x").await;
        take(&mut source).await;

        let again = line.expect(SUBSCRIBE).await;
        assert_eq!(line.filters(&again), ["secret/#"]);
        line.suback(&again, &[1]).await;
        until(&source, |report| report.reason.is_empty()).await;
        source.stop().await;
    }
}

#[tokio::test]
async fn a_lower_qos_than_asked_is_remarked() {
    for version in VERSIONS {
        let broker = Broker::start(version).await;
        let mut source = source(&broker, version, json!({}));
        source.connect();
        let mut line = broker.accept(false).await;
        let subscribe = line.expect(SUBSCRIBE).await;
        line.suback(&subscribe, &[0]).await;
        until(&source, |report| report.state == State::Up && report.reason.contains("meters/# only QoS 0")).await;
        source.stop().await;
    }
}

#[tokio::test]
async fn many_filters_are_asked_for_eight_at_a_time() {
    let topics: Vec<String> = (0..20).map(|n| format!("meters/{n}")).collect();
    for version in VERSIONS {
        let broker = Broker::start(version).await;
        let mut source = source(&broker, version, json!({ "topics": topics }));
        source.connect();
        let mut line = broker.accept(false).await;
        let mut asked = Vec::new();
        for count in [8, 8, 4] {
            let subscribe = line.expect(SUBSCRIBE).await;
            asked.extend(line.filters(&subscribe));
            line.suback(&subscribe, &vec![1; count]).await;
        }
        assert_eq!(asked, topics);
        until_up(&source).await;
        source.stop().await;
    }
}

#[tokio::test]
async fn filters_of_the_configuration_before_are_given_up_and_their_left_overs_dropped() {
    for version in VERSIONS {
        let broker = Broker::start(version).await;
        let previous = vec!["meters/#".to_owned(), "buses/#".to_owned()];
        let mut source = source(&broker, version, json!({})).with_previous_topics(previous);
        source.connect();
        let mut line = broker.accept_and_grant(true).await;
        let unsubscribe = line.expect(UNSUBSCRIBE).await;
        assert_eq!(line.filters(&unsubscribe), ["buses/#"]);
        line.publish("buses/7", 1, b"left over").await;
        line.unsuback(&unsubscribe).await;
        line.publish("meters/1", 2, b"wanted").await;

        assert_eq!(take(&mut source).await.payload, "wanted");
        assert_eq!(line.puback().await, 1);
        source.settle(1).await.unwrap();
        assert_eq!(line.puback().await, 2);
        source.stop().await;
    }
}

#[tokio::test]
async fn an_over_long_payload_is_acknowledged_after_those_before_it_and_not_handed_on() {
    for version in VERSIONS {
        let broker = Broker::start(version).await;
        let mut source = source(&broker, version, json!({"max_payload_bytes": 16}));
        source.connect();
        let mut line = broker.accept_and_grant(false).await;
        line.publish("meters/1", 1, &[b'a'; 16]).await;
        line.publish("meters/1", 2, &[b'b'; 17]).await;
        line.publish("meters/1", 3, b"c").await;

        assert_eq!(take(&mut source).await.payload.len(), 16);
        assert_eq!(take(&mut source).await.payload, "c");
        let report = source.health().report();
        assert_eq!((report.refused, report.deliveries, report.payload_bytes), (1, 2, 17));
        assert!(report.reason.contains("17 bytes on meters/1"), "{}", report.reason);
        source.settle(1).await.unwrap();
        assert_eq!([line.puback().await, line.puback().await], [1, 2]);
        source.stop().await;
        line.expect(DISCONNECT).await;
    }
}

#[tokio::test]
async fn a_flood_waits_for_room_and_nothing_of_it_is_lost() {
    let version = Version::V311;
    let broker = Broker::start(version).await;
    let mut source = source(&broker, version, json!({"receive_maximum": 2}));
    source.connect();
    let mut line = broker.accept_and_grant(false).await;
    for packet_id in 1..=100u16 {
        line.publish("meters/1", packet_id, &packet_id.to_be_bytes()).await;
    }
    for packet_id in 1..=100u16 {
        assert_eq!(take(&mut source).await.payload, packet_id.to_be_bytes()[..]);
    }
    source.settle(100).await.unwrap();
    for packet_id in 1..=100 {
        assert_eq!(line.puback().await, packet_id);
    }
    source.stop().await;
}

#[tokio::test]
async fn retained_messages_are_flagged_and_carry_their_topic() {
    for version in VERSIONS {
        let broker = Broker::start(version).await;
        let mut source = source(&broker, version, json!({}));
        source.connect();
        let mut line = broker.accept_and_grant(false).await;
        let mut body = vec![0, 8];
        body.extend(b"meters/1");
        if version == Version::V5 {
            body.push(0);
        }
        body.extend(b"old news");
        line.send(0x31, &body).await;
        line.publish("meters/2", 1, b"news").await;

        let first = take(&mut source).await;
        assert_eq!((first.retained, first.labels.get("topic"), &first.payload[..]), (true, Some("meters/1"), &b"old news"[..]));
        let second = take(&mut source).await;
        assert_eq!((second.retained, second.labels.get("topic"), second.feed.as_ref()), (false, Some("meters/2"), "meters"));
        source.stop().await;
    }
}

#[tokio::test]
async fn bad_credentials_keep_the_source_waiting_with_the_reason() {
    for (version, code) in [(Version::V5, 0x87), (Version::V311, 5)] {
        let broker = Broker::start(version).await;
        let mut source = source(&broker, version, json!({}));
        source.connect();
        let _line = broker.answer_connect(false, code).await;
        let report = until(&source, |report| report.state == State::Waiting).await;
        assert!(report.reason.contains("NotAuthorized"), "{}", report.reason);
        assert!(source.next().now_or_never().is_none(), "the source has not ended");
        source.stop().await;
        assert_eq!(source.health().report().state, State::Ended);
    }
}

#[tokio::test]
async fn a_session_taken_over_is_told_as_such() {
    let broker = Broker::start(Version::V5).await;
    let mut source = source(&broker, Version::V5, json!({}));
    source.connect();
    let mut line = broker.accept_and_grant(false).await;
    until_up(&source).await;
    line.send(0xE0, &[0x8E, 0]).await;
    let report = until(&source, |report| report.state == State::Waiting).await;
    assert!(report.reason.contains("another client connected with our client_id lake"), "{}", report.reason);
    source.stop().await;
}

#[tokio::test]
async fn connections_lost_soon_again_and_again_raise_the_question_of_a_second_client() {
    let broker = Broker::start(Version::V311).await;
    let mut source = source(&broker, Version::V311, json!({}));
    source.connect();
    for _ in 0..3 {
        let mut line = broker.accept(true).await;
        line.expect(SUBSCRIBE).await;
    }
    let report = until(&source, |report| report.failures == 3).await;
    assert!(report.reason.contains("does another client use client_id lake?"), "{}", report.reason);
    source.stop().await;
}

#[tokio::test]
async fn a_source_that_was_never_asked_stops_at_once() {
    let broker = Broker::start(Version::V5).await;
    let mut source = source(&broker, Version::V5, json!({}));
    timeout(GUARD, source.stop()).await.unwrap();
    assert!(source.next().await.unwrap().is_none());
    source.settle(1).await.unwrap();
}

#[test]
fn a_config_with_problems_makes_no_source() {
    let config = json!({"url": "mqtts://broker.example", "topics": ["#a"], "client_id": "lake"});
    let config: MqttConfig = serde_json::from_value(config).unwrap();
    let Err(SourceError::Config(problems)) = MqttSource::new("meters", config) else { panic!("it should be refused") };
    assert!(problems.contains("ca_file: ") && problems.contains("\"#a\""), "{problems}");
}
