//! What is wrong with a product, where.

use std::fmt;

use datafusion::error::DataFusionError;

/// A mistake in a product's file, in words for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file, as `parking_free/30-sign.sql`.
    pub file: String,
    /// Its line, from 1; 0 if the mistake has no place in the file.
    pub line: u64,
    /// The column in that line, from 1.
    pub column: u64,
    /// What is wrong and what would be right.
    pub message: String,
}

impl Problem {
    /// A mistake at a place.
    pub fn at(file: &str, line: u64, column: u64, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, column, message: message.into() }
    }

    /// What the engine said of a step, with the place it names.
    pub fn of_engine(file: &str, error: &DataFusionError) -> Self {
        let text = error.strip_backtrace();
        let spanned = error.diagnostic().and_then(|d| d.span.as_ref()).map(|span| (span.start.line, span.start.column));
        let (line, column) = spanned.or_else(|| place_in(&text)).unwrap_or((0, 0));
        Self::at(file, line, column, text)
    }
}

/// The parser writes places into its text: `at Line: 3, Column: 14`.
fn place_in(text: &str) -> Option<(u64, u64)> {
    let number = |after: &str| {
        let rest = text.split_once(after)?.1.trim_start();
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    Some((number("Line:")?, number("Column:")?))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}:{}: {}", self.file, self.column, self.message),
        }
    }
}

impl std::error::Error for Problem {}
