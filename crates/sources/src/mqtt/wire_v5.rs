use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, ConnectReturnCode, DisconnectReasonCode, Filter, Packet, Publish, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, MqttOptions, StateError};
use rumqttc::{Outgoing, TlsConfiguration, Transport};
use rustls::ClientConfig;

use super::MqttConfig;
use super::wire::{
    Cause, Grant, LARGEST_PACKET_BYTES, Lost, Message, NotTaken, OUTGOING, REQUESTS, Receipt, Requests, Seen, Wire,
};

/// Room in a packet beside the payload: a topic, properties.
const HEADER_BYTES: u32 = 256 * 1024;

/// MQTT 5 through rumqttc.
struct V5 {
    eventloop: EventLoop,
    keep_alive: Duration,
}

struct V5Requests(AsyncClient);

/// A line that is not connected yet.
pub(super) fn open(config: &MqttConfig, tls: Option<Arc<ClientConfig>>) -> (Box<dyn Wire>, Arc<dyn Requests>) {
    let keep_alive = Duration::from_secs(u64::from(config.keep_alive_s));
    let mut options = MqttOptions::new(config.client_id.as_str(), config.host(), config.port());
    options
        .set_keep_alive(keep_alive)
        .set_clean_start(false)
        .set_session_expiry_interval(Some(config.session_expiry_s))
        .set_receive_maximum(Some(config.receive_maximum))
        .set_max_packet_size(Some(max_packet_bytes(config.max_payload_bytes)))
        .set_manual_acks(true)
        .set_connection_timeout(u64::from(config.connect_timeout_s))
        .set_outgoing_inflight_upper_limit(OUTGOING);
    if let Some(username) = &config.username {
        let password = config.password.as_ref().map_or("", |password| password.reveal());
        options.set_credentials(username.as_str(), password);
    }
    if let Some(tls) = tls {
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
    }
    let (client, eventloop) = AsyncClient::new(options, REQUESTS);
    (Box::new(V5 { eventloop, keep_alive }), Arc::new(V5Requests(client)))
}

/// What the broker is told. Four times the payload limit, so that a payload that is too long is seen, counted and reported; the
/// broker itself drops what is longer still (MQTT-3.1.2-25), and the connection lives on.
fn max_packet_bytes(max_payload_bytes: usize) -> u32 {
    let payload = u32::try_from(max_payload_bytes).unwrap_or(LARGEST_PACKET_BYTES);
    payload.saturating_mul(4).saturating_add(HEADER_BYTES).min(LARGEST_PACKET_BYTES)
}

#[async_trait]
impl Wire for V5 {
    async fn poll(&mut self) -> Result<Seen, Lost> {
        match self.eventloop.poll().await {
            Ok(event) => Ok(self.seen(event)),
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

impl V5 {
    fn seen(&mut self, event: Event) -> Seen {
        match event {
            Event::Incoming(Packet::ConnAck(connack)) => self.connected(&connack),
            Event::Incoming(Packet::Publish(publish)) => Seen::Message(message(publish)),
            Event::Incoming(Packet::SubAck(suback)) => Seen::Subscribed(suback.return_codes.into_iter().map(grant).collect()),
            Event::Incoming(Packet::UnsubAck(_)) => Seen::Unsubscribed,
            Event::Outgoing(Outgoing::Disconnect) => Seen::Goodbye,
            _ => Seen::Nothing,
        }
    }

    /// The library takes over the keep-alive the broker names. "None at all" would make it ping without pause.
    fn connected(&mut self, connack: &ConnAck) -> Seen {
        if self.eventloop.options.keep_alive().is_zero() {
            self.eventloop.options.set_keep_alive(self.keep_alive);
        }
        Seen::Connected { session_present: connack.session_present }
    }
}

impl Requests for V5Requests {
    fn subscribe(&self, filters: &[String], qos: u8) -> Result<(), NotTaken> {
        let qos = if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let filters: Vec<Filter> = filters.iter().map(|filter| Filter::new(filter.as_str(), qos)).collect();
        self.0.try_subscribe_many(filters).map_err(|_| NotTaken)
    }

    fn unsubscribe(&self, filter: &str) -> Result<(), NotTaken> {
        self.0.try_unsubscribe(filter).map_err(|_| NotTaken)
    }

    fn acknowledge(&self, receipt: Receipt) -> Result<(), NotTaken> {
        let qos = if receipt.exactly_once { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
        let mut publish = Publish::new("", qos, Bytes::new(), None);
        publish.pkid = receipt.packet_id;
        self.0.try_ack(&publish).map_err(|_| NotTaken)
    }

    fn disconnect(&self) -> Result<(), NotTaken> {
        self.0.try_disconnect().map_err(|_| NotTaken)
    }
}

fn message(publish: Publish) -> Message {
    let receipt = match publish.qos {
        QoS::AtMostOnce => None,
        qos => Some(Receipt { packet_id: publish.pkid, exactly_once: qos == QoS::ExactlyOnce }),
    };
    Message {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload,
        retained: publish.retain,
        receipt,
    }
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
        refusal => Grant::Refused(format!("{refusal:?}")),
    }
}

fn lost(error: &ConnectionError) -> Lost {
    match error {
        ConnectionError::ConnectionRefused(code) => {
            let cause = if is_final(*code) { Cause::Refused } else { Cause::Broken };
            Lost { cause, reason: format!("the broker refuses the connection: {code:?}") }
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
            let cause = match reason_code {
                DisconnectReasonCode::SessionTakenOver => Cause::TakenOver,
                DisconnectReasonCode::NotAuthorized => Cause::Refused,
                _ => Cause::Broken,
            };
            let words = reason_string.as_deref().map(|words| format!(" ({words})")).unwrap_or_default();
            Lost { cause, reason: format!("the broker ended the connection: {reason_code:?}{words}") }
        }
        other => Lost { cause: Cause::Broken, reason: other.to_string() },
    }
}

/// Refusals that trying again soon does not mend.
fn is_final(code: ConnectReturnCode) -> bool {
    matches!(
        code,
        ConnectReturnCode::BadUserNamePassword
            | ConnectReturnCode::NotAuthorized
            | ConnectReturnCode::ClientIdentifierNotValid
            | ConnectReturnCode::BadClientId
            | ConnectReturnCode::Banned
            | ConnectReturnCode::BadAuthenticationMethod
            | ConnectReturnCode::UnsupportedProtocolVersion
            | ConnectReturnCode::RefusedProtocolVersion
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packet_limit_leaves_room_to_see_what_is_too_long_and_stays_within_the_protocol() {
        assert_eq!(max_packet_bytes(1_024), 4 * 1_024 + HEADER_BYTES);
        assert_eq!(max_packet_bytes(64 * 1024 * 1024), LARGEST_PACKET_BYTES);
        assert_eq!(max_packet_bytes(usize::MAX), LARGEST_PACKET_BYTES);
    }
}
