use std::path::{Path, PathBuf};
use std::sync::Arc;

use datasjo_journal::{Journal, Limits};
use datasjo_lake::{Lake, LakeTable};
use serde::Serialize;

use crate::args::Json;
use crate::config::Config;
use crate::instance::{journal_path, open_lake};

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
    let lake = open_lake(&config).await?;
    let mut findings = markers(&config, &lake).await?;
    findings.extend(ledger(&lake).await?);
    for table in lake.tables() {
        findings.extend(doubles(&lake, table).await?);
        findings.extend(files(&lake, table)?);
        findings.extend(sensors(&lake, table).await?);
    }
    let well = findings.iter().all(|f| f.well);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
        return Ok(well);
    }
    for finding in &findings {
        let sign = if finding.well { "ok  " } else { "LOOK" };
        println!("{sign} {:<8} {:<20} {}", finding.check, finding.subject, finding.found);
    }
    println!("note mosquitto lets only 20 messages wait for their acknowledgement unless max_inflight_messages says more");
    Ok(well)
}

async fn markers(config: &Config, lake: &Lake) -> anyhow::Result<Vec<Finding>> {
    let path = journal_path(config);
    if !path.exists() {
        return Ok(vec![Finding::well("journal", path.display().to_string(), "none yet")]);
    }
    let Ok(journal) = Journal::open(&path, Limits::default()) else {
        return Ok(vec![Finding::well("journal", path.display().to_string(), "in use by a running instance; ask its /healthz")]);
    };
    let synced = *journal.synced().borrow();
    let mut findings = vec![Finding::well(
        "journal",
        path.display().to_string(),
        format!("{synced} deliveries so far, {} bytes kept", journal.stored_bytes()),
    )];
    if let Some(aside) = journal.set_aside() {
        findings.push(Finding::ill(
            "journal",
            aside.path.display().to_string(),
            format!("was damaged and is set aside: {}", aside.reason),
        ));
    }
    for table in lake.tables() {
        let marker = table.marker(journal.id()).await?;
        findings.push(match marker {
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

fn names(directory: &PathBuf, wanted: impl Fn(&str) -> bool) -> Vec<String> {
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
