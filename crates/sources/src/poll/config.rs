use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use url::{Host, Url};

use super::header_text::HeaderText;
use super::template::{CURSOR, SINCE, UNTIL, Window};
use crate::Secret;

/// One service that is asked regularly.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollConfig {
    /// The address. May hold `{since}` and `{until}`, filled with RFC 3339 times in UTC (`2026-08-01T10:00:00Z`). No default.
    /// Credentials do not belong here: see `headers` and `api_key`.
    pub url: String,
    /// `GET` or `POST`. Default `GET`.
    #[serde(default)]
    pub method: Method,
    /// What a `POST` sends, as text (a GraphQL query in its JSON envelope). May hold `{since}`, `{until}` and, with cursor
    /// paging, `{cursor}`, which becomes a JSON string with its quotes, or `null` on the first page. Default none.
    #[serde(default)]
    pub body: Option<String>,
    /// Header lines, name to text or to a secret kept elsewhere: `Authorization = { env = "SERVICE_TOKEN" }`. Default none;
    /// a `POST` without a `Content-Type` of its own sends `application/json`.
    #[serde(default)]
    pub headers: BTreeMap<String, HeaderText>,
    /// A key the service wants in a header or in the query. Default none.
    #[serde(default)]
    pub api_key: Option<ApiKey>,
    /// Seconds from the start of one round to the start of the next, 1 to 604 800. Default 300: most public services
    /// publish every five to ten minutes. A service that names a later time (`Expires`, `max-age`) is asked then.
    #[serde(default = "every_s")]
    pub every_s: u32,
    /// Seconds that `{since}` goes back behind the start of the newest round that is safe on disk. Default 3600: services
    /// revise and complete their values afterwards, and what comes twice is recognised by its key.
    #[serde(default = "overlap_s")]
    pub overlap_s: u32,
    /// Seconds that `{since}` goes back on the very first round. Default 86 400: one day, so that the first tables are not empty.
    #[serde(default = "history_s")]
    pub history_s: u32,
    /// How one answer leads to the next. Default `none`.
    #[serde(default)]
    pub paging: Paging,
    /// Most pages in one round. Default 1000: a service whose "next" never ends must not keep us for ever. A round that
    /// reaches it is reported and not counted as done.
    #[serde(default = "max_pages")]
    pub max_pages: u32,
    /// Most bytes of one answer after decompression. Default 32 MiB: ten times the largest answer of the public services we
    /// know, and small enough for a machine with 2 GiB. A longer one is refused while it arrives.
    #[serde(default = "max_payload_bytes")]
    pub max_payload_bytes: usize,
    /// Seconds for one request from connecting to the last byte, 1 to 600. Default 30.
    #[serde(default = "timeout_s")]
    pub timeout_s: u32,
    /// Most requests a minute to this host, all feeds of the process together; the lowest of several feeds holds. 1 to 6000.
    /// Default 120: polite to a public service, and a hundred pages still take less than a minute.
    #[serde(default = "requests_per_minute")]
    pub requests_per_minute: u32,
    /// Allows credentials over plain `http://` to a host other than this machine. Default false: they could be read on the way.
    #[serde(default)]
    pub allow_http: bool,
    /// Whom the service may write to, an e-mail or web address; part of the `User-Agent`. Default none; MET Norway and
    /// others ask for one and block those without.
    #[serde(default)]
    pub contact: Option<String>,
}

/// How the service is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Asks by address.
    #[default]
    Get,
    /// Sends a body (GraphQL, SensorThings batch).
    Post,
}

/// A key in a header or in the query: exactly one of `header` and `query` names the place.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Name of the header line that carries it. Default none.
    #[serde(default)]
    pub header: Option<String>,
    /// Name of the query parameter that carries it. Default none.
    #[serde(default)]
    pub query: Option<String>,
    /// The key. No default.
    pub secret: Secret,
}

/// How one answer leads to the next. A pointer is a JSON pointer (RFC 6901): `/links/next`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Paging {
    /// One answer holds all.
    #[default]
    None,
    /// The answer holds the address of the next page; absent, null or empty on the last.
    NextLink {
        /// Where it stands.
        pointer: String,
    },
    /// The answer holds a text that leads to the next page.
    Cursor {
        /// Where it stands.
        pointer: String,
        /// Where a true or false says whether there is more. Default none: the last page has no cursor, or the one it was asked with.
        #[serde(default)]
        has_more: Option<String>,
        /// The query parameter that carries it. Default none: it stands as `{cursor}` in `body`.
        #[serde(default)]
        variable: Option<String>,
        /// True for a log that only grows: the next round goes on behind the newest cursor. Default false: each round starts
        /// at the first page.
        #[serde(default)]
        resume: bool,
    },
    /// Pages are counted.
    PageNumber {
        /// The query parameter with the number.
        param: String,
        /// Number of the first page. Default 1.
        #[serde(default = "first_page")]
        first: u64,
        /// Where the list of a page stands; a page on which it is empty, null or absent is the last.
        until_empty: String,
    },
    /// The header line `Link: <address>; rel="next"` (RFC 8288).
    LinkHeader,
}

fn every_s() -> u32 {
    300
}

fn overlap_s() -> u32 {
    3600
}

fn history_s() -> u32 {
    86_400
}

fn max_pages() -> u32 {
    1000
}

fn max_payload_bytes() -> usize {
    32 * 1024 * 1024
}

fn timeout_s() -> u32 {
    30
}

fn requests_per_minute() -> u32 {
    120
}

fn first_page() -> u64 {
    1
}

/// Header lines that carry credentials by custom; written as plain text they would end up in backups and repositories.
const SECRET_BY_CUSTOM: [&str; 5] = ["authorization", "proxy-authorization", "cookie", "x-api-key", "ocp-apim-subscription-key"];

impl PollConfig {
    /// All that cannot work, one sentence each, naming the key; empty when all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.url_problems();
        problems.extend(self.body_problems());
        problems.extend(self.header_problems());
        problems.extend(self.api_key_problems());
        problems.extend(self.paging_problems());
        problems.extend(self.number_problems());
        problems
    }

    /// Whether a request shows who we are.
    fn has_credentials(&self) -> bool {
        self.api_key.is_some() || self.headers.values().any(|text| matches!(text, HeaderText::Secret(_)))
    }

    fn url_problems(&self) -> Vec<String> {
        let filled = Window::example().fill(&self.url);
        if filled.contains(['{', '}']) {
            return vec![format!("url: only {SINCE} and {UNTIL} are filled in; another brace is left")];
        }
        let Ok(url) = Url::parse(&filled) else {
            return vec!["url: not a full address (https://host/path)".to_owned()];
        };
        let mut problems = Vec::new();
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            problems.push("url: must begin with https:// or http:// and name a host".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            problems.push("url: holds a user name or password; put it into headers as a secret".to_owned());
        }
        if url.scheme() == "http" && self.has_credentials() && !self.allow_http && !is_loopback(&url) {
            problems.push("url: would send credentials over plain http; use https, or set allow_http = true".to_owned());
        }
        problems
    }

    fn body_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.body.is_some() && self.method == Method::Get {
            problems.push("body: a GET sends none; set method = \"POST\"".to_owned());
        }
        let holds_cursor = self.body.as_ref().is_some_and(|body| body.contains(CURSOR));
        match &self.paging {
            Paging::Cursor { variable: None, .. } if !holds_cursor => {
                problems.push(format!("paging: a cursor needs {CURSOR} in body, or variable with the name of a query parameter"));
            }
            Paging::Cursor { variable: Some(_), .. } if holds_cursor => {
                problems.push(format!("paging: the cursor goes into {CURSOR} or into variable, not into both"));
            }
            Paging::Cursor { .. } => {}
            _ if holds_cursor => problems.push(format!("body: {CURSOR} is filled in with paging = cursor only")),
            _ => {}
        }
        problems
    }

    fn header_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, text) in &self.headers {
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                problems.push(format!("headers: {name:?} is not a header name"));
            }
            if HeaderValue::from_str(text.reveal()).is_err() {
                problems.push(format!("headers: the text of {name} holds a character that a header line cannot carry"));
            }
            let by_custom = SECRET_BY_CUSTOM.contains(&name.to_ascii_lowercase().as_str());
            if by_custom && matches!(text, HeaderText::Plain(_)) {
                problems.push(format!(
                    "headers: {name} holds a secret as plain text; write {{ env = \"NAME\" }} or {{ file = \"PATH\" }}"
                ));
            }
        }
        if self.contact.as_ref().is_some_and(|c| !c.bytes().all(|b| b.is_ascii_graphic()) || c.contains(['(', ')'])) {
            problems.push("contact: one e-mail or web address in plain ASCII, without spaces and parentheses".to_owned());
        }
        problems
    }

    fn api_key_problems(&self) -> Vec<String> {
        let Some(key) = &self.api_key else {
            return Vec::new();
        };
        let mut problems = Vec::new();
        if key.header.is_some() == key.query.is_some() {
            problems.push("api_key: name either header or query, and one of them only".to_owned());
        }
        if key.header.as_ref().is_some_and(|name| HeaderName::from_bytes(name.as_bytes()).is_err()) {
            problems.push("api_key: header is not a header name".to_owned());
        }
        if key.header.is_some() && HeaderValue::from_str(key.secret.reveal()).is_err() {
            problems.push("api_key: the key holds a character that a header line cannot carry".to_owned());
        }
        problems
    }

    fn paging_problems(&self) -> Vec<String> {
        let mut pointers = Vec::new();
        match &self.paging {
            Paging::None | Paging::LinkHeader => {}
            Paging::NextLink { pointer } => pointers.push(("pointer", pointer)),
            Paging::Cursor { pointer, has_more, .. } => {
                pointers.push(("pointer", pointer));
                pointers.extend(has_more.iter().map(|p| ("has_more", p)));
            }
            Paging::PageNumber { until_empty, .. } => pointers.push(("until_empty", until_empty)),
        }
        pointers.retain(|(_, pointer)| !pointer.is_empty() && !pointer.starts_with('/'));
        pointers.iter().map(|(key, _)| format!("paging: {key} must be a JSON pointer, such as /links/next")).collect()
    }

    fn number_problems(&self) -> Vec<String> {
        let checks: [(&str, u64, u64, u64); 7] = [
            ("every_s", u64::from(self.every_s), 1, 604_800),
            ("overlap_s", u64::from(self.overlap_s), 0, 31_622_400),
            ("history_s", u64::from(self.history_s), 0, 3_162_240_000),
            ("max_pages", u64::from(self.max_pages), 1, 1_000_000),
            ("max_payload_bytes", self.max_payload_bytes as u64, 1, 1 << 30),
            ("timeout_s", u64::from(self.timeout_s), 1, 600),
            ("requests_per_minute", u64::from(self.requests_per_minute), 1, 6000),
        ];
        let outside = checks.iter().filter(|(_, value, least, most)| !(least..=most).contains(&value));
        outside.map(|(key, value, least, most)| format!("{key}: {value} is outside {least} to {most}")).collect()
    }

    /// The times of a round that starts `now`, when the newest round safe on disk started at `fetched_at`.
    pub(super) fn window(&self, fetched_at: Option<Timestamp>, now: Timestamp) -> Window {
        match fetched_at {
            Some(newest) => Window::new(newest, self.overlap_s, now),
            None => Window::new(now, self.history_s, now),
        }
    }

    /// Whether the same address always means the same question, so that its ETag may be asked about.
    pub(super) fn is_repeatable(&self) -> bool {
        let moving = [SINCE, UNTIL].iter().any(|place| self.url.contains(place));
        self.method == Method::Get && !moving && matches!(self.paging, Paging::None)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problems(config: Value) -> Vec<String> {
        serde_json::from_value::<PollConfig>(config).unwrap().problems()
    }

    #[test]
    fn the_smallest_configuration_is_an_address() {
        assert_eq!(problems(json!({ "url": "https://data.example/now?from={since}" })), Vec::<String>::new());
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let refused = serde_json::from_value::<PollConfig>(json!({ "url": "https://data.example", "intervall": 5 }));
        assert!(refused.unwrap_err().to_string().contains("intervall"));
    }

    #[test]
    fn all_mistakes_are_listed_at_once() {
        let found = problems(json!({
            "url": "https://user:word@data.example/{from}",
            "body": "{cursor}",
            "headers": { "Authorization": "Bearer abc", "no name": "x" },
            "paging": { "next_link": { "pointer": "links.next" } },
            "every_s": 0,
        }));
        for key in ["url", "body", "headers: Authorization", "headers: \"no name\"", "paging: pointer", "every_s"] {
            assert!(found.iter().any(|problem| problem.starts_with(key)), "no problem named {key} in {found:?}");
        }
    }

    #[test]
    fn credentials_over_plain_http_stay_on_this_machine() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "key\n").unwrap();
        let with_key = |url: &str| json!({ "url": url, "api_key": { "header": "X-Key", "secret": { "file": file.path() } } });
        assert_eq!(problems(with_key("http://127.0.0.1:80/")), Vec::<String>::new());
        assert_eq!(problems(with_key("http://[::1]:80/")), Vec::<String>::new());
        assert!(problems(with_key("http://data.example/"))[0].contains("plain http"));
    }

    #[test]
    fn a_missing_secret_is_named_and_a_found_one_never_printed() {
        let missing =
            json!({ "url": "https://data.example", "headers": { "Authorization": { "env": "DATASJO_NO_SUCH_VARIABLE" } } });
        let error = serde_json::from_value::<PollConfig>(missing).unwrap_err().to_string();
        assert!(error.contains("DATASJO_NO_SUCH_VARIABLE"), "{error}");

        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "quite-secret").unwrap();
        let held = json!({ "url": "https://data.example", "headers": { "Authorization": { "file": file.path() } } });
        let config: PollConfig = serde_json::from_value(held).unwrap();
        assert!(!format!("{config:?}").contains("quite-secret"));
    }
}
