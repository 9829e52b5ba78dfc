use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::problem::{Found, Place};

/// Largest file of settings: a thousand times what a long one needs.
const MOST_TEXT_BYTES: u64 = 1 << 20;
/// Most files in one directory: more feeds than one process carries.
const MOST_FILES: usize = 2000;

/// A file that was found, not yet understood.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its name without the extension.
    pub stem: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its name in messages: as the person wrote the directory.
    pub shown: String,
}

/// A file and its text.
#[derive(Debug)]
pub(super) struct TextFile {
    pub stem: String,
    pub shown: String,
    pub text: String,
}

/// The files in `dir/sub` that end in `.extension`, by name. No directory is no files. Names that start with a dot are an
/// editor's and not ours.
pub(super) fn list(dir: &Path, sub: &str, extension: &str, found: &mut Found) -> Vec<Entry> {
    let place = dir.join(sub);
    let names = match fs::read_dir(&place) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            found.error(Place::whole(place.display().to_string()), format!("the directory cannot be read: {error}"));
            return Vec::new();
        }
    };
    let mut entries: Vec<Entry> = names.flatten().filter_map(|name| entry(name.path(), extension)).collect();
    entries.sort_by(|a, b| a.shown.cmp(&b.shown));
    if entries.len() > MOST_FILES {
        found.error(Place::whole(place.display().to_string()), format!("more than {MOST_FILES} files"));
        entries.truncate(MOST_FILES);
    }
    entries
}

fn entry(path: PathBuf, extension: &str) -> Option<Entry> {
    if path.extension()?.to_str()? != extension {
        return None;
    }
    let stem = path.file_stem()?.to_str()?.to_owned();
    (!stem.starts_with('.')).then(|| Entry { stem, shown: path.display().to_string(), path })
}

/// The texts of `entries`; what cannot be read is reported and left out.
pub(super) fn texts(entries: Vec<Entry>, found: &mut Found) -> Vec<TextFile> {
    entries
        .into_iter()
        .filter_map(|entry| match text(&entry.path) {
            Ok(text) => Some(TextFile { stem: entry.stem, shown: entry.shown, text }),
            Err(error) => {
                found.error(Place::whole(entry.shown), format!("the file cannot be read: {error}"));
                None
            }
        })
        .collect()
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(MOST_TEXT_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MOST_TEXT_BYTES {
        return Err(io::Error::other(format!("it is longer than {MOST_TEXT_BYTES} bytes")));
    }
    Ok(text)
}
