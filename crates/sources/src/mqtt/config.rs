use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use super::topics;
use crate::Secret;

/// Filters per source: more than a city has, and the retry after a refusal stays short.
const MAX_TOPICS: usize = 1_000;

/// The largest `max_payload_bytes`: a payload is held in memory and written to disk whole.
const MAX_PAYLOAD_BYTES: usize = 64 * 1024 * 1024;

/// The shortest `keep_alive_s` the client library takes.
const MIN_KEEP_ALIVE_S: u16 = 5;

/// Which protocol to speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Version {
    /// MQTT 5: the broker is told how many messages may be under way and how large they may be, and gives reasons.
    #[default]
    #[serde(rename = "5")]
    V5,
    /// MQTT 3.1.1, for brokers that know no other.
    #[serde(rename = "3.1.1")]
    V311,
}

/// How to reach a broker and what to ask it for. Check it with [`MqttConfig::problems`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttConfig {
    /// `mqtt://host:port`, or `mqtts://host:port` for TLS. Without a port 1883 or 8883, as registered with IANA.
    pub url: Url,
    /// Topic filters, `$share/group/filter` included; 1 to 1,000. A filter taken away is given up at the broker too.
    pub topics: Vec<String>,
    /// The name under which the broker keeps our place. It must be ours alone and stay the same: with another one the
    /// messages kept for the old name are lost to us.
    pub client_id: String,
    /// `"5"` (default) or `"3.1.1"`.
    #[serde(default)]
    pub version: Version,
    /// The most careful delivery to ask for: 1 (default), so that what we have not stored is sent again, or 0 for sources
    /// whose loss nobody minds. 2 is not offered: it costs two more packets a message, and readings are unique by key anyway.
    #[serde(default = "default_qos")]
    pub qos: u8,
    /// User name, if the broker wants one.
    #[serde(default)]
    pub username: Option<String>,
    /// Password, as `{ env = "NAME" }` or `{ file = "path" }`.
    #[serde(default)]
    pub password: Option<Secret>,
    /// PEM file with the certificates that sign the broker's; needed for `mqtts`. Nothing else is trusted.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// PEM file with our own certificate chain, for brokers that ask for one.
    #[serde(default)]
    pub client_cert_file: Option<PathBuf>,
    /// PEM file with the key of `client_cert_file`.
    #[serde(default)]
    pub client_key_file: Option<PathBuf>,
    /// Seconds of silence after which a sign of life is asked for; 5 to 65,535, default 30. A dead line is found within twice
    /// that; less costs packets on metered lines.
    #[serde(default = "default_keep_alive_s")]
    pub keep_alive_s: u16,
    /// Seconds for which the broker keeps our place while we are away; default 604,800 (a week: a long weekend and a repair).
    /// MQTT 5 only; with 3.1.1 the broker decides.
    #[serde(default = "default_session_expiry_s")]
    pub session_expiry_s: u32,
    /// Messages under way without acknowledgement, at least 1; default 1,000. It bounds the memory held: at worst twice this
    /// many payloads of `max_payload_bytes`. MQTT 5 only; with 3.1.1 set the broker's own limit (mosquitto:
    /// `max_inflight_messages`), whose usual 20 makes a slow feed.
    #[serde(default = "default_receive_maximum")]
    pub receive_maximum: u16,
    /// Bytes of the longest payload taken; 1 to 67,108,864, default 1,048,576. Longer ones are counted, acknowledged and dropped.
    #[serde(default = "default_max_payload_bytes")]
    pub max_payload_bytes: usize,
    /// Seconds to wait for a connection and its answer; at least 1, default 10 (TLS over a slow line).
    #[serde(default = "default_connect_timeout_s")]
    pub connect_timeout_s: u16,
}

fn default_qos() -> u8 {
    1
}

fn default_keep_alive_s() -> u16 {
    30
}

fn default_session_expiry_s() -> u32 {
    7 * 24 * 60 * 60
}

fn default_receive_maximum() -> u16 {
    1_000
}

fn default_max_payload_bytes() -> usize {
    1024 * 1024
}

fn default_connect_timeout_s() -> u16 {
    10
}

impl MqttConfig {
    /// All that is wrong, each beginning with the key to change; empty when the source can be built. Files are looked at later.
    pub fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.url_problems(&mut found);
        self.topic_problems(&mut found);
        self.login_problems(&mut found);
        self.tls_problems(&mut found);
        self.limit_problems(&mut found);
        found
    }

    /// Host and port, for messages: never credentials.
    pub fn broker(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }

    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    pub(super) fn port(&self) -> u16 {
        self.url.port().unwrap_or(if self.is_tls() { 8883 } else { 1883 })
    }

    pub(super) fn is_tls(&self) -> bool {
        self.url.scheme() == "mqtts"
    }

    fn url_problems(&self, found: &mut Vec<String>) {
        let scheme = self.url.scheme();
        if !matches!(scheme, "mqtt" | "mqtts") {
            found.push(format!("url: the scheme is {scheme}; write mqtt://host:port or mqtts://host:port"));
        }
        if self.host().is_empty() {
            found.push("url: there is no host".to_owned());
        }
        if self.is_tls() && self.host().starts_with('[') {
            found.push("url: a certificate cannot be checked against an IPv6 address; use a host name".to_owned());
        }
        if !self.url.username().is_empty() || self.url.password().is_some() {
            found.push("url: credentials do not belong here; use username and password".to_owned());
        }
        if !matches!(self.url.path(), "" | "/") || self.url.query().is_some() || self.url.fragment().is_some() {
            found.push("url: nothing may follow the port; topics go into topics".to_owned());
        }
    }

    fn topic_problems(&self, found: &mut Vec<String>) {
        if self.topics.is_empty() {
            found.push("topics: there is no filter".to_owned());
        }
        if self.topics.len() > MAX_TOPICS {
            found.push(format!("topics: {} filters; at most {MAX_TOPICS}", self.topics.len()));
        }
        let mut seen = BTreeSet::new();
        for filter in &self.topics {
            if let Some(problem) = topics::filter_problem(filter) {
                found.push(format!("topics: \"{}\" {problem}", shortened(filter)));
            } else if !seen.insert(filter) {
                found.push(format!("topics: \"{}\" stands there twice", shortened(filter)));
            }
        }
    }

    fn login_problems(&self, found: &mut Vec<String>) {
        if self.client_id.is_empty() {
            found.push("client_id: it is empty; the broker keeps our place under it".to_owned());
        }
        if self.client_id.len() > topics::MAX_TEXT_BYTES || self.client_id.chars().any(char::is_control) {
            found.push("client_id: it is too long or has control characters".to_owned());
        }
        if self.username.as_ref().is_some_and(String::is_empty) {
            found.push("username: it is empty; leave it out".to_owned());
        }
        if self.password.is_some() && self.username.is_none() {
            found.push("password: it needs a username".to_owned());
        }
        let has_login = self.username.is_some() || self.password.is_some();
        if has_login && self.url.scheme() == "mqtt" && !is_loopback(self.host()) {
            found.push("url: username and password would cross the network in the clear; use mqtts".to_owned());
        }
    }

    fn tls_problems(&self, found: &mut Vec<String>) {
        if self.is_tls() && self.ca_file.is_none() {
            found.push("ca_file: mqtts needs the certificates that sign the broker's".to_owned());
        }
        match (&self.client_cert_file, &self.client_key_file) {
            (Some(_), None) => found.push("client_key_file: client_cert_file needs its key".to_owned()),
            (None, Some(_)) => found.push("client_cert_file: client_key_file needs its certificate".to_owned()),
            _ => {}
        }
        let files = [&self.ca_file, &self.client_cert_file, &self.client_key_file];
        if !self.is_tls() && files.into_iter().any(Option::is_some) {
            found.push("url: certificates are named but the scheme is not mqtts".to_owned());
        }
    }

    fn limit_problems(&self, found: &mut Vec<String>) {
        if self.qos > 1 {
            found.push(format!("qos: {}; 0 or 1", self.qos));
        }
        if self.keep_alive_s < MIN_KEEP_ALIVE_S {
            found.push(format!("keep_alive_s: {}; at least {MIN_KEEP_ALIVE_S}", self.keep_alive_s));
        }
        if self.session_expiry_s == 0 {
            found.push("session_expiry_s: 0 would lose what is sent while we are away".to_owned());
        }
        if self.receive_maximum == 0 {
            found.push("receive_maximum: 0; at least 1".to_owned());
        }
        if self.max_payload_bytes == 0 || self.max_payload_bytes > MAX_PAYLOAD_BYTES {
            found.push(format!("max_payload_bytes: {}; 1 to {MAX_PAYLOAD_BYTES}", self.max_payload_bytes));
        }
        if self.connect_timeout_s == 0 {
            found.push("connect_timeout_s: 0; at least 1".to_owned());
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Enough of a filter to find it in the file.
fn shortened(filter: &str) -> String {
    filter.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn config(changes: Value) -> MqttConfig {
        let mut value = json!({"url": "mqtt://127.0.0.1:1883", "topics": ["meters/#"], "client_id": "lake"});
        if let (Value::Object(all), Value::Object(changes)) = (&mut value, changes) {
            all.extend(changes);
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_shortest_config_is_enough_and_has_the_documented_defaults() {
        let config = config(json!({}));
        assert_eq!(config.problems(), Vec::<String>::new());
        assert_eq!((config.version, config.qos, config.keep_alive_s), (Version::V5, 1, 30));
        assert_eq!((config.session_expiry_s, config.receive_maximum), (604_800, 1_000));
        assert_eq!((config.max_payload_bytes, config.connect_timeout_s), (1_048_576, 10));
        assert_eq!(config.broker(), "127.0.0.1:1883");
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let value = json!({"url": "mqtt://h", "topics": ["a"], "client_id": "c", "topic": "b"});
        assert!(serde_json::from_value::<MqttConfig>(value).is_err());
    }

    #[test]
    fn every_mistake_is_named_by_its_key() {
        let cases = [
            (json!({"url": "http://h:1"}), "url: the scheme is http"),
            (json!({"url": "mqtt://user:secret@localhost:1"}), "url: credentials"),
            (json!({"url": "mqtt://localhost:1/meters"}), "url: nothing may follow"),
            (json!({"topics": []}), "topics: there is no filter"),
            (json!({"topics": ["a/#/b"]}), "topics: \"a/#/b\" has a #"),
            (json!({"topics": ["a", "a"]}), "topics: \"a\" stands there twice"),
            (json!({"client_id": ""}), "client_id: it is empty"),
            (json!({"url": "mqtt://broker.example:1883", "username": "u"}), "url: username and password would cross"),
            (json!({"url": "mqtts://broker.example"}), "ca_file: mqtts needs"),
            (json!({"url": "mqtts://h", "ca_file": "ca.pem", "client_key_file": "k.pem"}), "client_cert_file: "),
            (json!({"url": "mqtts://h", "ca_file": "ca.pem", "client_cert_file": "c.pem"}), "client_key_file: "),
            (json!({"ca_file": "ca.pem"}), "url: certificates are named"),
            (json!({"qos": 2}), "qos: 2"),
            (json!({"keep_alive_s": 4}), "keep_alive_s: 4"),
            (json!({"session_expiry_s": 0}), "session_expiry_s: 0"),
            (json!({"receive_maximum": 0}), "receive_maximum: 0"),
            (json!({"max_payload_bytes": 0}), "max_payload_bytes: 0"),
            (json!({"connect_timeout_s": 0}), "connect_timeout_s: 0"),
        ];
        for (changes, expected) in cases {
            let problems = config(changes.clone()).problems();
            assert!(problems.iter().any(|p| p.starts_with(expected)), "{changes}: {problems:?}");
            assert!(!problems.concat().contains("secret"), "{problems:?}");
        }
    }

    #[test]
    fn all_mistakes_come_at_once() {
        let problems = config(json!({"qos": 3, "client_id": "", "topics": ["#a", "b+"]})).problems();
        assert_eq!(problems.len(), 4, "{problems:?}");
    }
}
