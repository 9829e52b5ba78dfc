use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datasjo_datasets::builtin;
use datasjo_lake::{LEDGER, REJECTS};
use datasjo_table::Table;

use super::document::{Absent, Document};
use super::files::Entry;
use super::problem::{Found, Place};

/// Tables every lake has.
const OWN: [&str; 2] = [LEDGER, REJECTS];

/// Longest header line of a reference file.
const MOST_HEADER_BYTES: u64 = 64 * 1024;

/// A table that people keep by hand: zones, car parks, thresholds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Its name in SQL, the file's name without `.csv`.
    pub name: String,
    /// The CSV file: UTF-8, comma, one header line; read anew by the lake.
    pub path: PathBuf,
}

/// The datasets the binary carries and, over them, those of the directory. A file of the same name replaces one.
pub(super) fn read(documents: &[(String, Document<'_>)], found: &mut Found) -> BTreeMap<String, Arc<Table>> {
    let mut tables: BTreeMap<String, Arc<Table>> =
        builtin().into_iter().map(|table| (table.name.clone(), Arc::new(table))).collect();
    for (stem, document) in documents {
        let Some(table) = document.read::<Table>(document.whole(), Absent::new(), found) else {
            continue;
        };
        for problem in table.problems() {
            found.error(document.place_of_word(&[], &problem.word), problem.message);
        }
        if OWN.contains(&table.name.as_str()) {
            found.error(document.place_of(&["name"]), own(&table.name));
        }
        if table.name != *stem {
            let message = format!("the dataset \"{}\" must be in a file called {}.toml", table.name, table.name);
            found.error(document.place_of(&["name"]), message);
        }
        tables.insert(stem.clone(), Arc::new(table));
    }
    tables
}

fn own(name: &str) -> String {
    format!("\"{name}\" is a table of the program's own: choose another name")
}

/// A definition that nobody uses is a slip of the pen more often than a plan. What the binary carries is not meant.
pub(super) fn warn_of_unused(documents: &[(String, Document<'_>)], used: &[String], found: &mut Found) {
    let carried: Vec<String> = builtin().into_iter().map(|table| table.name).collect();
    for (stem, document) in documents {
        if !used.contains(stem) && !carried.contains(stem) {
            found.warning(document.place_of(&["name"]), format!("no feed brings rows for the dataset \"{stem}\""));
        }
    }
}

/// Reference tables whose header can be used; what is wrong with the others is reported.
pub(super) fn read_reference(
    dir: &Path,
    entries: Vec<Entry>,
    tables: &BTreeMap<String, Arc<Table>>,
    found: &mut Found,
) -> Vec<Reference> {
    let mut reference = Vec::new();
    for entry in entries {
        let place = || Place::whole(entry.shown.clone());
        if !is_name(&entry.stem) {
            found.error(place(), format!("\"{}\" is no table name: use lower-case letters, digits and _", entry.stem));
        }
        if OWN.contains(&entry.stem.as_str()) {
            found.error(place(), own(&entry.stem));
        }
        if tables.contains_key(&entry.stem) {
            found.error(place(), format!("\"{}\" is a dataset already: call the file something else", entry.stem));
        }
        match header(&entry.path) {
            Ok(line) => check_header(&entry.shown, &line, found),
            Err(error) => found.error(place(), format!("the file cannot be read: {error}")),
        }
        let path = dir.join("reference").join(format!("{}.csv", entry.stem));
        reference.push(Reference { name: entry.stem, path });
    }
    reference
}

fn header(path: &Path) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(File::open(path)?.take(MOST_HEADER_BYTES)).read_line(&mut line)?;
    Ok(line.trim_start_matches('\u{feff}').trim_end().to_owned())
}

fn check_header(shown: &str, line: &str, found: &mut Found) {
    if line.contains(';') && !line.contains(',') {
        let column = line.chars().take_while(|c| *c != ';').count() + 1;
        return found.error(at(shown, column), "the columns are separated by \";\": save the file with commas");
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut column = 1;
    for cell in line.split(',') {
        let name = cell.trim().trim_matches('"');
        if !is_name(name) {
            found.error(at(shown, column), format!("\"{name}\" is no column name: use lower-case letters, digits and _"));
        }
        if seen.contains(&name) {
            found.error(at(shown, column), format!("column \"{name}\" stands twice"));
        }
        seen.push(name);
        column += cell.chars().count() + 1;
    }
}

fn at(shown: &str, column: usize) -> Place {
    Place { file: shown.to_owned(), line: 1, column }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
