//! Comma-separated values. The columns are found by the header's names once a payload; a line with another number of cells
//! is a reject of that line alone.

use std::borrow::Cow;

use ::csv::{ByteRecord, ReaderBuilder};

use crate::decode::Decoder;
use crate::plan::{Context, Raw, Record};
use crate::rows::{Code, Fault, Rows};

/// Longest list of header names shown in a reason.
const MAX_SHOWN_NAMES: usize = 20;

struct CsvRecord<'a> {
    record: &'a ByteRecord,
    /// For each field of the mapping its cell, if the header has it.
    cells: &'a [Option<usize>],
}

impl Record for CsvRecord<'_> {
    fn field(&self, field: usize) -> Raw<'_> {
        let cell = self.cells.get(field).copied().flatten();
        cell.and_then(|cell| self.record.get(cell)).map_or(Raw::Missing, Raw::Loose)
    }

    fn document(&self, _field: usize) -> Raw<'_> {
        Raw::Missing
    }
}

/// Decodes a file or message with any number of lines.
pub(crate) fn decode(decoder: &Decoder, payload: &[u8], context: &Context<'_>, rows: &mut Rows) {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).delimiter(decoder.separator).from_reader(payload);
    let mut record = ByteRecord::new();
    let names = match header(decoder, &mut reader, &mut record) {
        Ok(names) => names,
        Err(fault) => return rows.reject(fault, payload),
    };
    let cells = match find_cells(decoder, &names) {
        Ok(cells) => cells,
        Err(fault) => return rows.reject(fault, payload),
    };
    loop {
        let start = reader.position().byte();
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                return rows.reject(Fault::new(Code::RaggedLine, format!("no CSV: {error}")), payload);
            }
        }
        let end = reader.position().byte();
        let line = || Cow::Borrowed(slice(payload, start, end));
        if record.len() != names.len() {
            let reason = format!("the line has {} cells, the header {}", record.len(), names.len());
            rows.reject(Fault::new(Code::RaggedLine, reason), &line());
            continue;
        }
        decoder.mapping.emit(&CsvRecord { record: &record, cells: &cells }, context, rows, line);
    }
}

fn header(decoder: &Decoder, reader: &mut ::csv::Reader<&[u8]>, record: &mut ByteRecord) -> Result<Vec<String>, Fault> {
    if !decoder.header.is_empty() {
        return Ok(decoder.header.clone());
    }
    match reader.read_byte_record(record) {
        Ok(true) => Ok(record.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned()).collect()),
        Ok(false) => Err(Fault::new(Code::EmptyPayload, "there is no header line")),
        Err(error) => Err(Fault::new(Code::RaggedLine, format!("no CSV: {error}"))),
    }
}

fn find_cells(decoder: &Decoder, names: &[String]) -> Result<Vec<Option<usize>>, Fault> {
    let fields = &decoder.mapping.fields;
    let cells: Vec<Option<usize>> = fields.iter().map(|path| names.iter().position(|name| *name == path.text)).collect();
    let is_absent = |field: &&usize| cells.get(**field).is_none_or(Option::is_none);
    let mapping = &decoder.mapping;
    let needed = mapping.needed.iter().find(is_absent);
    let wanted = mapping.wanted.first().filter(|_| mapping.wanted.iter().all(|field| is_absent(&field)));
    let Some(path) = needed.or(wanted).and_then(|field| fields.get(*field)) else {
        return Ok(cells);
    };
    let shown: Vec<String> = names.iter().take(MAX_SHOWN_NAMES).map(|name| name.chars().take(40).collect()).collect();
    let reason = format!("the header has no \"{}\"; it has {}", path.text, shown.join(", "));
    Err(Fault::new(Code::MissingField, reason))
}

/// The bytes of a line without its ends.
fn slice(payload: &[u8], start: u64, end: u64) -> &[u8] {
    let (start, end) = (usize::try_from(start).unwrap_or(0), usize::try_from(end).unwrap_or(0));
    payload.get(start..end).unwrap_or_default().trim_ascii()
}
