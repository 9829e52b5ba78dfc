//! A real MQTT broker inside the process, for the demo and for tests: rmqtt as a library, on its own runtime, so that
//! stopping it takes every connection and session with it. Why rmqtt: see the README of this crate.

mod guard;
mod retained;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rmqtt::context::ServerContext;
use rmqtt::net::{Builder, Listener};
use rmqtt::server::MqttServer;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use guard::Guard;
use retained::Retained;

/// Unacknowledged messages on their way to one subscriber. High, because a subscriber that acknowledges only after a sync to
/// disk gets (in flight / time per sync) messages a second and no more: with the 20 of mosquitto's default and 5 ms, 4000.
const IN_FLIGHT: NonZeroU16 = match NonZeroU16::new(4096) {
    Some(limit) => limit,
    None => NonZeroU16::MIN,
};
/// Messages kept for one subscriber that is slow or away: more than 90 days of the town. Beyond it the broker drops.
const QUEUED: usize = 1_000_000;
const PACKET_BYTES: u32 = 2 * 1024 * 1024;
const SESSION_EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);
/// A subscriber that does not read is waited for, not cut off.
const SEND_TIMEOUT: Duration = Duration::from_secs(600);
const CONNECTIONS: usize = 10_000;

/// A running broker; dropping it stops it.
#[derive(Debug)]
pub struct Broker {
    addr: SocketAddr,
    taken: Arc<AtomicU64>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// Threads for it could not be had.
    #[error("start the broker's threads")]
    Threads(#[source] std::io::Error),
    /// The address cannot be listened on.
    #[error("listen for MQTT on {addr}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It ended before it listened.
    #[error("the broker ended while starting")]
    Ended,
}

impl Broker {
    /// Starts a broker on `listen`: plain TCP, MQTT 3.1.1 and 5, anonymous, so loopback only. Port 0 takes a free port;
    /// [`Broker::addr`] tells which.
    ///
    /// Sessions, queues and retained messages live in memory and end with the broker. A persistent session is kept for a
    /// week, its queue holds a million messages, and messages never expire.
    pub async fn start(listen: SocketAddr) -> Result<Self, BrokerError> {
        let stop = CancellationToken::new();
        let taken = Arc::new(AtomicU64::new(0));
        let (bound, addr) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("town-broker".to_owned())
            .spawn({
                let (stop, taken) = (stop.clone(), taken.clone());
                move || serve(listen, taken, bound, &stop)
            })
            .map_err(BrokerError::Threads)?;
        let addr = addr.await.map_err(|_| BrokerError::Ended)??;
        Ok(Self { addr, taken, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Counts the messages that subscribers have acknowledged since the start; a message for two subscribers counts twice.
    pub fn taken(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        let taken = self.taken.clone();
        Arc::new(move || taken.load(Ordering::Relaxed))
    }

    /// Cuts every connection, forgets every session and frees the port. Takes a second at most.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let Some(thread) = self.thread.take() else {
            return;
        };
        if tokio::task::spawn_blocking(move || thread.join()).await.is_err() {
            tracing::warn!("the broker's thread could not be waited for");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The broker's thread: owns the runtime, so that its end is the end of everything spawned on it.
fn serve(
    listen: SocketAddr,
    taken: Arc<AtomicU64>,
    bound: oneshot::Sender<Result<SocketAddr, BrokerError>>,
    stop: &CancellationToken,
) {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(bound.send(Err(BrokerError::Threads(error)))),
    };
    runtime.block_on(async {
        match server(listen, taken).await {
            Err(error) => drop(bound.send(Err(error))),
            Ok((server, addr)) => {
                if bound.send(Ok(addr)).is_ok() {
                    tokio::select! {
                        () = stop.cancelled() => {}
                        _ = server.run() => {}
                    }
                }
            }
        }
    });
    // rmqtt spawns from a destructor: it must find the runtime even while that shuts down.
    let handle = runtime.handle().clone();
    let _inside = handle.enter();
    runtime.shutdown_timeout(Duration::from_secs(1));
}

async fn server(listen: SocketAddr, taken: Arc<AtomicU64>) -> Result<(MqttServer, SocketAddr), BrokerError> {
    let bind = |error: rmqtt::net::Error| BrokerError::Bind { addr: listen, source: error.into() };
    let listener = listener(listen).map_err(bind)?;
    let addr = listener.local_addr().map_err(bind)?;
    // By default rmqtt refuses connections while the machine is busy, and a machine that builds and tests is.
    let context = ServerContext::new().busy_check_enable(false).build().await;
    *context.extends.retain_mut().await = Box::new(Retained::default());
    Guard::new(context.clone(), taken).install().await;
    Ok((MqttServer::new(context).listener_by_id(listener, addr.port()).build(), addr))
}

fn listener(listen: SocketAddr) -> rmqtt::net::Result<Listener> {
    Builder::new()
        .name("town")
        .laddr(listen)
        .nodelay(true)
        .max_connections(CONNECTIONS)
        .max_packet_size(PACKET_BYTES)
        .max_inflight(IN_FLIGHT)
        .max_mqueue_len(QUEUED)
        .session_expiry_interval(SESSION_EXPIRY)
        // Zero: no sending again on a live connection (MQTT 5 forbids it) and no expiry.
        .message_retry_interval(Duration::ZERO)
        .message_expiry_interval(Duration::ZERO)
        .send_timeout(SEND_TIMEOUT)
        .bind()?
        .tcp()
}

#[cfg(test)]
mod tests {
    use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};

    use super::*;

    fn client(id: &str, addr: SocketAddr, clean_session: bool) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(id, addr.ip().to_string(), addr.port());
        options.set_clean_session(clean_session);
        AsyncClient::new(options, 100)
    }

    async fn until(events: &mut EventLoop, wanted: impl Fn(&Packet) -> bool) -> Packet {
        loop {
            if let Event::Incoming(packet) = events.poll().await.unwrap()
                && wanted(&packet)
            {
                return packet;
            }
        }
    }

    async fn broker() -> Broker {
        Broker::start(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap()
    }

    #[tokio::test]
    async fn a_persistent_session_gets_what_was_sent_while_it_was_away() {
        let broker = broker().await;
        let (reader, mut reading) = client("reader", broker.addr(), false);
        reader.subscribe("water/#", QoS::AtLeastOnce).await.unwrap();
        until(&mut reading, |p| matches!(p, Packet::SubAck(_))).await;
        drop(reading);

        let (writer, mut writing) = client("writer", broker.addr(), true);
        for number in 0..50u8 {
            writer.publish("water/kvam", QoS::AtLeastOnce, false, vec![number]).await.unwrap();
            until(&mut writing, |p| matches!(p, Packet::PubAck(_))).await;
        }

        let (_reader, mut reading) = client("reader", broker.addr(), false);
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 50 {
            if let Packet::Publish(publish) = until(&mut reading, |p| matches!(p, Packet::Publish(_))).await {
                seen.insert(publish.payload[0]);
            }
        }
        broker.stop().await;
    }

    #[tokio::test]
    async fn a_retained_message_reaches_a_later_subscriber() {
        let broker = broker().await;
        let (writer, mut writing) = client("writer", broker.addr(), true);
        writer.publish("cameras/a/status", QoS::AtLeastOnce, true, "online").await.unwrap();
        until(&mut writing, |p| matches!(p, Packet::PubAck(_))).await;

        let (reader, mut reading) = client("reader", broker.addr(), true);
        reader.subscribe("cameras/#", QoS::AtLeastOnce).await.unwrap();
        let packet = until(&mut reading, |p| matches!(p, Packet::Publish(_))).await;
        let Packet::Publish(publish) = packet else { unreachable!() };
        assert!(publish.retain);
        assert_eq!(&publish.payload[..], b"online");
        broker.stop().await;
    }

    #[tokio::test]
    async fn a_stopped_broker_frees_its_port() {
        let first = broker().await;
        let addr = first.addr();
        first.stop().await;
        Broker::start(addr).await.unwrap().stop().await;
    }
}
