/// Whether `name` is meant by `pattern`: `*` stands for any characters, also none, `?` for exactly one. Hidden names never
/// are. Takes at most as many steps as the lengths multiplied.
pub(super) fn is_meant(pattern: &str, name: &str) -> bool {
    !name.starts_with('.') && fits(pattern.as_bytes(), name.as_bytes())
}

/// Greedy with one step back: when a mismatch comes, the last star takes one more byte.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => {
                p += 1;
                n = after_character(name, n);
            }
            Some(byte) if *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((star_p, star_n)) = star else {
                    return false;
                };
                star = Some((star_p, star_n + 1));
                (p, n) = (star_p + 1, star_n + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// The place after the UTF-8 character that begins at `at`.
fn after_character(name: &[u8], at: usize) -> usize {
    let rest = name[at + 1..].iter().take_while(|byte| **byte & 0b1100_0000 == 0b1000_0000).count();
    at + 1 + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_characters() {
        for (pattern, name) in [
            ("*", "a"),
            ("*.csv.gz", "2026.csv.gz"),
            ("*.csv*", "x.csv"),
            ("a*b*c", "aXbYbZc"),
            ("?.txt", "å.txt"),
            ("målinger-??.csv", "målinger-07.csv"),
        ] {
            assert!(is_meant(pattern, name), "{pattern} should mean {name}");
        }
        for (pattern, name) in [("*", ".hidden"), ("*.csv", "x.csv.part"), ("?", ""), ("a*b", "a"), ("", "a"), ("??", "å")] {
            assert!(!is_meant(pattern, name), "{pattern} should not mean {name}");
        }
    }
}
