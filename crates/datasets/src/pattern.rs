//! The shape of a topic or a file name, with names in braces.

/// A shape such as `v3/{app}@{tenant}/devices/{device}/up`.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    Name(String),
}

impl Pattern {
    /// Reads a shape.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let close = rest[open..].find('}').ok_or_else(|| format!("\"{text}\": a brace is not closed"))? + open;
            let name = &rest[open + 1..close];
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return Err(format!("\"{text}\": \"{name}\" is no name for a label"));
            }
            if open > 0 {
                parts.push(Part::Literal(rest[..open].to_owned()));
            } else if matches!(parts.last(), Some(Part::Name(_))) {
                return Err(format!("\"{text}\": two names without anything between them"));
            }
            parts.push(Part::Name(name.to_owned()));
            rest = &rest[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    /// The names in the order they stand.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    /// The shape with every name replaced by its value; `None` if one has none.
    pub fn fill<'v>(&self, value_of: impl Fn(&str) -> Option<&'v str>) -> Option<String> {
        let mut filled = String::new();
        for part in &self.parts {
            filled.push_str(match part {
                Part::Literal(literal) => literal,
                Part::Name(name) => value_of(name)?,
            });
        }
        Some(filled)
    }

    /// Adds what the names stand for in `text` to `found`; false if `text` has another shape. A name takes the shortest
    /// text that fits, at least one character and no `/`.
    pub fn read<'a>(&'a self, text: &'a str, found: &mut Vec<(&'a str, &'a str)>) -> bool {
        let mut rest = text;
        let mut open: Option<&str> = None;
        for (at, part) in self.parts.iter().enumerate() {
            let literal = match part {
                Part::Name(name) => {
                    open = Some(name);
                    continue;
                }
                Part::Literal(literal) => literal,
            };
            let Some(name) = open.take() else {
                let Some(after) = rest.strip_prefix(literal.as_str()) else {
                    return false;
                };
                rest = after;
                continue;
            };
            let is_last = at + 1 == self.parts.len();
            let split =
                if is_last { rest.strip_suffix(literal.as_str()).map(|v| (v, "")) } else { rest.split_once(literal.as_str()) };
            let Some((value, after)) = split else {
                return false;
            };
            if !is_value(value) {
                return false;
            }
            found.push((name, value));
            rest = after;
        }
        match open {
            Some(name) if is_value(rest) => {
                found.push((name, rest));
                true
            }
            Some(_) => false,
            None => rest.is_empty(),
        }
    }
}

fn is_value(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(pattern: &'a Pattern, text: &'a str) -> Option<Vec<(&'a str, &'a str)>> {
        let mut found = Vec::new();
        pattern.read(text, &mut found).then_some(found)
    }

    #[test]
    fn names_take_their_part_of_a_topic() {
        let pattern = Pattern::parse("v3/{app}@{tenant}/devices/{device}/up").unwrap();
        let found = read(&pattern, "v3/datasjo@ttn/devices/teller-1/up").unwrap();
        assert_eq!(found, [("app", "datasjo"), ("tenant", "ttn"), ("device", "teller-1")]);
        assert_eq!(read(&pattern, "v3/datasjo@ttn/devices/teller-1/join"), None);
        assert_eq!(read(&pattern, "v3/datasjo@ttn/devices//up"), None);
    }

    #[test]
    fn a_name_at_the_end_takes_one_level_and_no_more() {
        let pattern = Pattern::parse("frigate/{zone}/{label}").unwrap();
        assert_eq!(read(&pattern, "frigate/plass/car").unwrap(), [("zone", "plass"), ("label", "car")]);
        assert_eq!(read(&pattern, "frigate/plass/car/active"), None);
        assert_eq!(read(&pattern, "frigate/plass"), None);
    }

    #[test]
    fn a_file_name_loses_its_ending() {
        let pattern = Pattern::parse("{station}.csv").unwrap();
        assert_eq!(read(&pattern, "NO.HORTE.csv").unwrap(), [("station", "NO.HORTE")]);
    }

    #[test]
    fn a_shape_without_names_is_compared() {
        let pattern = Pattern::parse("frigate/events").unwrap();
        assert!(read(&pattern, "frigate/events").is_some());
        assert!(read(&pattern, "frigate/events2").is_none());
    }

    #[test]
    fn a_shape_that_cannot_be_told_apart_is_refused() {
        assert!(Pattern::parse("a/{b}{c}").is_err());
        assert!(Pattern::parse("a/{b").is_err());
        assert!(Pattern::parse("a/{}").is_err());
    }
}
