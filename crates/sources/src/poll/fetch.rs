use std::time::Duration;

use bytes::{Bytes, BytesMut};
use datasjo_table::causes;
use http::header::{
    ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
};
use http::{Method as Verb, StatusCode};
use jiff::Timestamp;
use reqwest::redirect::{Action, Attempt, Policy};
use reqwest::{Client, Response};
use url::Url;

use super::address::{host, is_same_host, set_query, shown};
use super::config::{Method, PollConfig};
use super::headers::{fresh_for, next_link, retry_after, text};
use super::place::Place;
use super::{pace, paging::Asked};
use crate::{Secret, SourceError};

/// Who we are, to those who keep the services; a contact follows when one is configured.
const USER_AGENT: &str = concat!("datasjo/", env!("CARGO_PKG_VERSION"));

/// Longest wait for a connection; a service that is up answers in far less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most redirects in a row; more is a loop.
const MAX_REDIRECTS: usize = 5;

/// Asks one service and reads its answers.
pub(super) struct Fetcher {
    client: Client,
    verb: Verb,
    headers: HeaderMap,
    query_key: Option<(String, Secret)>,
    secrets: Vec<Secret>,
    max_payload_bytes: usize,
}

/// What came back.
pub(super) enum Answer {
    /// A page.
    Page(Page),
    /// Nothing new since the ETag or the date we sent.
    Unchanged {
        /// How long that stays so.
        fresh_for: Duration,
    },
}

/// One answer of 200 to 299.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
    pub(super) next_link: Option<String>,
    pub(super) fresh_for: Duration,
    pub(super) body: Bytes,
}

/// Why nothing came back, by what to do about it. The texts hold no secret.
pub(super) enum Failure {
    /// Repetition can mend it, no sooner than `after`.
    Later { reason: String, after: Option<Duration> },
    /// Repetition cannot mend it; the next regular round tries again.
    NextRound(String),
    /// The answer is longer than allowed; the next regular round tries again.
    TooLarge(String),
}

impl Fetcher {
    /// # Errors
    /// [`SourceError::Config`] when a header line or the TLS set-up cannot work.
    pub(super) fn new(config: &PollConfig) -> Result<Self, SourceError> {
        Ok(Self {
            client: client(config)?,
            verb: if config.method == Method::Post { Verb::POST } else { Verb::GET },
            headers: headers(config)?,
            query_key: config.api_key.as_ref().and_then(|key| Some((key.query.clone()?, key.secret.clone()))),
            secrets: secrets(config),
            max_payload_bytes: config.max_payload_bytes,
        })
    }

    /// The address as it may be shown in labels, errors and health.
    pub(super) fn shown(&self, url: &Url) -> String {
        shown(url, self.query_key.as_ref().map(|(name, _)| name.as_str()), &self.secrets)
    }

    /// Asks once, when the pace towards the host allows it. With `known` it asks only for what differs from that.
    pub(super) async fn fetch(&self, asked: &Asked, known: Option<&Place>) -> Result<Answer, Failure> {
        pace::turn(&host(&asked.url)).await;
        let response = self.send(asked, known).await?;
        let (status, now) = (response.status(), Timestamp::now());
        if status == StatusCode::NOT_MODIFIED {
            return Ok(Answer::Unchanged { fresh_for: fresh_for(response.headers(), now) });
        }
        if !status.is_success() {
            return Err(refusal(status, response.headers(), now));
        }
        let headers = response.headers().clone();
        let body = self.body(response).await?;
        Ok(Answer::Page(Page {
            status,
            etag: text(&headers, ETAG).map(str::to_owned),
            last_modified: text(&headers, LAST_MODIFIED).map(str::to_owned),
            next_link: next_link(&headers),
            fresh_for: fresh_for(&headers, now),
            body,
        }))
    }

    async fn send(&self, asked: &Asked, known: Option<&Place>) -> Result<Response, Failure> {
        let mut url = asked.url.clone();
        if let Some((name, secret)) = &self.query_key {
            set_query(&mut url, name, secret.reveal());
        }
        let mut request = self.client.request(self.verb.clone(), url).headers(self.headers.clone());
        if let Some(etag) = known.and_then(|place| place.etag.as_deref()) {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(date) = known.and_then(|place| place.last_modified.as_deref()) {
            request = request.header(IF_MODIFIED_SINCE, date);
        }
        if let Some(body) = &asked.body {
            request = request.body(body.clone());
        }
        request.send().await.map_err(|error| self.failure(error))
    }

    /// The body, read only as far as it is allowed to be long.
    async fn body(&self, mut response: Response) -> Result<Bytes, Failure> {
        let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
        if announced > self.max_payload_bytes {
            return Err(self.too_large());
        }
        let mut body = BytesMut::with_capacity(announced);
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(error))? {
            if body.len() + chunk.len() > self.max_payload_bytes {
                return Err(self.too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn too_large(&self) -> Failure {
        Failure::TooLarge(format!("the answer is longer than max_payload_bytes = {}", self.max_payload_bytes))
    }

    /// A request that could not be built or was led elsewhere stays wrong; everything else is the network.
    fn failure(&self, error: reqwest::Error) -> Failure {
        let (is_for_good, error) = (error.is_builder() || error.is_redirect(), error.without_url());
        let reason = self.secrets.iter().fold(causes(&error), |text, secret| text.replace(secret.reveal(), "***"));
        if is_for_good { Failure::NextRound(reason) } else { Failure::Later { reason, after: None } }
    }
}

/// What an answer outside 200 to 299 means. Only what the service itself calls passing is asked for again soon.
fn refusal(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Failure {
    let reason = format!("the service answered {status}");
    match status.as_u16() {
        429 | 500 | 502 | 503 | 504 => Failure::Later { reason, after: retry_after(headers, now) },
        401 | 403 => Failure::NextRound(format!("{reason}; check the credentials of this feed")),
        _ => Failure::NextRound(reason),
    }
}

fn client(config: &PollConfig) -> Result<Client, SourceError> {
    // Fails only when a provider is installed already, and then that one serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let contact = config.contact.as_ref().map(|contact| format!(" (+{contact})")).unwrap_or_default();
    Client::builder()
        .user_agent(format!("{USER_AGENT}{contact}"))
        .timeout(Duration::from_secs(config.timeout_s.into()))
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(Policy::custom(stay_with_the_host))
        .referer(false)
        .build()
        .map_err(|error| SourceError::Config(format!("poll: the HTTP client cannot be set up: {}", causes(&error.without_url()))))
}

/// Credentials are meant for one host; a redirect to another is an error and not a detour.
fn stay_with_the_host(attempt: Attempt) -> Action {
    let stays = attempt.previous().last().is_some_and(|from| is_same_host(from, attempt.url()));
    if !stays {
        return attempt.error("the service redirects to another host");
    }
    if attempt.previous().len() > MAX_REDIRECTS {
        return attempt.error("the service redirects in a circle");
    }
    attempt.follow()
}

fn headers(config: &PollConfig) -> Result<HeaderMap, SourceError> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    if config.body.is_some() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    for (name, value) in &config.headers {
        let (name, value) = line(name, value.reveal())?;
        headers.insert(name, value);
    }
    if let Some((name, key)) = config.api_key.as_ref().and_then(|key| Some((key.header.as_ref()?, &key.secret))) {
        let (name, value) = line(name, key.reveal())?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A header line whose value is never printed.
fn line(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), SourceError> {
    let wrong = || SourceError::Config(format!("poll: the header line {name:?} cannot be sent"));
    let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
    let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok((header, value))
}

/// Every secret of the feed, to keep them out of what is shown. An empty one would match everywhere.
fn secrets(config: &PollConfig) -> Vec<Secret> {
    let in_headers = config.headers.values().filter_map(|text| text.secret());
    let all = in_headers.chain(config.api_key.as_ref().map(|key| &key.secret));
    all.filter(|secret| !secret.reveal().is_empty()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passing_refusals_are_repeated_soon() {
        let none = HeaderMap::new();
        for code in [429, 500, 502, 503, 504] {
            let status = StatusCode::from_u16(code).unwrap();
            assert!(matches!(refusal(status, &none, Timestamp::UNIX_EPOCH), Failure::Later { .. }), "{code}");
        }
        for code in [302, 400, 401, 403, 404, 410, 422, 501] {
            let status = StatusCode::from_u16(code).unwrap();
            assert!(matches!(refusal(status, &none, Timestamp::UNIX_EPOCH), Failure::NextRound(_)), "{code}");
        }
    }
}
