//! The rows, feeds, reference tables and scripts of one folder of `tests/sql`, read from its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use datasjo_datasets::{DecodeConfig, Decoder, Lookups, builtin};
use datasjo_ingest::Feed;
use datasjo_table::Table;
use serde_json::Value;

use super::Outcome;

/// One delivery: what is sent through which feed, and when it arrives.
#[derive(Clone)]
pub struct Sent {
    pub feed: Arc<str>,
    pub received_at_us: i64,
    pub payload: Bytes,
}

/// One folder of `tests/sql`.
pub struct Area {
    /// The folder's name.
    pub name: String,
    /// The scripts that are asked of its rows, by path.
    pub scripts: Vec<PathBuf>,
    pub feeds: Vec<Feed>,
    /// The tables its feeds fill.
    pub tables: Vec<Arc<Table>>,
    /// Reference tables by name.
    pub references: Vec<(String, PathBuf)>,
    /// In the order of arrival.
    pub deliveries: Vec<Sent>,
    /// Other values of some of the same readings, which came earlier and hold no more; for the revised layouts.
    pub before: Vec<Sent>,
}

impl Area {
    /// Reads a folder: `*.slt`, `feeds/*.toml`, `rows/*.jsonl`, `rows/*.before.jsonl`, `reference/*.csv`.
    pub fn read(dir: &Path) -> Outcome<Self> {
        let mut feeds = Vec::new();
        for path in files(&dir.join("feeds"), "toml")? {
            feeds.push(read_feed(&path)?);
        }
        let mut tables: Vec<Arc<Table>> = feeds.iter().map(|feed| feed.decoder.table().clone()).collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        tables.dedup_by(|a, b| a.name == b.name);
        let (mut deliveries, mut before) = (Vec::new(), Vec::new());
        for path in files(&dir.join("rows"), "jsonl")? {
            let name = stem(&path);
            match name.strip_suffix(".before") {
                Some(feed) => before.extend(read_rows(&path, feed)?),
                None => deliveries.extend(read_rows(&path, &name)?),
            }
        }
        deliveries.sort_by_key(|sent| sent.received_at_us);
        before.sort_by_key(|sent| sent.received_at_us);
        let references = files(&dir.join("reference"), "csv")?.into_iter().map(|path| (stem(&path), path)).collect();
        Ok(Self { name: stem(dir), scripts: files(dir, "slt")?, feeds, tables, references, deliveries, before })
    }

    /// Every folder of `tests/sql`, by name.
    pub fn read_all(dir: &Path) -> Outcome<Vec<Self>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            }
        }
        folders.sort();
        folders.iter().map(|folder| Self::read(folder)).collect()
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The files of a folder with this extension, sorted; none if there is no such folder.
fn files(dir: &Path, extension: &str) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    if !dir.is_dir() {
        return Ok(found);
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// `dataset` and `[decode]` of a feed's file; where its bytes come from is up to the layout.
fn read_feed(path: &Path) -> Outcome<Feed> {
    let shown = path.display();
    let mut file: toml::Table = toml::from_str(&fs::read_to_string(path)?).map_err(|e| format!("{shown}: {e}"))?;
    let dataset = file.get("dataset").and_then(|d| d.as_str()).unwrap_or_default().to_owned();
    let table = builtin().into_iter().find(|table| table.name == dataset);
    let table = table.ok_or_else(|| format!("{shown}: there is no dataset \"{dataset}\""))?;
    let decode = file.remove("decode").ok_or_else(|| format!("{shown}: there is no [decode]"))?;
    let config: DecodeConfig = decode.try_into().map_err(|e| format!("{shown}: {e}"))?;
    let decoder = Decoder::new(Arc::new(table), &config, &Lookups::new()).map_err(|problems| format!("{shown}: {problems:?}"))?;
    Ok(Feed { name: stem(path).into(), decoder: Arc::new(decoder), config_hash: "of the tests".to_owned() })
}

/// One delivery a line: `{"received_at": ..., "payload": ...}`. A payload that is a text is sent as it is, any other as JSON.
fn read_rows(path: &Path, feed: &str) -> Outcome<Vec<Sent>> {
    let feed: Arc<str> = feed.into();
    let text = fs::read_to_string(path)?;
    let mut sent = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).map_err(|e| format!("{}: {e}", path.display()))?;
        let received_at: jiff::Timestamp = line["received_at"].as_str().unwrap_or_default().parse()?;
        let payload = match &line["payload"] {
            Value::String(text) => text.clone(),
            document => document.to_string(),
        };
        sent.push(Sent { feed: feed.clone(), received_at_us: received_at.as_microsecond(), payload: payload.into() });
    }
    Ok(sent)
}
