//! The head of a product: strict comment lines at the top of its last step.
//!
//! ```sql
//! -- product: leak_alerts
//! -- meaning: Zones that lose more water than their own past explains.
//! -- kind: alert
//! -- every: 1 day at 06:30 Europe/Oslo
//! -- reach: 400 days
//! -- keys: zone_id
//! -- carries: state text
//! -- access: restricted
//! -- owner: water
//! -- column: size_l_per_s [l/s] Excess over the zone's own base; null before it is known.
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use datasjo_table::{Access, Kind};

use crate::every::{Every, duration_us};
use crate::problem::Problem;

const KEYS: [&str; 13] = [
    "product",
    "meaning",
    "kind",
    "every",
    "on",
    "reach",
    "keys",
    "carries",
    "access",
    "owner",
    "licence",
    "retention",
    "column",
];
/// The licence of products whose head names none: the Norwegian one for public data.
const NLOD: &str = "https://data.norge.no/nlod/no/2.0";

/// What becomes of a product's rows beside being kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProductKind {
    /// Nothing: analysts and other products read them.
    Table,
    /// The newest row of each key is the value a sign shows.
    Sign,
    /// Rows open, change and clear alerts.
    Alert,
}

/// What is said of a column: unit and meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnNote {
    /// The unit, if it has one.
    pub unit: Option<String>,
    /// What it means.
    pub meaning: String,
}

/// The head.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The product's name, which is its table's and its folder's.
    pub product: String,
    /// What a row is.
    pub meaning: String,
    /// What becomes of its rows.
    pub kind: ProductKind,
    /// Its nominal time.
    pub every: Every,
    /// Also run so long after new rows came; `None`: in nominal time only.
    pub debounce: Option<Duration>,
    /// How far before the interval its input rows reach back, by `observed_at`, in microseconds.
    pub reach_us: i64,
    /// The columns that key its rows, together with the tick.
    pub keys: Vec<String>,
    /// The columns it reads of its own newest rows, as table `previous`, with the keys and the tick.
    pub carries: Vec<(String, Kind)>,
    /// Who may read it.
    pub access: Access,
    /// The department that answers for it.
    pub owner: String,
    /// The licence its rows are under.
    pub licence: String,
    /// How long its rows are kept, in days; `None`: for ever.
    pub retention_days: Option<u32>,
    /// What is said of its columns.
    pub columns: BTreeMap<String, ColumnNote>,
}

/// The lines of the head with their values: line number, key, value.
struct Lines<'a> {
    file: &'a str,
    found: Vec<(u64, &'a str, &'a str)>,
    problems: Vec<Problem>,
}

/// Reads the head of `sql`, the text of `file`.
///
/// # Errors
/// All that is wrong with it.
pub fn read(file: &str, sql: &str) -> Result<Header, Vec<Problem>> {
    let mut lines = Lines::split(file, sql);
    let product = lines.text("product");
    let meaning = lines.text("meaning");
    let kind = lines.parsed("kind", kind);
    let every = lines.parsed("every", Every::parse);
    let reach_us = lines.parsed("reach", |text| duration_us(text).ok_or_else(|| "write a span: 14 days, 6 hours".to_owned()));
    let keys = lines.parsed("keys", names);
    let access = lines.parsed("access", access);
    let owner = lines.text("owner");
    let debounce = lines.optional("on").and_then(|(line, text)| lines.keep(line, debounce(text)));
    let carries = lines.optional("carries").and_then(|(line, text)| lines.keep(line, carries(text))).unwrap_or_default();
    let licence = lines.optional("licence").map_or(NLOD, |(_, text)| text).to_owned();
    let retention_days = lines.optional("retention").and_then(|(line, text)| lines.keep(line, days(text)));
    let columns = lines.columns();
    match (product, meaning, kind, every, reach_us, keys, access, owner) {
        (Some(product), Some(meaning), Some(kind), Some(every), Some(reach_us), Some(keys), Some(access), Some(owner))
            if lines.problems.is_empty() =>
        {
            Ok(Header {
                product,
                meaning,
                kind,
                every,
                debounce,
                reach_us,
                keys,
                carries,
                access,
                owner,
                licence,
                retention_days,
                columns,
            })
        }
        _ => Err(lines.problems),
    }
}

impl<'a> Lines<'a> {
    fn split(file: &'a str, sql: &'a str) -> Self {
        let mut lines = Self { file, found: Vec::new(), problems: Vec::new() };
        for (number, line) in (1..).zip(sql.lines()) {
            let Some(comment) = line.strip_prefix("--") else { break };
            if comment.trim().is_empty() {
                break;
            }
            match comment.split_once(':') {
                Some((key, value)) if KEYS.contains(&key.trim()) => lines.take(number, key.trim(), value.trim()),
                Some((key, _)) => lines.unknown(number, key.trim()),
                None => {
                    lines.tell(number, "the head is lines of `-- key: value`; leave an empty line `--` before other comments")
                }
            }
        }
        lines
    }

    fn take(&mut self, line: u64, key: &'a str, value: &'a str) {
        if key != "column" && self.found.iter().any(|(_, other, _)| *other == key) {
            return self.tell(line, format!("\"{key}\" stands twice"));
        }
        self.found.push((line, key, value));
    }

    fn unknown(&mut self, line: u64, key: &str) {
        let near = KEYS.iter().max_by(|a, b| strsim::jaro_winkler(a, key).total_cmp(&strsim::jaro_winkler(b, key)));
        let near = near.copied().unwrap_or_default();
        self.tell(line, format!("there is no key \"{key}\" in a head; did you mean \"{near}\"?"));
    }

    fn tell(&mut self, line: u64, message: impl Into<String>) {
        self.problems.push(Problem::at(self.file, line, 4, message));
    }

    fn optional(&self, key: &str) -> Option<(u64, &'a str)> {
        self.found.iter().find(|(_, found, _)| *found == key).map(|(line, _, value)| (*line, *value))
    }

    fn parsed<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let Some((line, text)) = self.optional(key) else {
            self.tell(1, format!("the head lacks `-- {key}: ...`"));
            return None;
        };
        self.keep(line, parse(text))
    }

    fn keep<T>(&mut self, line: u64, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|message| self.tell(line, message)).ok()
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.parsed(key, |text| if text.is_empty() { Err("it is empty".to_owned()) } else { Ok(text.to_owned()) })
    }

    fn columns(&mut self) -> BTreeMap<String, ColumnNote> {
        let mut notes = BTreeMap::new();
        for (_, _, value) in self.found.iter().filter(|(_, key, _)| *key == "column") {
            let (name, rest) = value.split_once(' ').unwrap_or((value, ""));
            let (unit, meaning) = match rest.trim().strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                Some((unit, meaning)) => (Some(unit.to_owned()), meaning),
                None => (None, rest),
            };
            notes.insert(name.to_owned(), ColumnNote { unit, meaning: meaning.trim().to_owned() });
        }
        notes
    }
}

fn kind(text: &str) -> Result<ProductKind, String> {
    match text {
        "table" => Ok(ProductKind::Table),
        "sign" => Ok(ProductKind::Sign),
        "alert" => Ok(ProductKind::Alert),
        other => Err(format!("\"{other}\" is no kind: write table, sign or alert")),
    }
}

fn access(text: &str) -> Result<Access, String> {
    match text {
        "public" => Ok(Access::Public),
        "internal" => Ok(Access::Internal),
        "restricted" => Ok(Access::Restricted),
        other => Err(format!("\"{other}\" is no class: write public, internal or restricted")),
    }
}

fn names(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    if names.is_empty() { Err("name at least one column".to_owned()) } else { Ok(names) }
}

fn carries(text: &str) -> Result<Vec<(String, Kind)>, String> {
    let one = |column: &str| match column.trim().split_once(' ') {
        Some((name, "text")) => Ok((name.to_owned(), Kind::Text)),
        Some((name, "float")) => Ok((name.to_owned(), Kind::Float)),
        Some((name, "int")) => Ok((name.to_owned(), Kind::Int)),
        Some((name, "time")) => Ok((name.to_owned(), Kind::Time)),
        Some((name, "bool")) => Ok((name.to_owned(), Kind::Bool)),
        _ => Err(format!("\"{}\" is no column: write its name and text, float, int, time or bool", column.trim())),
    };
    text.split(',').map(one).collect()
}

fn days(text: &str) -> Result<u32, String> {
    let days = text.strip_suffix(" days").and_then(|days| days.parse().ok());
    days.filter(|days| *days > 0).ok_or_else(|| "write a number of days: 60 days".to_owned())
}

fn debounce(text: &str) -> Result<Duration, String> {
    let span = text.strip_prefix("new rows, debounce ").and_then(duration_us);
    let us = span.ok_or("write `new rows, debounce 2 s`")?;
    Ok(Duration::from_micros(us.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "-- product: leaks\n-- meaning: what\n-- kind: alert\n-- every: 1 hour\n-- on: new rows, debounce 2 s\n\
        -- reach: 14 days\n-- keys: zone_id, meter_id\n-- access: restricted\n-- owner: water\n\
        -- column: size_l_per_s [l/s] Excess.\n--\n-- free: text\nSELECT 1";

    #[test]
    fn a_head_is_read() {
        let header = read("a.sql", HEAD).unwrap();
        assert_eq!(header.kind, ProductKind::Alert);
        assert_eq!(header.keys, ["zone_id", "meter_id"]);
        assert_eq!(header.reach_us, 14 * 86_400_000_000);
        assert_eq!(header.debounce, Some(Duration::from_secs(2)));
        assert_eq!(header.columns["size_l_per_s"].unit.as_deref(), Some("l/s"));
    }

    #[test]
    fn all_mistakes_are_told_at_once_each_with_its_line() {
        let text = HEAD.replace("kind: alert", "kind: alarm").replace("-- owner", "-- ovner").replace("1 hour", "7 minutes");
        let problems = read("a.sql", &text).unwrap_err();
        let shown: Vec<String> = problems.iter().map(Problem::to_string).collect();
        assert!(shown.iter().any(|p| p.starts_with("a.sql:3:4: \"alarm\" is no kind")), "{shown:?}");
        assert!(shown.iter().any(|p| p.contains("did you mean \"owner\"?")), "{shown:?}");
        assert!(shown.iter().any(|p| p.starts_with("a.sql:4:4: 7 minutes does not divide a day")), "{shown:?}");
    }
}
