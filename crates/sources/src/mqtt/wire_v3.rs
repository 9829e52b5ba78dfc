use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, MqttOptions, NetworkOptions, Outgoing, Packet, Publish,
    QoS, SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};
use rustls::ClientConfig;

use super::MqttConfig;
use super::wire::{
    Cause, Grant, LARGEST_PACKET_BYTES, Lost, Message, NotTaken, OUTGOING, REQUESTS, Receipt, Requests, Seen, Wire,
};

/// MQTT 3.1.1 through rumqttc.
struct V3 {
    eventloop: EventLoop,
}

struct V3Requests(AsyncClient);

/// A line that is not connected yet.
///
/// 3.1.1 cannot tell the broker how large a packet may be, and a packet that we do not read would come again on every
/// connection, for ever. So the only limit here is that of the protocol, 256 MiB for one packet; a broker that serves us
/// should have a lower one (mosquitto: `max_packet_size`).
pub(super) fn open(config: &MqttConfig, tls: Option<Arc<ClientConfig>>) -> (Box<dyn Wire>, Arc<dyn Requests>) {
    let mut options = MqttOptions::new(config.client_id.as_str(), config.host(), config.port());
    options
        .set_keep_alive(Duration::from_secs(u64::from(config.keep_alive_s)))
        .set_clean_session(false)
        .set_max_packet_size(LARGEST_PACKET_BYTES as usize, LARGEST_PACKET_BYTES as usize)
        .set_manual_acks(true)
        .set_inflight(OUTGOING);
    if let Some(username) = &config.username {
        let password = config.password.as_ref().map_or("", |password| password.reveal());
        options.set_credentials(username.as_str(), password);
    }
    if let Some(tls) = tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
    }
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(u64::from(config.connect_timeout_s));
    let (client, mut eventloop) = AsyncClient::new(options, REQUESTS);
    eventloop.set_network_options(network);
    (Box::new(V3 { eventloop }), Arc::new(V3Requests(client)))
}

#[async_trait]
impl Wire for V3 {
    async fn poll(&mut self) -> Result<Seen, Lost> {
        match self.eventloop.poll().await {
            Ok(event) => Ok(seen(event)),
            Err(error) => Err(lost(&error)),
        }
    }

    fn forget(&mut self) -> Vec<Message> {
        self.eventloop.clean();
        self.eventloop.pending.clear();
        let unseen = std::mem::take(&mut self.eventloop.state.events);
        unseen.into_iter().filter_map(unrepeated).collect()
    }
}

impl Requests for V3Requests {
    fn subscribe(&self, filters: &[String], qos: u8) -> Result<(), NotTaken> {
        let qos = if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let filters: Vec<SubscribeFilter> = filters.iter().map(|filter| SubscribeFilter::new(filter.clone(), qos)).collect();
        self.0.try_subscribe_many(filters).map_err(|_| NotTaken)
    }

    fn unsubscribe(&self, filter: &str) -> Result<(), NotTaken> {
        self.0.try_unsubscribe(filter).map_err(|_| NotTaken)
    }

    fn acknowledge(&self, receipt: Receipt) -> Result<(), NotTaken> {
        let qos = if receipt.exactly_once { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        let mut publish = Publish::from_bytes("", qos, Bytes::new());
        publish.pkid = receipt.packet_id;
        self.0.try_ack(&publish).map_err(|_| NotTaken)
    }

    fn disconnect(&self) -> Result<(), NotTaken> {
        self.0.try_disconnect().map_err(|_| NotTaken)
    }
}

fn seen(event: Event) -> Seen {
    match event {
        Event::Incoming(Packet::ConnAck(connack)) => Seen::Connected { session_present: connack.session_present },
        Event::Incoming(Packet::Publish(publish)) => Seen::Message(message(publish)),
        Event::Incoming(Packet::SubAck(suback)) => Seen::Subscribed(suback.return_codes.into_iter().map(grant).collect()),
        Event::Incoming(Packet::UnsubAck(_)) => Seen::Unsubscribed,
        Event::Outgoing(Outgoing::Disconnect) => Seen::Goodbye,
        _ => Seen::Nothing,
    }
}

fn message(publish: Publish) -> Message {
    let receipt = match publish.qos {
        QoS::AtMostOnce => None,
        qos => Some(Receipt { packet_id: publish.pkid, exactly_once: qos == QoS::ExactlyOnce }),
    };
    Message { topic: publish.topic, payload: publish.payload, retained: publish.retain, receipt }
}

fn unrepeated(event: Event) -> Option<Message> {
    match event {
        Event::Incoming(Packet::Publish(publish)) if publish.qos == QoS::AtMostOnce => Some(message(publish)),
        _ => None,
    }
}

fn grant(code: SubscribeReasonCode) -> Grant {
    match code {
        SubscribeReasonCode::Success(qos) => Grant::Granted(qos as u8),
        SubscribeReasonCode::Failure => Grant::Refused("Failure".to_owned()),
    }
}

fn lost(error: &ConnectionError) -> Lost {
    match error {
        ConnectionError::ConnectionRefused(code) => {
            let passing = matches!(code, ConnectReturnCode::ServiceUnavailable);
            let cause = if passing { Cause::Broken } else { Cause::Refused };
            Lost { cause, reason: format!("the broker refuses the connection: {code:?}") }
        }
        other => Lost { cause: Cause::Broken, reason: other.to_string() },
    }
}
