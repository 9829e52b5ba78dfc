//! Every script under `tests/sql` over every layout of its rows: an answer must not depend on how rows came to lie where
//! they are. `tests/sql/README.md` tells how to write one.
//!
//! With `DATASJO_COMPLETE=1` the answers of today are written into the scripts, to be read as a diff.

mod answers;
mod layouts;

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use layouts::{Area, LAYOUTS, Layout, Outcome, Site, lay_out};
use sqllogictest::{default_normalizer, default_validator, strict_column_validator};

/// What `cargo test` says of a failed test binary.
const FAILED: u8 = 101;

fn main() -> ExitCode {
    let asked = Asked::read(std::env::args().skip(1));
    match run(&asked) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(asked: &Asked) -> Outcome<bool> {
    let areas = Area::read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sql"))?;
    if std::env::var("DATASJO_COMPLETE").is_ok_and(|yes| yes == "1") {
        return complete(&areas).map(|()| true);
    }
    let (groups, filtered_out) = groups(&areas, asked);
    let names = || groups.iter().flat_map(|group| &group.scripts).map(|(name, _)| name);
    if asked.list {
        names().for_each(|name| println!("{name}: test"));
        return Ok(true);
    }
    let started = Instant::now();
    println!("\nrunning {} tests", names().count());
    let failures: Vec<Failure> = groups.iter().flat_map(Group::run).collect();
    tell(&failures);
    let word = if failures.is_empty() { "ok" } else { "FAILED" };
    println!(
        "test result: {word}. {} passed; {} failed; 0 ignored; 0 measured; {filtered_out} filtered out; finished in {:.2}s\n",
        names().count() - failures.len(),
        failures.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(failures.is_empty())
}

/// The arguments of the usual test harness, as far as they matter here; the others are taken and ignored.
#[derive(Default)]
struct Asked {
    filters: Vec<String>,
    skipped: Vec<String>,
    exact: bool,
    list: bool,
    /// Only ignored tests are wanted, and there are none.
    ignored_only: bool,
}

impl Asked {
    fn read(mut args: impl Iterator<Item = String>) -> Self {
        let mut asked = Self::default();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--exact" => asked.exact = true,
                "--list" => asked.list = true,
                "--ignored" => asked.ignored_only = true,
                "--skip" => asked.skipped.extend(args.next()),
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => drop(args.next()),
                flag if flag.starts_with('-') => {}
                _ => asked.filters.push(arg),
            }
        }
        asked
    }

    fn wants(&self, name: &str) -> bool {
        let fits = |word: &String| if self.exact { word == name } else { name.contains(word.as_str()) };
        !self.ignored_only && (self.filters.is_empty() || self.filters.iter().any(fits)) && !self.skipped.iter().any(fits)
    }
}

/// Scripts of one area, all asked of one layout.
struct Group<'a> {
    area: &'a Area,
    layout: Layout,
    /// The name of each test and its script.
    scripts: Vec<(String, &'a Path)>,
}

struct Failure {
    name: String,
    reason: String,
}

/// What is wanted, and how many tests are not.
fn groups<'a>(areas: &'a [Area], asked: &Asked) -> (Vec<Group<'a>>, usize) {
    let (mut groups, mut filtered_out) = (Vec::new(), 0);
    for area in areas {
        for layout in LAYOUTS.into_iter().filter(|layout| !(layout.is_revised() && area.before.is_empty())) {
            let named = area.scripts.iter().map(|script| (test_name(area, script, layout), script.as_path()));
            let (scripts, others): (Vec<_>, Vec<_>) = named.partition(|(name, _)| asked.wants(name));
            filtered_out += others.len();
            if !scripts.is_empty() {
                groups.push(Group { area, layout, scripts });
            }
        }
    }
    (groups, filtered_out)
}

fn test_name(area: &Area, script: &Path, layout: Layout) -> String {
    let script = script.file_stem().unwrap_or_default().to_string_lossy();
    format!("{}::{script}::{}", area.name, layout.name())
}

impl Group<'_> {
    /// Builds the layout once and asks it every script.
    fn run(&self) -> Vec<Failure> {
        let site = match lay_out(self.area, self.layout) {
            Ok(site) => site,
            Err(error) => {
                let reason = format!("the layout cannot be built: {error}");
                return self.scripts.iter().filter_map(|(name, _)| judged(name, Err(reason.clone().into()))).collect();
            }
        };
        let ask = |(name, script): &(String, &Path)| judged(name, ask(&site, self.layout, script));
        let mut failures: Vec<Failure> = self.scripts.iter().filter_map(ask).collect();
        if let Err(error) = site.close() {
            failures.push(Failure { name: format!("{} as {}", self.area.name, self.layout.name()), reason: error.to_string() });
        }
        failures
    }
}

fn ask(site: &Site<'_>, layout: Layout, script: &Path) -> Outcome<()> {
    let mut runner = answers::runner(site.lake());
    runner.add_label(layout.name());
    if layout.is_revised() {
        runner.add_label("revised");
    }
    Ok(site.runtime().block_on(runner.run_file_async(script))?)
}

/// Tells how a test ended.
fn judged(name: &str, ended: Outcome<()>) -> Option<Failure> {
    println!("test {name} ... {}", if ended.is_ok() { "ok" } else { "FAILED" });
    ended.err().map(|error| Failure { name: name.to_owned(), reason: error.to_string() })
}

fn tell(failures: &[Failure]) {
    if !failures.is_empty() {
        println!("\nfailures:\n");
        for failure in failures {
            println!("---- {} stdout ----\n{}\n", failure.name, failure.reason);
        }
        println!("\nfailures:");
        for failure in failures {
            println!("    {}", failure.name);
        }
    }
    println!();
}

/// Writes today's answers into the scripts: of one plain layout, and of those that records of their own are written for.
fn complete(areas: &[Area]) -> Outcome<()> {
    for area in areas {
        let revised = (!area.before.is_empty()).then_some(Layout::Revised);
        for layout in [Layout::OneFile, Layout::Duplicated].into_iter().chain(revised) {
            let site = lay_out(area, layout)?;
            for script in &area.scripts {
                complete_script(&site, layout, script)?;
            }
            site.close()?;
        }
    }
    Ok(())
}

fn complete_script(site: &Site<'_>, layout: Layout, script: &Path) -> Outcome<()> {
    let mut runner = answers::runner(site.lake());
    runner.add_label(layout.name());
    let written = runner.update_test_file(script, " ", default_validator, default_normalizer, strict_column_validator);
    site.runtime().block_on(written).map_err(|error| format!("{}: {error}", script.display()).into())
}
