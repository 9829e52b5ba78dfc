//! One synced group of records as one value of the store: a header list, then all payloads end to end, packed with LZ4.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use datasjo_table::Labels;
use serde::{Deserialize, Serialize};

use crate::{Entry, JournalError, Record};

#[derive(Serialize)]
struct HeadOut<'a> {
    feed: &'a str,
    labels: &'a Labels,
    received_at_us: i64,
    retained: bool,
    payload_bytes: u64,
}

#[derive(Deserialize)]
struct HeadIn {
    feed: String,
    labels: Labels,
    received_at_us: i64,
    retained: bool,
    payload_bytes: u64,
}

pub(crate) fn pack(entries: &[Entry]) -> Result<Vec<u8>, postcard::Error> {
    let heads: Vec<HeadOut<'_>> = entries.iter().map(|e| head(&e.record)).collect();
    let mut plain = postcard::to_stdvec(&heads)?;
    for entry in entries {
        plain.extend_from_slice(&entry.record.payload);
    }
    Ok(lz4_flex::compress_prepend_size(&plain))
}

fn head(record: &Record) -> HeadOut<'_> {
    HeadOut {
        feed: &record.feed,
        labels: &record.labels,
        received_at_us: record.received_at_us,
        retained: record.retained,
        payload_bytes: record.payload.len() as u64,
    }
}

pub(crate) fn unpack(first_seq: u64, packed: &[u8]) -> Result<Vec<Entry>, JournalError> {
    let damaged = |reason: String| JournalError::Block { first_seq, reason };
    let plain = lz4_flex::decompress_size_prepended(packed).map_err(|e| damaged(e.to_string()))?;
    let (heads, payloads) = postcard::take_from_bytes::<Vec<HeadIn>>(&plain).map_err(|e| damaged(e.to_string()))?;
    let mut rest = Bytes::copy_from_slice(payloads);
    let mut feeds: HashMap<String, Arc<str>> = HashMap::new();
    let mut entries = Vec::with_capacity(heads.len());
    for (seq, head) in (first_seq..).zip(heads) {
        let payload_bytes = head.payload_bytes as usize;
        if payload_bytes > rest.len() {
            return Err(damaged(format!("{payload_bytes} payload bytes announced, {} left", rest.len())));
        }
        let feed = feeds.entry(head.feed).or_insert_with_key(|name| name.as_str().into()).clone();
        let payload = rest.split_to(payload_bytes);
        let record = Record { feed, labels: head.labels, received_at_us: head.received_at_us, retained: head.retained, payload };
        entries.push(Entry { seq, record: Arc::new(record) });
    }
    Ok(entries)
}
