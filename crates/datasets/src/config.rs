//! The `[decode]` table of a feed file, as written. [`crate::Decoder::new`] checks it against the dataset's table.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reference values by lookup name, then by key: what the configuration loader read from the files of
/// [`DecodeConfig::lookups`].
pub type Lookups = BTreeMap<String, BTreeMap<String, String>>;

/// How the bytes of a feed become rows of its dataset.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeConfig {
    /// The form of a payload.
    pub format: Format,
    /// JSON pointer to the array of records. Absent: the document is the record, or each element if it is an array.
    #[serde(default)]
    pub records: Option<String>,
    /// Shape of the MQTT topic, with names in braces to be used as labels: `water/{zone_id}/{meter_id}/register`.
    /// A name takes at least one character and no `/`. A message under another topic is a reject.
    #[serde(default)]
    pub topic: Option<String>,
    /// The same for the name of a file: `{station_id}.csv`. An ending `.gz` need not be written.
    #[serde(default)]
    pub file: Option<String>,
    /// What to do with a message that the broker kept and sent again when we connected.
    #[serde(default)]
    pub retained: Retained,
    /// One entry for each column of the dataset that the feed fills.
    #[serde(default)]
    pub columns: BTreeMap<String, ColumnConfig>,
    /// One row of each entry for every record, for files with a column per quantity. An entry names the columns in which
    /// its row differs. If the fields of an entry are all null or absent it gives no row; a record in which every entry's
    /// fields are absent is a reject.
    #[serde(default)]
    pub unpivot: Vec<BTreeMap<String, ColumnConfig>>,
    /// Records that are left out on purpose: those for which any of the conditions holds. They are counted.
    #[serde(default)]
    pub skip: Vec<ConditionConfig>,
    /// Reference files by name, for [`Choice::lookup`].
    #[serde(default)]
    pub lookups: BTreeMap<String, LookupConfig>,
    /// CSV: the character between cells. Absent: a comma.
    #[serde(default)]
    pub separator: Option<String>,
    /// CSV: numbers are written `12,5`.
    #[serde(default)]
    pub decimal_comma: bool,
    /// CSV: the names of the columns if the file has no header line.
    #[serde(default)]
    pub header: Vec<String>,
    /// How text is written as bytes.
    #[serde(default)]
    pub encoding: Encoding,
    /// Frigate: the zones of the gate from the street to the inside; their order tells in from out.
    #[serde(default)]
    pub zones_in_order: Vec<String>,
}

/// The form of a payload. The first four are read by the mapping alone; the others know a device or a network server
/// and hand their records to the same mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Jsonl,
    /// Comma-separated values, or another separator.
    Csv,
    /// The payload is one value, called `payload` in the mapping.
    Text,
    /// Axis Object Analytics: line crossings with running totals, and occupancy in area.
    AxisObjectAnalytics,
    /// Frigate's tracked objects (`frigate/events`).
    FrigateEvents,
    /// The Things Stack v3: the record is `decoded_payload`, with the envelope's facts under `frame`.
    Tts,
    /// ChirpStack v4: the record is `object`, with the envelope's facts under `frame`.
    Chirpstack,
    /// wmbusmeters' JSON of a water meter.
    Wmbusmeters,
}

/// What to do with a retained message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retained {
    /// Decode it like any other: it states something that still holds.
    #[default]
    Keep,
    /// Leave it out: it repeats an event that is over.
    Skip,
}

/// How text is written as bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// ISO 8859-1.
    #[serde(rename = "latin1")]
    Latin1,
    /// Windows' Western code page.
    #[serde(rename = "windows-1252")]
    Windows1252,
}

/// Which instant is meant by a local time in the hour that occurs twice in autumn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fold {
    /// The first: summer time still.
    #[default]
    First,
    /// The second: standard time already.
    Second,
    /// Neither: such a record is a reject.
    Reject,
}

/// A reference file: CSV with a header line, one line a key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookupConfig {
    /// The file, relative to the configuration directory.
    pub file: String,
    /// The column that holds the key.
    pub key: String,
    /// The column that holds the value.
    pub value: String,
}

impl LookupConfig {
    /// Reads the file's bytes. An empty value counts as absent; of two lines with one key the last holds.
    ///
    /// # Errors
    /// A sentence for the person who wrote the file: a missing column, a line that is no CSV.
    pub fn read(&self, bytes: &[u8]) -> Result<BTreeMap<String, String>, String> {
        let mut reader = csv::Reader::from_reader(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
        let header = reader.headers().map_err(|e| format!("{} is no CSV: {e}", self.file))?.clone();
        let find = |name: &str| {
            header.iter().position(|h| h.trim() == name).ok_or_else(|| format!("{} has no column \"{name}\"", self.file))
        };
        let (key, value) = (find(&self.key)?, find(&self.value)?);
        let mut pairs = BTreeMap::new();
        for record in reader.records() {
            let record = record.map_err(|e| format!("{} is no CSV: {e}", self.file))?;
            if let (Some(k), Some(v)) = (record.get(key), record.get(value))
                && !v.trim().is_empty()
            {
                pairs.insert(k.trim().to_owned(), v.trim().to_owned());
            }
        }
        Ok(pairs)
    }
}

/// A condition on a record: the field or label has this value. Numbers and booleans compare by how JSON writes them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionConfig {
    /// A field of the record.
    #[serde(default)]
    pub field: Option<String>,
    /// A label.
    #[serde(default)]
    pub label: Option<String>,
    /// Compare what this lookup holds for the field's value, not the value itself.
    #[serde(default)]
    pub lookup: Option<String>,
    /// The value.
    pub equals: String,
}

/// Where a column's value comes from and how it is read. A plain string in the file stands for `{ field = "..." }`.
#[derive(Clone, Debug)]
pub struct ColumnConfig(pub Box<Choice>);

/// The long form of a column's entry. Exactly one of `field`, `document`, `label`, `value`, `received_at` and `retained`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// A field's name, or a JSON pointer into the record if it begins with `/`.
    #[serde(default)]
    pub field: Option<String>,
    /// A JSON pointer into the whole document, for what stands once for all its records.
    #[serde(default)]
    pub document: Option<String>,
    /// A name from `topic` or `file`, or a label of the transport (`topic`, `file`, `path`).
    #[serde(default)]
    pub label: Option<String>,
    /// A constant; in a text, `{name}` stands for that label.
    #[serde(default)]
    pub value: Option<Constant>,
    /// The instant of arrival at our door.
    #[serde(default)]
    pub received_at: bool,
    /// Whether the broker kept the message and sent it again.
    #[serde(default)]
    pub retained: bool,
    /// The unit of the number as it arrives; absent: the column's own.
    #[serde(default)]
    pub unit: Option<UnitConfig>,
    /// How a time is written: `rfc3339` (the default; with `zone` also without offset), `unix_s`, `unix_ms`, `unix_us`, or a
    /// strptime format.
    #[serde(default)]
    pub time: Option<String>,
    /// The IANA time zone of local times.
    #[serde(default)]
    pub zone: Option<String>,
    /// For local times: which instant the doubled hour in autumn means.
    #[serde(default)]
    pub fold: Option<Fold>,
    /// The sender's words and ours; `*` stands for every word not named.
    #[serde(default)]
    pub map: BTreeMap<String, String>,
    /// Words and numbers that mean "no value".
    #[serde(default)]
    pub null: Vec<String>,
    /// The decimal mark of numbers written as text: `.` or `,`. Implies `lenient`.
    #[serde(default)]
    pub decimal: Option<String>,
    /// A factor on the number, before its unit is converted.
    #[serde(default)]
    pub scale: Option<f64>,
    /// The field is an array: which element, from 0.
    #[serde(default)]
    pub index: Option<usize>,
    /// A number may be written as text (also with its unit: `3.38 V`), and a text as a whole number.
    #[serde(default)]
    pub lenient: bool,
    /// Take what this lookup holds for the value.
    #[serde(default)]
    pub lookup: Option<String>,
    /// Only if this holds; else the column is null.
    #[serde(default)]
    pub when: Option<ConditionConfig>,
}

/// The unit of an arriving number.
#[derive(Clone, Debug)]
pub enum UnitConfig {
    /// Always the same.
    Fixed(String),
    /// Stated by each record, or held by a lookup for one of its fields.
    ByRecord(UnitSource),
}

/// Where a record's unit stands.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitSource {
    /// The field that states the unit, or whose value is the key of the lookup.
    pub field: String,
    /// The lookup that holds the unit.
    #[serde(default)]
    pub lookup: Option<String>,
}

/// A constant value.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// Text, perhaps with labels in braces.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// True or false.
    Bool(bool),
}

impl<'de> Deserialize<'de> for ColumnConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ColumnVisitor)
    }
}

struct ColumnVisitor;

impl<'de> Visitor<'de> for ColumnVisitor {
    type Value = ColumnConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field, or a table such as { field = \"m\", unit = \"m3/h\" }")
    }

    fn visit_str<E: serde::de::Error>(self, field: &str) -> Result<ColumnConfig, E> {
        Ok(ColumnConfig(Box::new(Choice { field: Some(field.to_owned()), ..Choice::default() })))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ColumnConfig, A::Error> {
        Choice::deserialize(MapAccessDeserializer::new(map)).map(|choice| ColumnConfig(Box::new(choice)))
    }
}

impl<'de> Deserialize<'de> for UnitConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UnitVisitor)
    }
}

struct UnitVisitor;

impl<'de> Visitor<'de> for UnitVisitor {
    type Value = UnitConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a unit, or a table such as { field = \"unit\" }")
    }

    fn visit_str<E: serde::de::Error>(self, unit: &str) -> Result<UnitConfig, E> {
        Ok(UnitConfig::Fixed(unit.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UnitConfig, A::Error> {
        UnitSource::deserialize(MapAccessDeserializer::new(map)).map(UnitConfig::ByRecord)
    }
}

impl<'de> Deserialize<'de> for Constant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ConstantVisitor)
    }
}

struct ConstantVisitor;

impl Visitor<'_> for ConstantVisitor {
    type Value = Constant;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Constant, E> {
        Ok(Constant::Text(text.to_owned()))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Constant, E> {
        Ok(Constant::Int(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Constant, E> {
        i64::try_from(number).map(Constant::Int).map_err(|_| E::custom("the number is too large"))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Constant, E> {
        Ok(Constant::Float(number))
    }

    fn visit_bool<E: serde::de::Error>(self, truth: bool) -> Result<Constant, E> {
        Ok(Constant::Bool(truth))
    }
}
