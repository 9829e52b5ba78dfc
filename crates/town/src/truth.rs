use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use crate::calendar::instant;
use crate::messages::{Sent, What};
use crate::model::{Fault, Full, Town};

/// What is true of a span of time: what was sent, what of it is a reading, and what was planted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Truth {
    /// From when, inclusive; it is the time of sending that counts.
    pub from: Timestamp,
    /// Until when, exclusive.
    pub until: Timestamp,
    /// By name of the dataset.
    pub datasets: BTreeMap<&'static str, DatasetTruth>,
    /// Leaks, dead cameras and all else that was planted, in order of its beginning.
    pub faults: Vec<Fault>,
    /// When each car park was full.
    pub full: Vec<Full>,
}

/// What was sent for one dataset. `sent = readings + duplicates`; garbage is apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DatasetTruth {
    /// Messages, garbage and repetitions included; hours that can be fetched count as one each.
    pub messages: u64,
    /// Readings in them, repetitions included.
    pub sent: u64,
    /// Distinct readings: as many rows a lake must have after this span.
    pub readings: u64,
    /// Readings whose sensor and time had come before. All but those of the October hour are equal to the first.
    pub duplicates: u64,
    /// Duplicates that are not equal to the first: the second pass of the October hour, sent without an offset.
    pub october_hour: u64,
    /// Messages in which no reading can be found.
    pub garbage: u64,
    /// Readings sent minutes to a day after they were made, repetitions included.
    pub late: u64,
    /// Distinct readings by the UTC date of the device's time.
    pub readings_by_day: BTreeMap<String, u64>,
}

/// Why the truth could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write {path}")]
pub struct TruthError {
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

type Seen = HashSet<(&'static str, String, i64)>;

impl Town {
    /// What is true of the messages sent from `from` (inclusive) to `until` (exclusive). Costs as much as making them, and
    /// memory for one key a reading.
    pub fn truth(&self, from: Timestamp, until: Timestamp) -> Truth {
        let mut datasets: BTreeMap<&'static str, DatasetTruth> = BTreeMap::new();
        let mut seen = Seen::new();
        for sent in self.sent(from, until) {
            datasets.entry(sent.dataset).or_default().count(sent, &mut seen);
        }
        Truth { from, until, datasets, faults: self.faults(from, until), full: self.full(from, until) }
    }
}

impl DatasetTruth {
    fn count(&mut self, message: Sent, seen: &mut Seen) {
        self.messages += 1;
        if message.what == What::Garbage {
            self.garbage += 1;
            return;
        }
        for reading in message.readings {
            self.sent += 1;
            self.late += u64::from(message.late);
            if !seen.insert((message.dataset, reading.series, reading.observed_ms)) {
                self.duplicates += 1;
                self.october_hour += u64::from(message.what == What::Readings);
                continue;
            }
            self.readings += 1;
            let day: String = instant(reading.observed_ms).to_string().chars().take(10).collect();
            *self.readings_by_day.entry(day).or_default() += 1;
        }
    }
}

impl Truth {
    /// Distinct readings of all datasets.
    pub fn readings(&self) -> u64 {
        self.datasets.values().map(|dataset| dataset.readings).sum()
    }

    /// Garbage messages of all datasets.
    pub fn garbage(&self) -> u64 {
        self.datasets.values().map(|dataset| dataset.garbage).sum()
    }

    /// Writes `truth.json` (everything), `faults.csv`, `full_car_parks.csv` and `readings_by_day.csv` into `<dir>/truth/`.
    ///
    /// # Errors
    /// If the directory or a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), TruthError> {
        let dir = dir.join("truth");
        std::fs::create_dir_all(&dir).map_err(|source| TruthError { path: dir.clone(), source })?;
        let json = serde_json::to_string_pretty(self).map_err(std::io::Error::other);
        let json = json.map_err(|source| TruthError { path: dir.join("truth.json"), source })?;
        write(dir.join("truth.json"), json)?;
        write(dir.join("faults.csv"), self.faults_csv())?;
        write(dir.join("full_car_parks.csv"), self.full_csv())?;
        write(dir.join("readings_by_day.csv"), self.readings_by_day_csv())
    }

    fn faults_csv(&self) -> String {
        let mut csv = "kind,what,from,until,size,unit\n".to_owned();
        for fault in &self.faults {
            let kind = serde_json::to_value(fault.kind).unwrap_or_default();
            let kind = kind.as_str().unwrap_or_default();
            csv.push_str(&format!("{kind},{},{},{},{},{}\n", fault.what, fault.from, fault.until, fault.size, fault.unit));
        }
        csv
    }

    fn full_csv(&self) -> String {
        let mut csv = "lot,from,until\n".to_owned();
        for full in &self.full {
            csv.push_str(&format!("{},{},{}\n", full.lot, full.from, full.until));
        }
        csv
    }

    fn readings_by_day_csv(&self) -> String {
        let mut csv = "dataset,day,readings\n".to_owned();
        for (name, dataset) in &self.datasets {
            for (day, readings) in &dataset.readings_by_day {
                csv.push_str(&format!("{name},{day},{readings}\n"));
            }
        }
        csv
    }
}

fn write(path: PathBuf, text: String) -> Result<(), TruthError> {
    std::fs::write(&path, text).map_err(|source| TruthError { path, source })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::messages::{Outgoing, Via};
    use crate::model::TownConfig;

    fn town(seed: u64, start: &str) -> Town {
        Town::new(TownConfig { seed, start: start.parse().unwrap() }).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_messages_and_another_others() {
        let (from, until) = (at("2026-05-04T06:00:00Z"), at("2026-05-04T14:00:00Z"));
        let messages = |seed| town(seed, "2026-05-04T00:00:00Z").messages(from, until).collect::<Vec<_>>();
        assert_eq!(messages(7), messages(7));
        assert_ne!(messages(7), messages(8));
    }

    #[test]
    fn a_span_is_the_sum_of_its_parts_wherever_it_is_cut() {
        let town = town(7, "2026-05-04T00:00:00Z");
        let (from, until) = (at("2026-05-05T00:00:00Z"), at("2026-05-07T00:00:00Z"));
        let whole: Vec<Outgoing> = town.messages(from, until).collect();
        assert!(whole.windows(2).all(|pair| pair[0] <= pair[1]), "not in the order of sending");
        for cut in ["2026-05-05T03:17:41.5Z", "2026-05-06T12:00:00Z"].map(at) {
            let parts: Vec<Outgoing> = town.messages(from, cut).chain(town.messages(cut, until)).collect();
            assert!(parts == whole, "cut at {cut}");
        }
    }

    /// Counts again from the payloads alone, as a reader would.
    fn counted(messages: impl Iterator<Item = Outgoing>) -> (BTreeSet<String>, u64) {
        let (mut readings, mut garbage) = (BTreeSet::new(), 0);
        for message in messages {
            let document = serde_json::from_slice::<Value>(&message.payload).ok();
            match document.as_ref().filter(|document| document["time"] != "yesterday") {
                None => garbage += 1,
                Some(Value::Array(rows)) => readings.extend(rows.iter().map(|row| key(&message.via, row))),
                Some(row) => drop(readings.insert(key(&message.via, row))),
            }
        }
        (readings, garbage)
    }

    fn key(via: &Via, row: &Value) -> String {
        let place = match via {
            Via::Mqtt { topic, .. } => topic.as_str(),
            Via::Post { .. } | Via::HttpServed => "",
        };
        let fields = ["timestamp", "time", "to", "gauge_id", "point_id", "direction", "length_class"];
        fields.iter().fold(place.to_owned(), |key, field| format!("{key}|{}", row[*field]))
    }

    #[test]
    fn the_truth_counts_what_the_messages_hold() {
        let town = town(7, "2026-05-04T00:00:00Z");
        let (from, until) = (at("2026-05-04T00:00:00Z"), at("2026-05-09T00:00:00Z"));
        let truth = town.truth(from, until);
        let (readings, garbage) = counted(town.messages(from, until));
        assert_eq!(truth.readings(), readings.len() as u64);
        assert_eq!(truth.garbage(), garbage);
        assert!(truth.datasets.values().all(|d| d.sent == d.readings + d.duplicates));
        assert!(truth.datasets.values().map(|d| d.duplicates).sum::<u64>() > 0);
        assert!(truth.datasets.values().map(|d| d.late).sum::<u64>() > 0);
        assert!(garbage > 0);
        assert_eq!(truth.datasets.len(), 9);
    }

    #[test]
    fn the_october_hour_doubles_one_reading_of_each_soil_probe() {
        let town = town(7, "2026-10-20T00:00:00Z");
        let truth = town.truth(at("2026-10-24T00:00:00Z"), at("2026-10-27T00:00:00Z"));
        assert_eq!(truth.datasets["soil_moisture"].october_hour, 2);
        assert_eq!(truth.datasets["water_meters"].october_hour, 0);
    }

    #[test]
    fn ninety_days_are_a_history_of_some_hundred_thousand_messages() {
        let town = town(7, "2026-05-04T00:00:00Z");
        let day = town.messages(at("2026-05-11T00:00:00Z"), at("2026-05-12T00:00:00Z")).count();
        assert!((2_500..6_500).contains(&day), "{day} messages a day");
    }
}
