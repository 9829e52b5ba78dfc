//! A sender of QoS 1 that knows what the broker has taken.

use std::sync::atomic::{AtomicU32, Ordering};

use rumqttc::{AsyncClient, ConnectionError, Event, MqttOptions, Packet, QoS};
use tokio::sync::watch;

static PUBLISHERS: AtomicU32 = AtomicU32::new(0);

/// Publishes `payloads` in order and returns when the broker has taken all; `confirmed` counts them meanwhile. An error if the
/// connection is lost before.
pub async fn publish(
    port: u16,
    topic: &str,
    payloads: &[String],
    confirmed: &watch::Sender<usize>,
) -> Result<(), ConnectionError> {
    let number = PUBLISHERS.fetch_add(1, Ordering::Relaxed);
    let (client, mut eventloop) = AsyncClient::new(MqttOptions::new(format!("sender-{number}"), "127.0.0.1", port), 16);
    let send = async {
        for payload in payloads {
            client.publish(topic, QoS::AtLeastOnce, false, payload.as_bytes()).await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let confirm = async {
        for _ in payloads {
            while !matches!(eventloop.poll().await?, Event::Incoming(Packet::PubAck(_))) {}
            confirmed.send_modify(|n| *n += 1);
        }
        Ok::<(), ConnectionError>(())
    };
    tokio::select! {
        ended = confirm => ended,
        () = send => Ok(()),
    }
}
