//! A far side in this process: what is sent through a [`MemoryHandle`] is kept until it is settled, as a broker would. It is
//! how the rooms above are tried without a network, and it passes the same list as every other source.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use datasjo_table::Labels;
use tokio::sync::Notify;
use tracing::warn;

use crate::{Delivery, Health, Mark, Source, SourceError, now_us};

/// Messages kept at most, and acknowledged payloads remembered at most.
pub const ROOM: usize = 65_536;

/// One thing to send.
#[derive(Clone, Debug)]
pub struct Message {
    /// What a transport would know.
    pub labels: Labels,
    /// The bytes.
    pub payload: Bytes,
    /// Old news, as a retained MQTT message is.
    pub retained: bool,
    /// When it comes through the door, in microseconds since 1970 UTC; absent for the time when it is handed on.
    pub received_at_us: Option<i64>,
}

impl Message {
    /// Fresh news that comes when it is taken.
    pub fn new(labels: Labels, payload: impl Into<Bytes>) -> Self {
        Self { labels, payload: payload.into(), retained: false, received_at_us: None }
    }
}

/// [`ROOM`] messages wait already.
#[derive(Debug, thiserror::Error)]
#[error("{} messages wait already", ROOM)]
pub struct Full;

/// The far side: sends, cuts the connection, tells what was acknowledged. Clones are the same far side.
#[derive(Clone)]
pub struct MemoryHandle(Arc<FarSide>);

/// Takes what its far side sends. Only the newest source of a far side is connected; an older one has ended.
pub struct MemorySource {
    far: Arc<FarSide>,
    health: Health,
    /// Which source of the far side this is; the newest has the highest number.
    number: u64,
    /// The connection last seen.
    connection: u64,
    /// The last mark handed out.
    handed: Mark,
    settled: Mark,
    stopped: bool,
}

struct FarSide {
    feed: Arc<str>,
    max_payload_bytes: usize,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Message>,
    /// Handed on and not settled, each with the mark that has to be settled first.
    owed: VecDeque<(Mark, Message)>,
    acknowledged: VecDeque<Bytes>,
    sources: u64,
    connection: u64,
    ended: bool,
}

impl MemoryHandle {
    /// A far side for `feed`. Payloads longer than `max_payload_bytes` will be refused by its sources.
    pub fn new(feed: &str, max_payload_bytes: usize) -> Self {
        Self(Arc::new(FarSide { feed: Arc::from(feed), max_payload_bytes, state: Mutex::default(), news: Notify::new() }))
    }

    /// Connects a new source. What an earlier one did not settle comes again, first.
    pub fn source(&self) -> MemorySource {
        let mut state = self.0.lock();
        state.sources += 1;
        state.cut();
        let (number, connection) = (state.sources, state.connection);
        drop(state);
        self.0.news.notify_waiters();
        MemorySource {
            far: Arc::clone(&self.0),
            health: Health::default(),
            number,
            connection,
            handed: 0,
            settled: 0,
            stopped: false,
        }
    }

    /// Sends one message.
    pub fn send(&self, message: Message) -> Result<(), Full> {
        let mut state = self.0.lock();
        if state.waiting.len() + state.owed.len() >= ROOM {
            return Err(Full);
        }
        state.waiting.push_back(message);
        drop(state);
        self.0.news.notify_waiters();
        Ok(())
    }

    /// Cuts the connection, which comes back at once: what was not settled comes again.
    pub fn drop_connection(&self) {
        self.0.lock().cut();
        self.0.news.notify_waiters();
    }

    /// There will be no more: once all is handed out, the source ends.
    pub fn end(&self) {
        self.0.lock().ended = true;
        self.0.news.notify_waiters();
    }

    /// The payloads acknowledged so far, in that order, at most the last [`ROOM`].
    pub fn acknowledged(&self) -> Vec<Bytes> {
        self.0.lock().acknowledged.iter().cloned().collect()
    }
}

impl FarSide {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A new connection: what the old one was owed waits again, before the rest.
    fn cut(&mut self) {
        self.connection += 1;
        while let Some((_, message)) = self.owed.pop_back() {
            self.waiting.push_front(message);
        }
    }

    fn acknowledge_up_to(&mut self, settled: Mark) {
        while self.owed.front().is_some_and(|(mark, _)| *mark <= settled) {
            let Some((_, message)) = self.owed.pop_front() else {
                return;
            };
            if self.acknowledged.len() == ROOM {
                self.acknowledged.pop_front();
            }
            self.acknowledged.push_back(message.payload);
        }
    }
}

enum Taken {
    Delivery(Delivery),
    Nothing,
    End,
}

impl MemorySource {
    fn take(&mut self) -> Taken {
        let far = Arc::clone(&self.far);
        let mut state = far.lock();
        if self.stopped || state.sources != self.number {
            return Taken::End;
        }
        if state.connection != self.connection {
            self.connection = state.connection;
            self.health.waiting("the connection was cut");
        }
        self.health.up();
        while let Some(message) = state.waiting.pop_front() {
            if message.payload.len() <= far.max_payload_bytes {
                return Taken::Delivery(self.hand_on(message, &mut state));
            }
            self.refuse(message, &mut state);
        }
        if state.ended {
            self.health.ended(None);
            return Taken::End;
        }
        Taken::Nothing
    }

    fn hand_on(&mut self, message: Message, state: &mut State) -> Delivery {
        self.handed += 1;
        self.health.delivered(message.payload.len());
        state.owed.push_back((self.handed, message.clone()));
        Delivery {
            feed: Arc::clone(&self.far.feed),
            labels: message.labels,
            received_at_us: message.received_at_us.unwrap_or_else(now_us),
            retained: message.retained,
            payload: message.payload,
            mark: self.handed,
        }
    }

    /// Acknowledged once everything before it is settled, so that it does not come again for ever.
    fn refuse(&self, message: Message, state: &mut State) {
        let (bytes, limit) = (message.payload.len(), self.far.max_payload_bytes);
        warn!(feed = %self.far.feed, bytes, limit, "a payload that is too long is dropped");
        self.health.refused(format!("a payload of {bytes} bytes is longer than {limit}"));
        state.owed.push_back((self.handed, message));
        state.acknowledge_up_to(self.settled);
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn next(&mut self) -> Result<Option<Delivery>, SourceError> {
        let far = Arc::clone(&self.far);
        loop {
            let mut news = std::pin::pin!(far.news.notified());
            news.as_mut().enable();
            match self.take() {
                Taken::Delivery(delivery) => return Ok(Some(delivery)),
                Taken::End => return Ok(None),
                Taken::Nothing => news.await,
            }
        }
    }

    async fn settle(&mut self, mark: Mark) -> Result<(), SourceError> {
        let mut state = self.far.lock();
        self.settled = self.settled.max(mark.min(self.handed));
        if !self.stopped && state.sources == self.number {
            state.acknowledge_up_to(self.settled);
        }
        Ok(())
    }

    async fn stop(&mut self) {
        self.stopped = true;
        self.health.ended(None);
    }

    fn health(&self) -> Health {
        self.health.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::State as SourceState;
    use crate::conformance::{self, Rig};

    struct MemoryRig(MemoryHandle);

    #[async_trait]
    impl Rig for MemoryRig {
        async fn source(&mut self) -> Box<dyn Source> {
            Box::new(self.0.source())
        }

        async fn send(&mut self, payload: Bytes) {
            self.0.send(Message::new(Labels::new(), payload)).unwrap();
        }

        async fn drop_connection(&mut self) {
            self.0.drop_connection();
        }

        async fn acknowledged(&mut self, _at_least: usize) -> Option<Vec<Bytes>> {
            Some(self.0.acknowledged())
        }

        fn max_payload_bytes(&self) -> usize {
            64
        }
    }

    #[tokio::test]
    async fn it_behaves_as_every_source_does() {
        conformance::whole_list(|| async { MemoryRig(MemoryHandle::new("test", 64)) }).await;
    }

    #[tokio::test]
    async fn it_ends_when_the_far_side_has_no_more() {
        let handle = MemoryHandle::new("test", 64);
        let mut source = handle.source();
        let labels = Labels::new().with(Labels::TOPIC, "meters/1");
        handle.send(Message { retained: true, received_at_us: Some(7), ..Message::new(labels, "x") }).unwrap();
        handle.end();
        let delivery = source.next().await.unwrap().unwrap();
        assert_eq!((delivery.received_at_us, delivery.retained, delivery.labels.get("topic")), (7, true, Some("meters/1")));
        assert!(source.next().await.unwrap().is_none());
        assert_eq!(source.health().report().state, SourceState::Ended);
    }

    #[tokio::test]
    async fn a_cut_connection_counts_as_a_failure_and_its_marks_settle_nothing() {
        let handle = MemoryHandle::new("test", 64);
        let mut source = handle.source();
        handle.send(Message::new(Labels::new(), "x")).unwrap();
        let first = source.next().await.unwrap().unwrap();
        handle.drop_connection();
        source.settle(first.mark).await.unwrap();
        assert!(handle.acknowledged().is_empty());
        let again = source.next().await.unwrap().unwrap();
        assert_eq!((again.mark, source.health().report().failures), (2, 1));
        source.settle(again.mark).await.unwrap();
        assert_eq!(handle.acknowledged(), ["x"]);
    }

    #[test]
    fn a_far_side_that_is_full_takes_no_more() {
        let handle = MemoryHandle::new("test", 64);
        for _ in 0..ROOM {
            handle.send(Message::new(Labels::new(), "x")).unwrap();
        }
        assert!(handle.send(Message::new(Labels::new(), "x")).is_err());
    }
}
