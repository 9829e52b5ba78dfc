use std::path::PathBuf;

use serde::Deserialize;

/// A file, or a folder of files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The file or the folder. A folder is read without its subfolders. No default.
    pub path: PathBuf,
    /// Which files of a folder are meant, by name: `*` stands for any characters, `?` for one. Default `*`. Names that begin
    /// with a dot are never meant, because tools write their unfinished files under such names.
    #[serde(default = "pattern")]
    pub pattern: String,
    /// True: goes on for ever and reads what comes or changes. False: reads what is there and ends. Default false.
    #[serde(default)]
    pub watch: bool,
    /// True: cuts at line ends, so that a file of any length passes through little memory. False: a file is one delivery, as a
    /// JSON document must be, and a CSV with line breaks within quotes, and text in UTF-16. Default true.
    #[serde(default = "lines")]
    pub lines: bool,
    /// Bytes of one delivery when `lines` is true, 4 KiB to 64 MiB; a little less, to end with a line, or more, to hold a
    /// long line. Default 1 MiB: a few milliseconds to decode, and a few of them in memory.
    #[serde(default = "chunk_bytes")]
    pub chunk_bytes: usize,
    /// Lines at the start of a file that are repeated in front of each later part: 1 for a CSV with a header. 0 to 100.
    /// Default 0.
    #[serde(default)]
    pub header_lines: usize,
    /// Longest file after decompression when `lines` is false, and longest line when it is true, in bytes, 1 to 1 GiB.
    /// Default 64 MiB. A longer file is refused; a longer line is cut there and goes on in the next delivery.
    #[serde(default = "max_payload_bytes")]
    pub max_payload_bytes: usize,
    /// Milliseconds a file must stay the same before it is read, when `watch` is true; 0 to 3 600 000. Default 2000: copies
    /// over a network pause for less.
    #[serde(default = "settle_for_ms")]
    pub settle_for_ms: u32,
}

fn pattern() -> String {
    "*".to_owned()
}

fn lines() -> bool {
    true
}

fn chunk_bytes() -> usize {
    1024 * 1024
}

fn max_payload_bytes() -> usize {
    64 * 1024 * 1024
}

fn settle_for_ms() -> u32 {
    2000
}

impl FileConfig {
    /// All that cannot work, one sentence each, naming the key; empty when all is well. Whether the file exists is not asked:
    /// a folder may be mounted later.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.path.as_os_str().is_empty() {
            problems.push("path: is empty".to_owned());
        }
        if self.pattern.is_empty() || self.pattern.contains('/') {
            problems.push("pattern: is for a file name, such as *.csv.gz, without folders".to_owned());
        }
        if !(4096..=64 << 20).contains(&self.chunk_bytes) {
            problems.push(format!("chunk_bytes: {} is outside 4096 to 67108864", self.chunk_bytes));
        }
        if self.header_lines > 100 {
            problems.push(format!("header_lines: {} is outside 0 to 100", self.header_lines));
        }
        if self.header_lines > 0 && !self.lines {
            problems.push("header_lines: has a meaning with lines = true only".to_owned());
        }
        if !(1..=1 << 30).contains(&self.max_payload_bytes) {
            problems.push(format!("max_payload_bytes: {} is outside 1 to 1073741824", self.max_payload_bytes));
        }
        if self.settle_for_ms > 3_600_000 {
            problems.push(format!("settle_for_ms: {} is outside 0 to 3600000", self.settle_for_ms));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_smallest_configuration_is_a_path() {
        let config: FileConfig = serde_json::from_value(json!({ "path": "counts.csv" })).unwrap();
        assert_eq!(config.problems(), Vec::<String>::new());
    }

    #[test]
    fn all_mistakes_are_listed_at_once() {
        let config = json!({ "path": "", "pattern": "in/*", "lines": false, "header_lines": 1, "chunk_bytes": 1 });
        let config: FileConfig = serde_json::from_value(config).unwrap();
        let keys: Vec<_> = config.problems().iter().map(|problem| problem.split(':').next().unwrap().to_owned()).collect();
        assert_eq!(keys, ["path", "pattern", "chunk_bytes", "header_lines"]);
    }
}
