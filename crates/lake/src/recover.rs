//! Looking over the newest files of a local table before it is opened.
//!
//! A power cut can leave a newest commit without bytes (it opens, and its rows are gone), a torn one (the table does not
//! open), or an intact one whose data file is short (nobody sees it). Such a commit is set aside as evidence; the marker
//! then stands before it, and the journal, which keeps everything until a commit is synced, gives its rows again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// How many of the newest commits are compared with their data files.
const NEWEST: usize = 20;

/// A file that was moved out of the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The table.
    pub table: String,
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong with it.
    pub reason: String,
}

#[derive(Deserialize)]
struct Line {
    add: Option<AddedFile>,
}

#[derive(Deserialize)]
struct AddedFile {
    path: String,
    size: u64,
}

/// Sets aside what a crash left torn in the table under `directory`: staged files, torn checkpoints, and the newest
/// commits that are torn, empty or refer to missing or short data files.
pub fn look_over(table: &str, directory: &Path) -> io::Result<Vec<SetAside>> {
    let log = directory.join("_delta_log");
    if !log.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    let mut aside = |path: &Path, reason: String| -> io::Result<()> {
        let path = move_aside(directory, path)?;
        found.push(SetAside { table: table.to_owned(), path, reason });
        Ok(())
    };
    let mut names: Vec<String> = fs::read_dir(&log)?.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    for name in names.iter().filter(|n| n.ends_with(".checkpoint.parquet") && !is_whole_parquet(&log.join(n))) {
        aside(&log.join(name), "the checkpoint is torn".to_owned())?;
    }
    let commits: Vec<&String> = names.iter().filter(|n| is_commit(n)).collect();
    let damaged = commits.iter().rev().take(NEWEST).filter_map(|n| Some((*n, damage(directory, &log.join(n))?)));
    // A log must not have holes: from the oldest damaged commit on, all go. The journal has what they held.
    if let Some((oldest, reason)) = damaged.last() {
        for name in commits.iter().rev().take_while(|n| **n >= oldest) {
            let why = if *name == oldest { reason.clone() } else { format!("it follows the damaged {oldest}") };
            aside(&log.join(name), why)?;
        }
        let version = oldest.trim_end_matches(".json");
        for name in names.iter().filter(|n| n.ends_with(".checkpoint.parquet") && n.as_str() >= version && log.join(n).exists()) {
            aside(&log.join(name), format!("it follows the damaged {oldest}"))?;
        }
        let hint = log.join("_last_checkpoint");
        if hint.exists() {
            aside(&hint, format!("it may point behind the damaged {oldest}"))?;
        }
    }
    remove_staged(directory)?;
    Ok(found)
}

fn is_commit(name: &str) -> bool {
    name.len() == 25 && name.ends_with(".json") && name.as_bytes()[..20].iter().all(u8::is_ascii_digit)
}

/// What is wrong with a commit file or the data files it adds; `None` if all is well.
fn damage(directory: &Path, commit: &Path) -> Option<String> {
    let text = match fs::read_to_string(commit) {
        Ok(text) => text,
        Err(e) => return Some(format!("the commit cannot be read: {e}")),
    };
    if text.trim().is_empty() {
        return Some("the commit is empty".to_owned());
    }
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let Ok(line) = serde_json::from_str::<Line>(line) else {
            return Some("the commit is torn".to_owned());
        };
        let Some(added) = line.add else { continue };
        let path = directory.join(decode(&added.path));
        match fs::metadata(&path) {
            Ok(found) if found.len() == added.size => {}
            Ok(found) => {
                return Some(format!("{} has {} of {} bytes", added.path, found.len(), added.size));
            }
            // Compaction and retention remove files of older commits; a later commit says so. Only the newest must have theirs.
            Err(_) if is_newest(commit) => return Some(format!("{} is missing", added.path)),
            Err(_) => {}
        }
    }
    None
}

fn is_newest(commit: &Path) -> bool {
    let next = commit.file_stem().and_then(|s| s.to_str()?.parse::<u64>().ok()).map(|v| format!("{:020}.json", v + 1));
    next.is_none_or(|name| !commit.with_file_name(name).exists())
}

/// Partition folders are percent-encoded once more in the log.
fn decode(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn is_whole_parquet(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.len() > 12 && bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"))
}

fn move_aside(directory: &Path, path: &Path) -> io::Result<PathBuf> {
    let folder = directory.join("_set_aside");
    fs::create_dir_all(&folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let target = (0..).map(|n| folder.join(format!("{name}.{n}"))).find(|p| !p.exists()).unwrap_or_else(|| folder.join(&name));
    fs::rename(path, &target)?;
    fs::File::open(&folder)?.sync_all()?;
    if let Some(parent) = path.parent() {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(target)
}

/// Staged files (`name#1`) never got their name, so nothing refers to them.
fn remove_staged(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_staged(&path)?;
        } else if path.to_string_lossy().rsplit_once('#').is_some_and(|(_, n)| n.parse::<u32>().is_ok()) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
