use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::topics;
use super::wire::{Grant, Requests};
use crate::Backoff;

/// Filters in one SUBSCRIBE: AWS IoT Core takes no more than eight, the others take at least that.
const FILTERS_PER_SUBSCRIBE: usize = 8;

/// Waits before asking again for a refused filter: an operator may be at work on the permissions.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// What to ask the broker for, and what it answered. One question is open at a time: the answers carry no filters, and the
/// library gives packet identifiers again early when the broker allows few.
pub(super) struct Subscriptions {
    feed: Arc<str>,
    topics: Vec<String>,
    qos: u8,
    /// Filters the broker may still hold for us and nobody wants any more.
    unwanted: Vec<String>,
    /// Granted in the session the broker holds, with the QoS.
    granted: BTreeMap<String, u8>,
    /// Refused on this connection, with the broker's word.
    refused: BTreeMap<String, String>,
    questions: VecDeque<Question>,
    open: Option<Question>,
    backoff: Backoff,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
enum Question {
    Subscribe(Vec<String>),
    Unsubscribe(String),
}

impl Subscriptions {
    /// `previous_topics` are the filters of the configuration before this one.
    pub fn new(feed: Arc<str>, topics: Vec<String>, previous_topics: &[String], qos: u8) -> Self {
        let unwanted = previous_topics.iter().filter(|filter| !topics.contains(filter)).cloned().collect();
        Self {
            feed,
            topics,
            qos,
            unwanted,
            granted: BTreeMap::new(),
            refused: BTreeMap::new(),
            questions: VecDeque::new(),
            open: None,
            backoff: Backoff::new(FIRST_RETRY, LONGEST_RETRY),
            retry_at: None,
        }
    }

    /// A connection stands. Asks for all that this process has not seen granted in the session the broker holds: everything on
    /// its first connection, and everything when the broker has lost the session.
    pub fn connected(&mut self, session_present: bool, requests: &dyn Requests) {
        if !session_present {
            self.granted.clear();
            self.unwanted.clear();
        }
        self.refused.clear();
        self.open = None;
        self.retry_at = None;
        let missing: Vec<String> = self.topics.iter().filter(|filter| !self.granted.contains_key(*filter)).cloned().collect();
        self.questions = subscribe(&missing);
        self.questions.extend(self.unwanted.iter().cloned().map(Question::Unsubscribe));
        self.ask(requests);
    }

    /// The broker answers the open SUBSCRIBE. A filter without an answer counts as refused.
    pub fn subscribed(&mut self, grants: Vec<Grant>, requests: &dyn Requests) {
        if let Some(Question::Subscribe(filters)) = self.open.take() {
            let answers = grants.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
            for (filter, answer) in filters.into_iter().zip(answers) {
                self.record(filter, answer.unwrap_or_else(|| Grant::Refused("no answer".to_owned())));
            }
        }
        self.go_on(requests);
    }

    /// The broker answers the open UNSUBSCRIBE.
    pub fn unsubscribed(&mut self, requests: &dyn Requests) {
        if let Some(Question::Unsubscribe(filter)) = self.open.take() {
            info!(feed = %self.feed, filter, "unsubscribed from a filter that is no longer configured");
            self.unwanted.retain(|unwanted| *unwanted != filter);
        }
        self.go_on(requests);
    }

    /// When to call [`Subscriptions::retry`], if at all.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Asks again for what was refused, while the others go on.
    pub fn retry(&mut self, requests: &dyn Requests) {
        self.retry_at = None;
        if self.questions.is_empty() {
            let refused: Vec<String> = self.refused.keys().cloned().collect();
            self.questions = subscribe(&refused);
        }
        self.ask(requests);
    }

    /// Whether an answer is still awaited.
    pub fn asking(&self) -> bool {
        self.open.is_some()
    }

    /// Whether a filter asks for `topic`. A session older than the configuration may bring others.
    pub fn wants(&self, topic: &str) -> bool {
        self.topics.iter().any(|filter| topics::matches(filter, topic))
    }

    /// What a person should know about the filters; `None` when all are granted as asked.
    pub fn remark(&self) -> Option<String> {
        let mut parts: Vec<String> =
            self.refused.iter().map(|(filter, word)| format!("the broker refuses the filter {filter}: {word}")).collect();
        let lower = self.granted.iter().filter(|(_, qos)| **qos < self.qos);
        parts.extend(lower.map(|(filter, qos)| format!("the broker grants the filter {filter} only QoS {qos}")));
        if parts.is_empty() { None } else { Some(parts.join("; ")) }
    }

    fn record(&mut self, filter: String, answer: Grant) {
        match answer {
            Grant::Granted(qos) => {
                if qos < self.qos {
                    warn!(feed = %self.feed, filter, qos, "the broker grants a lower QoS than asked; messages may be lost");
                }
                self.refused.remove(&filter);
                self.granted.insert(filter, qos);
            }
            Grant::Refused(word) => {
                if !self.refused.contains_key(&filter) {
                    warn!(feed = %self.feed, filter, word, "the broker refuses a filter; it is asked again from time to time");
                }
                self.refused.insert(filter, word);
            }
        }
    }

    fn go_on(&mut self, requests: &dyn Requests) {
        self.ask(requests);
        if self.open.is_some() || self.retry_at.is_some() {
            return;
        }
        if self.refused.is_empty() {
            self.backoff.reset();
        } else {
            self.retry_at = Some(Instant::now() + self.backoff.next_wait());
        }
    }

    fn ask(&mut self, requests: &dyn Requests) {
        if self.open.is_some() {
            return;
        }
        let Some(question) = self.questions.pop_front() else {
            return;
        };
        let asked = match &question {
            Question::Subscribe(filters) => requests.subscribe(filters, self.qos),
            Question::Unsubscribe(filter) => requests.unsubscribe(filter),
        };
        if asked.is_ok() {
            self.open = Some(question);
        } else {
            self.questions.push_front(question);
            self.retry_at = Some(Instant::now() + self.backoff.next_wait());
        }
    }
}

fn subscribe(filters: &[String]) -> VecDeque<Question> {
    filters.chunks(FILTERS_PER_SUBSCRIBE).map(|chunk| Question::Subscribe(chunk.to_vec())).collect()
}
