use jiff::Timestamp;

/// Filled with the start of the window.
pub(super) const SINCE: &str = "{since}";
/// Filled with the end of the window.
pub(super) const UNTIL: &str = "{until}";
/// Filled with the cursor of a page as JSON.
pub(super) const CURSOR: &str = "{cursor}";

/// The times one round asks for, in whole seconds UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    since: Timestamp,
    until: Timestamp,
}

impl Window {
    /// From `back_s` seconds before `newest` until `now`.
    pub(super) fn new(newest: Timestamp, back_s: u32, now: Timestamp) -> Self {
        Self { since: seconds(newest.as_second() - i64::from(back_s)), until: seconds(now.as_second()) }
    }

    /// Any times, to see whether a template makes sense.
    pub(super) fn example() -> Self {
        Self { since: Timestamp::UNIX_EPOCH, until: Timestamp::UNIX_EPOCH }
    }

    /// The text with `{since}` and `{until}` filled in.
    pub(super) fn fill(&self, text: &str) -> String {
        text.replace(SINCE, &self.since.to_string()).replace(UNTIL, &self.until.to_string())
    }
}

/// The text with `{cursor}` filled in: a JSON string with its quotes, or `null`.
pub(super) fn fill_cursor(text: &str, cursor: Option<&str>) -> String {
    let json = cursor.map_or(serde_json::Value::Null, serde_json::Value::from);
    text.replace(CURSOR, &json.to_string())
}

/// Outside the years jiff knows (-9999 to 9999) the start of 1970 stands in; a window never gets there.
fn seconds(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds_in_utc() {
        let now: Timestamp = "2026-08-01T10:00:30.75Z".parse().unwrap();
        let filled = Window::new(now, 90, now).fill("?from={since}&to={until}");
        assert_eq!(filled, "?from=2026-08-01T09:59:00Z&to=2026-08-01T10:00:30Z");
    }

    #[test]
    fn a_cursor_is_quoted_and_its_absence_is_null() {
        let body = r#"{"variables": {"after": {cursor}}}"#;
        assert_eq!(fill_cursor(body, None), r#"{"variables": {"after": null}}"#);
        assert_eq!(fill_cursor(body, Some("a\"b")), r#"{"variables": {"after": "a\"b"}}"#);
    }
}
