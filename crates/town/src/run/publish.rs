use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::{AsyncClient, ClientError, Event, EventLoop, MqttOptions, Outgoing, Packet, QoS};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Item, Report, RunError};

/// Messages without acknowledgement at once.
const IN_FLIGHT: u16 = 1000;
const PACKET_BYTES: usize = 2 * 1024 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What a connection tells about itself.
enum News {
    Connected,
    /// The next message in order went out under this packet id.
    WentOut(u16),
    Acknowledged(u16),
    Lost(String),
}

/// Publishes items at QoS 1 until their channel ends and all are acknowledged, or `stop`. Each connection is a new client
/// with a clean session, because rumqttc forgets what it holds when the broker has no session; what is not acknowledged is
/// kept here and sent again.
pub(super) async fn publish(
    broker: SocketAddr,
    mut items: mpsc::Receiver<Item>,
    reports: mpsc::Sender<Report>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let mut unacknowledged = BTreeMap::new();
    let mut wait = SHORTEST_WAIT;
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            ended = Connection::open(broker).carry(&mut items, &mut unacknowledged, &reports, &mut wait) => ended,
        };
        match ended {
            Ended::Done => return Ok(()),
            Ended::Lost(reason) => {
                tracing::warn!(%broker, reason, "the town lost its broker; trying again")
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

enum Ended {
    Done,
    Lost(String),
}

struct Connection {
    client: AsyncClient,
    news: mpsc::Receiver<News>,
    /// Numbers given to the client and not yet out, in order.
    queued: VecDeque<u64>,
    by_packet: HashMap<u16, u64>,
    /// Ends the connection's task when dropped.
    _driver: JoinSet<()>,
}

impl Connection {
    fn open(broker: SocketAddr) -> Self {
        let id = format!("datasjo-town-{}", std::process::id());
        let mut options = MqttOptions::new(id, broker.ip().to_string(), broker.port());
        options.set_keep_alive(KEEP_ALIVE).set_clean_session(true).set_inflight(IN_FLIGHT);
        options.set_max_packet_size(PACKET_BYTES, PACKET_BYTES);
        let (client, events) = AsyncClient::new(options, usize::from(IN_FLIGHT) + 1);
        let (tell, news) = mpsc::channel(usize::from(IN_FLIGHT));
        let mut driver = JoinSet::new();
        driver.spawn(drive(events, tell));
        Self { client, news, queued: VecDeque::new(), by_packet: HashMap::new(), _driver: driver }
    }

    async fn carry(
        mut self,
        items: &mut mpsc::Receiver<Item>,
        unacknowledged: &mut BTreeMap<u64, Item>,
        reports: &mpsc::Sender<Report>,
        wait: &mut Duration,
    ) -> Ended {
        let (mut connected, mut more) = (false, true);
        while more || !unacknowledged.is_empty() {
            let room = connected && more && unacknowledged.len() < usize::from(IN_FLIGHT);
            tokio::select! {
                item = items.recv(), if room => match item {
                    None => more = false,
                    Some(item) => {
                        let given = self.give(&item);
                        unacknowledged.insert(item.number, item);
                        if let Err(error) = given {
                            return Ended::Lost(error.to_string());
                        }
                    }
                },
                news = self.news.recv() => match news {
                    Some(News::Connected) => {
                        connected = true;
                        *wait = SHORTEST_WAIT;
                        if let Err(error) = self.give_again(unacknowledged, reports).await {
                            return Ended::Lost(error.to_string());
                        }
                    }
                    Some(News::WentOut(packet)) => self.went_out(packet),
                    Some(News::Acknowledged(packet)) => self.acknowledged(packet, unacknowledged, reports).await,
                    Some(News::Lost(reason)) => return Ended::Lost(reason),
                    None => return Ended::Lost("the connection's task ended".to_owned()),
                },
            }
        }
        Ended::Done
    }

    /// There is always room in the client: it takes more than may be unacknowledged.
    fn give(&mut self, item: &Item) -> Result<(), ClientError> {
        self.client.try_publish(&item.place, QoS::AtLeastOnce, item.retain, item.payload.clone())?;
        self.queued.push_back(item.number);
        Ok(())
    }

    async fn give_again(
        &mut self,
        unacknowledged: &BTreeMap<u64, Item>,
        reports: &mpsc::Sender<Report>,
    ) -> Result<(), ClientError> {
        for item in unacknowledged.values() {
            self.give(item)?;
            // Nobody listening means the run is over.
            let _ = reports.send(Report::Repeated).await;
        }
        Ok(())
    }

    fn went_out(&mut self, packet: u16) {
        if let Some(number) = self.queued.pop_front() {
            self.by_packet.insert(packet, number);
        }
    }

    async fn acknowledged(&mut self, packet: u16, unacknowledged: &mut BTreeMap<u64, Item>, reports: &mpsc::Sender<Report>) {
        let Some(number) = self.by_packet.remove(&packet) else {
            return;
        };
        if unacknowledged.remove(&number).is_some() {
            // Nobody listening means the run is over.
            let _ = reports.send(Report::Taken(number)).await;
        }
    }
}

/// Polls a connection in a task of its own, because a poll that is given up may have taken a message with it.
async fn drive(mut events: EventLoop, tell: mpsc::Sender<News>) {
    loop {
        let news = match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => News::Connected,
            Ok(Event::Incoming(Packet::PubAck(ack))) => News::Acknowledged(ack.pkid),
            Ok(Event::Outgoing(Outgoing::Publish(packet))) => News::WentOut(packet),
            Ok(_) => continue,
            Err(error) => News::Lost(error.to_string()),
        };
        let is_last = matches!(news, News::Lost(_));
        if tell.send(news).await.is_err() || is_last {
            return;
        }
    }
}
