use std::fmt;

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The program does not start.
    Error,
    /// The program starts, but a person should look.
    Warning,
}

/// One mistake in one file, for the person who wrote it. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// The file, beginning with the configuration directory as it was given.
    pub file: String,
    /// Line, from 1; 0 if the file as a whole is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 if the file as a whole is meant.
    pub column: usize,
    /// Error or warning.
    pub severity: Severity,
    /// What is wrong and, if it is not plain, what would be right.
    pub message: String,
    /// The nearest right word, if one is near.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did_you_mean: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(if self.severity == Severity::Warning { ": warning: " } else { ": " })?;
        f.write_str(&self.message)?;
        match &self.did_you_mean {
            Some(word) => write!(f, "; did you mean \"{word}\"?"),
            None => Ok(()),
        }
    }
}

/// Everything found in a configuration that cannot be used: at least one error, and the warnings beside it; sorted by
/// file, line and column. Printed one a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}

/// A place in a file; line and column as in [`Problem`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

impl Place {
    /// The file as a whole.
    pub fn whole(file: impl Into<String>) -> Self {
        Self { file: file.into(), line: 0, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// Collects what is found while reading goes on.
#[derive(Default)]
pub(super) struct Found(Vec<Problem>);

impl Found {
    pub fn error(&mut self, place: Place, message: impl Into<String>) {
        self.add(place, Severity::Error, message.into(), None);
    }

    /// An error with the nearest right word, if there is one.
    pub fn misspelt(&mut self, place: Place, message: impl Into<String>, did_you_mean: Option<String>) {
        self.add(place, Severity::Error, message.into(), did_you_mean);
    }

    pub fn warning(&mut self, place: Place, message: impl Into<String>) {
        self.add(place, Severity::Warning, message.into(), None);
    }

    /// Errors and warnings, sorted, each once.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        self.0.sort();
        self.0.dedup();
        self.0
    }

    fn add(&mut self, place: Place, severity: Severity, message: String, did_you_mean: Option<String>) {
        let Place { file, line, column } = place;
        self.0.push(Problem { file, line, column, severity, message, did_you_mean });
    }
}

/// Words alike enough to be the same word mistyped: two letters in five may differ, so that `ulr` is near `url` and
/// `water_metres` near `water_meters`, but `rain` is not near `traffic`.
const ALIKE: f64 = 0.6;

/// The one of `right` nearest to `word`, if any is near.
pub(super) fn nearest<'a>(word: &str, right: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let word = word.to_lowercase();
    right
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_only_if_it_is_near() {
        let tables = ["parking_counts", "water_meters", "rain"];
        assert_eq!(nearest("water_metres", tables).as_deref(), Some("water_meters"));
        assert_eq!(nearest("Rain", tables).as_deref(), Some("rain"));
        assert_eq!(nearest("traffic", tables), None);
        assert_eq!(nearest("ulr", ["url", "kind"]).as_deref(), Some("url"));
    }

    #[test]
    fn a_problem_reads_as_one_line_and_as_json() {
        let mut found = Found::default();
        let place = |line| Place { file: "config/feeds/a.toml".to_owned(), line, column: 11 };
        found.misspelt(place(7), "no dataset \"water_metres\"", Some("water_meters".to_owned()));
        found.warning(place(2), "the file is not there yet");
        found.warning(place(2), "the file is not there yet");
        let problems = Problems(found.into_sorted());
        assert_eq!(
            problems.to_string(),
            "config/feeds/a.toml:2:11: warning: the file is not there yet\n\
             config/feeds/a.toml:7:11: no dataset \"water_metres\"; did you mean \"water_meters\"?"
        );
        let json = serde_json::to_value(&problems).unwrap();
        assert_eq!(json[1]["severity"], "error");
        assert_eq!(json[1]["did_you_mean"], "water_meters");
        assert_eq!(json[0].get("did_you_mean"), None);
    }
}
