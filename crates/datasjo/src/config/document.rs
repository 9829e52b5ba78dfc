use std::collections::BTreeSet;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::problem::{Found, Place};
use super::words::plain;

/// A value with its place in the text of its file, in bytes.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// Keys that were taken out of a table: where the table starts in the text, and the key.
pub(super) type Absent = BTreeSet<(usize, String)>;

/// Most mistakes reported for one table: who made more starts anew anyway.
const MOST_MISTAKES: usize = 50;

/// One TOML file whose words still know where they stand.
pub(super) struct Document<'t> {
    file: String,
    text: &'t str,
    root: DeTable<'t>,
}

impl<'t> Document<'t> {
    /// Parses `text`. What is no TOML is reported, one problem a line, and gives `None`.
    pub fn parse(file: &str, text: &'t str, found: &mut Found) -> Option<Self> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let document = Self { file: file.to_owned(), text, root: root.into_inner() };
        let mut lines = BTreeSet::new();
        for error in &errors {
            let place = document.place(&error.span().unwrap_or_default());
            if lines.insert(place.line) {
                found.error(place, error.message());
            }
        }
        errors.is_empty().then_some(document)
    }

    /// The whole file as one value.
    pub fn whole(&self) -> Value<'t> {
        Spanned::new(0..0, DeValue::Table(self.root.clone()))
    }

    /// The value at `path`, if it is there.
    pub fn value(&self, path: &[&str]) -> Option<&Value<'t>> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.root.get(*first)?, |value, key| value.get_ref().get(*key))
    }

    /// The text at `path`; `None` if there is none or something else.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.value(path)?.get_ref().as_str()
    }

    /// Where the value at `path` stands, or the nearest table above it that is there, or the file's first letter.
    pub fn place_of(&self, path: &[&str]) -> Place {
        let nearest = (1..=path.len()).rev().find_map(|depth| self.value(&path[..depth]));
        self.place(&nearest.map(Spanned::span).unwrap_or_default())
    }

    /// Where `word` first stands as a text or a key under `path`, else where `path` itself stands.
    pub fn place_of_word(&self, path: &[&str], word: &str) -> Place {
        let mut spans = Vec::new();
        match self.value(path) {
            Some(value) => spans_of_word(value.get_ref(), word, &mut spans),
            None => spans_of_word(&DeValue::Table(self.root.clone()), word, &mut spans),
        }
        match spans.iter().min_by_key(|span| span.start) {
            Some(span) => self.place(span),
            None => self.place_of(path),
        }
    }

    /// Where the value stands that a sentence such as `url: the scheme is ftp` names; the table at `path` if it is not there.
    pub fn place_of_key(&self, path: &[&str], sentence: &str) -> Place {
        let key = sentence.split_once(':').map_or("", |(key, _)| key);
        let mut path = path.to_vec();
        path.push(key);
        self.place_of(&path)
    }

    /// Line and column of the first byte of `span`.
    pub fn place(&self, span: &Range<usize>) -> Place {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Place {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// Reads `value` as a `T`; all mistakes are reported. `absent` are keys somebody took out before: that they are missing
    /// is no news, but without them nothing is read.
    pub fn read<T: DeserializeOwned>(&self, mut value: Value<'t>, mut absent: Absent, found: &mut Found) -> Option<T> {
        self.repair(&mut value, &mut absent, found)
    }

    /// As [`Document::read`]. Serde stops at the first mistake, so each refused item is reported, taken out of `value` and
    /// noted in `absent`, and the rest read again: all unknown keys and wrong values of a table show at once.
    pub fn repair<T: DeserializeOwned>(&self, value: &mut Value<'t>, absent: &mut Absent, found: &mut Found) -> Option<T> {
        let mut clean = absent.is_empty();
        for _ in 0..MOST_MISTAKES {
            let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
                Ok(read) => return clean.then_some(read),
                Err(error) => error,
            };
            clean = false;
            let span = error.span().unwrap_or_default();
            let words = plain(error.message());
            let known = words.missing.as_deref().is_some_and(|key| is_known(absent, span.start, key));
            if !known {
                found.misspelt(self.place(&span), words.message, words.did_you_mean.clone());
            }
            let (table, key) = take_out(value, &span)?;
            absent.extend(words.did_you_mean.map(|meant| (table, meant)));
            absent.insert((table, key));
        }
        None
    }

    /// Every single value of the file with its dotted key behind `prefix`, its text as in TOML and its place. A secret is
    /// one value, `***`.
    pub fn leaves(&self, prefix: &str) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        self.add_leaves(prefix, &self.root, &mut leaves);
        leaves
    }

    /// The same for a table of this file.
    pub fn leaves_of(&self, table: &DeTable<'_>) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        self.add_leaves("", table, &mut leaves);
        leaves
    }

    fn add_leaves(&self, prefix: &str, table: &DeTable<'_>, leaves: &mut Vec<Leaf>) {
        for (key, value) in table {
            let key = format!("{prefix}{}", key.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) if !is_secret(inner) => self.add_leaves(&format!("{key}."), inner, leaves),
                _ => leaves.push(Leaf { key, value: text_of(value.get_ref()), origin: self.place(&value.span()).to_string() }),
            }
        }
    }
}

/// Whether `key` was taken out of the table that starts at `table`; with "" whether any key was.
fn is_known(absent: &Absent, table: usize, key: &str) -> bool {
    absent.iter().any(|(start, taken)| *start == table && (key.is_empty() || taken == key))
}

/// A single value as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    /// Dotted key.
    pub key: String,
    /// Text as in TOML, or `***`.
    pub value: String,
    /// `file:line`.
    pub origin: String,
}

/// `{ env = "NAME" }` or `{ file = "path" }` and nothing else.
pub(super) fn is_secret(table: &DeTable<'_>) -> bool {
    table.len() == 1
        && table.iter().all(|(key, value)| ["env", "file"].contains(&key.get_ref().as_ref()) && value.get_ref().is_str())
}

fn text_of(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| text_of(item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(table) if is_secret(table) => "***".to_owned(),
        DeValue::Table(table) => {
            let pairs = table.iter().map(|(key, value)| format!("{} = {}", key.get_ref(), text_of(value.get_ref())));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Takes the innermost item that starts and ends as `span` out of `value`. Gives the start of the table it stood in and
/// its key, which is "" for an item of a list.
fn take_out(value: &mut Value<'_>, span: &Range<usize>) -> Option<(usize, String)> {
    let owner = value.span().start;
    match value.get_mut() {
        DeValue::Table(table) => take_out_of_table(table, owner, span),
        DeValue::Array(array) => take_out_of_array(array, owner, span),
        _ => None,
    }
}

fn take_out_of_table(table: &mut DeTable<'_>, owner: usize, span: &Range<usize>) -> Option<(usize, String)> {
    if let Some(taken) = table.iter_mut().find_map(|(_, value)| take_out(value, span)) {
        return Some(taken);
    }
    let (key, _) = table.iter().find(|(key, value)| key.span() == *span || value.span() == *span)?;
    let key = key.get_ref().to_string();
    table.remove(key.as_str());
    Some((owner, key))
}

fn take_out_of_array(array: &mut DeArray<'_>, owner: usize, span: &Range<usize>) -> Option<(usize, String)> {
    if let Some(taken) = array.iter_mut().find_map(|value| take_out(value, span)) {
        return Some(taken);
    }
    let before = array.len();
    *array = std::mem::replace(array, DeArray::new()).into_iter().filter(|value| value.span() != *span).collect();
    (array.len() < before).then(|| (owner, String::new()))
}

fn spans_of_word(value: &DeValue<'_>, word: &str, spans: &mut Vec<Range<usize>>) {
    match value {
        DeValue::Table(table) => {
            for (key, value) in table {
                if key.get_ref() == word {
                    spans.push(key.span());
                }
                spans_of_spanned(value, word, spans);
            }
        }
        DeValue::Array(array) => array.iter().for_each(|value| spans_of_spanned(value, word, spans)),
        _ => {}
    }
}

fn spans_of_spanned(value: &Spanned<DeValue<'_>>, word: &str, spans: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::String(text) if text == word => spans.push(value.span()),
        inner => spans_of_word(inner, word, spans),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Gauge {
        name: String,
        depth_cm: u32,
        #[serde(default)]
        part: Vec<Part>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Part {
        id: u32,
    }

    fn read(text: &str) -> (Option<Gauge>, Vec<String>) {
        let mut found = Found::default();
        let gauge = Document::parse("gauge.toml", text, &mut found)
            .and_then(|document| document.read(document.whole(), Absent::new(), &mut found));
        (gauge, found.into_sorted().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_right_file_is_read_without_a_word() {
        let (gauge, problems) = read("name = \"Storgata\"\ndepth_cm = 12\n[[part]]\nid = 1\n");
        assert_eq!(gauge, Some(Gauge { name: "Storgata".to_owned(), depth_cm: 12, part: vec![Part { id: 1 }] }));
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn every_mistake_of_a_file_is_found_at_its_place() {
        let (gauge, problems) = read("nmae = \"å\"\ndepth_cm = \"deep\"\n[[part]]\nid = -1\n[[part]]\nidd = 2\n");
        assert_eq!(gauge, None);
        assert_eq!(
            problems,
            [
                "gauge.toml:1:1: unknown key \"nmae\"; did you mean \"name\"?",
                "gauge.toml:2:12: expected a whole number from 0 up, found text",
                "gauge.toml:4:6: expected a whole number from 0 up, found integer -1",
                "gauge.toml:6:1: unknown key \"idd\"; did you mean \"id\"?",
            ]
        );
    }

    #[test]
    fn a_missing_key_is_told_at_its_table_and_does_not_hide_the_next() {
        let (gauge, problems) = read("depth_cm = 1\n[[part]]\n[[part]]\nidentity = 1\n");
        assert_eq!(gauge, None);
        assert_eq!(
            problems,
            [
                "gauge.toml:1:1: key \"name\" is missing",
                "gauge.toml:2:1: key \"id\" is missing",
                "gauge.toml:3:1: key \"id\" is missing",
                "gauge.toml:4:1: unknown key \"identity\"; the keys here are id",
            ]
        );
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_place() {
        let (gauge, problems) = read("name = \"a\"\ndepth_cm = twelve\n");
        assert_eq!(gauge, None);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("gauge.toml:2:12: "), "{problems:?}");
    }

    #[test]
    fn columns_count_letters_and_words_are_found_where_they_stand() {
        let mut found = Found::default();
        let text = "\"åsen\" = { a = \"x\" }\nlist = [\"y\", \"æ\", \"x\"]\n";
        let document = Document::parse("f", text, &mut found).unwrap();
        assert_eq!(document.place_of(&["åsen", "a"]).column, 16);
        let x = document.place_of_word(&["list"], "x");
        assert_eq!((x.line, x.column), (2, 19));
        let nowhere = document.place_of_word(&["list"], "z");
        assert_eq!((nowhere.line, nowhere.column), (2, 8));
    }
}
