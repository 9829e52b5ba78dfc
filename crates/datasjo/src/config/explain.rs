use std::fmt::{self, Write};

use super::{Config, Feed, LogFormat, SourceConfig};

/// Every value that holds, one a line, with where it comes from: `default`, or the file and line where it is written. Secrets
/// are `***`. Sorted as the program reads them: the instance, then each feed.
pub fn explain(config: &Config) -> String {
    let mut text = String::new();
    for (key, value) in instance(config) {
        line(&mut text, config, key, &value);
    }
    if let Some(push) = &config.push {
        all(&mut text, config, "push", push);
    }
    for feed in &config.feeds {
        explain_feed(&mut text, config, feed);
    }
    for name in &config.disabled {
        line(&mut text, config, &format!("feed.{name}.enabled"), "false");
    }
    text
}

fn instance(config: &Config) -> Vec<(&'static str, String)> {
    let token = if config.sql.token.is_some() { "***" } else { "none" };
    let format = match config.log.format {
        LogFormat::Text => "\"text\"",
        LogFormat::Json => "\"json\"",
    };
    vec![
        ("data_dir", format!("{:?}", config.data_dir)),
        ("lake.url", format!("{:?}", config.lake.url.as_str())),
        ("lake.flush_every_s", config.flush.every.as_secs().to_string()),
        ("lake.flush_rows", config.flush.rows.to_string()),
        ("journal.max_bytes", config.journal.max_bytes.to_string()),
        ("sql.listen", format!("{:?}", config.sql.listen.to_string())),
        ("sql.token", token.to_owned()),
        ("memory.query_bytes", config.memory.query_bytes.to_string()),
        ("log.format", format.to_owned()),
    ]
}

fn explain_feed(text: &mut String, config: &Config, feed: &Feed) {
    let prefix = format!("feed.{}", feed.name);
    line(text, config, &format!("{prefix}.dataset"), &format!("{:?}", feed.dataset.name));
    line(text, config, &format!("{prefix}.enabled"), "true");
    let source = format!("{prefix}.source");
    written(text, config, &format!("{source}.kind"));
    match &feed.source {
        SourceConfig::Mqtt(mqtt) => all(text, config, &source, mqtt),
        SourceConfig::Poll(poll) => all(text, config, &source, poll),
        SourceConfig::Push(push) => all(text, config, &source, push),
        SourceConfig::File(file) => all(text, config, &source, file),
    }
    written(text, config, &format!("{prefix}.decode"));
}

/// Defaults as Rust names them, and as they are written in a file.
const WRITTEN: &[(&str, &str)] = &[("V5", "\"5\""), ("Get", "\"GET\""), ("None", "none")];

/// All fields of `value`: as written where they are, else the default that holds.
fn all(text: &mut String, config: &Config, prefix: &str, value: &impl fmt::Debug) {
    for (field, default) in debug_fields(value) {
        let key = format!("{prefix}.{field}");
        if !written(text, config, &key) {
            line(text, config, &key, &default);
        }
    }
}

/// What is written at `key` or under it; whether there was anything.
fn written(text: &mut String, config: &Config, key: &str) -> bool {
    let below = format!("{key}.");
    let leaves = config.written.values().filter(|leaf| leaf.key == key || leaf.key.starts_with(&below));
    let before = text.len();
    for leaf in leaves {
        let _ = writeln!(text, "{} = {}  # {}", leaf.key, leaf.value, leaf.origin);
    }
    text.len() > before
}

fn line(text: &mut String, config: &Config, key: &str, value: &str) {
    let origin = config.written.get(key).map_or("default", |leaf| leaf.origin.as_str());
    let _ = writeln!(text, "{key} = {value}  # {origin}");
}

/// Names and values of a struct's fields, in the order of the struct, from what `#[derive(Debug)]` prints with `{:#?}`: a field
/// a line, indented by four. The types of the sources are printed and never written back, so they need no `Serialize`.
fn debug_fields(value: &impl fmt::Debug) -> Vec<(String, String)> {
    let printed = format!("{value:#?}");
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in printed.lines() {
        let Some(inner) = line.strip_prefix("    ") else {
            continue;
        };
        let field = inner.split_once(": ").filter(|(name, _)| name.starts_with(|c: char| c.is_ascii_lowercase()));
        if let Some((name, value)) = field {
            fields.push((name.to_owned(), value.to_owned()));
        } else if let Some((_, value)) = fields.last_mut() {
            value.push_str(inner.trim());
        }
    }
    for (_, value) in &mut fields {
        *value = value.trim_end_matches(',').replace(",}", " }").replace(",]", "]").replace(",)", ")");
        if let Some((_, written)) = WRITTEN.iter().find(|(rust, _)| value.as_str() == *rust) {
            *value = (*written).to_owned();
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    #[expect(dead_code, reason = "printed, not read")]
    struct Gauge {
        depth_cm: u32,
        names: Vec<&'static str>,
        note: Option<&'static str>,
    }

    #[test]
    fn the_fields_of_a_struct_are_listed_with_their_values() {
        let gauge = Gauge { depth_cm: 3, names: vec!["a: b", "c"], note: None };
        let fields = debug_fields(&gauge);
        let expected = [("depth_cm", "3"), ("names", "[\"a: b\",\"c\"]"), ("note", "none")];
        assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
