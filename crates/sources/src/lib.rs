//! Bytes in. A source waits for what sensors and services send, hands it on with what the transport knew, and is told
//! when it is safe on disk; only then does it answer (PUBACK, HTTP 2xx, cursor). It decodes nothing and stores nothing.
//!
//! Every source passes the list in [`conformance`].

#![warn(missing_docs)]

mod backoff;
pub mod conformance;
pub mod file;
mod health;
pub mod memory;
pub mod mqtt;
pub mod poll;
pub mod push;
mod secret;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use datasjo_table::Labels;

pub use backoff::Backoff;
pub use health::{Health, HealthReport, State};
pub use secret::{Secret, SecretProblem};

/// A place in the order in which one source hands out deliveries; the first is 1 and each next is one more. It is never
/// stored: a source that starts again starts at 1.
pub type Mark = u64;

/// One thing that arrived, raw.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The feed it belongs to, as named in the configuration.
    pub feed: Arc<str>,
    /// What the transport knew: topic, file name, path.
    pub labels: Labels,
    /// When it came through our door, in microseconds since 1970 UTC.
    pub received_at_us: i64,
    /// MQTT only: a retained message, which is old news: it sets a state and proves no life.
    pub retained: bool,
    /// The bytes, untouched.
    pub payload: Bytes,
    /// Its place in the order of this source.
    pub mark: Mark,
}

/// One way bytes reach the lake. Pulled, so that `ingest` sets the pace.
#[async_trait]
pub trait Source: Send {
    /// Waits for the next delivery; `None` when the source has ended (a file read once). A lost connection is not an
    /// error: the source waits, with jitter, and tries again, and says so in its [`Health`].
    ///
    /// Cancel-safe: a dropped wait loses nothing.
    async fn next(&mut self) -> Result<Option<Delivery>, SourceError>;

    /// Everything up to and including `mark` is on disk. May be called again for the same mark. Never blocks on the network.
    async fn settle(&mut self, mark: Mark) -> Result<(), SourceError>;

    /// Ends it: what was settled is acknowledged, connections are closed. Returns within a second.
    async fn stop(&mut self);

    /// What it is doing; cheap, shared and readable at any time.
    fn health(&self) -> Health;
}

/// What can end a source for good. What repetition can mend never comes out of a source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The configuration cannot work: the message names what to change.
    #[error("{0}")]
    Config(String),
    /// The far side refuses us for good: credentials, permissions, an unknown resource.
    #[error("{far_side} refuses: {reason}")]
    Refused {
        /// Host or broker, without credentials.
        far_side: String,
        /// Its words.
        reason: String,
    },
    /// A local file or directory cannot be used.
    #[error("read {path}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The place reached could not be stored.
    #[error("store the cursor of feed {feed}")]
    Cursor {
        /// The feed.
        feed: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Where sources that pull keep how far they have read. Written only in [`Source::settle`], so after the journal.
pub trait Cursors: Send + Sync {
    /// The place stored for `feed`, if any.
    fn load(&self, feed: &str) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>>;
    /// Stores the place for `feed`, synced to disk when it returns.
    fn store(&self, feed: &str, place: &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

static CLOCK: OnceLock<Box<dyn Fn() -> i64 + Send + Sync>> = OnceLock::new();

/// The time of what is taken in, in microseconds since 1970 UTC: the one place where `received_at` comes from. This machine's
/// clock, unless [`set_clock`] named another.
pub fn now_us() -> i64 {
    CLOCK.get().map_or_else(machine_now_us, |clock| clock())
}

/// Microseconds since 1970 UTC on this machine's clock: for what happens to this process and its files, whatever town it serves.
pub fn machine_now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// Makes [`now_us`] show another time than this machine's, in the whole process and for good: that of a town that lives faster
/// than we do. `clock` gives microseconds since 1970 UTC, is asked for every delivery and must not block. The first call counts.
///
/// Pauses, limits of requests, schedules of polls and ages of files keep to this machine's clock.
pub fn set_clock(clock: impl Fn() -> i64 + Send + Sync + 'static) {
    let _ = CLOCK.set(Box::new(clock));
}
