use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state_path;
use crate::model::TownConfig;

/// How far a town's messages have been acknowledged, and which town it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Seed of the town.
    pub seed: u64,
    /// Its start.
    pub start: Timestamp,
    /// Everything sent before this has been acknowledged.
    pub reached: Timestamp,
}

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file or its directory.
    #[error("{act} {path}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// It is not what a town writes.
    #[error("understand {path}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// Where an earlier run in `dir` got to; none if there was none.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn reached(dir: &Path) -> Result<Option<Reached>, StateError> {
    let path = state_path(dir);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(StateError::Io { act: "read", path, source });
        }
    };
    serde_json::from_slice(&text).map(Some).map_err(|source| StateError::Content { path, source })
}

pub(super) struct StateFile {
    path: PathBuf,
    config: TownConfig,
}

impl StateFile {
    pub fn new(dir: &Path, config: TownConfig) -> Self {
        Self { path: state_path(dir), config }
    }

    /// Replaces the file whole: a reader, or a start after a crash, finds the old one or the new one.
    pub fn write(&self, reached: Timestamp) -> Result<(), StateError> {
        let state = Reached { seed: self.config.seed, start: self.config.start, reached };
        let text = serde_json::to_vec(&state).map_err(|source| StateError::Content { path: self.path.clone(), source })?;
        let beside = self.path.with_extension("json.new");
        let mut file = File::create(&beside).map_err(|source| self.failed("create a file beside", source))?;
        let written = file.write_all(&text).and_then(|()| file.sync_all());
        written.map_err(|source| self.failed("write a file beside", source))?;
        fs::rename(&beside, &self.path).map_err(|source| self.failed("replace", source))
    }

    fn failed(&self, act: &'static str, source: std::io::Error) -> StateError {
        StateError::Io { act, path: self.path.clone(), source }
    }
}
