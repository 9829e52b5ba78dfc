//! A product as its author wrote it: a folder of SQL steps, the last of which has the head.

use std::collections::BTreeSet;
use std::path::Path;

use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::resolve::resolve_table_references;
use include_dir::{Dir, include_dir};

use crate::header::{self, Header};
use crate::problem::Problem;

/// The products the binary carries.
static CARRIED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../../pipelines");

/// The table of the ticks to answer.
pub const TICKS: &str = "ticks";
/// The table of a product's own newest row of each key.
pub const PREVIOUS: &str = "previous";

/// One `SELECT`.
#[derive(Clone, Debug)]
pub struct Step {
    /// The name under which later steps read it: its file's without number and ending.
    pub name: String,
    /// Its file, as `parking_free/30-sign.sql`.
    pub file: String,
    /// Its text.
    pub sql: String,
}

/// A product.
#[derive(Clone, Debug)]
pub struct Product {
    /// Its head.
    pub header: Header,
    /// Its steps in their order; the last one's rows are the product's.
    pub steps: Vec<Step>,
    /// Changes when a step changes: 16 hexadecimal digits, XXH3.
    pub hash: String,
    /// The tables it reads from outside, as its statements name them.
    pub reads: BTreeSet<String>,
}

impl Product {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.header.product
    }

    /// The step whose rows are the product's.
    pub fn last(&self) -> &Step {
        &self.steps[self.steps.len() - 1]
    }

    /// Puts a product together from the files of the folder `folder`: names and texts in any order.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn new(folder: &str, mut files: Vec<(String, String)>) -> Result<Self, Vec<Problem>> {
        files.sort();
        let steps: Vec<Step> = files.into_iter().map(|(name, sql)| Step::new(folder, &name, sql)).collect();
        let Some(last) = steps.last() else {
            return Err(vec![Problem::at(folder, 0, 0, "the folder has no .sql file")]);
        };
        let mut header = header::read(&last.file, &last.sql)?;
        if header.product != folder {
            let message = format!("product \"{}\" must lie in a folder called so", header.product);
            return Err(vec![Problem::at(&last.file, 1, 13, message)]);
        }
        header.keys.retain(|key| key != "as_of");
        let reads = reads(&steps)?;
        let texts: Vec<&str> = steps.iter().flat_map(|step| [step.name.as_str(), step.sql.as_str()]).collect();
        let hash = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(texts.join("\n").as_bytes()));
        Ok(Self { header, steps, hash, reads })
    }
}

impl Step {
    fn new(folder: &str, name: &str, sql: String) -> Self {
        let stem = name.trim_end_matches(".sql");
        let bare = stem.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        Self { name: bare.to_owned(), file: format!("{folder}/{name}"), sql }
    }

    fn statement(&self) -> Result<Statement, Problem> {
        let mut statements = DFParser::parse_sql(&self.sql).map_err(|error| Problem::of_engine(&self.file, &error))?;
        match (statements.pop_front(), statements.pop_front()) {
            (Some(only), None) => Ok(only),
            _ => Err(Problem::at(&self.file, 0, 0, "a step is one SELECT")),
        }
    }
}

/// What the steps read and no earlier step makes.
fn reads(steps: &[Step]) -> Result<BTreeSet<String>, Vec<Problem>> {
    let mut made = BTreeSet::from([TICKS.to_owned(), PREVIOUS.to_owned()]);
    let mut outside = BTreeSet::new();
    let mut problems = Vec::new();
    for step in steps {
        let found = step.statement().and_then(|statement| {
            let references = resolve_table_references(&statement, true);
            references.map_err(|error| Problem::of_engine(&step.file, &error))
        });
        match found {
            Ok((tables, _)) => {
                let names = tables.iter().map(|table| table.table().to_owned());
                outside.extend(names.filter(|name| !made.contains(name)));
            }
            Err(problem) => problems.push(problem),
        }
        made.insert(step.name.clone());
    }
    if problems.is_empty() { Ok(outside) } else { Err(problems) }
}

/// The products the binary carries and, over them by folder, those under `directory`; and what is wrong with others.
pub fn load(directory: Option<&Path>) -> (Vec<Product>, Vec<Problem>) {
    let mut folders = carried();
    let mut problems = Vec::new();
    if let Some(directory) = directory.filter(|directory| directory.is_dir()) {
        match folders_of(directory) {
            Ok(found) => {
                let names: BTreeSet<String> = found.iter().map(|(name, _)| name.clone()).collect();
                folders.retain(|(name, _)| !names.contains(name));
                folders.extend(found);
            }
            Err(error) => problems.push(Problem::at(&directory.display().to_string(), 0, 0, format!("cannot be read: {error}"))),
        }
    }
    let mut products = Vec::new();
    for (folder, files) in folders {
        match Product::new(&folder, files) {
            Ok(product) => products.push(product),
            Err(found) => problems.extend(found),
        }
    }
    (products, problems)
}

type Folder = (String, Vec<(String, String)>);

fn carried() -> Vec<Folder> {
    let text = |file: &include_dir::File<'_>| {
        let name = file.path().file_name()?.to_str()?.to_owned();
        name.ends_with(".sql").then(|| Some((name, file.contents_utf8()?.to_owned())))?
    };
    let folder = |dir: &Dir<'_>| {
        let files: Vec<_> = dir.files().filter_map(text).collect();
        Some((dir.path().to_str()?.to_owned(), files)).filter(|(_, files)| !files.is_empty())
    };
    CARRIED.dirs().filter_map(folder).collect()
}

fn folders_of(directory: &Path) -> std::io::Result<Vec<Folder>> {
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        if !path.is_dir() || name.starts_with('.') {
            continue;
        }
        let files = files_of(&path)?;
        if !files.is_empty() {
            folders.push((name, files));
        }
    }
    folders.sort();
    Ok(folders)
}

fn files_of(folder: &Path) -> std::io::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| name.ends_with(".sql")) {
            files.push((name.to_owned(), std::fs::read_to_string(&path)?));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "-- product: two\n-- meaning: m\n-- kind: table\n-- every: 1 hour\n-- reach: 1 day\n-- keys: k\n\
        -- access: public\n-- owner: water\n";

    fn two(last: &str) -> Result<Product, Vec<Problem>> {
        let files = vec![
            ("20-last.sql".to_owned(), format!("{HEAD}{last}")),
            ("10-first.sql".to_owned(), "WITH c AS (SELECT * FROM river) SELECT * FROM c JOIN zones USING (k)".to_owned()),
        ];
        Product::new("two", files)
    }

    #[test]
    fn what_a_product_reads_is_read_from_its_statements() {
        let product = two("SELECT * FROM first, ticks, previous WHERE k IN (SELECT k FROM precipitation)").unwrap();
        assert_eq!(product.reads.iter().map(String::as_str).collect::<Vec<_>>(), ["precipitation", "river", "zones"]);
        assert_eq!(product.steps[0].name, "first");
    }

    #[test]
    fn a_mistake_in_sql_is_told_with_file_line_and_column() {
        let problems = two("SELECT * FRM first").unwrap_err();
        assert_eq!((problems[0].file.as_str(), problems[0].line), ("two/20-last.sql", 9), "{problems:?}");
        assert!(problems[0].column > 0);
    }

    #[test]
    fn all_carried_products_can_be_read() {
        let (_, problems) = load(None);
        assert!(problems.is_empty(), "{problems:?}");
    }
}
