use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use http::HeaderName;
use serde::Deserialize;

use crate::Secret;

/// The one door for everything that is pushed to us.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenConfig {
    /// Address and port, such as `0.0.0.0:8443`. No default. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate and key. Default none: plain HTTP, which is allowed on this machine and behind a proxy only.
    #[serde(default)]
    pub tls: Option<TlsFiles>,
    /// True when a proxy in front ends TLS and reaches us over a network nobody else is on. Default false.
    #[serde(default)]
    pub behind_proxy: bool,
    /// Most connections at once, 1 to 65 536. Default 256: some thousand cameras that post once a minute, and 256 bodies of
    /// 1 MiB fit into memory. One more is closed at once.
    #[serde(default = "max_connections")]
    pub max_connections: usize,
    /// Seconds for each step of a request: for its header lines, for its body, and for the answer, which waits until the body
    /// is safe on disk. 1 to 300. Default 30. A slower sender is sent away and its place is free again.
    #[serde(default = "request_timeout_s")]
    pub request_timeout_s: u32,
}

/// Two files in PEM. They are read at the start.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate with its chain, ours first. No default.
    pub cert_file: PathBuf,
    /// Its private key (PKCS#8, PKCS#1 or SEC1). No default.
    pub key_file: PathBuf,
}

/// What one feed takes, from whom.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushConfig {
    /// The path it is posted to, such as `/push/parking`. No default. No other feed may have the same.
    pub path: String,
    /// Who may post. No default; at least one and at most 100, so that each can be withdrawn without the others.
    pub tokens: Vec<Token>,
    /// Most bytes of one body, 1 to 64 MiB. Default 1 MiB: sensor messages are a hundredth of that.
    #[serde(default = "max_payload_bytes")]
    pub max_payload_bytes: usize,
    /// Most requests a minute for each token, 1 to 60 000. Default 600: ten a second, far above what one device sends and far
    /// below what would delay the others.
    #[serde(default = "requests_per_minute")]
    pub requests_per_minute: u32,
    /// Most bodies that wait to be taken, 1 to 10 000. Default 64. When they are that many the sender is asked to come again.
    #[serde(default = "queue_length")]
    pub queue_length: usize,
}

/// One sender.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its name in labels and health; not secret. No default.
    pub name: String,
    /// How it proves itself. No default.
    pub auth: Auth,
}

/// How a sender proves itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Auth {
    /// `Authorization: Bearer TOKEN` (RFC 6750).
    Bearer(Secret),
    /// HMAC-SHA-256 over the body (RFC 2104), as webhooks send it. A leading `sha256=` is accepted.
    Hmac {
        /// The shared secret.
        secret: Secret,
        /// The header line with the signature, such as `X-Signature`.
        header: String,
        /// How the signature is written. Default `hex`.
        #[serde(default)]
        encoding: Encoding,
    },
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// 64 hexadecimal digits, small or large.
    #[default]
    Hex,
    /// Base64 with padding (RFC 4648, 4).
    Base64,
}

/// A shorter token can be guessed; 16 characters of a random text are 80 bits and more.
const SHORTEST_SECRET: usize = 16;

fn max_connections() -> usize {
    256
}

fn request_timeout_s() -> u32 {
    30
}

fn max_payload_bytes() -> usize {
    1024 * 1024
}

fn requests_per_minute() -> u32 {
    600
}

fn queue_length() -> usize {
    64
}

impl ListenConfig {
    /// All that cannot work, one sentence each, naming the key; empty when all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.listen.ip().is_loopback() && self.tls.is_none() && !self.behind_proxy {
            problems.push(
                "listen: is open to others without TLS; name tls.cert_file and tls.key_file, or set behind_proxy = true"
                    .to_owned(),
            );
        }
        if !(1..=65_536).contains(&self.max_connections) {
            problems.push(format!("max_connections: {} is outside 1 to 65536", self.max_connections));
        }
        if !(1..=300).contains(&self.request_timeout_s) {
            problems.push(format!("request_timeout_s: {} is outside 1 to 300", self.request_timeout_s));
        }
        problems
    }
}

impl PushConfig {
    /// All that cannot work, one sentence each, naming the key; empty when all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.path.starts_with('/') || self.path.contains(['?', '#', '%', ' ']) {
            problems.push("path: must begin with / and hold neither ?, #, % nor spaces".to_owned());
        }
        if !(1..=64 << 20).contains(&self.max_payload_bytes) {
            problems.push(format!("max_payload_bytes: {} is outside 1 to 67108864", self.max_payload_bytes));
        }
        if !(1..=60_000).contains(&self.requests_per_minute) {
            problems.push(format!("requests_per_minute: {} is outside 1 to 60000", self.requests_per_minute));
        }
        if !(1..=10_000).contains(&self.queue_length) {
            problems.push(format!("queue_length: {} is outside 1 to 10000", self.queue_length));
        }
        problems.extend(self.token_problems());
        problems
    }

    fn token_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !(1..=100).contains(&self.tokens.len()) {
            problems.push(format!("tokens: {} are named; at least 1 and at most 100", self.tokens.len()));
        }
        let mut names = BTreeSet::new();
        for token in &self.tokens {
            if !names.insert(&token.name) {
                problems.push(format!("tokens: the name {:?} stands twice", token.name));
            }
            problems.extend(token.problems());
        }
        problems
    }
}

impl Token {
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let secret = match &self.auth {
            Auth::Bearer(secret) => secret,
            Auth::Hmac { secret, header, .. } => {
                if HeaderName::from_bytes(header.as_bytes()).is_err() {
                    problems.push(format!("tokens: the header of {:?} is not a header name", self.name));
                }
                secret
            }
        };
        if secret.reveal().len() < SHORTEST_SECRET {
            problems.push(format!("tokens: the secret of {:?} is shorter than {SHORTEST_SECRET} characters", self.name));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listen(config: serde_json::Value) -> Vec<String> {
        serde_json::from_value::<ListenConfig>(config).unwrap().problems()
    }

    #[test]
    fn the_open_network_needs_tls_or_a_proxy() {
        assert!(listen(json!({ "listen": "0.0.0.0:8443" }))[0].starts_with("listen"));
        assert_eq!(listen(json!({ "listen": "127.0.0.1:0" })), Vec::<String>::new());
        assert_eq!(listen(json!({ "listen": "[::]:80", "behind_proxy": true })), Vec::<String>::new());
        let tls = json!({ "cert_file": "cert.pem", "key_file": "key.pem" });
        assert_eq!(listen(json!({ "listen": "0.0.0.0:8443", "tls": tls })), Vec::<String>::new());
    }

    #[test]
    fn all_mistakes_are_listed_at_once() {
        let short = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(short.path(), "short").unwrap();
        let bearer = json!({ "name": "camera", "auth": { "bearer": { "file": short.path() } } });
        let hmac = json!({ "name": "camera", "auth": { "hmac": { "secret": { "file": short.path() }, "header": "X Y" } } });
        let config = json!({ "path": "push", "tokens": [bearer, hmac], "max_payload_bytes": 0 });
        let problems = serde_json::from_value::<PushConfig>(config).unwrap().problems();
        for part in ["path", "max_payload_bytes", "stands twice", "not a header name", "shorter than"] {
            assert!(problems.iter().any(|problem| problem.contains(part)), "no problem with {part:?} in {problems:?}");
        }
    }
}
