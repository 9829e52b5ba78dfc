use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Report;

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The town's time of the last message handed out.
    pub town_time: Timestamp,
    /// Everything before this has been acknowledged.
    pub reached: Timestamp,
    /// Messages handed out.
    pub sent: u64,
    /// Messages acknowledged: PUBACK or HTTP 2xx.
    pub acknowledged: u64,
    /// Messages the push listener refused (garbage).
    pub refused: u64,
    /// Messages sent once more after a broken connection: duplicates beyond those of the truth.
    pub repeated: u64,
}

/// What is on its way and what has arrived.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The time of sending of what is on its way, by number.
    under_way: BTreeMap<u64, Timestamp>,
    progress: Progress,
}

impl Ledger {
    pub fn new(from: Timestamp) -> Self {
        let progress = Progress { town_time: from, reached: from, sent: 0, acknowledged: 0, refused: 0, repeated: 0 };
        Self { under_way: BTreeMap::new(), progress }
    }

    /// A message of `at` goes out; returns its number.
    pub fn sent(&mut self, at: Timestamp) -> u64 {
        self.progress.sent += 1;
        self.under_way.insert(self.progress.sent, at);
        self.progress.sent
    }

    /// Nothing is on its way.
    pub fn is_settled(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Everything before `at` has been handed out.
    pub fn passed(&mut self, at: Timestamp) {
        self.progress.town_time = at;
    }

    pub fn settle(&mut self, report: Report) {
        match report {
            Report::Taken(number) => {
                self.under_way.remove(&number);
                self.progress.acknowledged += 1;
            }
            Report::Refused(number) => {
                self.under_way.remove(&number);
                self.progress.refused += 1;
            }
            Report::Repeated => self.progress.repeated += 1,
        }
    }

    /// Everything before this instant is settled. Numbers rise with time, so the first under way is the earliest.
    pub fn reached(&self) -> Timestamp {
        self.under_way.first_key_value().map_or(self.progress.town_time, |(_, at)| *at)
    }

    pub fn progress(&self) -> Progress {
        Progress { reached: self.reached(), ..self.progress.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reached_waits_for_the_earliest_message_under_way() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut ledger = Ledger::new(at(0));
        let (first, second) = (ledger.sent(at(1)), ledger.sent(at(2)));
        ledger.passed(at(2));
        ledger.settle(Report::Taken(second));
        assert_eq!(ledger.reached(), at(1));
        ledger.settle(Report::Taken(first));
        assert_eq!(ledger.reached(), at(2));
        assert_eq!(ledger.progress().acknowledged, 2);
    }
}
