use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How far a service has been read: the end of the newest round whose pages are all safe on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Start of that round; `{since}` is counted from here.
    pub(super) fetched_at: Option<Timestamp>,
    /// The address asked, without secrets. ETag, date and cursor belong to it and to no other.
    pub(super) asked: String,
    /// `ETag` of its answer.
    pub(super) etag: Option<String>,
    /// `Last-Modified` of its answer.
    pub(super) last_modified: Option<String>,
    /// Newest page cursor, for a log that is read on.
    pub(super) cursor: Option<String>,
    /// The service asked not to come back before this.
    pub(super) not_before: Option<Timestamp>,
}

impl Place {
    /// Reads a stored place. An unreadable one counts as none: the service is asked for more than needed, which is harmless.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The same place under another address keeps its time only.
    pub(super) fn asked_as(self, asked: &str) -> Self {
        if self.asked == asked {
            return self;
        }
        Self { fetched_at: self.fetched_at, asked: asked.to_owned(), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_address_keeps_the_time_and_forgets_the_rest() {
        let stored = br#"{"fetched_at":"2026-08-01T10:00:00Z","asked":"https://a.example/","etag":"\"1\"","last_modified":null,
            "cursor":"c7","not_before":null}"#;
        let place = Place::from_bytes(stored).unwrap();
        assert_eq!(place.clone().asked_as("https://a.example/"), place);
        let moved = place.clone().asked_as("https://b.example/");
        assert_eq!((moved.fetched_at, moved.etag, moved.cursor), (place.fetched_at, None, None));
    }

    #[test]
    fn an_unreadable_place_is_none() {
        assert_eq!(Place::from_bytes(b"not json"), None);
    }
}
