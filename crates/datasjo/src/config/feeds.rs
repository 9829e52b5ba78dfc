use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use datasjo_datasets::{DecodeConfig, Decoder, Lookups};
use datasjo_table::Table;
use serde::Deserialize;
use serde::de::IgnoredAny;
use xxhash_rust::xxh3::xxh3_128;

use super::document::{Absent, Document, Leaf};
use super::files::TextFile;
use super::problem::{Found, nearest};
use super::sources::{self, Name, SourceConfig, Surroundings};

/// Longest name of a feed: it stands in every row, in client ids and in addresses.
const MOST_NAME_LETTERS: usize = 64;
/// Largest file of [`datasjo_datasets::LookupConfig`]: a line for each meter of a large city.
const MOST_LOOKUP_BYTES: u64 = 64 << 20;

/// One source bound to one dataset.
#[derive(Debug)]
pub struct Feed {
    /// The file's name without `.toml`; in every row it brought.
    pub name: Arc<str>,
    /// One sentence for people; may be empty.
    pub description: String,
    /// The table its rows go into.
    pub dataset: Arc<Table>,
    /// How bytes arrive.
    pub source: SourceConfig,
    /// How bytes become rows.
    pub decoder: Arc<Decoder>,
    /// Changes when the feed's file or its dataset's definition changes: 32 hexadecimal digits, XXH3 with 128 bits.
    pub config_hash: String,
}

/// The file without what `[source]` and `[decode]` hold: these are read on their own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFeed {
    #[serde(rename = "dataset")]
    _dataset: String,
    #[serde(default)]
    description: String,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(rename = "source")]
    _source: IgnoredAny,
    #[serde(rename = "decode")]
    _decode: IgnoredAny,
}

fn yes() -> bool {
    true
}

/// What the feed files say.
#[derive(Debug, Default)]
pub(super) struct Feeds {
    /// Those switched on, by name.
    pub on: Vec<Feed>,
    /// The names of those switched off.
    pub off: Vec<String>,
    /// The datasets that some feed names, on or off.
    pub datasets: Vec<String>,
}

/// What reading a feed needs to know beside its file.
pub(super) struct Room<'a, 't> {
    pub tables: &'a BTreeMap<String, Arc<Table>>,
    /// The names of the files under `datasets`, also of those that cannot be read: their problems are told once.
    pub definitions: Vec<&'a str>,
    pub around: Surroundings<'a, 't>,
    /// Whether `datasjo.toml` opens a door for what is pushed.
    pub listens: bool,
}

/// Reads one feed and adds it to `feeds`; a feed that is switched off is checked as well, except for its secrets.
pub(super) fn read<'t>(
    file: &TextFile,
    document: &Document<'t>,
    room: &Room<'_, 't>,
    feeds: &mut Feeds,
    leaves: &mut Vec<Leaf>,
    found: &mut Found,
) {
    check_name(&file.stem, document, found);
    let raw: Option<RawFeed> = document.read(document.whole(), Absent::new(), found);
    let enabled = raw.as_ref().is_none_or(|raw| raw.enabled);
    let table = dataset(document, room, found);
    let source = sources::read(document, &Name { name: &file.stem, enabled }, &room.around, leaves, found);
    let decoder = decoder(document, table.as_ref(), room.around.dir, found);
    feeds.datasets.extend(document.text_at(&["dataset"]).map(str::to_owned));
    if !enabled {
        feeds.off.push(file.stem.clone());
        return;
    }
    let (Some(raw), Some(dataset), Some(source), Some(decoder)) = (raw, table, source, decoder) else {
        return;
    };
    check_place(document, &source, room, found);
    check_unlike(feeds, document, &source, found);
    let config_hash = config_hash(&file.text, &dataset);
    let name = Arc::from(file.stem.as_str());
    feeds.on.push(Feed { name, description: raw.description, dataset, source, decoder: Arc::new(decoder), config_hash });
}

fn check_name(name: &str, document: &Document<'_>, found: &mut Found) {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !starts_well || !name.chars().all(letters) || name.len() > MOST_NAME_LETTERS {
        let message =
            format!("\"{name}\" is no feed name: call the file by up to {MOST_NAME_LETTERS} lower-case letters, digits, - and _");
        found.error(document.place_of(&[]), message);
    }
}

fn dataset(document: &Document<'_>, room: &Room<'_, '_>, found: &mut Found) -> Option<Arc<Table>> {
    let name = document.text_at(&["dataset"])?;
    let table = room.tables.get(name).cloned();
    if table.is_none() && !room.definitions.contains(&name) {
        let near = nearest(name, room.tables.keys().map(String::as_str));
        found.misspelt(document.place_of(&["dataset"]), format!("no dataset \"{name}\""), near);
    }
    table
}

fn decoder(document: &Document<'_>, table: Option<&Arc<Table>>, dir: &Path, found: &mut Found) -> Option<Decoder> {
    let decode = document.value(&["decode"])?.clone();
    let config: DecodeConfig = document.read(decode, Absent::new(), found)?;
    let lookups = lookups(document, &config, dir, found);
    let (table, lookups) = (table?, lookups?);
    match Decoder::new(Arc::clone(table), &config, &lookups) {
        Ok(decoder) => Some(decoder),
        Err(problems) => {
            for problem in problems {
                let place = document.place_of_word(&["decode"], &problem.word);
                let columns = table.columns.iter().map(|column| column.name.as_str());
                let near = if problem.message.contains("has no column") { nearest(&problem.word, columns) } else { None };
                found.misspelt(place, problem.message, near);
            }
            None
        }
    }
}

/// Reads the reference files the mapping asks for; `None` if one cannot be read.
fn lookups(document: &Document<'_>, config: &DecodeConfig, dir: &Path, found: &mut Found) -> Option<Lookups> {
    let mut lookups = Lookups::new();
    for (name, lookup) in &config.lookups {
        let path = dir.join(&lookup.file);
        let bytes = match std::fs::metadata(&path) {
            Ok(about) if about.len() > MOST_LOOKUP_BYTES => {
                Err(format!("{} is longer than {MOST_LOOKUP_BYTES} bytes", path.display()))
            }
            _ => std::fs::read(&path).map_err(|error| format!("{} cannot be read: {error}", path.display())),
        };
        match bytes.and_then(|bytes| lookup.read(&bytes)) {
            Ok(pairs) => {
                lookups.insert(name.clone(), pairs);
            }
            Err(message) => found.error(document.place_of(&["decode", "lookups", name, "file"]), message),
        }
    }
    (lookups.len() == config.lookups.len()).then_some(lookups)
}

/// What the source needs on this machine.
fn check_place(document: &Document<'_>, source: &SourceConfig, room: &Room<'_, '_>, found: &mut Found) {
    match source {
        SourceConfig::Push(_) if !room.listens => {
            let message = "nobody listens for it: datasjo.toml needs a table [push] with listen = \"address:port\"";
            found.error(document.place_of(&["source", "kind"]), message);
        }
        SourceConfig::File(file) if !file.path.exists() => {
            found.warning(document.place_of(&["source", "path"]), format!("there is no {} yet", file.path.display()));
        }
        _ => {}
    }
}

/// Two feeds under one client id take the broker from each other; two under one path would get each other's readings.
fn check_unlike(feeds: &Feeds, document: &Document<'_>, source: &SourceConfig, found: &mut Found) {
    for other in &feeds.on {
        match (&other.source, source) {
            (SourceConfig::Mqtt(a), SourceConfig::Mqtt(b)) if a.client_id == b.client_id && a.broker() == b.broker() => {
                let message = format!("feed {} has the client id \"{}\" too: each needs its own", other.name, b.client_id);
                found.error(document.place_of(&["source", "client_id"]), message);
            }
            (SourceConfig::Push(a), SourceConfig::Push(b)) if a.path == b.path => {
                let message = format!("feed {} has the path \"{}\" too: each needs its own", other.name, b.path);
                found.error(document.place_of(&["source", "path"]), message);
            }
            _ => {}
        }
    }
}

fn config_hash(file: &str, table: &Table) -> String {
    let definition = serde_json::to_vec(table).unwrap_or_default();
    let both = [file.as_bytes(), b"\0".as_slice(), definition.as_slice()].concat();
    format!("{:032x}", xxh3_128(&both))
}
