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
    remove: Option<RemovedFile>,
}

#[derive(Deserialize)]
struct RemovedFile {
    path: String,
}

#[derive(Deserialize)]
struct AddedFile {
    path: String,
    size: u64,
}

/// Sets aside what a crash left torn in the table under `directory`: staged files, torn checkpoints, and the newest commit
/// if it is torn, empty or adds data files that are missing or short. An older commit was synced before the next began, so a
/// damage there is no trace of a crash: it is left alone, because the journal has let go of it, and `doctor` tells. So is a
/// compaction whose former files are gone already: without it the table would be worse off.
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
        }
    }
    if hint.exists() && !points_to_a_checkpoint(&hint)? {
        aside(&hint, "it points to no checkpoint".to_owned())?;
    }
    let newest = names(&log, ".json")?.into_iter().rfind(|n| is_commit(n));
    if let Some(newest) = newest
        && let Some(reason) = damage(directory, &log.join(&newest))?
    {
        aside(&log.join(&newest), reason)?;
        let version = newest.trim_end_matches(".json");
        for name in names(&log, ".checkpoint.parquet")?.into_iter().filter(|n| n.as_str() >= version) {
            aside(&log.join(name), format!("it follows the damaged {newest}"))?;
        }
        if hint.exists() {
            aside(&hint, format!("it may point behind the damaged {newest}"))?;
        }
    }
    remove_staged(directory)?;
    Ok(found)
}

#[derive(Deserialize)]
struct Hint {
    version: u64,
}

/// True if the hint can be read and its checkpoint is there. Without a hint readers look for checkpoints themselves.
fn points_to_a_checkpoint(hint: &Path) -> io::Result<bool> {
    let Ok(Hint { version }) = serde_json::from_slice(&fs::read(hint)?) else { return Ok(false) };
    Ok(hint.with_file_name(format!("{version:020}.checkpoint.parquet")).exists())
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
    let mut found = None;
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let Ok(line) = serde_json::from_str::<Line>(line) else { return Ok(Some("the commit is torn".to_owned())) };
        if let Some(removed) = line.remove
            && !directory.join(decode(&removed.path)).exists()
        {
            return Ok(None);
        }
        let Some(added) = line.add else { continue };
        match fs::metadata(directory.join(decode(&added.path))) {
            Ok(file) if file.len() == added.size => {}
            Ok(file) => found = Some(format!("{} has {} of {} bytes", added.path, file.len(), added.size)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => found = Some(format!("{} is missing", added.path)),
            Err(e) => return Err(e),
        }
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with `versions` commits, each adding one file of four bytes.
    fn table(versions: u64) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("_delta_log")).unwrap();
        for version in 0..versions {
            let file = format!("part-{version}.parquet");
            fs::write(directory.path().join(&file), b"PAR1").unwrap();
            let line = format!("{{\"commitInfo\":{{}}}}\n{{\"add\":{{\"path\":\"{file}\",\"size\":4}}}}");
            fs::write(commit(directory.path(), version), line).unwrap();
        }
        directory
    }

    fn commit(directory: &Path, version: u64) -> PathBuf {
        directory.join("_delta_log").join(format!("{version:020}.json"))
    }

    fn reasons(directory: &Path) -> Vec<String> {
        look_over("t", directory).unwrap().into_iter().map(|found| found.reason).collect()
    }

    #[test]
    fn an_intact_table_is_left_alone() {
        assert_eq!(reasons(table(3).path()), Vec::<String>::new());
    }

    #[test]
    fn a_newest_commit_without_bytes_goes_aside_and_the_one_before_stays() {
        for bytes in [&b""[..], b"\0\0\0\0"] {
            let directory = table(3);
            fs::write(commit(directory.path(), 2), bytes).unwrap();
            assert_eq!(reasons(directory.path()), ["the commit is empty"]);
            assert!(!commit(directory.path(), 2).exists() && commit(directory.path(), 1).exists());
        }
    }

    #[test]
    fn a_torn_newest_commit_takes_its_checkpoint_and_the_hint_along() {
        let directory = table(3);
        fs::write(commit(directory.path(), 2), b"{\"add\":{\"pa").unwrap();
        let log = directory.path().join("_delta_log");
        fs::write(log.join("00000000000000000002.checkpoint.parquet"), b"PAR1 whole PAR1").unwrap();
        fs::write(log.join("_last_checkpoint"), b"{\"version\":2}").unwrap();
        assert_eq!(reasons(directory.path()).len(), 3);
        assert_eq!(reasons(directory.path()), Vec::<String>::new(), "a second look finds nothing");
    }

    #[test]
    fn a_short_or_missing_data_file_of_the_newest_commit_is_seen() {
        let directory = table(2);
        fs::write(directory.path().join("part-1.parquet"), b"PA").unwrap();
        assert_eq!(reasons(directory.path()), ["part-1.parquet has 2 of 4 bytes"]);
        fs::remove_file(directory.path().join("part-0.parquet")).unwrap();
        assert_eq!(reasons(directory.path()), ["part-0.parquet is missing"]);
    }

    #[test]
    fn a_damaged_compaction_stays_when_what_it_replaced_is_gone() {
        let directory = table(2);
        let line = "{\"remove\":{\"path\":\"part-0.parquet\"}}\n{\"add\":{\"path\":\"compacted.parquet\",\"size\":9}}";
        fs::write(commit(directory.path(), 2), line).unwrap();
        fs::remove_file(directory.path().join("part-0.parquet")).unwrap();
        assert_eq!(reasons(directory.path()), Vec::<String>::new());
        fs::write(directory.path().join("part-0.parquet"), b"PAR1").unwrap();
        assert_eq!(reasons(directory.path()), ["compacted.parquet is missing"]);
    }

    #[test]
    fn a_damage_under_an_older_commit_is_left_for_doctor() {
        let directory = table(3);
        fs::write(directory.path().join("part-0.parquet"), b"").unwrap();
        assert_eq!(reasons(directory.path()), Vec::<String>::new());
    }

    #[test]
    fn a_torn_checkpoint_goes_aside_with_the_hint() {
        let directory = table(2);
        let log = directory.path().join("_delta_log");
        let checkpoint = log.join("00000000000000000001.checkpoint.parquet");
        fs::write(&checkpoint, b"PAR1 half of i").unwrap();
        fs::write(log.join("_last_checkpoint"), b"{\"version\":1}").unwrap();
        assert_eq!(reasons(directory.path()), ["the checkpoint is torn", "it points to no checkpoint"]);
        assert!(commit(directory.path(), 1).exists());
        fs::write(&checkpoint, b"PAR1 the whole PAR1").unwrap();
        fs::write(log.join("_last_checkpoint"), b"{\"version\":1}").unwrap();
        assert_eq!(reasons(directory.path()), Vec::<String>::new());
    }

    #[test]
    fn staged_files_are_removed() {
        let directory = table(1);
        let staged = directory.path().join("_delta_log/00000000000000000001.json#1234000001");
        fs::write(&staged, b"half").unwrap();
        assert_eq!(reasons(directory.path()), Vec::<String>::new());
        assert!(!staged.exists());
    }
}
