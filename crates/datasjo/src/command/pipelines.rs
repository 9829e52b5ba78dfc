use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use datasjo_pipeline::{Catalog, Planned, Problem, Product, ProductKind, cases, product};
use datasjo_table::{Access, Column, Kind};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::args::{Pipelines, PipelinesCommand};
use crate::config::Config;

/// Characters of the longest bar.
const BAR_WIDTH: f64 = 24.0;
const HOUR_S: i64 = 3_600;

/// Shows the products.
pub(crate) async fn run(dir: &Path, args: Pipelines) -> anyhow::Result<bool> {
    let config = super::load(dir)?;
    let text = match args.command {
        None => list(&all(dir, &config.products), args.json)?,
        Some(PipelinesCommand::Explain { name }) => explain(dir, &config, &name)?,
        Some(PipelinesCommand::Plot { name, url }) => {
            let url = url.map_or_else(|| own_url(&config), Ok)?;
            plot(&ask(&url).await?, name.as_deref(), datasjo_sources::now_us())?
        }
    };
    super::say(&text)?;
    Ok(true)
}

/// Where a configuration keeps products of its own.
pub(super) fn folder(dir: &Path) -> PathBuf {
    dir.join("pipelines")
}

/// The product `name`, if it runs here.
pub(super) fn planned<'a>(dir: &Path, config: &'a Config, name: &str) -> anyhow::Result<&'a Arc<Planned>> {
    if let Some(planned) = config.products.get(name) {
        return Ok(planned);
    }
    match all(dir, &config.products).into_iter().find(|one| one.name == name) {
        Some(one) => bail!("{name} does not run here: {}", one.state),
        None => bail!("there is no product {name}; `datasjo pipelines` lists them"),
    }
}

/// A product in the list; what is absent could not be read.
#[derive(Serialize)]
struct Listed {
    name: String,
    meaning: Option<String>,
    kind: Option<&'static str>,
    every: Option<String>,
    reads: BTreeSet<String>,
    access: Option<&'static str>,
    /// `runs`, `waits for ...` or `wrong: file:line:column: message`.
    state: String,
}

impl Listed {
    fn new(product: &Product, state: String) -> Self {
        let header = &product.header;
        Self {
            name: product.name().to_owned(),
            meaning: Some(header.meaning.clone()),
            kind: Some(kind(header.kind)),
            every: Some(every(product)),
            reads: product.reads.clone(),
            access: Some(access(header.access)),
            state,
        }
    }

    fn unreadable(name: String, problems: &[&Problem]) -> Self {
        Self { name, meaning: None, kind: None, every: None, reads: BTreeSet::new(), access: None, state: wrong(problems) }
    }
}

/// Every product: those that run in their order, then those that lack something, then those that cannot be read.
fn all(dir: &Path, catalog: &Catalog) -> Vec<Listed> {
    let (products, problems) = product::load(Some(&folder(dir)));
    let mut listed: Vec<Listed> =
        catalog.products.iter().map(|planned| Listed::new(&planned.product, "runs".to_owned())).collect();
    let names: BTreeSet<&str> = products.iter().map(Product::name).collect();
    let others = products.iter().filter(|product| catalog.get(product.name()).is_none());
    listed.extend(others.map(|product| Listed::new(product, why_not(catalog, product.name(), &names))));
    let mut unreadable: BTreeMap<&str, Vec<&Problem>> = BTreeMap::new();
    for problem in &problems {
        unreadable.entry(product_of(problem)).or_default().push(problem);
    }
    listed.extend(unreadable.iter().map(|(name, problems)| Listed::unreadable((*name).to_owned(), problems)));
    listed
}

fn product_of(problem: &Problem) -> &str {
    problem.file.split('/').next().unwrap_or_default()
}

fn wrong(problems: &[&Problem]) -> String {
    format!("wrong: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

fn why_not(catalog: &Catalog, name: &str, products: &BTreeSet<&str>) -> String {
    let Some(idle) = catalog.idle.iter().find(|idle| idle.product == name) else {
        return wrong(&catalog.problems.iter().filter(|problem| product_of(problem) == name).collect::<Vec<_>>());
    };
    let missing = idle.missing.iter().map(|missing| match products.contains(missing.as_str()) {
        true => format!("product {missing}"),
        false => format!("reference table {missing}"),
    });
    format!("waits for {}", missing.collect::<Vec<_>>().join(", "))
}

fn list(products: &[Listed], json: bool) -> anyhow::Result<String> {
    if json {
        return Ok(format!("{}\n", serde_json::to_string_pretty(products)?));
    }
    let mut rows = vec![["product", "kind", "every", "access", "reads", "state"].map(str::to_owned)];
    for one in products {
        let reads = one.reads.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
        let every = one.every.clone().unwrap_or_else(|| "-".to_owned());
        let (kind, access) = (one.kind.unwrap_or("-"), one.access.unwrap_or("-"));
        rows.push([one.name.clone(), kind.to_owned(), every, access.to_owned(), reads, one.state.clone()]);
    }
    Ok(aligned(&rows))
}

/// Each column as wide as its longest cell.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

fn kind(kind: ProductKind) -> &'static str {
    match kind {
        ProductKind::Table => "table",
        ProductKind::Sign => "sign",
        ProductKind::Alert => "alert",
    }
}

fn access(access: Access) -> &'static str {
    match access {
        Access::Public => "public",
        Access::Internal => "internal",
        Access::Restricted => "restricted",
    }
}

/// What the head says of `key`, as its author wrote it.
fn written<'a>(sql: &'a str, key: &str) -> Option<&'a str> {
    let comments = sql.lines().map_while(|line| line.strip_prefix("--"));
    comments.filter_map(|line| line.split_once(':')).find(|(found, _)| found.trim() == key).map(|(_, value)| value.trim())
}

fn every(product: &Product) -> String {
    written(&product.last().sql, "every").unwrap_or_default().to_owned()
}

fn explain(dir: &Path, config: &Config, name: &str) -> anyhow::Result<String> {
    let planned = planned(dir, config, name)?;
    let product = &planned.product;
    let mut text = format!("{name}: {}\n", product.header.meaning);
    for key in ["kind", "every", "on", "reach", "keys", "carries", "retention", "access", "owner"] {
        if let Some(value) = written(&product.last().sql, key) {
            let _ = writeln!(text, "  {key:<10} {value}");
        }
    }
    let _ = writeln!(text, "  {:<10} {}\n\nsteps", "licence", product.header.licence);
    for step in &product.steps {
        let _ = writeln!(text, "  {:<24} {}", step.name, written(&step.sql, "meaning").unwrap_or("-"));
    }
    text.push_str("\nreads\n");
    for read in &product.reads {
        let _ = writeln!(text, "  {read:<24} {}", what_is(config, planned, read));
    }
    let _ = write!(text, "\ncolumns of table {name}\n{}", indented(&columns(&planned.table.columns)));
    let _ = write!(text, "\ncases\n{}", indented(&case_names(dir, name)?));
    Ok(text)
}

fn what_is(config: &Config, planned: &Planned, name: &str) -> &'static str {
    if planned.upstream.contains(name) {
        return "product";
    }
    if config.tables.contains_key(name) { "dataset" } else { "reference table" }
}

fn columns(columns: &[Column]) -> String {
    let row = |column: &Column| {
        let kind = match column.kind {
            Kind::Text => "text",
            Kind::Float => "float",
            Kind::Int => "int",
            Kind::Time => "time",
            Kind::Bool => "bool",
        };
        [column.name.clone(), kind.to_owned(), column.unit.clone().unwrap_or_default(), column.meaning.clone()]
    };
    aligned(&columns.iter().map(row).collect::<Vec<_>>())
}

/// The cases are files: those of the configuration's own product, or of the working directory.
fn case_names(dir: &Path, name: &str) -> anyhow::Result<String> {
    let own = folder(dir).join(name);
    let product = if own.is_dir() { own } else { Path::new("pipelines").join(name) };
    let found = cases::list(&product).with_context(|| format!("read the cases of {}", product.display()))?;
    if found.is_empty() {
        return Ok(format!("none under {}\n", product.join("cases").display()));
    }
    Ok(found.iter().map(|case| format!("{}\n", case.display())).collect())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

/// How a product is doing, as a running instance tells it.
#[derive(Deserialize)]
struct Status {
    answered_to_us: Option<i64>,
    last_run_ms: u64,
    last_run_ticks: u64,
    last_run_rows: u64,
    failure: Option<String>,
}

fn own_url(config: &Config) -> anyhow::Result<Url> {
    if config.sql.listen.port() == 0 {
        bail!("the instance of this configuration takes any free port; say --url");
    }
    Ok(Url::parse(&format!("http://{}", config.sql.listen))?)
}

/// Asks a running instance; a token is taken from `DATASJO_TOKEN`.
async fn ask(url: &Url) -> anyhow::Result<BTreeMap<String, Status>> {
    let endpoint = url.join("/v1/pipelines")?;
    let mut request = reqwest::Client::builder().no_proxy().build()?.get(endpoint.clone());
    if let Ok(token) = std::env::var("DATASJO_TOKEN") {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.with_context(|| format!("ask {endpoint}; is an instance running there?"))?;
    let response = response.error_for_status()?;
    let text = response.text().await.context("the answer broke off")?;
    serde_json::from_str(&text).with_context(|| format!("read the answer of {endpoint}"))
}

/// Lag and cost of every product, or of one. Bars are logarithmic: a minute and a day are both to be seen.
fn plot(statuses: &BTreeMap<String, Status>, name: Option<&str>, now_us: i64) -> anyhow::Result<String> {
    if let Some(name) = name.filter(|name| !statuses.contains_key(*name)) {
        bail!("no product {name} runs in that instance");
    }
    let shown: Vec<(&String, &Status)> = statuses.iter().filter(|(found, _)| name.is_none_or(|name| name == *found)).collect();
    let lag_s = |status: &Status| status.answered_to_us.map(|at| (now_us - at).max(0) / 1_000_000);
    let most_lag = shown.iter().filter_map(|(_, status)| lag_s(status)).max().unwrap_or(0) as f64;
    let most_ms = shown.iter().map(|(_, status)| status.last_run_ms).max().unwrap_or(0) as f64;
    let mut rows = vec![["product", "lag", "", "last run", "", "gave"].map(str::to_owned)];
    let mut failures = String::new();
    for (name, status) in &shown {
        let lag = lag_s(status);
        rows.push([
            (*name).clone(),
            lag.map_or_else(|| "never ran".to_owned(), span),
            bar(lag.unwrap_or(0) as f64, most_lag),
            format!("{} ms", status.last_run_ms),
            bar(status.last_run_ms as f64, most_ms),
            format!("{} rows of {} ticks", status.last_run_rows, status.last_run_ticks),
        ]);
        if let Some(failure) = &status.failure {
            let _ = writeln!(failures, "{name} stands still: {failure}");
        }
    }
    Ok(format!("{}{failures}", aligned(&rows)))
}

fn bar(value: f64, most: f64) -> String {
    let share = if most > 0.0 { value.ln_1p() / most.ln_1p() } else { 0.0 };
    "█".repeat((share * BAR_WIDTH).round() as usize)
}

fn span(seconds: i64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / HOUR_S),
        _ => format!("{} days", seconds / (24 * HOUR_S)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_shows_lag_cost_and_why_a_product_stands_still() {
        let told = r#"{
            "minutes": {"answered_to_us": 940000000, "last_run_ms": 12, "last_run_ticks": 1, "last_run_rows": 4, "runs": 9, "failure": null},
            "days": {"answered_to_us": null, "last_run_ms": 0, "last_run_ticks": 0, "last_run_rows": 0, "runs": 0, "failure": "no such column"}
        }"#;
        let statuses: BTreeMap<String, Status> = serde_json::from_str(told).unwrap();
        let text = plot(&statuses, None, 1_000_000_000).unwrap();
        let minutes = text.lines().find(|line| line.starts_with("minutes")).unwrap();
        assert!(minutes.contains("60 s") && minutes.contains("12 ms") && minutes.contains("█"), "{text}");
        assert!(text.contains("never ran") && text.contains("days stands still: no such column"), "{text}");
        assert!(plot(&statuses, Some("years"), 0).is_err());
    }

    #[test]
    fn the_head_is_shown_as_it_was_written() {
        let sql = "-- product: a\n-- every: 1 day at 06:30 Europe/Oslo\nSELECT 1 -- keys: none";
        assert_eq!(written(sql, "every"), Some("1 day at 06:30 Europe/Oslo"));
        assert_eq!(written(sql, "keys"), None);
    }
}
