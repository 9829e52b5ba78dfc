//! A broker that does what a test tells it, packet by packet, so that what goes over the line can be seen.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::Version;

/// A test that waits longer has failed.
pub(super) const GUARD: Duration = Duration::from_secs(30);

pub(super) const CONNECT: u8 = 1;
pub(super) const PUBACK: u8 = 4;
pub(super) const SUBSCRIBE: u8 = 8;
pub(super) const UNSUBSCRIBE: u8 = 10;
pub(super) const DISCONNECT: u8 = 14;

pub(super) struct Broker {
    listener: TcpListener,
    version: Version,
}

pub(super) struct Line {
    stream: TcpStream,
    version: Version,
}

/// A packet from the client: its type (the upper half of the first byte) and what follows the length.
pub(super) struct Packet {
    pub kind: u8,
    pub body: Vec<u8>,
}

impl Broker {
    pub async fn start(version: Version) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), version }
    }

    pub fn url(&self) -> String {
        format!("mqtt://{}", self.listener.local_addr().unwrap())
    }

    /// Takes the next connection and answers its CONNECT.
    pub async fn accept(&self, session_present: bool) -> Line {
        self.answer_connect(session_present, 0).await
    }

    /// Takes the next connection and answers its CONNECT with `code`.
    pub async fn answer_connect(&self, session_present: bool, code: u8) -> Line {
        let (stream, _) = timeout(GUARD, self.listener.accept()).await.expect("no connection came").unwrap();
        let mut line = Line { stream, version: self.version };
        assert_eq!(line.read().await.kind, CONNECT);
        let mut body = vec![u8::from(session_present), code];
        line.end_properties(&mut body);
        line.send(0x20, &body).await;
        line
    }

    /// Takes the next connection, and grants its one SUBSCRIBE with QoS 1.
    pub async fn accept_and_grant(&self, session_present: bool) -> Line {
        let mut line = self.accept(session_present).await;
        let subscribe = line.expect(SUBSCRIBE).await;
        let grants = vec![1; line.filters(&subscribe).len()];
        line.suback(&subscribe, &grants).await;
        line
    }
}

impl Line {
    pub async fn read(&mut self) -> Packet {
        timeout(GUARD, self.read_packet()).await.expect("no packet came")
    }

    pub async fn expect(&mut self, kind: u8) -> Packet {
        let packet = self.read().await;
        assert_eq!(packet.kind, kind, "packet type");
        packet
    }

    /// Reads a PUBACK and returns its packet identifier.
    pub async fn puback(&mut self) -> u16 {
        let packet = self.expect(PUBACK).await;
        u16::from_be_bytes([packet.body[0], packet.body[1]])
    }

    pub async fn publish(&mut self, topic: &str, packet_id: u16, payload: &[u8]) {
        let mut body = text(topic);
        body.extend(packet_id.to_be_bytes());
        self.end_properties(&mut body);
        body.extend(payload);
        self.send(0x32, &body).await;
    }

    pub async fn suback(&mut self, subscribe: &Packet, codes: &[u8]) {
        let mut body = subscribe.body[..2].to_vec();
        self.end_properties(&mut body);
        body.extend(codes);
        self.send(0x90, &body).await;
    }

    pub async fn unsuback(&mut self, unsubscribe: &Packet) {
        let mut body = unsubscribe.body[..2].to_vec();
        if self.version == Version::V5 {
            body.extend([0, 0]);
        }
        self.send(0xB0, &body).await;
    }

    /// The filters in a SUBSCRIBE or UNSUBSCRIBE.
    pub fn filters(&self, packet: &Packet) -> Vec<String> {
        let options = usize::from(packet.kind == SUBSCRIBE);
        let mut rest = &packet.body[if self.version == Version::V5 { 3 } else { 2 }..];
        let mut filters = Vec::new();
        while !rest.is_empty() {
            let end = 2 + usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            filters.push(String::from_utf8(rest[2..end].to_vec()).unwrap());
            rest = &rest[end + options..];
        }
        filters
    }

    pub async fn send(&mut self, first_byte: u8, body: &[u8]) {
        let mut packet = vec![first_byte];
        let mut length = body.len();
        while length >= 128 {
            packet.push((length % 128) as u8 | 128);
            length /= 128;
        }
        packet.push(length as u8);
        packet.extend(body);
        self.stream.write_all(&packet).await.unwrap();
    }

    fn end_properties(&self, body: &mut Vec<u8>) {
        if self.version == Version::V5 {
            body.push(0);
        }
    }

    async fn read_packet(&mut self) -> Packet {
        let first_byte = self.stream.read_u8().await.unwrap();
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = self.stream.read_u8().await.unwrap();
            length |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte < 128 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.unwrap();
        Packet { kind: first_byte >> 4, body }
    }
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}
