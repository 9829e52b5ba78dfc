//! One file for each form of payload. Those that know a device make records of JSON for the mapping.

pub(crate) mod axis;
pub(crate) mod csv;
pub(crate) mod frigate;
pub(crate) mod json;
pub(crate) mod lorawan;
pub(crate) mod text;
pub(crate) mod wmbusmeters;

use crate::config::Format;

/// The fields that a device format's records offer under the names of our columns: a column without an entry in the feed is
/// filled with the field of its name. The formats that know no device offer none.
pub(crate) fn offered(format: Format) -> &'static [&'static str] {
    match format {
        Format::AxisObjectAnalytics => axis::OFFERED,
        Format::FrigateEvents => frigate::OFFERED,
        Format::Wmbusmeters => wmbusmeters::OFFERED,
        Format::Json | Format::Jsonl | Format::Csv | Format::Text | Format::Tts | Format::Chirpstack => &[],
    }
}
