use std::borrow::Cow;
use std::path::Path;

use toml::de::DeValue;

use super::document::{Absent, Document, Value, is_secret};
use super::problem::{Found, nearest};

/// Keys that end so name a file that is read at the start: certificates and keys.
const FILE_ENDING: &str = "_file";

/// What a table names and does not hold: secrets and files.
pub(super) struct Outside<'a> {
    /// Relative paths lie under it; absolute itself.
    pub dir: &'a Path,
    /// False for a feed that is switched off: its secrets and files need not exist, and its secrets are taken out unread.
    pub wanted: bool,
}

impl Outside<'_> {
    /// Goes through `value` and all tables in it. Paths become absolute. What cannot be had is reported where it is named; such
    /// a secret is taken out, so that the rest can be read. What was taken out is the result.
    pub fn settle<'t>(&self, document: &Document<'t>, value: &mut Value<'t>, found: &mut Found) -> Absent {
        let mut absent = Absent::new();
        self.settle_value(document, value, &mut absent, found);
        absent
    }

    fn settle_value<'t>(&self, document: &Document<'t>, value: &mut Value<'t>, absent: &mut Absent, found: &mut Found) {
        let owner = value.span().start;
        let table = match value.get_mut() {
            DeValue::Table(table) => table,
            DeValue::Array(items) => {
                return items.iter_mut().for_each(|item| self.settle_value(document, item, absent, found));
            }
            _ => return,
        };
        let mut gone = Vec::new();
        for (key, value) in table.iter_mut() {
            let secret = matches!(value.get_ref(), DeValue::Table(inner) if is_secret(inner));
            if key.get_ref().ends_with(FILE_ENDING) {
                self.settle_file(document, value, found);
            } else if !secret {
                self.settle_value(document, value, absent, found);
            } else if !self.settle_secret(document, value, found) {
                gone.push(key.get_ref().to_string());
            }
        }
        for key in gone {
            table.remove(key.as_str());
            absent.insert((owner, key));
        }
    }

    /// Whether the secret can be had.
    fn settle_secret<'t>(&self, document: &Document<'t>, secret: &mut Value<'t>, found: &mut Found) -> bool {
        let DeValue::Table(secret) = secret.get_mut() else {
            return false;
        };
        let Some((key, place)) = secret.iter_mut().next() else {
            return false;
        };
        if !self.wanted {
            return false;
        }
        if key.get_ref() == "file" {
            return self.settle_file(document, place, found);
        }
        let name = place.get_ref().as_str().unwrap_or_default();
        let set = std::env::var_os(name).is_some();
        if !set {
            let message = format!("the environment variable {name} is not set");
            found.misspelt(document.place(&place.span()), message, nearest_variable(name));
        }
        set
    }

    /// Makes the path absolute; whether the file is there.
    fn settle_file<'t>(&self, document: &Document<'t>, value: &mut Value<'t>, found: &mut Found) -> bool {
        let place = document.place(&value.span());
        let DeValue::String(text) = value.get_mut() else {
            return false;
        };
        let path = absolute(self.dir, text);
        let there = Path::new(&path).is_file();
        if self.wanted && !there {
            found.error(place, format!("there is no file {path}"));
        }
        *text = Cow::Owned(path);
        there
    }
}

/// `path` under `dir`, unless it is absolute already.
pub(super) fn absolute(dir: &Path, path: &str) -> String {
    dir.join(path).to_string_lossy().into_owned()
}

fn nearest_variable(name: &str) -> Option<String> {
    let set: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    nearest(name, set.iter().map(String::as_str))
}
