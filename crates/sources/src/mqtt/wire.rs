//! What the two protocol versions have in common, as far as a source needs it. `wire_v3` and `wire_v5` speak to the client
//! library and decide nothing.

use async_trait::async_trait;
use bytes::Bytes;

/// Requests that may wait for the network: every packet identifier once, so that an acknowledgement always finds room, and
/// some for subscriptions. It takes no memory before it is used.
pub(super) const REQUESTS: usize = 65_536 + 1_024;

/// Our own packets without answer. We publish nothing; a subscription or two wait for theirs.
pub(super) const OUTGOING: u16 = 64;

/// The largest packet MQTT knows, in bytes (section 2.1.4: a remaining length of 268,435,455 after five bytes).
pub(super) const LARGEST_PACKET_BYTES: u32 = 268_435_460;

/// Which packet to acknowledge. Only good on the connection that brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub packet_id: u16,
    /// Sent with QoS 2, by a session older than this configuration.
    pub exactly_once: bool,
}

/// One PUBLISH.
pub(super) struct Message {
    pub topic: String,
    pub payload: Bytes,
    pub retained: bool,
    /// Absent for QoS 0, which nobody waits for.
    pub receipt: Option<Receipt>,
}

/// The answer to one filter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// With this QoS.
    Granted(u8),
    /// With the broker's word for why.
    Refused(String),
}

/// What happened on the line.
pub(super) enum Seen {
    Connected {
        session_present: bool,
    },
    Message(Message),
    /// SUBACK, a grant for each filter in the order asked.
    Subscribed(Vec<Grant>),
    Unsubscribed,
    /// Our DISCONNECT is written.
    Goodbye,
    /// Pings, our own packets on their way out.
    Nothing,
}

/// Why a connection is gone, as far as it changes what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The line, the broker, a timeout.
    Broken,
    /// The broker does not want us; a person has to change something.
    Refused,
    /// Another client came with our name.
    TakenOver,
}

/// A connection that is gone or did not come about.
pub(super) struct Lost {
    pub cause: Cause,
    pub reason: String,
}

/// The line to the broker, driven by one task.
#[async_trait]
pub(super) trait Wire: Send {
    /// Connects if need be and waits for what happens next. Not cancel-safe once connected: packets half written would be lost.
    async fn poll(&mut self) -> Result<Seen, Lost>;

    /// After a loss: throws away what was still to be sent, so that no acknowledgement of the old connection is ever sent on
    /// the next one, and returns the messages read but not yet seen that the broker will not send again (QoS 0).
    fn forget(&mut self) -> Vec<Message>;
}

/// The request could not be put in line; the connection is about to be lost.
#[derive(Debug)]
pub(super) struct NotTaken;

/// Requests to the broker. They are put in line and never wait for the network.
pub(super) trait Requests: Send + Sync {
    fn subscribe(&self, filters: &[String], qos: u8) -> Result<(), NotTaken>;
    fn unsubscribe(&self, filter: &str) -> Result<(), NotTaken>;
    fn acknowledge(&self, receipt: Receipt) -> Result<(), NotTaken>;
    fn disconnect(&self) -> Result<(), NotTaken>;
}
