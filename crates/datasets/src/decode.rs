use std::borrow::Cow;
use std::sync::Arc;

use datasjo_table::{Labels, Table};

use crate::compile;
use crate::config::{DecodeConfig, Encoding, Format, Lookups, Retained};
use crate::format;
use crate::pattern::Pattern;
use crate::plan::{Context, Mapping, Path};
use crate::rows::{Code, Fault, Rows};

/// What is known about a payload beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// What the transport knew.
    pub labels: &'a Labels,
    /// When it came through our door, in microseconds since 1970 UTC.
    pub received_at_us: i64,
    /// MQTT only: the broker kept it and sent it again.
    pub retained: bool,
}

/// What is wrong with a `[decode]` table, in words for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DecodeProblem {
    /// The offending word, to be looked up in the file; a column's name if what is missing belongs to it.
    pub word: String,
    /// What is wrong with it.
    pub message: String,
}

/// Turns the payloads of one feed into rows of its dataset. Made once, used for every payload, from any thread.
#[derive(Debug)]
pub struct Decoder {
    table: Arc<Table>,
    pub(crate) format: Format,
    pub(crate) mapping: Mapping,
    pub(crate) records: Option<Path>,
    pub(crate) separator: u8,
    pub(crate) header: Vec<String>,
    pub(crate) encoding: Encoding,
    pub(crate) zones_in_order: Vec<String>,
    topic: Option<Pattern>,
    file: Option<Pattern>,
    retained: Retained,
}

impl Decoder {
    /// Checks a feed's mapping against its dataset's table. `lookups` holds what was read for each of the feed's lookups.
    ///
    /// # Errors
    /// Everything that is wrong with it, sorted.
    pub fn new(table: Arc<Table>, config: &DecodeConfig, lookups: &Lookups) -> Result<Self, Vec<DecodeProblem>> {
        let compiled = compile::compile(&table, config, lookups)?;
        Ok(Self {
            table,
            format: config.format,
            mapping: compiled.mapping,
            records: config.records.as_deref().map(|pointer| Path::parse(pointer, None)),
            separator: compiled.separator,
            header: config.header.clone(),
            encoding: config.encoding,
            zones_in_order: config.zones_in_order.clone(),
            topic: compiled.topic,
            file: compiled.file,
            retained: config.retained,
        })
    }

    /// The table whose rows it makes.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Decodes one payload. `rows` must have been made for the same table, and [`Rows::begin`] called for this delivery. Every
    /// record ends as rows or rejects or is counted as left out. Never panics, whatever the bytes.
    pub fn decode(&self, payload: &[u8], arrival: &Arrival<'_>, rows: &mut Rows) {
        if arrival.retained && self.retained == Retained::Skip {
            rows.skip(1);
            return;
        }
        let context = match self.context(arrival) {
            Ok(context) => context,
            Err(fault) => return rows.reject(fault, payload),
        };
        let body = payload.strip_prefix(b"\xef\xbb\xbf").unwrap_or(payload);
        if body.trim_ascii().is_empty() {
            return rows.reject(Fault::new(Code::EmptyPayload, "the payload is empty"), payload);
        }
        if self.format == Format::Csv {
            return format::csv::decode(self, &self.bytes(body), &context, rows);
        }
        let Some(text) = self.text(body) else {
            return rows.reject(Fault::new(Code::BadEncoding, "the payload is no UTF-8 text"), payload);
        };
        match self.format {
            Format::Csv => {}
            Format::Json => format::json::document(self, &text, &context, rows),
            Format::Jsonl => format::json::lines(self, &text, &context, rows),
            Format::Text => format::text::decode(self, &text, &context, rows),
            Format::AxisObjectAnalytics => format::json::device(self, &text, &context, rows, format::axis::read),
            Format::FrigateEvents => format::json::device(self, &text, &context, rows, format::frigate::read),
            Format::Tts => format::json::device(self, &text, &context, rows, format::lorawan::tts),
            Format::Chirpstack => format::json::device(self, &text, &context, rows, format::lorawan::chirpstack),
            Format::Wmbusmeters => format::json::device(self, &text, &context, rows, format::wmbusmeters::read),
        }
    }

    fn context<'a>(&'a self, arrival: &Arrival<'a>) -> Result<Context<'a>, Fault> {
        let mut captures = Vec::new();
        if let Some(pattern) = &self.topic {
            read_label(pattern, Labels::TOPIC, arrival.labels.get(Labels::TOPIC), &mut captures)?;
        }
        if let Some(pattern) = &self.file {
            let name = arrival.labels.get(Labels::FILE).map(|name| name.strip_suffix(".gz").unwrap_or(name));
            read_label(pattern, Labels::FILE, name.map(base_name), &mut captures)?;
        }
        let mut context = Context {
            captures,
            labels: arrival.labels,
            received_at_us: arrival.received_at_us,
            retained: arrival.retained,
            filled: Vec::new(),
        };
        let filled = self.mapping.templates.iter().map(|template| template.fill(|name| context.label(name))).collect();
        context.filled = filled;
        Ok(context)
    }

    /// The payload in UTF-8, for a format that can do with single wrong lines.
    fn bytes<'a>(&self, body: &'a [u8]) -> Cow<'a, [u8]> {
        match self.foreign(body) {
            Some(Cow::Owned(text)) => Cow::Owned(text.into_bytes()),
            Some(Cow::Borrowed(text)) => Cow::Borrowed(text.as_bytes()),
            None => Cow::Borrowed(body),
        }
    }

    /// The payload as text; `None` if it is none.
    fn text<'a>(&self, body: &'a [u8]) -> Option<Cow<'a, str>> {
        self.foreign(body).or_else(|| std::str::from_utf8(body).ok().map(Cow::Borrowed))
    }

    /// The text of an encoding in which all bytes are text; `None` for UTF-8.
    fn foreign<'a>(&self, body: &'a [u8]) -> Option<Cow<'a, str>> {
        match self.encoding {
            Encoding::Utf8 => None,
            Encoding::Latin1 => Some(encoding_rs::mem::decode_latin1(body)),
            Encoding::Windows1252 => Some(encoding_rs::WINDOWS_1252.decode_without_bom_handling(body).0),
        }
    }
}

fn read_label<'a>(
    pattern: &'a Pattern,
    label: &str,
    value: Option<&'a str>,
    captures: &mut Vec<(&'a str, &'a str)>,
) -> Result<(), Fault> {
    let Some(value) = value else {
        return Err(Fault::new(Code::WrongTopic, format!("it came without a {label}")));
    };
    if pattern.read(value, captures) {
        return Ok(());
    }
    let shown: String = value.chars().take(120).collect();
    Err(Fault::new(Code::WrongTopic, format!("{label} \"{shown}\" has not the shape stated in the feed")))
}

fn base_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    fn problems(dataset: &str, decode: &str) -> Vec<(String, String)> {
        let table = builtin().into_iter().find(|t| t.name == dataset).unwrap();
        let config: DecodeConfig = toml::from_str(decode).unwrap();
        match Decoder::new(Arc::new(table), &config, &Lookups::new()) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.into_iter().map(|p| (p.word, p.message)).collect(),
        }
    }

    fn words(dataset: &str, decode: &str) -> Vec<String> {
        problems(dataset, decode).into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn all_mistakes_of_a_feed_are_told_at_once_with_their_words() {
        let found = words(
            "water_meters",
            r#"
            format = "json"
            separator = ";"
            [columns]
            meter_id = { label = "meter" }
            observed_at = { field = "t", zone = "Europe/Olso" }
            flow_l_pers = "q"
            level_m = { field = "h", unit = "m3/h" }
            status = { field = "s", value = "x" }
            serial = { field = "s", lookup = "serials" }
            "#,
        );
        assert_eq!(found, ["Europe/Olso", "flow_l_pers", "format", "m3/h", "meter", "serials", "status"]);
    }

    #[test]
    fn a_column_that_may_not_be_null_must_be_filled() {
        let found = problems("river", "format = \"json\"\n[columns]\nobserved_at = \"t\"\n");
        assert_eq!(found, [("columns".to_owned(), "column \"station_id\" may not be null: say what fills it".to_owned())]);
    }

    #[test]
    fn a_word_that_no_row_could_hold_is_a_mistake() {
        let found = words(
            "device_status",
            r#"
            format = "text"
            [columns]
            device_id = { value = "a" }
            signal = { value = "pulse" }
            observed_at = { received_at = true }
            state = { field = "state", map = { "1" = "on" } }
            retained = { received_at = true }
            "#,
        );
        assert_eq!(found, ["on", "pulse", "retained", "state"]);
    }

    #[test]
    fn an_unknown_key_of_a_column_is_told_with_the_keys_there_are() {
        let read = toml::from_str::<DecodeConfig>("format = \"json\"\n[columns]\na = { feild = \"x\" }\n");
        let message = read.unwrap_err().to_string();
        assert!(message.contains("unknown field `feild`") && message.contains("`field`"), "{message}");
    }
}
