use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use datasjo_sources::file::FileConfig;
use datasjo_sources::mqtt::MqttConfig;
use datasjo_sources::poll::PollConfig;
use datasjo_sources::push::PushConfig;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::document::{Absent, Document, Leaf, Value};
use super::outside::Outside;
use super::problem::{Found, nearest};

/// What `kind` can say.
const KINDS: [&str; 4] = ["mqtt", "poll", "push", "file"];

/// How the bytes of a feed arrive: the closed set of sources.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// From a broker.
    Mqtt(MqttConfig),
    /// From a service we ask.
    Poll(PollConfig),
    /// From whoever posts to us.
    Push(PushConfig),
    /// From a directory.
    File(FileConfig),
}

/// Defaults for MQTT sources, from `[broker.<name>]`.
pub(super) struct Broker<'t> {
    values: DeTable<'t>,
    /// Keys that were wrong there and are told there.
    wrong: Vec<String>,
    leaves: Vec<Leaf>,
}

/// What reading a source needs to know beside its file.
pub(super) struct Surroundings<'a, 't> {
    /// The configuration directory, absolute.
    pub dir: &'a Path,
    pub brokers: &'a BTreeMap<String, Broker<'t>>,
}

/// The brokers of `datasjo.toml`, checked as far as they go without a feed.
pub(super) fn read_brokers<'t>(document: &Document<'t>, dir: &Path, found: &mut Found) -> BTreeMap<String, Broker<'t>> {
    let Some(all) = document.value(&["broker"]) else {
        return BTreeMap::new();
    };
    let DeValue::Table(all) = all.get_ref() else {
        found.error(document.place_of(&["broker"]), "expected tables such as [broker.main]");
        return BTreeMap::new();
    };
    let mut brokers = BTreeMap::new();
    for (name, value) in all {
        match value.get_ref() {
            DeValue::Table(table) => {
                let wrong = wrong_keys(document, dir, value, found);
                let mut values = table.clone();
                for key in &wrong {
                    values.remove(key.as_str());
                }
                let leaves = document.leaves_of(table);
                brokers.insert(name.get_ref().to_string(), Broker { values, wrong, leaves });
            }
            _ => found.error(document.place(&value.span()), format!("expected a table [broker.{}]", name.get_ref())),
        }
    }
    brokers
}

/// Reads a broker as if a feed used it, with the keys that a feed would add and without its secrets.
fn wrong_keys<'t>(document: &Document<'t>, dir: &Path, broker: &Value<'t>, found: &mut Found) -> Vec<String> {
    let mut value = broker.clone();
    let start = value.span().start;
    if let DeValue::Table(table) = value.get_mut() {
        let filter = Spanned::new(broker.span(), DeValue::String(Cow::Borrowed("#")));
        let topics: DeArray<'t> = [filter].into_iter().collect();
        insert_default(table, "topics", &broker.span(), DeValue::Array(topics));
        insert_default(table, "client_id", &broker.span(), DeValue::String(Cow::Borrowed("datasjo")));
        insert_default(table, "url", &broker.span(), DeValue::String(Cow::Borrowed("mqtt://localhost")));
    }
    let secret = Outside { dir, wanted: false }.settle(document, &mut value, found);
    let mut absent = secret.clone();
    document.repair::<MqttConfig>(&mut value, &mut absent, found);
    absent.difference(&secret).filter(|(table, _)| *table == start).map(|(_, key)| key.clone()).collect()
}

/// The `[source]` of the feed called `feed`, with its broker's defaults, absolute paths and secrets. `None` if it is wrong
/// or if its secrets are not wanted. What came from a broker is added to `leaves`.
pub(super) fn read<'t>(
    document: &Document<'t>,
    feed: &Name<'_>,
    around: &Surroundings<'_, 't>,
    leaves: &mut Vec<Leaf>,
    found: &mut Found,
) -> Option<SourceConfig> {
    let kind = kind(document, found)?;
    let mut source = document.value(&["source"])?.clone();
    let mut absent = Absent::new();
    if let DeValue::Table(table) = source.get_mut() {
        table.remove("kind");
    }
    if kind == "mqtt" {
        absent = merge_broker(document, &mut source, feed.name, around, leaves, found);
    }
    absent.extend(Outside { dir: around.dir, wanted: feed.enabled }.settle(document, &mut source, found));
    let unread = Unread { document, source, absent };
    match kind {
        "mqtt" => unread.read(MqttConfig::problems, found).map(SourceConfig::Mqtt),
        "poll" => unread.read(PollConfig::problems, found).map(SourceConfig::Poll),
        "push" => unread.read(PushConfig::problems, found).map(SourceConfig::Push),
        _ => unread.read(FileConfig::problems, found).map(|file| SourceConfig::File(under(around.dir, file))),
    }
}

fn under(dir: &Path, file: FileConfig) -> FileConfig {
    FileConfig { path: dir.join(&file.path), ..file }
}

/// A feed's name, and whether it is switched on.
pub(super) struct Name<'a> {
    pub name: &'a str,
    pub enabled: bool,
}

/// A source ready to be read.
struct Unread<'d, 't> {
    document: &'d Document<'t>,
    source: Value<'t>,
    absent: Absent,
}

impl Unread<'_, '_> {
    /// Reads it, and reports what its own check finds; each of those sentences begins with the key to change.
    fn read<T: DeserializeOwned>(self, problems: fn(&T) -> Vec<String>, found: &mut Found) -> Option<T> {
        let document = self.document;
        let read: T = document.read(self.source, self.absent, found)?;
        for problem in problems(&read) {
            found.error(document.place_of_key(&["source"], &problem), problem);
        }
        Some(read)
    }
}

fn kind(document: &Document<'_>, found: &mut Found) -> Option<&'static str> {
    let source = document.value(&["source"])?;
    if !source.get_ref().is_table() {
        found.error(document.place_of(&["source"]), "expected a table [source]");
        return None;
    }
    let Some(written) = document.text_at(&["source", "kind"]) else {
        let message = format!("[source] needs kind = one of \"{}\"", KINDS.join("\", \""));
        found.error(document.place_of(&["source", "kind"]), message);
        return None;
    };
    let kind = KINDS.into_iter().find(|kind| *kind == written);
    if kind.is_none() {
        let message = format!("\"{written}\" is not one of {}", KINDS.join(", "));
        found.misspelt(document.place_of(&["source", "kind"]), message, nearest(written, KINDS));
    }
    kind
}

/// Fills in what the broker says and the feed does not, and the client id. Gives the keys whose absence is no news.
fn merge_broker<'t>(
    document: &Document<'t>,
    source: &mut Value<'t>,
    feed: &str,
    around: &Surroundings<'_, 't>,
    leaves: &mut Vec<Leaf>,
    found: &mut Found,
) -> Absent {
    let start = source.span().start;
    let mut absent = Absent::new();
    let DeValue::Table(table) = source.get_mut() else {
        return absent;
    };
    if let Some(written) = table.remove("broker") {
        let name = written.get_ref().as_str().unwrap_or_default();
        match around.brokers.get(name) {
            Some(broker) => {
                leaves.extend(inherited(broker, table, feed));
                for (key, value) in &broker.values {
                    insert_default(table, key.get_ref(), &written.span(), respanned(value.get_ref(), &written.span()));
                }
                absent.extend(broker.wrong.iter().map(|key| (start, key.clone())));
            }
            None => {
                let near = nearest(name, around.brokers.keys().map(String::as_str));
                let message = format!("there is no [broker.{name}] in datasjo.toml");
                found.misspelt(document.place(&written.span()), message, near);
                absent.insert((start, "url".to_owned()));
            }
        }
    }
    insert_default(table, "client_id", &(0..0), DeValue::String(Cow::Owned(format!("datasjo-{feed}"))));
    absent
}

/// The broker's values that hold for the feed, under the feed's keys.
fn inherited(broker: &Broker<'_>, source: &DeTable<'_>, feed: &str) -> Vec<Leaf> {
    let holds = |leaf: &&Leaf| !source.contains_key(leaf.key.split('.').next().unwrap_or_default());
    let under_feed = |leaf: &Leaf| Leaf { key: format!("feed.{feed}.source.{}", leaf.key), ..leaf.clone() };
    broker.leaves.iter().filter(holds).map(under_feed).collect()
}

fn insert_default<'t>(table: &mut DeTable<'t>, key: &str, span: &Range<usize>, value: DeValue<'t>) {
    if !table.contains_key(key) {
        table.insert(Spanned::new(span.clone(), Cow::Owned(key.to_owned())), Spanned::new(span.clone(), value));
    }
}

/// `value` as if it stood at `span` of another file, for messages about it.
fn respanned<'t>(value: &DeValue<'t>, span: &Range<usize>) -> DeValue<'t> {
    let at = |value: DeValue<'t>| Spanned::new(span.clone(), value);
    match value {
        DeValue::Table(table) => {
            let pairs = table
                .iter()
                .map(|(key, value)| (Spanned::new(span.clone(), key.get_ref().clone()), at(respanned(value.get_ref(), span))));
            DeValue::Table(pairs.collect())
        }
        DeValue::Array(items) => DeValue::Array(items.iter().map(|item| at(respanned(item.get_ref(), span))).collect()),
        single => single.clone(),
    }
}
