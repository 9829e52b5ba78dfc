//! Topic filters: their syntax and which topics they match (MQTT 5.0, sections 4.7 and 4.8.2; the same in 3.1.1, where
//! shared subscriptions are an extension that brokers spell alike).

/// The longest text MQTT can carry, in bytes: its length is a 16-bit number.
pub const MAX_TEXT_BYTES: usize = 65_535;

/// Whether `filter` may be subscribed to, `$share/group/filter` included.
pub fn valid_filter(filter: &str) -> bool {
    filter_problem(filter).is_none()
}

/// What is wrong with `filter`, in words for the person who wrote it; `None` when nothing is.
pub fn filter_problem(filter: &str) -> Option<&'static str> {
    if filter.len() > MAX_TEXT_BYTES {
        return Some("is longer than 65,535 bytes");
    }
    if filter.contains('\0') {
        return Some("contains a NUL character");
    }
    let Some(shared) = filter.strip_prefix("$share/") else {
        return levels_problem(filter);
    };
    match shared.split_once('/') {
        None => Some("has no filter after the group: write $share/group/filter"),
        Some((group, _)) if group.is_empty() || group.contains(['+', '#']) => Some("has an empty group or a wildcard in it"),
        Some((_, rest)) => levels_problem(rest),
    }
}

fn levels_problem(filter: &str) -> Option<&'static str> {
    if filter.is_empty() {
        return Some("is empty");
    }
    let last = filter.split('/').count() - 1;
    for (place, level) in filter.split('/').enumerate() {
        if level.contains('#') && (level != "#" || place != last) {
            return Some("has a # that is not alone in the last level");
        }
        if level.contains('+') && level != "+" {
            return Some("has a + that is not alone in its level");
        }
    }
    None
}

/// Whether a message on `topic` is asked for by `filter`. Both are taken to be valid. A wildcard in the first level does not
/// match topics that begin with `$` (MQTT-4.7.2-1).
pub fn matches(filter: &str, topic: &str) -> bool {
    let filter = without_group(filter);
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    let mut asked = filter.split('/');
    loop {
        match (asked.next(), levels.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(level), Some(found)) if level == found => {}
            _ => return false,
        }
    }
}

/// The filter itself, without the `$share/group/` of a shared subscription.
fn without_group(filter: &str) -> &str {
    match filter.strip_prefix("$share/").and_then(|shared| shared.split_once('/')) {
        Some((_, rest)) => rest,
        None => filter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_with_wildcards_alone_in_their_level_are_valid() {
        for filter in ["#", "+", "/", "a", "a/b", "+/b/#", "a/+/c", "a/#", "$share/group/a/+", "$share/g/#", "$SYS/#", "målere/+"]
        {
            assert_eq!(filter_problem(filter), None, "{filter}");
        }
    }

    #[test]
    fn malformed_filters_are_refused() {
        let long = "a".repeat(MAX_TEXT_BYTES + 1);
        for filter in [
            "",
            "a#",
            "#/a",
            "a/#/b",
            "a+",
            "a/b+/c",
            "++",
            "$share/group",
            "$share//a",
            "$share/g+/a",
            "$share/g/",
            "a\0",
            &long,
        ] {
            assert!(!valid_filter(filter), "{filter}");
        }
    }

    #[test]
    fn wildcards_match_levels_as_the_standard_says() {
        let matching = [
            ("#", "a/b"),
            ("a/#", "a"),
            ("a/#", "a/b/c"),
            ("+/b", "a/b"),
            ("a/+", "a/"),
            ("/+", "/a"),
            ("$share/g/a/+", "a/b"),
            ("$SYS/#", "$SYS/up"),
        ];
        for (filter, topic) in matching {
            assert!(matches(filter, topic), "{filter} should match {topic}");
        }
        let apart = [
            ("a", "a/b"),
            ("a/b", "a"),
            ("+", "a/b"),
            ("+", "/a"),
            ("a/+", "a"),
            ("#", "$SYS/up"),
            ("+/up", "$SYS/up"),
            ("a", "A"),
        ];
        for (filter, topic) in apart {
            assert!(!matches(filter, topic), "{filter} should not match {topic}");
        }
    }
}
