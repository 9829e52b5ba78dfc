use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use datasjo_pipeline::{Problem, Product, cases, product};
use datasjo_table::Table;

use crate::args::Test;

/// Differences of one case that are printed.
const MOST_DIFFERENCES: usize = 20;

/// Runs cases of products. False if any differs, a product has none, or a product is wrong.
pub(crate) async fn run(dir: &Path, args: Test) -> anyhow::Result<bool> {
    let datasets = datasets(dir)?;
    let paths = if args.paths.is_empty() { vec![default_folder(dir)?] } else { args.paths };
    let mut tally = Tally::default();
    for path in &paths {
        let path = std::fs::canonicalize(path).with_context(|| format!("find {}", path.display()))?;
        let asked = Asked::at(&path)?;
        let (products, problems) = product::load(Some(&asked.pipelines));
        let room = Room { datasets: &datasets, products: &products, problems: &problems };
        for (folder, cases) in asked.folders {
            room.run(&folder, &cases, &mut tally).await?;
        }
    }
    super::say(&tally.summary())?;
    Ok(tally.well())
}

/// The tables that feeds fill: those of the configuration, or the ones that the program carries.
fn datasets(dir: &Path) -> anyhow::Result<BTreeMap<String, Arc<Table>>> {
    if dir.is_dir() {
        return Ok(super::load(dir)?.tables);
    }
    Ok(datasjo_datasets::builtin().into_iter().map(|table| (table.name.clone(), Arc::new(table))).collect())
}

fn default_folder(dir: &Path) -> anyhow::Result<PathBuf> {
    let here = [super::pipelines::folder(dir), PathBuf::from("pipelines")];
    match here.into_iter().find(|folder| folder.is_dir()) {
        Some(folder) => Ok(folder),
        None => bail!("there are no pipelines in {} or here; name a folder of products, a product or a case", dir.display()),
    }
}

/// What a path asks for.
struct Asked {
    /// The folder of all products.
    pipelines: PathBuf,
    /// Products by folder name, each with its cases.
    folders: Vec<(String, Vec<PathBuf>)>,
}

impl Asked {
    /// `path` is a case, a product, or a folder of products.
    fn at(path: &Path) -> anyhow::Result<Self> {
        let above = |levels| path.ancestors().nth(levels).unwrap_or(path).to_owned();
        if above(1).file_name().is_some_and(|name| name == "cases") {
            return Ok(Self { pipelines: above(3), folders: vec![(name(&above(2)), vec![path.to_owned()])] });
        }
        if has_steps(path)? {
            return Ok(Self { pipelines: above(1), folders: vec![(name(path), cases::list(path)?)] });
        }
        let mut folders = Vec::new();
        for entry in std::fs::read_dir(path).with_context(|| format!("read {}", path.display()))? {
            let folder = entry?.path();
            if folder.is_dir() && has_steps(&folder)? {
                folders.push((name(&folder), cases::list(&folder)?));
            }
        }
        folders.sort();
        Ok(Self { pipelines: path.to_owned(), folders })
    }
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn has_steps(folder: &Path) -> anyhow::Result<bool> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    Ok(entries.flatten().any(|entry| entry.path().extension().is_some_and(|extension| extension == "sql")))
}

/// What the cases run over.
struct Room<'a> {
    datasets: &'a BTreeMap<String, Arc<Table>>,
    products: &'a [Product],
    problems: &'a [Problem],
}

impl Room<'_> {
    async fn run(&self, folder: &str, cases: &[PathBuf], tally: &mut Tally) -> anyhow::Result<()> {
        let Some(product) = self.products.iter().find(|product| product.name() == folder) else {
            tally.wrong += 1;
            let of_it = self.problems.iter().filter(|problem| problem.file.split('/').next() == Some(folder));
            return super::say(&of_it.map(|problem| format!("wrong    {problem}\n")).collect::<String>());
        };
        if cases.is_empty() {
            tally.without += 1;
            return super::say(&format!("no case  {folder}\n"));
        }
        for case in cases {
            let result = cases::check(product, case, self.datasets, self.products).await;
            match result.differences.is_empty() {
                true => tally.ok += 1,
                false => tally.differ += 1,
            }
            super::say(&told(&result))?;
        }
        Ok(())
    }
}

fn told(result: &cases::CaseResult) -> String {
    if result.differences.is_empty() {
        return format!("ok       {}\n", result.name);
    }
    let mut text = format!("differs  {}\n", result.name);
    for difference in result.differences.iter().take(MOST_DIFFERENCES) {
        let _ = writeln!(text, "  {difference}");
    }
    let more = result.differences.len().saturating_sub(MOST_DIFFERENCES);
    if more > 0 {
        let _ = writeln!(text, "  and {more} more");
    }
    text
}

#[derive(Default)]
struct Tally {
    ok: usize,
    differ: usize,
    without: usize,
    wrong: usize,
}

impl Tally {
    fn well(&self) -> bool {
        self.differ + self.without + self.wrong == 0
    }

    fn summary(&self) -> String {
        let Self { ok, differ, without, wrong } = self;
        format!("{ok} ok, {differ} differ, {without} products without a case, {wrong} products wrong\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_asks_for_a_case_a_product_or_all() {
        let dir = tempfile::tempdir().unwrap();
        let case = dir.path().join("leaks/cases/burst");
        std::fs::create_dir_all(&case).unwrap();
        std::fs::create_dir_all(dir.path().join("notes")).unwrap();
        std::fs::write(dir.path().join("leaks/10-leaks.sql"), "SELECT 1").unwrap();
        for path in [case.clone(), dir.path().join("leaks"), dir.path().to_owned()] {
            let asked = Asked::at(&path).unwrap();
            assert_eq!(asked.pipelines, dir.path(), "{}", path.display());
            assert_eq!(asked.folders, [("leaks".to_owned(), vec![case.clone()])]);
        }
    }
}
