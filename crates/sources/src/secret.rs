use std::fmt;

use serde::Deserialize;

/// A secret named in a file and kept elsewhere: `{ env = "BROKER_PASSWORD" }` or `{ file = "/run/secrets/broker" }`.
/// Printed as `***`; only [`Secret::reveal`] gives the text.
#[derive(Clone, Deserialize)]
#[serde(try_from = "SecretSource")]
pub struct Secret(String);

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum SecretSource {
    Env(String),
    File(String),
}

/// Why a secret could not be had. Never holds the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretProblem {
    /// The variable is not set.
    #[error("the environment variable {0} is not set")]
    Env(String),
    /// The file cannot be read.
    #[error("the secret file {0} cannot be read")]
    File(String),
    /// There is nothing in it.
    #[error("the secret in {0} is empty")]
    Empty(String),
}

impl Secret {
    /// The text itself; for the call that sends it and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl TryFrom<SecretSource> for Secret {
    type Error = SecretProblem;

    fn try_from(source: SecretSource) -> Result<Self, SecretProblem> {
        let (text, place) = match source {
            SecretSource::Env(name) => (std::env::var(&name).map_err(|_| SecretProblem::Env(name.clone()))?, name),
            SecretSource::File(path) => (std::fs::read_to_string(&path).map_err(|_| SecretProblem::File(path.clone()))?, path),
        };
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(SecretProblem::Empty(place)),
            text => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
