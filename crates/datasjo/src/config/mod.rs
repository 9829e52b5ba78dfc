//! What a person writes, checked: a directory with `datasjo.toml`, `feeds/*.toml`, `datasets/*.toml` and `reference/*.csv`.
//!
//! Each file is parsed into a tree whose words know their places ([`document`]); each part of the tree is then read into its
//! type, mistake by mistake, so that all mistakes of all files are told at once. What [`load`] returns needs no further check.
//! Where a key is wrong, the right ones come from the types themselves, so no list of keys can fall behind.

mod defaults;
mod document;
mod explain;
mod feeds;
mod files;
mod instance;
mod outside;
mod problem;
mod products;
mod sources;
mod tables;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datasjo_pipeline::Catalog;
use datasjo_sources::push::ListenConfig;
use datasjo_table::Table;

pub use defaults::write_default;
pub use explain::explain;
pub use feeds::Feed;
pub use instance::{Flush, Journal, Lake, Log, LogFormat, Memory, Sql};
pub use problem::{Problem, Problems, Severity};
pub use sources::SourceConfig;
pub use tables::Reference;

use document::{Document, Leaf};
use feeds::{Feeds, Room};
use files::{Entry, TextFile};
use problem::{Found, Place};
use sources::Surroundings;

/// Everything the program needs to know, complete and checked. Paths are absolute.
#[derive(Debug)]
pub struct Config {
    /// Where the journal and the program's state lie, and the lake unless it has a place of its own.
    pub data_dir: PathBuf,
    /// Where rows rest.
    pub lake: Lake,
    /// The log of raw deliveries.
    pub journal: Journal,
    /// When hot rows become a commit.
    pub flush: Flush,
    /// The door for feeds of kind `push`; `None` if there is none.
    pub push: Option<ListenConfig>,
    /// The SQL door.
    pub sql: Sql,
    /// Limits on memory.
    pub memory: Memory,
    /// The program's own log.
    pub log: Log,
    /// The feeds that are switched on, by name.
    pub feeds: Vec<Feed>,
    /// The names of the feeds that are switched off, sorted.
    pub disabled: Vec<String>,
    /// Every dataset by name, with or without a feed.
    pub tables: BTreeMap<String, Arc<Table>>,
    /// The reference tables, by name.
    pub reference: Vec<Reference>,
    /// The products, planned over all of these.
    pub products: Arc<Catalog>,
    /// What does not stop the start but deserves a look.
    pub warnings: Vec<Problem>,
    /// What was written and where, by dotted key, for [`explain()`].
    written: BTreeMap<String, Leaf>,
}

/// Reads the configuration directory. Absent files are defaults: an empty directory is a program without feeds.
///
/// # Errors
/// All that is wrong, in all files, if anything is worse than a warning.
pub fn load(dir: &Path) -> Result<Config, Problems> {
    let mut found = Found::default();
    let config = read(dir, &mut found);
    let problems = found.into_sorted();
    let fails = problems.iter().any(|problem| problem.severity == Severity::Error);
    match config {
        Some(config) if !fails => Ok(Config { warnings: problems, ..config }),
        _ => Err(Problems(problems)),
    }
}

impl Config {
    /// Every table of the lake but those it keeps for itself.
    pub fn definitions(&self) -> Vec<Arc<Table>> {
        self.tables.values().cloned().chain(products::tables(&self.products)).collect()
    }
}

/// The texts of the directory: they outlive the trees made of them.
struct Texts {
    instance: Vec<TextFile>,
    datasets: Vec<TextFile>,
    feeds: Vec<TextFile>,
    reference: Vec<Entry>,
}

fn read(dir: &Path, found: &mut Found) -> Option<Config> {
    let base = match std::path::absolute(dir) {
        Ok(base) if base.is_dir() => base,
        _ => {
            found.error(Place::whole(dir.display().to_string()), "there is no such directory");
            return None;
        }
    };
    let texts = collect(dir, found);
    build(&base, texts, found)
}

fn collect(dir: &Path, found: &mut Found) -> Texts {
    let path = dir.join(instance::FILE);
    let shown = path.display().to_string();
    let instance = if path.exists() { vec![Entry { stem: "datasjo".to_owned(), path, shown }] } else { Vec::new() };
    let datasets = files::list(dir, "datasets", "toml", found);
    let feeds = files::list(dir, "feeds", "toml", found);
    Texts {
        instance: files::texts(instance, found),
        datasets: files::texts(datasets, found),
        feeds: files::texts(feeds, found),
        reference: files::list(dir, "reference", "csv", found),
    }
}

fn build(base: &Path, texts: Texts, found: &mut Found) -> Option<Config> {
    let document = texts.instance.first().and_then(|file| Document::parse(&file.shown, &file.text, found));
    let instance = match (&document, texts.instance.is_empty()) {
        (None, false) => None,
        _ => instance::read(base, document.as_ref(), found),
    };
    let definitions: Vec<(String, Document<'_>)> = texts
        .datasets
        .iter()
        .filter_map(|file| Some((file.stem.clone(), Document::parse(&file.shown, &file.text, found)?)))
        .collect();
    let tables = tables::read(&definitions, found);
    let brokers = document.as_ref().map(|document| sources::read_brokers(document, base, found)).unwrap_or_default();
    let mut leaves = document.as_ref().map(|document| document.leaves("")).unwrap_or_default();
    let room = Room {
        tables: &tables,
        definitions: texts.datasets.iter().map(|file| file.stem.as_str()).collect(),
        around: Surroundings { dir: base, brokers: &brokers },
        listens: document.as_ref().is_some_and(|document| document.value(&["push"]).is_some()),
    };
    let mut feeds = Feeds::default();
    for file in &texts.feeds {
        if let Some(document) = Document::parse(&file.shown, &file.text, found) {
            leaves.extend(document.leaves(&format!("feed.{}.", file.stem)));
            feeds::read(file, &document, &room, &mut feeds, &mut leaves, found);
        }
    }
    tables::warn_of_unused(&definitions, &feeds.datasets, found);
    let reference = tables::read_reference(base, texts.reference, &tables, found);
    let products = products::read(base, &tables, &reference, found);
    let instance = instance?;
    Some(Config {
        data_dir: instance.data_dir,
        lake: instance.lake,
        journal: instance.journal,
        flush: instance.flush,
        push: instance.push,
        sql: instance.sql,
        memory: instance.memory,
        log: instance.log,
        feeds: feeds.on,
        disabled: feeds.off,
        tables,
        reference,
        products,
        warnings: Vec::new(),
        written: leaves.into_iter().map(|leaf| (leaf.key.clone(), leaf)).collect(),
    })
}
