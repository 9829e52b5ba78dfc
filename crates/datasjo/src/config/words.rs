use super::problem::nearest;

/// Words people bring from other programs or from older files, and the key we call it by. Offered before any other word,
/// and only where that key exists.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("type", "format"),
    ("type", "kind"),
    ("table", "dataset"),
    ("topic", "topics"),
    ("username", "user"),
    ("user", "username"),
    ("server", "host"),
    ("host", "url"),
    ("interval_s", "every_s"),
    ("interval", "every_s"),
    ("period_s", "every_s"),
    ("pass", "password"),
    ("bind", "listen"),
    ("address", "listen"),
    ("directory", "data_dir"),
    ("license", "licence"),
    ("description", "meaning"),
];

/// What serde said, in words for the person who wrote the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub message: String,
    pub did_you_mean: Option<String>,
    /// The key that serde missed, if that is what it said; "" if it missed the one key of a choice.
    pub missing: Option<String>,
}

impl Words {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), did_you_mean: None, missing: None }
    }
}

/// Translates a message of serde's derived code (`serde::de::Error`, provided methods) or of the TOML reader, whose forms are
/// fixed. Any other message comes from our own types and is passed on.
pub(super) fn plain(message: &str) -> Words {
    let message = message.trim_end();
    let ticked: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match (message, ticked.as_slice()) {
        (m, [word, right @ ..]) if m.starts_with("unknown field ") => unknown_key(word, right),
        // Whatever stands where a secret's place is wanted may be the secret itself.
        (m, _) if m.ends_with("expected `env` or `file`") => written_secret(),
        (m, [word, right @ ..]) if m.starts_with("unknown variant ") => unknown_word(word, right),
        (m, [key]) if m.starts_with("missing field ") => {
            Words { missing: Some((*key).to_owned()), ..Words::new(format!("key \"{key}\" is missing")) }
        }
        (m, _) if m.starts_with("unexpected keys in table: ") => unexpected_keys(m),
        ("wanted exactly 1 element, found 0 elements", _) => {
            Words { missing: Some(String::new()), ..Words::new("one key is missing in it") }
        }
        ("wanted exactly 1 element, more than 1 element", _) => Words::new("only one key can stand in it"),
        ("invalid socket address syntax", _) => Words::new("expected an address and a port, like \"127.0.0.1:8080\""),
        (m, _) => wrong_value(m).unwrap_or_else(|| Words::new(m)),
    }
}

fn unknown_key(word: &str, right: &[&str]) -> Words {
    let other =
        OTHER_WORDS.iter().find(|(other, ours)| *other == word && right.contains(ours)).map(|(_, ours)| (*ours).to_owned());
    match other.or_else(|| nearest(word, right.iter().copied())) {
        Some(near) => Words { did_you_mean: Some(near), ..Words::new(format!("unknown key \"{word}\"")) },
        None if right.is_empty() => Words::new(format!("unknown key \"{word}\"; nothing can be set here")),
        None => Words::new(format!("unknown key \"{word}\"; the keys here are {}", right.join(", "))),
    }
}

/// `unexpected keys in table: a, b, available keys: c, d`, said of the first.
fn unexpected_keys(message: &str) -> Words {
    let lists = message.trim_start_matches("unexpected keys in table: ").split_once(", available keys: ");
    let Some((extra, right)) = lists else {
        return Words::new(message);
    };
    let word = extra.split(", ").next().unwrap_or(extra);
    unknown_key(word, &right.split(", ").collect::<Vec<_>>())
}

fn unknown_word(word: &str, right: &[&str]) -> Words {
    let did_you_mean = nearest(word, right.iter().copied());
    Words { did_you_mean, ..Words::new(format!("\"{word}\" is not one of {}", right.join(", "))) }
}

fn written_secret() -> Words {
    Words::new("a secret is never written here; name its place: { env = \"NAME\" } or { file = \"path\" }")
}

/// `invalid type: string "x", expected u64`: the found text is left out, for it may be a secret.
fn wrong_value(message: &str) -> Option<Words> {
    let rest = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    let found = if found.starts_with("string ") { "text".to_owned() } else { found.replace('`', "") };
    Some(Words::new(format!("expected {}, found {found}", plain_type(expected))))
}

fn plain_type(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" | "a nonzero u16" | "a nonzero u32" => "a whole number from 0 up",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" | "string" | "path string" => "text in quotes",
        "a boolean" => "true or false",
        "a sequence" => "a list [ ]",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_answered_with_the_nearest_or_all_right_ones() {
        let near = plain("unknown field `dataste`, expected one of `dataset`, `source`, `decode`");
        assert_eq!((near.message.as_str(), near.did_you_mean.as_deref()), ("unknown key \"dataste\"", Some("dataset")));
        let far = plain("unknown field `colour`, expected `dataset` or `source`");
        assert_eq!(far.message, "unknown key \"colour\"; the keys here are dataset, source");
        assert_eq!(far.did_you_mean, None);
    }

    #[test]
    fn another_programs_word_is_answered_with_ours() {
        let words = plain("unknown field `type`, expected one of `format`, `rename`");
        assert_eq!(words.did_you_mean.as_deref(), Some("format"));
        let words = plain("unknown field `interval`, expected one of `every_s`, `url`");
        assert_eq!(words.did_you_mean.as_deref(), Some("every_s"));
    }

    #[test]
    fn a_secret_in_the_file_is_never_repeated() {
        let words = plain("unknown variant `hunter2`, expected `env` or `file`");
        assert!(!words.message.contains("hunter2"), "{}", words.message);
        let words = plain("invalid type: string \"hunter2\", expected struct Login");
        assert_eq!(words.message, "expected a table, found text");
    }

    #[test]
    fn wrong_types_and_missing_keys_are_told_plainly() {
        assert_eq!(plain("invalid type: integer `5`, expected a string").message, "expected text in quotes, found integer 5");
        assert_eq!(
            plain("invalid value: integer `-1`, expected u32").message,
            "expected a whole number from 0 up, found integer -1"
        );
        let choice = plain("unexpected keys in table: heder, available keys: secret, header");
        assert_eq!((choice.message.as_str(), choice.did_you_mean.as_deref()), ("unknown key \"heder\"", Some("header")));
        assert_eq!(plain("missing field `url`\n").missing.as_deref(), Some("url"));
        assert_eq!(plain("relative URL without a base").message, "relative URL without a base");
    }
}
