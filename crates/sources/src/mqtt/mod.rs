//! MQTT 5 and 3.1.1.
//!
//! The broker keeps a session under our stable client id; messages come with QoS 1 and are acknowledged by us, not by the
//! library, once they are settled. So whatever was not on disk when a process or a line ends is sent again.
//!
//! One task drives the line and puts deliveries into a bounded channel. With MQTT 5 it has room for all the broker may have
//! under way (`receive_maximum`), twice: for a lost connection and the repetition on the next. With 3.1.1 and a broker without
//! a limit of its own, or with a flood of QoS 0, the task waits for room: that is the back-pressure that bounds memory. While
//! it waits no signs of life are sent, so the broker may end the connection after one and a half times `keep_alive_s`; nothing
//! is lost by that. [`Source::settle`] puts acknowledgements in line itself, so the task never waits for storage.
//!
//! On every new session all filters are asked for again; filters of an earlier configuration are given up, and messages
//! still kept for them are acknowledged and dropped.

mod acks;
mod config;
mod connection;
mod subscriptions;
mod tls;
pub mod topics;
mod wire;
mod wire_v3;
mod wire_v5;

#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustls::ClientConfig;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::acks::Acks;
use self::connection::{Connection, Course};
use self::subscriptions::Subscriptions;
use self::wire::Requests;
use crate::{Delivery, Health, Mark, Source, SourceError};

pub use self::config::{MqttConfig, Version};

/// How long a stop may take: less than the second [`Source::stop`] promises.
const STOP_WITHIN: Duration = Duration::from_millis(800);

/// Messages from a broker. The connection is made by [`MqttSource::connect`] or the first [`Source::next`], inside a tokio
/// runtime; dropping the source without [`Source::stop`] cuts it, as a crash would.
pub struct MqttSource {
    feed: Arc<str>,
    config: MqttConfig,
    previous_topics: Vec<String>,
    tls: Option<Arc<ClientConfig>>,
    health: Health,
    stop: CancellationToken,
    running: Option<Running>,
    /// The last mark handed out.
    handed: Mark,
}

/// What there is once the connection task runs.
struct Running {
    deliveries: mpsc::Receiver<Delivery>,
    requests: Arc<dyn Requests>,
    acks: Arc<Acks>,
    task: JoinHandle<()>,
}

impl MqttSource {
    /// A source for `feed` that is not connected yet.
    ///
    /// Errors: [`SourceError::Config`] with all of [`MqttConfig::problems`] or an unusable certificate, [`SourceError::Io`] when
    /// a certificate file cannot be read.
    pub fn new(feed: &str, config: MqttConfig) -> Result<Self, SourceError> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(SourceError::Config(problems.join("; ")));
        }
        let tls = tls::client_config(&config)?;
        Ok(Self {
            feed: Arc::from(feed),
            config,
            previous_topics: Vec::new(),
            tls,
            health: Health::default(),
            stop: CancellationToken::new(),
            running: None,
            handed: 0,
        })
    }

    /// The filters of the configuration before this one. Those that are no longer asked for are given up at the broker, which
    /// would else keep sending for them.
    #[must_use]
    pub fn with_previous_topics(mut self, topics: Vec<String>) -> Self {
        self.previous_topics = topics;
        self
    }

    /// Begins to connect, as the first [`Source::next`] does otherwise: for those who want the subscriptions to stand
    /// ([`crate::State::Up`]) before they wait. Needs a tokio runtime.
    pub fn connect(&mut self) {
        if self.running.is_none() && !self.stop.is_cancelled() {
            self.running = Some(self.start());
        }
    }

    fn start(&self) -> Running {
        let open = match self.config.version {
            Version::V5 => wire_v5::open,
            Version::V311 => wire_v3::open,
        };
        let (wire, requests) = open(&self.config, self.tls.clone());
        let acks = Arc::new(Acks::new(Arc::clone(&requests)));
        let (sender, deliveries) = mpsc::channel(2 * usize::from(self.config.receive_maximum));
        let topics = self.config.topics.clone();
        let connection = Connection {
            feed: Arc::clone(&self.feed),
            broker: self.config.broker(),
            client_id: self.config.client_id.clone(),
            max_payload_bytes: self.config.max_payload_bytes,
            wire,
            requests: Arc::clone(&requests),
            acks: Arc::clone(&acks),
            subscriptions: Subscriptions::new(Arc::clone(&self.feed), topics, &self.previous_topics, self.config.qos),
            deliveries: sender,
            health: self.health.clone(),
            stop: self.stop.clone(),
            course: Course::new(),
        };
        Running { deliveries, requests, acks, task: tokio::spawn(connection.run()) }
    }

    /// The task ended though nobody asked it to.
    fn broken_off(&self) -> SourceError {
        let reason = "the connection task ended unexpectedly".to_owned();
        self.health.ended(Some(reason.clone()));
        SourceError::Refused { far_side: self.config.broker(), reason }
    }
}

#[async_trait]
impl Source for MqttSource {
    async fn next(&mut self) -> Result<Option<Delivery>, SourceError> {
        self.connect();
        let Some(running) = self.running.as_mut() else {
            return Ok(None);
        };
        let Some(delivery) = running.deliveries.recv().await else {
            return Err(self.broken_off());
        };
        self.handed = delivery.mark;
        self.health.delivered(delivery.payload.len());
        Ok(Some(delivery))
    }

    async fn settle(&mut self, mark: Mark) -> Result<(), SourceError> {
        if let Some(running) = &self.running {
            running.acks.settle(mark.min(self.handed));
        }
        Ok(())
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        if let Some(mut running) = self.running.take() {
            // Behind the acknowledgements already in line. Without a connection it goes nowhere and the task ends by itself.
            let _ = running.requests.disconnect();
            if tokio::time::timeout(STOP_WITHIN, &mut running.task).await.is_err() {
                running.task.abort();
            }
        }
        self.health.ended(None);
    }

    fn health(&self) -> Health {
        self.health.clone()
    }
}

impl Drop for MqttSource {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.task.abort();
        }
    }
}
