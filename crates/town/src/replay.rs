//! Publishing a recorded capture again: JSON lines with `topic`, `retain` and either `payload` (JSON) or `raw` (text).

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

/// Lines read ahead of the broker.
const AHEAD: usize = 1_000;
/// Messages under way that are not acknowledged.
const INFLIGHT: u16 = 1_000;

/// Why a capture could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The capture cannot be read.
    #[error("read the capture")]
    Read(#[from] std::io::Error),
    /// A line is no message.
    #[error("line {line} of the capture is no message")]
    Line {
        /// Which, from 1.
        line: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// `host:port` was expected.
    #[error("{0} is no broker: give host:port")]
    Broker(String),
    /// The broker went away.
    #[error("publish to the broker")]
    Connection(#[source] Box<rumqttc::ConnectionError>),
    /// The client ended.
    #[error("hand a message to the client")]
    Client(#[from] rumqttc::ClientError),
}

#[derive(Deserialize)]
struct Line<'l> {
    topic: String,
    #[serde(default)]
    retain: bool,
    #[serde(borrow)]
    payload: Option<&'l RawValue>,
    raw: Option<String>,
}

/// Publishes every line with QoS 1, in order, `rate` a second or as fast as the broker takes them, and returns how many
/// were acknowledged. `progress` is called after each acknowledgement.
pub async fn replay(capture: &Path, broker: &str, rate: Option<u32>, mut progress: impl FnMut(u64)) -> Result<u64, ReplayError> {
    let (host, port) = broker.rsplit_once(':').ok_or_else(|| ReplayError::Broker(broker.to_owned()))?;
    let port = port.parse().map_err(|_| ReplayError::Broker(broker.to_owned()))?;
    let mut options = MqttOptions::new(format!("datasjo-replay-{}", std::process::id()), host, port);
    options.set_inflight(INFLIGHT).set_max_packet_size(16 << 20, 16 << 20);
    options.set_keep_alive(Duration::from_secs(5));
    let (client, mut events) = AsyncClient::new(options, AHEAD);
    let path = capture.to_owned();
    let (lines, messages) = mpsc::channel(AHEAD);
    let reading = tokio::task::spawn_blocking(move || read(&path, &lines));
    let total = Arc::new(AtomicU64::new(u64::MAX));
    let sending = tokio::spawn(send(client, messages, rate, total.clone()));
    let mut acknowledged = 0;
    // A ping wakes the loop at the latest five seconds after the last acknowledgement.
    while acknowledged < total.load(Ordering::Acquire) {
        if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.map_err(|e| ReplayError::Connection(Box::new(e)))? {
            acknowledged += 1;
            progress(acknowledged);
        }
    }
    if let Ok(read) = reading.await {
        read?;
    }
    if let Ok(sent) = sending.await {
        sent?;
    }
    Ok(acknowledged)
}

struct Message {
    topic: String,
    retain: bool,
    payload: Vec<u8>,
}

async fn send(
    client: AsyncClient,
    mut messages: mpsc::Receiver<Message>,
    rate: Option<u32>,
    total: Arc<AtomicU64>,
) -> Result<(), ReplayError> {
    let started = Instant::now();
    let mut sent = 0;
    while let Some(message) = messages.recv().await {
        if let Some(rate) = rate {
            sleep_until(started + Duration::from_secs_f64(sent as f64 / f64::from(rate.max(1)))).await;
        }
        client.publish(message.topic, QoS::AtLeastOnce, message.retain, message.payload).await?;
        sent += 1;
    }
    total.store(sent, Ordering::Release);
    Ok(())
}

fn read(path: &Path, lines: &mpsc::Sender<Message>) -> Result<(), ReplayError> {
    let mut file = File::open(path)?;
    let mut magic = [0; 2];
    let zipped = file.read(&mut magic)? == 2 && magic == [0x1f, 0x8b];
    file.rewind()?;
    let text: Box<dyn Read> = if zipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    for (text, line) in BufReader::new(text).lines().zip(1..) {
        let text = text?;
        let parsed: Line<'_> = serde_json::from_str(&text).map_err(|source| ReplayError::Line { line, source })?;
        let payload = parsed.payload.map(|p| p.get().to_owned()).or(parsed.raw).unwrap_or_default();
        let message = Message { topic: parsed.topic, retain: parsed.retain, payload: payload.into_bytes() };
        if lines.blocking_send(message).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
