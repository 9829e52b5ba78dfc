//! The MQTT source against a real broker, in both protocol versions.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use datasjo_sources::conformance::{self, GUARD, Rig, take, take_until};
use datasjo_sources::mqtt::{MqttConfig, MqttSource};
use datasjo_sources::{HealthReport, Source, State};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::support::mosquitto::{Mosquitto, dynamic_security_plugin, free_port};

const VERSIONS: [&str; 2] = ["5", "3.1.1"];

fn source(url: &str, version: &str, changes: Value) -> MqttSource {
    let mut config = json!({"url": url, "topics": ["meters/#"], "client_id": "lake", "version": version});
    if let (Value::Object(all), Value::Object(changes)) = (&mut config, changes) {
        all.extend(changes);
    }
    let config: MqttConfig = serde_json::from_value(config).unwrap();
    MqttSource::new("meters", config).unwrap()
}

async fn until(source: &MqttSource, wanted: impl Fn(&HealthReport) -> bool) -> HealthReport {
    let health = source.health();
    let waited = timeout(GUARD, async {
        while !wanted(&health.report()) {
            sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("health stays at {:?}", health.report()));
    health.report()
}

/// Connects, and waits until the filters are answered.
async fn connect(source: &mut MqttSource) -> HealthReport {
    source.connect();
    until(source, |report| report.state == State::Up).await
}

/// A line to the broker that can be cut.
struct Line {
    port: u16,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    accepting: AbortHandle,
}

impl Line {
    async fn to(broker_port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections: Arc<Mutex<Vec<AbortHandle>>> = Arc::default();
        let known = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let carry = tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(("127.0.0.1", broker_port)).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
                known.lock().unwrap().push(carry.abort_handle());
            }
        });
        Self { port, connections, accepting: accepting.abort_handle() }
    }

    fn cut(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

struct MosquittoRig {
    broker: Mosquitto,
    line: Line,
    version: &'static str,
}

impl MosquittoRig {
    async fn start(version: &'static str) -> Self {
        let broker = Mosquitto::start().await;
        let line = Line::to(broker.port()).await;
        Self { broker, line, version }
    }
}

const MAX_PAYLOAD_BYTES: usize = 4_096;

#[async_trait]
impl Rig for MosquittoRig {
    async fn source(&mut self) -> Box<dyn Source> {
        let url = format!("mqtt://127.0.0.1:{}", self.line.port);
        let mut source = source(&url, self.version, json!({ "max_payload_bytes": MAX_PAYLOAD_BYTES }));
        connect(&mut source).await;
        Box::new(source)
    }

    async fn send(&mut self, payload: Bytes) {
        self.broker.publish("meters/1", &payload, false).await;
    }

    async fn drop_connection(&mut self) {
        self.line.cut();
    }

    /// Mosquitto does not tell; what comes again after a new start shows it.
    async fn acknowledged(&mut self, _at_least: usize) -> Option<Vec<Bytes>> {
        None
    }

    fn max_payload_bytes(&self) -> usize {
        MAX_PAYLOAD_BYTES
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_5_behaves_as_every_source_does() {
    conformance::whole_list(|| MosquittoRig::start("5")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_3_1_1_behaves_as_every_source_does() {
    conformance::whole_list(|| MosquittoRig::start("3.1.1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_subscribes_again_when_the_broker_has_lost_its_sessions() {
    for version in VERSIONS {
        let mut broker = Mosquitto::start().await;
        let mut source = source(&broker.url(), version, json!({}));
        connect(&mut source).await;
        broker.kill();
        broker.lose_sessions();
        broker.start_again().await;
        until(&source, |report| report.state == State::Up && report.failures > 0).await;
        broker.publish("meters/1", b"after", false).await;
        assert_eq!(take(&mut source).await.payload, "after");
        source.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_gets_what_was_not_settled_again_when_the_broker_restarts() {
    for version in VERSIONS {
        let mut broker = Mosquitto::start().await;
        let mut source = source(&broker.url(), version, json!({}));
        connect(&mut source).await;
        for payload in ["1", "2", "3"] {
            broker.publish("meters/1", payload.as_bytes(), false).await;
        }
        let came = take_until(&mut source, b"3").await;
        assert_eq!(came.len(), 3);
        broker.stop();
        until(&source, |report| report.state == State::Waiting).await;
        source.settle(3).await.unwrap();
        broker.start_again().await;

        let again = take_until(&mut source, b"3").await;
        let payloads: Vec<&[u8]> = again.iter().map(|delivery| &delivery.payload[..]).collect();
        assert_eq!(payloads, [b"1", b"2", b"3"]);
        source.settle(again[2].mark).await.unwrap();
        source.stop().await;
        assert_nothing_old_comes(&broker, version).await;
    }
}

/// A source that starts now gets the next message sent and none before it.
async fn assert_nothing_old_comes(broker: &Mosquitto, version: &str) {
    let mut source = source(&broker.url(), version, json!({}));
    connect(&mut source).await;
    broker.publish("meters/1", b"last", false).await;
    assert_eq!(take(&mut source).await.payload, "last");
    source.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_flags_retained_messages_and_no_others() {
    for version in VERSIONS {
        let broker = Mosquitto::start().await;
        broker.publish("meters/1", b"state", true).await;
        let mut source = source(&broker.url(), version, json!({}));
        connect(&mut source).await;
        let old = take(&mut source).await;
        assert_eq!((&old.payload[..], old.retained), (&b"state"[..], true));
        broker.publish("meters/1", b"news", true).await;
        let new = take(&mut source).await;
        assert_eq!((&new.payload[..], new.retained, new.labels.get("topic")), (&b"news"[..], false, Some("meters/1")));
        source.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_gives_up_the_filters_of_the_configuration_before() {
    for version in VERSIONS {
        let broker = Mosquitto::start().await;
        let mut before = source(&broker.url(), version, json!({"topics": ["meters/#", "buses/#"]}));
        connect(&mut before).await;
        before.stop().await;
        broker.publish("buses/1", b"left over", false).await;

        let previous = vec!["meters/#".to_owned(), "buses/#".to_owned()];
        let mut now = source(&broker.url(), version, json!({})).with_previous_topics(previous);
        connect(&mut now).await;
        broker.publish("buses/1", b"unasked", false).await;
        broker.publish("meters/1", b"asked", false).await;
        assert_eq!(take(&mut now).await.payload, "asked");
        let reason = now.health().report().reason;
        assert!(reason.is_empty() || reason.starts_with("1 messages on topics no filter asks for"), "{reason}");
        now.settle(1).await.unwrap();
        now.stop().await;
        assert_nothing_old_comes(&broker, version).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_lives_on_after_a_packet_far_over_the_limit() {
    for (version, counted) in [("5", 0), ("3.1.1", 1)] {
        let broker = Mosquitto::start().await;
        let mut source = source(&broker.url(), version, json!({"max_payload_bytes": 1_024}));
        connect(&mut source).await;
        broker.publish("meters/1", &vec![b'x'; 400 * 1_024], false).await;
        broker.publish("meters/1", b"small", false).await;
        assert_eq!(take(&mut source).await.payload, "small");
        let report = source.health().report();
        assert_eq!((report.refused, report.failures, report.deliveries), (counted, 0, 1));
        source.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_reports_a_refused_filter_while_the_others_go_on() {
    for version in VERSIONS {
        let dir = tempfile::tempdir().unwrap();
        let broker = Mosquitto::start_with(&refusing("secret/#", dir.path())).await;
        let mut source = source(&broker.url(), version, json!({"topics": ["secret/#", "meters/#"]}));
        connect(&mut source).await;
        let report = until(&source, |report| !report.reason.is_empty()).await;
        assert!(report.reason.contains("refuses the filter secret/#"), "{}", report.reason);
        assert_eq!((report.state, report.failures), (State::Up, 0));
        broker.publish("meters/1", b"goes on", false).await;
        assert_eq!(take(&mut source).await.payload, "goes on");
        source.stop().await;
    }
}

/// Configuration lines that refuse one filter to everybody. (An `acl_file` lets every SUBSCRIBE pass and drops messages later.)
fn refusing(filter: &str, dir: &Path) -> String {
    let rules = json!({
        "defaultACLAccess": {"publishClientSend": true, "publishClientReceive": true, "subscribe": true, "unsubscribe": true},
        "roles": [{
            "rolename": "anyone",
            "acls": [{"acltype": "subscribeLiteral", "topic": filter, "priority": 0, "allow": false}]
        }],
        "groups": [{"groupname": "everybody", "roles": [{"rolename": "anyone", "priority": 0}], "clients": []}],
        "anonymousGroup": "everybody",
        "clients": []
    });
    let path = dir.join("rules.json");
    std::fs::write(&path, rules.to_string()).unwrap();
    format!("plugin {}\nplugin_opt_config_file {}", dynamic_security_plugin(), path.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_shares_a_subscription_between_two_sources() {
    for version in VERSIONS {
        let broker = Mosquitto::start().await;
        let shared =
            |client_id: &str| source(&broker.url(), version, json!({"topics": ["$share/lake/meters/#"], "client_id": client_id}));
        let (mut left, mut right) = (shared("left"), shared("right"));
        connect(&mut left).await;
        connect(&mut right).await;
        for number in 0..20u8 {
            broker.publish("meters/1", &[number], false).await;
        }
        let (mut came, mut to_the_left) = (BTreeSet::new(), 0);
        while came.len() < 20 {
            let delivery = tokio::select! {
                delivery = take(&mut left) => {
                    to_the_left += 1;
                    delivery
                }
                delivery = take(&mut right) => delivery,
            };
            assert!(came.insert(delivery.payload.clone()), "{:?} came twice", delivery.payload);
        }
        assert!((1..20).contains(&to_the_left), "{to_the_left} of 20 came to one of two");
        left.stop().await;
        right.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_speaks_tls_with_a_ca_and_a_client_certificate_of_its_own() {
    let certificates = tempfile::tempdir().unwrap();
    let issuer = issue_ca(certificates.path());
    issue(&issuer, certificates.path(), "broker", ExtendedKeyUsagePurpose::ServerAuth);
    issue(&issuer, certificates.path(), "lake", ExtendedKeyUsagePurpose::ClientAuth);
    let dir = certificates.path().display();
    for version in VERSIONS {
        let tls_port = free_port();
        let listener = format!(
            "listener {tls_port} 127.0.0.1\ncafile {dir}/ca.pem\nrequire_certificate true\n\
             certfile {dir}/broker.pem\nkeyfile {dir}/broker.key"
        );
        let broker = Mosquitto::start_with(&listener).await;
        let url = format!("mqtts://127.0.0.1:{tls_port}");
        let known = json!({
            "ca_file": format!("{dir}/ca.pem"),
            "client_cert_file": format!("{dir}/lake.pem"),
            "client_key_file": format!("{dir}/lake.key"),
        });
        let mut welcome = source(&url, version, known);
        connect(&mut welcome).await;
        broker.publish("meters/1", b"in private", false).await;
        assert_eq!(take(&mut welcome).await.payload, "in private");
        welcome.stop().await;

        let mut unknown = source(&url, version, json!({"ca_file": format!("{dir}/ca.pem")}));
        unknown.connect();
        until(&unknown, |report| report.state == State::Waiting).await;
        unknown.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mqtt_does_not_speak_to_a_broker_of_another_ca() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    issue_ca(ours.path());
    let issuer = issue_ca(theirs.path());
    issue(&issuer, theirs.path(), "broker", ExtendedKeyUsagePurpose::ServerAuth);
    let (tls_port, dir) = (free_port(), theirs.path().display());
    let listener = format!("listener {tls_port} 127.0.0.1\ncertfile {dir}/broker.pem\nkeyfile {dir}/broker.key");
    let _broker = Mosquitto::start_with(&listener).await;
    let ca_file = format!("{}/ca.pem", ours.path().display());
    let mut source = source(&format!("mqtts://127.0.0.1:{tls_port}"), "5", json!({ "ca_file": ca_file }));
    source.connect();
    let report = until(&source, |report| report.state == State::Waiting).await;
    assert!(report.reason.contains("certificate"), "{}", report.reason);
    source.stop().await;
}

/// Writes `ca.pem` and returns what signs with it.
fn issue_ca(dir: &Path) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name = common_name("city CA");
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(dir.join("ca.pem"), certificate.pem()).unwrap();
    Issuer::new(params, key)
}

/// Writes `name.pem` and `name.key`, good for 127.0.0.1.
fn issue(issuer: &Issuer<'static, KeyPair>, dir: &Path, name: &str, purpose: ExtendedKeyUsagePurpose) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.distinguished_name = common_name(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    std::fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
    std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}
