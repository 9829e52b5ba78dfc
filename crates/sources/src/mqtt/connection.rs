use std::sync::Arc;
use std::time::Duration;

use datasjo_table::Labels;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::acks::Acks;
use super::subscriptions::Subscriptions;
use super::wire::{Cause, Lost, Message, Requests, Seen, Wire};
use crate::{Backoff, Delivery, Health, now_us};

/// Waits between connections.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// A connection that held this long was a success; the next wait is short again.
const STEADY: Duration = Duration::from_secs(10);

/// So many connections in a row lost before they were steady look like two clients with one name.
const SUSPICIOUS_LOSSES: u32 = 3;

/// The task that drives the line: it connects, subscribes, reads, and waits between tries. It waits for room in `deliveries`
/// and for nothing else of ours; storage never stops it.
pub(super) struct Connection {
    pub feed: Arc<str>,
    /// Host and port, for messages.
    pub broker: String,
    pub client_id: String,
    pub max_payload_bytes: usize,
    pub wire: Box<dyn Wire>,
    pub requests: Arc<dyn Requests>,
    pub acks: Arc<Acks>,
    pub subscriptions: Subscriptions,
    pub deliveries: mpsc::Sender<Delivery>,
    pub health: Health,
    pub stop: CancellationToken,
    pub course: Course,
}

/// How it went so far.
pub(super) struct Course {
    connected_since: Option<Instant>,
    backoff: Backoff,
    quick_losses: u32,
    strays: u64,
    last_arrival_us: i64,
}

impl Course {
    pub fn new() -> Self {
        Self {
            connected_since: None,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            quick_losses: 0,
            strays: 0,
            last_arrival_us: 0,
        }
    }
}

/// How long a broker is given to close the line; it shares the time of [`super::STOP_WITHIN`].
const FAREWELL: Duration = Duration::from_millis(500);

impl Connection {
    /// Runs until `stop`: then until our DISCONNECT is written, or at once when there is no connection.
    pub async fn run(mut self) {
        loop {
            match self.next_event().await {
                None => break,
                Some(Ok(Seen::Goodbye)) => {
                    self.wait_until_read().await;
                    break;
                }
                Some(Ok(seen)) => self.see(seen).await,
                Some(Err(lost)) => {
                    if !self.lost(lost).await {
                        break;
                    }
                }
            }
        }
        self.acks.closed();
    }

    /// A broker closes the line when it has read our DISCONNECT, and so all acknowledgements before it. A connection made
    /// sooner could be served first and get settled messages again.
    async fn wait_until_read(&mut self) {
        let closed = async { while self.wire.poll().await.is_ok() {} };
        let _ = tokio::time::timeout(FAREWELL, closed).await;
    }

    /// The next thing on the line; `None` when asked to stop without a connection to take leave of. The poll is kept until it is
    /// ready once connected, because dropping it could lose a packet half written.
    async fn next_event(&mut self) -> Option<Result<Seen, Lost>> {
        let connected = self.course.connected_since.is_some();
        let mut poll = self.wire.poll();
        loop {
            let retry_at = self.subscriptions.retry_at();
            tokio::select! {
                seen = &mut poll => return Some(seen),
                () = self.stop.cancelled(), if !connected => return None,
                () = reached(retry_at), if connected => self.subscriptions.retry(self.requests.as_ref()),
            }
        }
    }

    async fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Connected { session_present } => self.connected(session_present),
            Seen::Message(message) => self.message(message).await,
            Seen::Subscribed(grants) => {
                self.subscriptions.subscribed(grants, self.requests.as_ref());
                self.show_health();
            }
            Seen::Unsubscribed => {
                self.subscriptions.unsubscribed(self.requests.as_ref());
                self.show_health();
            }
            Seen::Goodbye | Seen::Nothing => {}
        }
    }

    fn connected(&mut self, session_present: bool) {
        info!(feed = %self.feed, broker = self.broker, session_present, "connected");
        self.course.connected_since = Some(Instant::now());
        self.acks.opened();
        self.subscriptions.connected(session_present, self.requests.as_ref());
        self.show_health();
    }

    fn show_health(&self) {
        if self.subscriptions.asking() {
            return;
        }
        self.health.up();
        if let Some(remark) = self.subscriptions.remark() {
            self.health.remark(remark);
        }
    }

    async fn message(&mut self, message: Message) {
        if !self.subscriptions.wants(&message.topic) {
            return self.stray(&message);
        }
        if message.payload.len() > self.max_payload_bytes {
            return self.refuse(&message);
        }
        let delivery = Delivery {
            feed: Arc::clone(&self.feed),
            labels: Labels::new().with(Labels::TOPIC, message.topic),
            received_at_us: self.course.arrival(now_us()),
            retained: message.retained,
            payload: message.payload,
            mark: self.acks.deliver(message.receipt),
        };
        tokio::select! {
            // The source is gone and with it whoever could settle: end, and let the broker keep the rest.
            sent = self.deliveries.send(delivery) => if sent.is_err() { self.stop.cancel() },
            () = self.stop.cancelled() => {}
        }
    }

    /// A message for a filter of an earlier configuration, still kept for us by the broker.
    fn stray(&mut self, message: &Message) {
        self.course.strays += 1;
        debug!(feed = %self.feed, topic = message.topic, "a message on a topic no filter asks for is dropped");
        let count = self.course.strays;
        self.health.remark(format!("{count} messages on topics no filter asks for were dropped, the last on {}", message.topic));
        self.acks.skip(message.receipt);
    }

    fn refuse(&mut self, message: &Message) {
        let (bytes, limit) = (message.payload.len(), self.max_payload_bytes);
        warn!(feed = %self.feed, topic = message.topic, bytes, limit, "a payload longer than max_payload_bytes is dropped");
        self.health.refused(format!("a payload of {bytes} bytes on {} is longer than {limit}", message.topic));
        self.acks.skip(message.receipt);
    }

    /// After a loss: closes the books of that connection and waits for the next try. False when asked to stop meanwhile.
    async fn lost(&mut self, lost: Lost) -> bool {
        // In this order: first nothing more can be put in line for the old connection, then that line is thrown away.
        self.acks.closed();
        for message in self.wire.forget() {
            self.message(message).await;
        }
        if self.stop.is_cancelled() {
            return false;
        }
        let lived = self.course.connected_since.take().map(|since| since.elapsed());
        let wait = self.course.wait_after(lost.cause, lived);
        let reason = self.reason(&lost);
        warn!(feed = %self.feed, broker = self.broker, reason, wait_ms = wait.as_millis(), "not connected; trying again");
        self.health.waiting(reason);
        tokio::select! {
            () = sleep(wait) => true,
            () = self.stop.cancelled() => false,
        }
    }

    fn reason(&self, lost: &Lost) -> String {
        let (broker, client_id) = (&self.broker, &self.client_id);
        if lost.cause == Cause::TakenOver {
            return format!("{broker}: another client connected with our client_id {client_id}; it must be ours alone");
        }
        if self.course.quick_losses >= SUSPICIOUS_LOSSES {
            let times = self.course.quick_losses;
            return format!(
                "{broker}: {} (lost soon after connecting {times} times; does another client use client_id {client_id}?)",
                lost.reason
            );
        }
        format!("{broker}: {}", lost.reason)
    }
}

impl Course {
    /// An instant of arrival of its own for each message: where a payload has no time, the arrival is its time, and two
    /// messages in one microsecond would be taken for one reading. A clock set back by more than a second is followed.
    fn arrival(&mut self, now_us: i64) -> i64 {
        let since_last = self.last_arrival_us - now_us;
        self.last_arrival_us = if (0..1_000_000).contains(&since_last) { self.last_arrival_us + 1 } else { now_us };
        self.last_arrival_us
    }

    /// How long to wait after a connection that `lived` so long, or never came about.
    fn wait_after(&mut self, cause: Cause, lived: Option<Duration>) -> Duration {
        match lived {
            Some(lived) if lived >= STEADY => {
                self.backoff.reset();
                self.quick_losses = 0;
            }
            Some(_) => self.quick_losses += 1,
            None => {}
        }
        if cause == Cause::Refused { Backoff::new(LONGEST_WAIT, LONGEST_WAIT).next_wait() } else { self.backoff.next_wait() }
    }
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_until_a_connection_was_steady() {
        let mut course = Course::new();
        for _ in 0..10 {
            course.wait_after(Cause::Broken, Some(Duration::from_secs(1)));
        }
        assert_eq!(course.quick_losses, 10);
        assert!(course.wait_after(Cause::TakenOver, None) >= LONGEST_WAIT / 2);
        assert!(course.wait_after(Cause::Broken, Some(STEADY)) <= FIRST_WAIT);
        assert_eq!(course.quick_losses, 0);
    }

    #[test]
    fn a_broker_that_refuses_us_is_asked_seldom() {
        assert!(Course::new().wait_after(Cause::Refused, None) >= LONGEST_WAIT / 2);
    }
}
