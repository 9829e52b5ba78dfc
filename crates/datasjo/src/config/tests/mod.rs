//! Whole directories with mistakes in them, and the exact words they are answered with.

mod directory;
mod feeds;

use std::fs;

use super::{Config, Problems, load};

/// A dataset small enough to be read at a glance.
const GAUGES: &str = r#"name = "gauges"
meaning = "Rain that fell at a gauge."
key = ["gauge_id", "observed_at"]
lateness_h = 24
owner = "water"
licence = "CC-BY-4.0"
access = "public"

[[column]]
name = "gauge_id"
kind = "text"
meaning = "The gauge."

[[column]]
name = "observed_at"
kind = "time"
meaning = "End of the interval."

[[column]]
name = "rain_mm"
kind = "float"
unit = "mm"
nullable = true
meaning = "Amount."
"#;

/// A feed without a mistake; the tests change one word of it.
const POLLED: &str = r#"dataset = "gauges"

[source]
kind = "poll"
url = "https://rain.example/now"

[decode]
format = "json"

[decode.columns]
gauge_id = "id"
observed_at = "time"
rain_mm = "mm"
"#;

const DECODE: &str = r#"
[decode]
format = "json"
columns = { gauge_id = "id", observed_at = "time", rain_mm = "mm" }
"#;

/// A configuration directory with `files`, and the dataset of these tests.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        directory.write("datasets/gauges.toml", GAUGES);
        files.iter().for_each(|(name, text)| directory.write(name, text));
        directory
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn load(&self) -> Result<Config, Problems> {
        load(self.0.path())
    }

    fn config(&self) -> Config {
        self.load().unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// All problems as they are printed, with the directory left out.
    fn problems(&self) -> Vec<String> {
        let problems = match self.load() {
            Ok(config) => config.warnings,
            Err(problems) => problems.0,
        };
        let here = format!("{}/", self.0.path().display());
        problems.iter().map(|problem| problem.to_string().replace(&here, "")).collect()
    }
}

/// The problems of a directory with one feed.
fn feed_problems(feed: &str) -> Vec<String> {
    Directory::new(&[("feeds/a.toml", feed)]).problems()
}

fn mqtt(keys: &str) -> String {
    format!("dataset = \"gauges\"\n[source]\nkind = \"mqtt\"\n{keys}{DECODE}")
}

fn push(path: &str) -> String {
    let tokens = "tokens = [{ name = \"gauge\", auth = { bearer = { file = \"token\" } } }]";
    format!("dataset = \"gauges\"\n[source]\nkind = \"push\"\npath = \"{path}\"\n{tokens}\n{DECODE}")
}
