//! A payload that is one value: a count, `online`.

use std::borrow::Cow;

use crate::decode::Decoder;
use crate::plan::{Context, Raw, Record};
use crate::rows::Rows;

/// The name of the value in the mapping.
pub(crate) const PAYLOAD: &str = "payload";

struct TextRecord<'a>(&'a str);

impl Record for TextRecord<'_> {
    fn field(&self, _field: usize) -> Raw<'_> {
        Raw::Loose(self.0.as_bytes())
    }

    fn document(&self, _field: usize) -> Raw<'_> {
        Raw::Missing
    }
}

/// Decodes the one value.
pub(crate) fn decode(decoder: &Decoder, text: &str, context: &Context<'_>, rows: &mut Rows) {
    decoder.mapping.emit(&TextRecord(text), context, rows, || Cow::Borrowed(text.as_bytes()));
}
