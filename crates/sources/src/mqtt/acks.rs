use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::wire::{Receipt, Requests};
use crate::Mark;

/// Which messages are owed an acknowledgement, in the order received (MQTT-4.6.0-2), and until what is settled.
///
/// Acknowledgements are put in line under the same lock that ends a connection. So one that belongs to a lost connection
/// either is already in line, and is thrown away with the rest of that line, or is never put there: a packet identifier
/// used again by the broker is never acknowledged by mistake.
pub(super) struct Acks {
    requests: Arc<dyn Requests>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connected: bool,
    /// The last mark given to a delivery.
    given: Mark,
    /// Everything up to here is on disk.
    settled: Mark,
    /// Owed on this connection, each with the mark that has to be settled first.
    owed: VecDeque<(Mark, Receipt)>,
}

impl Acks {
    pub fn new(requests: Arc<dyn Requests>) -> Self {
        Self { requests, state: Mutex::default() }
    }

    /// A connection stands: what comes from now on can be acknowledged.
    pub fn opened(&self) {
        self.lock().connected = true;
    }

    /// The connection is gone. What it is owed is dropped: the broker sends those messages again.
    pub fn closed(&self) {
        let mut state = self.lock();
        state.connected = false;
        state.owed.clear();
    }

    /// A message will be handed on: gives it its mark.
    pub fn deliver(&self, receipt: Option<Receipt>) -> Mark {
        let mut state = self.lock();
        state.given += 1;
        let mark = state.given;
        state.owe(mark, receipt);
        mark
    }

    /// A message will not be handed on. It is acknowledged as soon as everything before it is settled.
    pub fn skip(&self, receipt: Option<Receipt>) {
        let mut state = self.lock();
        let before = state.given;
        state.owe(before, receipt);
        self.send(&mut state);
    }

    /// Everything up to `mark` is on disk.
    pub fn settle(&self, mark: Mark) {
        let mut state = self.lock();
        state.settled = state.settled.max(mark);
        self.send(&mut state);
    }

    fn send(&self, state: &mut State) {
        while let Some((mark, receipt)) = state.owed.front().copied() {
            if mark > state.settled || self.requests.acknowledge(receipt).is_err() {
                return;
            }
            state.owed.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn owe(&mut self, mark: Mark, receipt: Option<Receipt>) {
        if let Some(receipt) = receipt.filter(|_| self.connected) {
            self.owed.push_back((mark, receipt));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::NotTaken;
    use super::*;

    #[derive(Default)]
    struct Sent(Mutex<Vec<u16>>);

    impl Requests for Sent {
        fn subscribe(&self, _filters: &[String], _qos: u8) -> Result<(), NotTaken> {
            Err(NotTaken)
        }

        fn unsubscribe(&self, _filter: &str) -> Result<(), NotTaken> {
            Err(NotTaken)
        }

        fn acknowledge(&self, receipt: Receipt) -> Result<(), NotTaken> {
            self.0.lock().unwrap().push(receipt.packet_id);
            Ok(())
        }

        fn disconnect(&self) -> Result<(), NotTaken> {
            Err(NotTaken)
        }
    }

    fn receipt(packet_id: u16) -> Option<Receipt> {
        Some(Receipt { packet_id, exactly_once: false })
    }

    fn connected() -> (Arc<Sent>, Acks) {
        let sent = Arc::new(Sent::default());
        let acks = Acks::new(sent.clone());
        acks.opened();
        (sent, acks)
    }

    #[test]
    fn acknowledgements_go_out_in_order_and_only_up_to_the_settled_mark() {
        let (sent, acks) = connected();
        assert_eq!(
            [acks.deliver(receipt(7)), acks.deliver(None), acks.deliver(receipt(3)), acks.deliver(receipt(9))],
            [1, 2, 3, 4]
        );
        acks.settle(3);
        acks.settle(3);
        acks.settle(1);
        assert_eq!(*sent.0.lock().unwrap(), [7, 3]);
        acks.settle(4);
        assert_eq!(*sent.0.lock().unwrap(), [7, 3, 9]);
    }

    #[test]
    fn a_skipped_message_waits_for_those_before_it() {
        let (sent, acks) = connected();
        acks.skip(receipt(1));
        assert_eq!(*sent.0.lock().unwrap(), [1]);
        acks.deliver(receipt(2));
        acks.skip(receipt(3));
        acks.deliver(receipt(4));
        assert_eq!(*sent.0.lock().unwrap(), [1]);
        acks.settle(1);
        assert_eq!(*sent.0.lock().unwrap(), [1, 2, 3]);
    }

    #[test]
    fn what_a_lost_connection_was_owed_is_never_sent() {
        let (sent, acks) = connected();
        acks.deliver(receipt(1));
        acks.closed();
        let between = acks.deliver(receipt(2));
        acks.opened();
        acks.settle(between);
        assert_eq!(*sent.0.lock().unwrap(), [0u16; 0]);
        let again = acks.deliver(receipt(1));
        acks.settle(again);
        assert_eq!(*sent.0.lock().unwrap(), [1]);
    }
}
