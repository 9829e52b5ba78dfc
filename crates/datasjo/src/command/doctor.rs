use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use datasjo_journal::Look;
use datasjo_lake::{LEDGER, Lake, LakeTable};
use serde::Serialize;

use crate::args::Json;
use crate::config::Config;
use crate::instance::{journal_path, open_lake_to_read};

/// One thing that was looked at.
#[derive(Serialize)]
struct Finding {
    /// What was looked at.
    check: &'static str,
    /// The table or feed.
    subject: String,
    well: bool,
    /// What was found, and what to do if it is not well.
    found: String,
}

impl Finding {
    fn well(check: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check, subject: subject.into(), well: true, found: found.into() }
    }

    fn ill(check: &'static str, subject: impl Into<String>, found: impl Into<String>) -> Self {
        Self { well: false, ..Self::well(check, subject, found) }
    }
}

/// Looks at everything and changes nothing; false if anything needs a person.
pub(crate) async fn run(dir: &Path, args: Json) -> anyhow::Result<bool> {
    let config = super::load(dir)?;
    let (at_rest, mut findings) = journal(&config);
    let lake = open_lake_to_read(&config).await?;
    if let Some(journal) = &at_rest {
        findings.extend(markers(&lake, journal).await?);
        findings.extend(accounts(&lake, journal).await?);
    }
    findings.extend(ledger(&lake).await?);
    for table in lake.tables() {
        findings.extend(doubles(&lake, table).await?);
        findings.extend(files(&lake, table)?);
        findings.extend(sensors(&lake, table).await?);
    }
    let text = if args.json { format!("{}\n", serde_json::to_string_pretty(&findings)?) } else { lines(&findings) };
    super::say(&text)?;
    Ok(findings.iter().all(|f| f.well))
}

fn lines(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let sign = if finding.well { "ok  " } else { "LOOK" };
        let _ = writeln!(text, "{sign} {:<8} {:<20} {}", finding.check, finding.subject, finding.found);
    }
    text.push_str("note mosquitto lets only 20 messages wait for their acknowledgement unless max_inflight_messages says more\n");
    text
}

/// A journal that was closed in order: what the lake can be compared with.
struct AtRest {
    id: String,
    synced: u64,
}

/// Looks at the journal, without opening it for writing, and for parts of it that were set aside.
fn journal(config: &Config) -> (Option<AtRest>, Vec<Finding>) {
    let path = journal_path(config);
    let subject = path.display().to_string();
    let (at_rest, finding) =
        if path.exists() { look(&path, &subject) } else { (None, Finding::well("journal", &subject, "none yet")) };
    let mut findings = vec![finding];
    let aside = names(&config.data_dir, |name| name.starts_with("journal.redb.damaged-"));
    findings.extend(aside.into_iter().map(|name| {
        let path = config.data_dir.join(name).display().to_string();
        Finding::ill("damage", path, "was damaged and is set aside; look at it, then move it away")
    }));
    (at_rest, findings)
}

fn look(path: &Path, subject: &str) -> (Option<AtRest>, Finding) {
    let well = |found: &str| (None, Finding::well("journal", subject, found));
    match datasjo_journal::look(path) {
        Ok(Look::AtRest { id, synced, stored_bytes }) => {
            let found = format!("{synced} deliveries so far, {stored_bytes} bytes kept");
            (Some(AtRest { id, synced }), Finding::well("journal", subject, found))
        }
        Ok(Look::InUse) => {
            well("in use by a running instance; ask its /healthz. What it is writing is not compared with the ledger")
        }
        Ok(Look::NotClosed) => well("was not closed in order; the next start repairs it. Markers are compared after that"),
        Ok(Look::Damaged(reason)) => {
            let found = format!("damaged: {reason}; the next start sets it aside and begins a new one");
            (None, Finding::ill("journal", subject, found))
        }
        Err(error) => (None, Finding::ill("journal", subject, datasjo_table::causes(&error))),
    }
}

async fn markers(lake: &Lake, journal: &AtRest) -> anyhow::Result<Vec<Finding>> {
    let synced = journal.synced;
    let mut findings = Vec::new();
    for table in lake.tables() {
        findings.push(match table.marker(&journal.id).await? {
            ahead if ahead > synced => Finding::ill(
                "marker",
                table.name(),
                format!("{ahead} is ahead of the journal's {synced}: the journal is an older copy; the next start sets it aside"),
            ),
            marker => Finding::well("marker", table.name(), format!("{marker} of {synced}")),
        });
    }
    Ok(findings)
}

/// The rows the ledger says were committed against those that are there. Rows that were too old are dropped and stay in the
/// ledger, so tables with a retention are left out.
async fn accounts(lake: &Lake, journal: &AtRest) -> anyhow::Result<Vec<Finding>> {
    let committed: BTreeMap<String, i64> = rows(lake, "SELECT dataset, sum(committed) AS n FROM ledger GROUP BY dataset")
        .await?
        .iter()
        .filter_map(|row| Some((row.get("dataset")?.as_str()?.to_owned(), row.get("n")?.as_i64()?)))
        .collect();
    let ledger_marker = lake.table(LEDGER)?.marker(&journal.id).await?;
    let mut findings = Vec::new();
    for table in lake.tables() {
        let Some(definition) = table.definition().filter(|definition| definition.retention_days.is_none()) else { continue };
        let told = committed.get(&definition.name).copied().unwrap_or(0);
        let there = i64::try_from(table.stats()?.rows).unwrap_or(i64::MAX);
        let found = format!("{there} rows are there, the ledger has {told}");
        findings.push(if table.marker(&journal.id).await? > ledger_marker {
            Finding::well("account", table.name(), format!("{found}; a round is unfinished and the next start finishes it"))
        } else if there == told {
            Finding::well("account", table.name(), found)
        } else {
            Finding::ill("account", table.name(), format!("{found}: rows were lost or doubled, here or in the ledger"))
        });
    }
    Ok(findings)
}

async fn ledger(lake: &Lake) -> anyhow::Result<Vec<Finding>> {
    let sql = "SELECT feed, sum(received) AS received, sum(committed) AS committed, sum(duplicate) AS duplicate, sum(rejected) AS rejected, \
               sum(in_flight) AS in_flight FROM ledger GROUP BY feed ORDER BY feed";
    let mut findings = Vec::new();
    for row in rows(lake, sql).await? {
        let count = |name: &str| row.get(name).and_then(serde_json::Value::as_i64).unwrap_or(0);
        let parts = count("committed") + count("duplicate") + count("rejected") + count("in_flight");
        let found = format!(
            "received {} = committed {} + duplicate {} + rejected {} + in flight {}",
            count("received"),
            count("committed"),
            count("duplicate"),
            count("rejected"),
            count("in_flight")
        );
        let feed = row.get("feed").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        findings.push(if parts == count("received") {
            Finding::well("ledger", feed, found)
        } else {
            Finding::ill("ledger", feed, format!("does not balance: {found}"))
        });
    }
    Ok(findings)
}

async fn doubles(lake: &Lake, table: &Arc<LakeTable>) -> anyhow::Result<Vec<Finding>> {
    let Some(definition) = table.definition() else {
        return Ok(Vec::new());
    };
    let key = definition.key.join(", ");
    let sql = format!("SELECT count(*) AS doubles FROM (SELECT {key} FROM {} GROUP BY {key} HAVING count(*) > 1)", table.name());
    let doubles = rows(lake, &sql).await?.first().and_then(|r| r.get("doubles")?.as_i64()).unwrap_or(0);
    Ok(vec![match doubles {
        0 => Finding::well("doubles", table.name(), "no key twice"),
        n => Finding::ill("doubles", table.name(), format!("{n} keys are there more than once")),
    }])
}

fn files(lake: &Lake, table: &Arc<LakeTable>) -> anyhow::Result<Vec<Finding>> {
    let stats = table.stats()?;
    let mut findings = vec![Finding::well(
        "files",
        table.name(),
        format!("{} files, {} bytes, version {}", stats.files, stats.bytes, stats.version),
    )];
    let Some(directory) = lake.root().table_directory(table.name()) else {
        return Ok(findings);
    };
    let aside = names(&directory.join("_set_aside"), |_| true);
    if !aside.is_empty() {
        findings.push(Finding::ill(
            "damage",
            table.name(),
            format!(
                "{} files were set aside as damaged, in {}; look at them, then move them away",
                aside.len(),
                directory.join("_set_aside").display()
            ),
        ));
    }
    let lost = table.damaged_files()?;
    if !lost.is_empty() {
        findings.push(Finding::ill(
            "damage",
            table.name(),
            format!("missing or of another size than the log says: {}", lost.join(", ")),
        ));
    }
    let commits = names(&directory.join("_delta_log"), |n| n.ends_with(".json")).len();
    if commits > 1_000 {
        findings.push(Finding::ill(
            "log",
            table.name(),
            format!("{commits} commits since the last clean-up; run datasjo maintain"),
        ));
    }
    Ok(findings)
}

fn names(directory: &Path, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).filter(|n| wanted(n)).collect()
}

/// Series that have fallen silent against their neighbours, and clocks that run ahead.
async fn sensors(lake: &Lake, table: &Arc<LakeTable>) -> anyhow::Result<Vec<Finding>> {
    let Some(definition) = table.definition() else {
        return Ok(Vec::new());
    };
    let series: Vec<&str> = definition.series().take(1).collect();
    let Some(sensor) = series.first() else {
        return Ok(Vec::new());
    };
    let name = table.name();
    let silent = format!(
        "WITH last AS (SELECT {sensor} AS sensor, max(observed_at) AS at FROM {name} GROUP BY {sensor}) \
         SELECT sensor, CAST(at AS VARCHAR) AS at FROM last WHERE at < (SELECT max(received_at) FROM {name}) - INTERVAL '{} hours' ORDER BY sensor LIMIT 20",
        definition.lateness_h.max(24)
    );
    let ahead = format!(
        "SELECT feed, count(*) AS readings FROM {name} WHERE observed_at > received_at + INTERVAL '10 minutes' GROUP BY feed ORDER BY feed"
    );
    let text = |row: &serde_json::Map<String, serde_json::Value>, key: &str| {
        row.get(key).map(|v| v.to_string().trim_matches('"').to_owned()).unwrap_or_default()
    };
    let mut findings = Vec::new();
    for row in rows(lake, &silent).await? {
        findings.push(Finding::ill(
            "silent",
            name,
            format!("{} has said nothing since {}", text(&row, "sensor"), text(&row, "at")),
        ));
    }
    for row in rows(lake, &ahead).await? {
        findings.push(Finding::ill(
            "clock",
            name,
            format!(
                "feed {}: {} readings are dated more than 10 minutes after they arrived",
                text(&row, "feed"),
                text(&row, "readings")
            ),
        ));
    }
    Ok(findings)
}

async fn rows(lake: &Lake, sql: &str) -> anyhow::Result<Vec<serde_json::Map<String, serde_json::Value>>> {
    use datasjo_serve::format::{Encoder, Format, Outlet};
    let frame = lake.sql(sql).await?;
    let schema = Arc::new(frame.schema().as_arrow().clone());
    let outlet = Outlet::default();
    let mut encoder = Encoder::new(Format::Json, &schema, outlet.clone())?;
    for batch in frame.collect().await? {
        encoder.write(&batch)?;
    }
    encoder.finish()?;
    Ok(serde_json::from_slice(&outlet.take())?)
}
