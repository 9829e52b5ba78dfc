//! Looking over the newest files of a local table before it is opened.
//!
//! A power cut can leave a newest commit without bytes (it opens, and its rows are gone), a torn one (the table does not
//! open), or an intact one whose data file is short (nobody sees it). Such a commit is set aside as evidence; the marker
//! then stands before it, and the journal, which keeps everything until a commit is synced, gives its rows again.

use std::fs;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use serde::Deserialize;

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

/// Sets aside what a crash left torn in the table under `directory`: staged files, torn checkpoints, and the newest commit
/// while it is torn, empty or refers to missing or short data files. An older commit was synced before the next began, so a
/// damage there is no trace of a crash: it is left alone, because the journal has let go of it, and `doctor` tells.
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
    let hint = log.join("_last_checkpoint");
    for name in names(&log, ".checkpoint.parquet")? {
        if !is_whole_parquet(&log.join(&name))? {
            aside(&log.join(&name), "the checkpoint is torn".to_owned())?;
            if hint.exists() {
                aside(&hint, format!("it may point to the torn {name}"))?;
            }
        }
    }
    while let Some(newest) = names(&log, ".json")?.into_iter().rfind(|n| is_commit(n)) {
        let Some(reason) = damage(directory, &log.join(&newest))? else { break };
        aside(&log.join(&newest), reason)?;
        let version = newest.trim_end_matches(".json");
        for name in names(&log, ".checkpoint.parquet")?.into_iter().filter(|n| n.as_str() >= version) {
            aside(&log.join(&name), format!("it follows the damaged {newest}"))?;
        }
        if hint.exists() {
            aside(&hint, format!("it may point behind the damaged {newest}"))?;
        }
    }
    remove_staged(directory)?;
    Ok(found)
}

fn names(log: &Path, suffix: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(log)? {
        names.extend(entry?.file_name().into_string().ok().filter(|n| n.ends_with(suffix)));
    }
    names.sort();
    Ok(names)
}

fn is_commit(name: &str) -> bool {
    name.len() == 25 && name.ends_with(".json") && name.as_bytes()[..20].iter().all(u8::is_ascii_digit)
}

/// What is wrong with the newest commit or the data files it adds; `None` if all is well. A file that cannot be read is an
/// error, not a damage.
fn damage(directory: &Path, commit: &Path) -> io::Result<Option<String>> {
    let bytes = fs::read(commit)?;
    let text = String::from_utf8_lossy(&bytes);
    if text.trim_matches(['\0', ' ', '\n', '\r', '\t']).is_empty() {
        return Ok(Some("the commit is empty".to_owned()));
    }
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let Ok(line) = serde_json::from_str::<Line>(line) else { return Ok(Some("the commit is torn".to_owned())) };
        let Some(added) = line.add else { continue };
        match fs::metadata(directory.join(decode(&added.path))) {
            Ok(found) if found.len() == added.size => {}
            Ok(found) => return Ok(Some(format!("{} has {} of {} bytes", added.path, found.len(), added.size))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Some(format!("{} is missing", added.path))),
            Err(e) => return Err(e),
        }
    }
    Ok(None)
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

/// Both ends carry the magic bytes of Parquet (apache/parquet-format, "File format").
fn is_whole_parquet(path: &Path) -> io::Result<bool> {
    let mut file = fs::File::open(path)?;
    let mut ends = [0; 8];
    if file.metadata()?.len() < 12 {
        return Ok(false);
    }
    file.read_exact(&mut ends[..4])?;
    file.seek(io::SeekFrom::End(-4))?;
    file.read_exact(&mut ends[4..])?;
    Ok(&ends == b"PAR1PAR1")
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
