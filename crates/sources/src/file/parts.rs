use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use xxhash_rust::xxh3::Xxh3;

/// Bytes read from disk at once; larger reads gain nothing measurable on local disks.
const READ_BYTES: usize = 256 * 1024;

/// How a file is cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) lines: bool,
    pub(super) chunk_bytes: usize,
    pub(super) header_lines: usize,
    pub(super) max_payload_bytes: usize,
}

/// One part of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Where it begins in the decompressed file, in bytes, not counting the repeated header in front of it.
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    /// Whether the file ends with it.
    pub(super) is_last: bool,
}

/// What came instead of another part.
#[derive(Debug)]
pub(super) enum End {
    /// The file ends here.
    Whole,
    /// The file ends within a line, which begins at `offset` and is not part of anything yet.
    MidLine { offset: u64 },
    /// The file is longer than it may be.
    TooLong,
    /// It cannot be read any further: torn compression, a failing disk.
    Torn(io::Error),
}

/// A file, decompressed and cut. No line is touched on its own: the last line end of each part is looked for from behind.
pub(super) struct Parts {
    input: Input,
    cut: Cut,
    /// Whether a line without an end counts as a line when the file ends.
    takes_last_line: bool,
    header: Vec<u8>,
    /// Read already, and belonging to the next part.
    rest: Vec<u8>,
    offset: u64,
    /// Said after everything that could be read was handed out.
    torn: Option<io::Error>,
    is_over: bool,
}

impl Parts {
    pub(super) fn open(path: &Path, cut: Cut, takes_last_line: bool) -> io::Result<Self> {
        let input = Input::open(path)?;
        Ok(Self { input, cut, takes_last_line, header: Vec::new(), rest: Vec::new(), offset: 0, torn: None, is_over: false })
    }

    /// The next part, or why there is none. After an end nothing comes but `Whole`.
    pub(super) fn next(&mut self) -> Result<Part, End> {
        if self.is_over {
            return Err(End::Whole);
        }
        let part = match self.torn.take() {
            Some(torn) => Err(End::Torn(torn)),
            None if self.cut.lines => self.next_lines(),
            None => self.whole(),
        };
        self.is_over = part.as_ref().map_or(true, |part| part.is_last);
        part
    }

    /// XXH3-128 of the bytes on disk read so far, in hexadecimal; of the file once it was read to its end.
    pub(super) fn xxh3(&self) -> String {
        format!("{:032x}", self.input.hash().digest128())
    }

    fn whole(&mut self) -> Result<Part, End> {
        let mut bytes = Vec::new();
        self.read_up_to(&mut bytes, self.cut.max_payload_bytes.saturating_add(1)).map_err(End::Torn)?;
        if bytes.len() > self.cut.max_payload_bytes {
            return Err(End::TooLong);
        }
        if bytes.is_empty() {
            return Err(End::Whole);
        }
        Ok(Part { offset: 0, bytes, is_last: true })
    }

    fn next_lines(&mut self) -> Result<Part, End> {
        let header_bytes = self.header.len();
        let mut bytes = Vec::with_capacity(header_bytes + self.rest.len() + self.cut.chunk_bytes);
        bytes.extend_from_slice(&self.header);
        bytes.append(&mut self.rest);
        match self.fill(&mut bytes, header_bytes) {
            Ok(is_at_end) => self.cut_off(bytes, header_bytes, is_at_end),
            Err(torn) => match end_of_last_line(&bytes[header_bytes..]) {
                Some(length) => {
                    self.torn = Some(torn);
                    self.hand_out(bytes, header_bytes, length, false)
                }
                None => Err(End::Torn(torn)),
            },
        }
    }

    /// Fills `bytes` until there is something to hand out. Tells whether the file ends with it.
    fn fill(&mut self, bytes: &mut Vec<u8>, header_bytes: usize) -> io::Result<bool> {
        let mut wanted = header_bytes + self.cut.chunk_bytes;
        loop {
            self.read_up_to(bytes, wanted)?;
            if self.input.reader().fill_buf()?.is_empty() {
                return Ok(true);
            }
            let own = &bytes[header_bytes..];
            let is_complete = match self.offset {
                0 if self.cut.header_lines > 0 => end_of_line(own, self.cut.header_lines).is_some(),
                _ => end_of_last_line(own).is_some(),
            };
            if is_complete || own.len() >= self.cut.max_payload_bytes.max(self.cut.chunk_bytes) {
                return Ok(false);
            }
            wanted = bytes.len() + self.cut.chunk_bytes;
        }
    }

    fn cut_off(&mut self, bytes: Vec<u8>, header_bytes: usize, is_at_end: bool) -> Result<Part, End> {
        let own = &bytes[header_bytes..];
        let (own_bytes, line_end) = (own.len(), end_of_last_line(own));
        match line_end {
            _ if own_bytes == 0 => Err(End::Whole),
            Some(length) if length == own_bytes => self.hand_out(bytes, header_bytes, length, is_at_end),
            _ if is_at_end && self.takes_last_line => self.hand_out(bytes, header_bytes, own_bytes, true),
            Some(length) => self.hand_out(bytes, header_bytes, length, false),
            None if is_at_end => Err(End::MidLine { offset: self.offset }),
            // A line longer than allowed is cut where it stands.
            None => self.hand_out(bytes, header_bytes, own_bytes, false),
        }
    }

    /// The first `length` of our own bytes as a part; what follows them is kept.
    fn hand_out(&mut self, mut bytes: Vec<u8>, header_bytes: usize, length: usize, is_last: bool) -> Result<Part, End> {
        self.rest.extend_from_slice(&bytes[header_bytes + length..]);
        bytes.truncate(header_bytes + length);
        if self.offset == 0 && self.cut.header_lines > 0 {
            let header_end = end_of_line(&bytes, self.cut.header_lines).unwrap_or(bytes.len());
            self.header.extend_from_slice(&bytes[..header_end]);
        }
        let offset = self.offset;
        self.offset += length as u64;
        Ok(Part { offset, bytes, is_last })
    }

    /// Reads until `bytes` are as long as `wanted` or the file ends.
    fn read_up_to(&mut self, bytes: &mut Vec<u8>, wanted: usize) -> io::Result<()> {
        let missing = wanted.saturating_sub(bytes.len()) as u64;
        self.input.reader().take(missing).read_to_end(bytes).map(|_| ())
    }
}

/// XXH3-128 of a whole file as it lies there, in hexadecimal.
pub(super) fn xxh3_of(path: &Path) -> io::Result<String> {
    let mut file = Hashed { file: File::open(path)?, hash: Box::new(Xxh3::new()) };
    let mut buffer = vec![0; READ_BYTES];
    while file.read(&mut buffer)? > 0 {}
    Ok(format!("{:032x}", file.hash.digest128()))
}

/// The place after the last line end.
fn end_of_last_line(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1)
}

/// The place after the line end number `line`, counted from 1.
fn end_of_line(bytes: &[u8], line: usize) -> Option<usize> {
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.nth(line.checked_sub(1)?).map(|(at, _)| at + 1)
}

/// A file whose bytes are counted into a hash as they pass.
struct Hashed {
    file: File,
    hash: Box<Xxh3>,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}

enum Input {
    Plain(BufReader<Hashed>),
    Gzip(Box<BufReader<MultiGzDecoder<BufReader<Hashed>>>>),
}

impl Input {
    /// Gzip is known by its first two bytes (RFC 1952, 2.3.1), not by the name.
    fn open(path: &Path) -> io::Result<Self> {
        let mut plain = BufReader::with_capacity(READ_BYTES, Hashed { file: File::open(path)?, hash: Box::new(Xxh3::new()) });
        if plain.fill_buf()?.starts_with(&[0x1f, 0x8b]) {
            return Ok(Self::Gzip(Box::new(BufReader::with_capacity(READ_BYTES, MultiGzDecoder::new(plain)))));
        }
        Ok(Self::Plain(plain))
    }

    fn reader(&mut self) -> &mut dyn BufRead {
        match self {
            Self::Plain(plain) => plain,
            Self::Gzip(gzip) => gzip.as_mut(),
        }
    }

    fn hash(&self) -> &Xxh3 {
        match self {
            Self::Plain(plain) => &plain.get_ref().hash,
            Self::Gzip(gzip) => &gzip.get_ref().get_ref().get_ref().hash,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tempfile::NamedTempFile;

    use super::*;

    const CUT: Cut = Cut { lines: true, chunk_bytes: 8, header_lines: 0, max_payload_bytes: 64 };

    fn file(bytes: &[u8]) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// All parts as `offset:text`, the last with a full stop, and the end.
    fn cut(bytes: &[u8], cut: Cut, takes_last_line: bool) -> (Vec<String>, End) {
        let file = file(bytes);
        let mut parts = Parts::open(file.path(), cut, takes_last_line).unwrap();
        let mut all = Vec::new();
        loop {
            match parts.next() {
                Ok(part) => {
                    let stop = if part.is_last { "." } else { "" };
                    all.push(format!("{}:{}{stop}", part.offset, String::from_utf8(part.bytes).unwrap()));
                }
                Err(end) => return (all, end),
            }
        }
    }

    #[test]
    fn parts_end_with_a_line_and_the_last_one_is_marked() {
        let (parts, end) = cut(b"aa\nbb\ncc\ndd\n", CUT, false);
        assert_eq!(parts, ["0:aa\nbb\n", "6:cc\ndd\n."]);
        assert!(matches!(end, End::Whole));
    }

    #[test]
    fn a_line_longer_than_a_part_stays_whole_up_to_its_limit() {
        let (parts, _) = cut(b"0123456789abcdef\nb\ncccc\ndddd\n", CUT, false);
        assert_eq!(parts, ["0:0123456789abcdef\nb\ncccc\n", "24:dddd\n."]);
        let short = Cut { max_payload_bytes: 8, ..CUT };
        let (parts, _) = cut(b"0123456789abcdef\n", short, false);
        assert_eq!(parts, ["0:01234567", "8:89abcdef", "16:\n."]);
    }

    #[test]
    fn the_header_is_repeated_in_front_of_each_later_part() {
        let (parts, _) = cut(b"h1;h2\n1;1\n2;2\n3;3\n", Cut { header_lines: 1, ..CUT }, false);
        assert_eq!(parts, ["0:h1;h2\n", "6:h1;h2\n1;1\n2;2\n", "14:h1;h2\n3;3\n."]);
    }

    #[test]
    fn a_last_line_without_an_end_waits_or_is_taken() {
        let (parts, end) = cut(b"aa\nbb", CUT, false);
        assert_eq!(parts, ["0:aa\n"]);
        assert!(matches!(end, End::MidLine { offset: 3 }), "{end:?}");
        let (parts, end) = cut(b"aa\nbb", CUT, true);
        assert_eq!(parts, ["0:aa\nbb."]);
        assert!(matches!(end, End::Whole));
    }

    #[test]
    fn gzip_is_known_by_its_first_bytes_also_in_several_members() {
        let members = [gzip(b"aa\nbb\n"), gzip(b"cc\ndd\n")].concat();
        let (parts, end) = cut(&members, CUT, false);
        assert_eq!(parts, ["0:aa\nbb\n", "6:cc\ndd\n."]);
        assert!(matches!(end, End::Whole));
    }

    #[test]
    fn a_torn_gzip_gives_what_can_be_read_and_then_says_so() {
        let lines: String = (0..20_000).map(|number| format!("{number}\n")).collect();
        let whole = gzip(lines.as_bytes());
        let (parts, end) = cut(&whole[..whole.len() / 2], Cut { chunk_bytes: 4096, ..CUT }, true);
        assert!(!parts.is_empty());
        assert!(parts.iter().all(|part| part.ends_with('\n')), "a part does not end with a line");
        assert!(matches!(end, End::Torn(_)), "{end:?}");
    }

    #[test]
    fn a_whole_file_is_one_part_up_to_its_limit() {
        let whole = Cut { lines: false, ..CUT };
        assert_eq!(cut(b"{\n}", whole, false).0, ["0:{\n}."]);
        assert!(matches!(cut(&[b'x'; 65], whole, false).1, End::TooLong));
        assert!(matches!(cut(b"", whole, false).1, End::Whole));
    }

    #[test]
    fn the_hash_is_that_of_the_file_as_it_lies_there() {
        let file = file(&gzip(b"aa\nbb\n"));
        let mut parts = Parts::open(file.path(), CUT, false).unwrap();
        while parts.next().is_ok() {}
        assert_eq!(parts.xxh3(), xxh3_of(file.path()).unwrap());
    }
}
