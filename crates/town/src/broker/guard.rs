use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rmqtt::context::ServerContext;
use rmqtt::hook::{Handler, HookResult, Parameter, ReturnType, Type};
use rmqtt::inflight::{MomentStatus, OutInflightMessage};
use rmqtt::session::Session;
use rmqtt::types::{ClientId, From as Sender, Publish, Reason, To};
use tokio::time::{Instant, sleep};

/// While a session changes hands publishers wait, at most this long.
const LONGEST_TAKEOVER: Duration = Duration::from_secs(2);
/// How long a publish that has passed the gate may still need to reach its queue.
const PASSING: Duration = Duration::from_millis(20);
const RETRY_WAIT: Duration = Duration::from_millis(50);
const RETRIES: u32 = 100;

/// Closes three gaps in which rmqtt 0.24 loses a QoS 1 message of a persistent session: the message being written when the
/// connection breaks (it has left the queue and is not yet in flight), messages published while a session passes from its
/// old connection to the new one, and messages for a client that is just then nowhere. A test that kills the subscriber and
/// counts to the last row would else count the broker's losses as ours.
#[derive(Clone)]
pub(super) struct Guard(Arc<Inner>);

struct Inner {
    context: ServerContext,
    takeovers: Mutex<Takeovers>,
    last_sent: Mutex<HashMap<ClientId, (Sender, Publish)>>,
    /// Messages that subscribers have acknowledged.
    taken: Arc<AtomicU64>,
}

struct Takeovers {
    under_way: usize,
    at_most_until: Instant,
}

impl Guard {
    /// It also counts into `taken` what subscribers acknowledge.
    pub fn new(context: ServerContext, taken: Arc<AtomicU64>) -> Self {
        let takeovers = Mutex::new(Takeovers { under_way: 0, at_most_until: Instant::now() });
        Self(Arc::new(Inner { context, takeovers, last_sent: Mutex::new(HashMap::new()), taken }))
    }

    /// Hooks it into the broker it was made for; must be called before the broker accepts connections.
    pub async fn install(&self) {
        let register = self.0.context.extends.hook_mgr().register();
        for hook in [
            Type::ClientConnect,
            Type::ClientConnected,
            Type::ClientDisconnected,
            Type::MessagePublish,
            Type::MessageDelivered,
            Type::MessageAcked,
            Type::MessageDropped,
        ] {
            register.add(hook, Box::new(self.clone())).await;
        }
        register.start().await;
    }

    async fn takeover_begins(&self) {
        {
            let mut takeovers = lock(&self.0.takeovers);
            takeovers.under_way += 1;
            takeovers.at_most_until = Instant::now() + LONGEST_TAKEOVER;
        }
        sleep(PASSING).await;
    }

    async fn takeover_ends(&self, session: &Session) {
        if session.connect_info().await.is_ok_and(|info| !info.clean_start()) {
            let mut takeovers = lock(&self.0.takeovers);
            takeovers.under_way = takeovers.under_way.saturating_sub(1);
        }
    }

    async fn wait_for_takeovers(&self) {
        while self.takeover_under_way() {
            sleep(PASSING / 4).await;
        }
    }

    fn takeover_under_way(&self) -> bool {
        let mut takeovers = lock(&self.0.takeovers);
        if Instant::now() >= takeovers.at_most_until {
            takeovers.under_way = 0;
        }
        takeovers.under_way > 0
    }

    fn remember(&self, session: &Session, from: &Sender, publish: &Publish) {
        if publish.packet_id.is_some() {
            lock(&self.0.last_sent).insert(session.id.client_id.clone(), (from.clone(), publish.clone()));
        }
    }

    fn acknowledged(&self, session: &Session, publish: &Publish) {
        self.0.taken.fetch_add(1, Ordering::Relaxed);
        let mut last_sent = lock(&self.0.last_sent);
        if last_sent.get(&session.id.client_id).is_some_and(|(_, last)| last.packet_id == publish.packet_id) {
            last_sent.remove(&session.id.client_id);
        }
    }

    /// Puts the message that was being written back among those in flight, from where a resumed session gets it.
    async fn put_back(&self, session: &Session) {
        let last = lock(&self.0.last_sent).remove(&session.id.client_id);
        let Some((from, publish)) = last else { return };
        let Some(packet_id) = publish.packet_id else {
            return;
        };
        let mut in_flight = session.out_inflight().write().await;
        if !in_flight.exist(&packet_id.get()) {
            in_flight.push_back(OutInflightMessage::new(MomentStatus::UnAck, from, publish));
        }
    }

    fn deliver_later(&self, to: &To, from: Sender, mut publish: Publish) {
        publish.target_clientid = Some(to.client_id.clone());
        let context = self.0.context.clone();
        tokio::spawn(async move {
            for _ in 0..RETRIES {
                sleep(RETRY_WAIT).await;
                let shared = context.extends.shared().await;
                if shared.forwards(None, from.clone(), publish.clone()).await.is_ok() {
                    return;
                }
            }
            tracing::warn!(topic = %publish.topic, "the broker dropped a message: its subscriber did not come back");
        });
    }
}

#[async_trait]
impl Handler for Guard {
    async fn hook(&self, param: &Parameter, acc: Option<HookResult>) -> ReturnType {
        match param {
            Parameter::ClientConnect(info) if !info.clean_start() => self.takeover_begins().await,
            Parameter::ClientConnected(session) => self.takeover_ends(session).await,
            Parameter::ClientDisconnected(session, _) => self.put_back(session).await,
            Parameter::MessagePublish(..) => self.wait_for_takeovers().await,
            Parameter::MessageDelivered(session, from, publish) => self.remember(session, from, publish),
            Parameter::MessageAcked(session, _, publish) => self.acknowledged(session, publish),
            Parameter::MessageDropped(_, _, publish, Reason::MessageQueueFull) => {
                tracing::error!(topic = %publish.topic, "the broker dropped a message: the subscriber's queue is full");
            }
            Parameter::MessageDropped(Some(to), from, publish, _) => self.deliver_later(to, from.clone(), publish.clone()),
            _ => {}
        }
        (true, acc)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
