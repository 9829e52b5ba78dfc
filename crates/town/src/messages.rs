use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jiff::Timestamp;

use crate::calendar::{HOUR, instant, millis};
use crate::model::{Made, ParkingDays, Reading, Town, delivery};

/// How a message leaves the device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// Published over MQTT, always at QoS 1.
    Mqtt {
        /// The topic.
        topic: String,
        /// Kept by the broker for later subscribers.
        retain: bool,
    },
    /// Posted to a push listener.
    Post {
        /// Path of the listener, beginning with `/`.
        path: String,
    },
    /// Not sent: it can be fetched from then on.
    HttpServed,
}

/// One message, with the instant at which it is sent (or can be fetched) in the town's own time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outgoing {
    /// When.
    pub at: Timestamp,
    /// How.
    pub via: Via,
    /// The bytes.
    pub payload: Vec<u8>,
}

/// What a message is to the one who counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    /// Readings sent for the first time.
    Readings,
    /// The same bytes once more.
    Again,
    /// Bytes nobody can read.
    Garbage,
}

/// A message with what it means. The order is the order of sending; equal instants are ordered by content, so that the
/// order does not depend on where a computation began.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sent {
    pub at_ms: i64,
    pub via: Via,
    pub payload: Vec<u8>,
    pub what: What,
    pub late: bool,
    pub dataset: &'static str,
    pub readings: Vec<Reading>,
}

/// The messages of a span of time in the order of sending. Readings are made hour by hour; those that come late wait in a
/// heap, which holds about a day's late ones.
pub(crate) struct Messages<'a> {
    town: &'a Town,
    /// Everything made before this hour is in the heap or out.
    made_until: i64,
    from: i64,
    until: i64,
    waiting: BinaryHeap<Reverse<Sent>>,
    days: ParkingDays,
}

impl<'a> Messages<'a> {
    pub fn new(town: &'a Town, from: Timestamp, until: Timestamp) -> Self {
        let (from, until) = (millis(from), millis(until));
        let first_hour = (from - delivery::LONGEST).div_euclid(HOUR) * HOUR;
        let made_until = first_hour.max(town.start_ms());
        Self { town, made_until, from, until, waiting: BinaryHeap::new(), days: ParkingDays::default() }
    }

    fn make_an_hour(&mut self) {
        let hour = self.made_until..self.made_until + HOUR;
        self.made_until = hour.end;
        let made: Vec<Made> = self.town.made(hour, &mut self.days);
        for one in made {
            for sent in delivery::send(self.town.noise(), one) {
                if sent.at_ms >= self.from && sent.at_ms < self.until {
                    self.waiting.push(Reverse(sent));
                }
            }
        }
    }
}

impl Iterator for Messages<'_> {
    type Item = Sent;

    fn next(&mut self) -> Option<Sent> {
        loop {
            // What is made later is sent later, so the first in the heap is the next of all.
            let ready = self.waiting.peek().is_some_and(|Reverse(first)| first.at_ms < self.made_until);
            if ready {
                return self.waiting.pop().map(|Reverse(first)| first);
            }
            if self.made_until >= self.until {
                return self.waiting.pop().map(|Reverse(first)| first);
            }
            self.make_an_hour();
        }
    }
}

impl From<Sent> for Outgoing {
    fn from(sent: Sent) -> Self {
        Self { at: instant(sent.at_ms), via: sent.via, payload: sent.payload }
    }
}
