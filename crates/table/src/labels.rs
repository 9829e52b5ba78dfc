use serde::{Deserialize, Serialize};

/// What the transport knew about a payload, as plain strings in a chosen order: the MQTT topic, the file name and
/// its modification time, the HTTP path. Short, so a list beats a map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    /// The key under which MQTT sources store the topic of a message.
    pub const TOPIC: &str = "topic";
    /// The key under which file sources store the name of the file.
    pub const FILE: &str = "file";
    /// The key under which HTTP sources store the requested or posted path.
    pub const PATH: &str = "path";

    /// No labels.
    pub fn new() -> Self {
        Self::default()
    }

    /// Labels with one more pair.
    #[must_use]
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((key.into(), value.into()));
        self
    }

    /// The value stored under `key`, the first if there are several.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// All pairs in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v.as_str()))
    }
}
