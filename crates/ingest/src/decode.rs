//! From the bytes of a step to rows and rejects, feed by feed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use datasjo_datasets::{Arrival, Decoded, Reject, Rows};
use datasjo_journal::Entry;
use datasjo_lake::{Accepted, RecordBatch, RejectRow};

use crate::{Feed, IngestError};

/// What one feed brought in one step.
pub(crate) struct Part {
    pub feed: Arc<str>,
    pub dataset: Arc<str>,
    config_hash: String,
    /// Arrival and sequence number of each delivery of the feed.
    pub arrivals: Vec<(i64, u64)>,
    rows: Option<(RecordBatch, Vec<u32>)>,
    pub rejects: Vec<Reject>,
    /// The deliveries themselves, in the order of their sequence numbers.
    entries: Vec<Entry>,
}

impl Part {
    fn unreadable(&self, seq: u64, rows: u64) -> Option<RejectRow> {
        let entry = &self.entries[self.entries.binary_search_by_key(&seq, |entry| entry.seq).ok()?];
        let (raw, labels) = (entry.record.payload.to_vec(), labels(entry));
        Some(RejectRow {
            feed: self.feed.clone(),
            dataset: self.dataset.to_string(),
            code: "lake_unreadable".to_owned(),
            reason: format!(
                "{rows} of its rows are for days that cannot be read back to compare; repair them, then give it again"
            ),
            raw_bytes: i64::try_from(raw.len()).unwrap_or(i64::MAX),
            raw,
            labels,
            config_hash: self.config_hash.clone(),
            received_at_us: entry.record.received_at_us,
            seq,
        })
    }
}

fn labels(entry: &Entry) -> String {
    let shown: BTreeMap<&str, &str> = entry.record.labels.iter().collect();
    serde_json::to_string(&shown).unwrap_or_default()
}

/// The rows of a part that its table does not hold yet.
pub(crate) struct Fresh<'p> {
    pub part: &'p Part,
    pub rows: RecordBatch,
    pub arrived: Vec<(i64, u64)>,
}

impl<'p> Fresh<'p> {
    /// `None` if there are none.
    pub fn of(part: &'p Part, table_marker: u64) -> Option<Self> {
        let (rows, origins) = part.rows.as_ref()?;
        let arrived: Vec<(i64, u64)> = origins.iter().map(|origin| part.arrivals[*origin as usize]).collect();
        let held = arrived.partition_point(|a| a.1 <= table_marker);
        let rows = rows.slice(held, rows.num_rows() - held);
        (rows.num_rows() > 0).then(|| Self { part, rows, arrived: arrived[held..].to_vec() })
    }

    /// The deliveries after `rejects_marker` with rows that could not be judged, each as one reject with all its bytes.
    pub fn unreadable(&self, accepted: &Accepted, rejects_marker: u64) -> Vec<RejectRow> {
        let rows = self.arrived.iter().zip(&accepted.unreadable).filter(|((_, seq), lost)| **lost && *seq > rejects_marker);
        let mut rows_by_seq: BTreeMap<u64, u64> = BTreeMap::new();
        for ((_, seq), _) in rows {
            *rows_by_seq.entry(*seq).or_default() += 1;
        }
        rows_by_seq.into_iter().filter_map(|(seq, rows)| self.part.unreadable(seq, rows)).collect()
    }
}

/// Decodes feed by feed; the parts of one table are neighbours.
pub(crate) fn decode(feeds: &HashMap<Arc<str>, Feed>, entries: Vec<Entry>) -> Result<Vec<Part>, IngestError> {
    let mut by_feed: BTreeMap<Arc<str>, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        by_feed.entry(entry.record.feed.clone()).or_default().push(entry);
    }
    let parts = by_feed.into_iter().map(|(name, entries)| decode_feed(feeds.get(&name), name, entries));
    let mut parts = parts.collect::<Result<Vec<_>, _>>()?;
    parts.sort_by(|a, b| a.dataset.cmp(&b.dataset));
    Ok(parts)
}

fn decode_feed(feed: Option<&Feed>, name: Arc<str>, entries: Vec<Entry>) -> Result<Part, IngestError> {
    let arrivals = entries.iter().map(|e| (e.record.received_at_us, e.seq)).collect();
    let (decoded, dataset, config_hash) = match feed {
        Some(feed) => (Some(decode_entries(feed, &entries)?), feed.decoder.table().name.as_str(), feed.config_hash.clone()),
        None => (None, "", String::new()),
    };
    let dataset: Arc<str> = dataset.into();
    let (rows, rejects) = match decoded {
        Some(decoded) => (Some((decoded.rows, decoded.origins)), decoded.rejects),
        None => (None, entries.iter().zip(0..).map(|(e, origin)| no_such_feed(&e.record.payload, origin)).collect()),
    };
    Ok(Part { feed: name, dataset, config_hash, arrivals, rows, rejects, entries })
}

fn decode_entries(feed: &Feed, entries: &[Entry]) -> Result<Decoded, IngestError> {
    let mut rows = Rows::new(feed.decoder.table().clone());
    for (entry, origin) in entries.iter().zip(0..) {
        let record = &entry.record;
        let arrival = Arrival { labels: &record.labels, received_at_us: record.received_at_us, retained: record.retained };
        rows.begin(origin);
        feed.decoder.decode(&record.payload, &arrival, &mut rows);
    }
    rows.finish().map_err(|source| IngestError::Rows { feed: feed.name.to_string(), source })
}

/// A delivery whose feed the configuration no longer has: kept as a reject, so that nothing falls out.
fn no_such_feed(payload: &[u8], origin: u32) -> Reject {
    Reject {
        origin,
        raw: payload[..payload.len().min(64 << 10)].to_vec(),
        raw_bytes: payload.len() as u64,
        reason: "the configuration has no such feed any more".to_owned(),
        code: "no_such_feed",
        records: 1,
    }
}

pub(crate) fn reject_row(part: &Part, reject: &Reject, received_at_us: i64, seq: u64) -> RejectRow {
    RejectRow {
        feed: part.feed.clone(),
        dataset: part.dataset.to_string(),
        code: reject.code.to_owned(),
        reason: reject.reason.clone(),
        raw: reject.raw.clone(),
        raw_bytes: i64::try_from(reject.raw_bytes).unwrap_or(i64::MAX),
        labels: labels(&part.entries[reject.origin as usize]),
        config_hash: part.config_hash.clone(),
        received_at_us,
        seq,
    }
}
