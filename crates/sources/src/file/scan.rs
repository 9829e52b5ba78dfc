use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::known::Look;
use super::pattern::is_meant;

/// Most files of one folder that are looked at. What is known about each is stored (about 120 bytes), so that a folder
/// nobody clears must have an end somewhere. Of more than that the newest count.
pub(super) const MAX_FILES: usize = 50_000;

/// A file that is meant.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) look: Look,
}

/// The files meant by a path, by name, and how many were left out.
pub(super) fn list(path: &Path, pattern: &str) -> io::Result<(Vec<Found>, usize)> {
    if !fs::metadata(path)?.is_dir() {
        return Ok((found(path.to_owned())?.into_iter().collect(), 0));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if is_meant(pattern, &entry.file_name().to_string_lossy()) {
            files.extend(found(entry.path())?);
        }
    }
    let left_out = files.len().saturating_sub(MAX_FILES);
    files.sort_by_key(|file| file.look.modified_us);
    files.drain(..left_out);
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((files, left_out))
}

/// A file with bytes in it; none for folders, empty files, and files that went away since the folder was read.
fn found(path: PathBuf) -> io::Result<Option<Found>> {
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok(None);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Some(Found { name, look: Look::of(&metadata), path }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_the_files_meant_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("b.csv", "1"), ("a.csv", "1"), ("c.txt", "1"), (".d.csv", "1"), ("empty.csv", "")] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        fs::create_dir(folder.path().join("e.csv")).unwrap();
        let (files, left_out) = list(folder.path(), "*.csv").unwrap();
        let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!((names, left_out), (vec!["a.csv", "b.csv"], 0));
    }
}
