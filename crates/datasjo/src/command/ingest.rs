use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use datasjo_ingest::Ingest as Running;
use datasjo_sources::file::{FileConfig, FileSource};
use datasjo_sources::{Cursors, Source};
use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Ingest;
use crate::config::{Config, Feed, SourceConfig};
use crate::instance::{feeds, flush_options, open_store};

/// Brings files in through a feed and says what became of them.
pub(crate) async fn run(dir: &Path, args: Ingest) -> anyhow::Result<bool> {
    let config = super::load(dir)?;
    let feed = named(&config, &args.feed)?;
    for file in &args.files {
        if !file.exists() {
            bail!("there is no file {}", file.display());
        }
    }
    let started = Instant::now();
    let (journal, lake) = open_store(&config).await?;
    let once = Arc::new(Forgetful);
    let mut sources: Vec<(Arc<str>, Box<dyn Source>)> = Vec::new();
    for file in &args.files {
        let path = std::path::absolute(file)?;
        sources.push((
            feed.name.clone(),
            Box::new(FileSource::new(feed.name.clone(), file_config(&feed.source, &path)?, once.clone())?),
        ));
    }
    let mut synced = journal.synced();
    let mut ingest = Running::start(journal, lake.clone(), feeds(&config), sources, flush_options(&config), false).await?;
    let bar = bar(args.json);
    let mut progress = ingest.progress();
    let watch = tokio::spawn({
        let bar = bar.clone();
        async move {
            while progress.changed().await.is_ok() {
                let now = progress.borrow_and_update().clone();
                bar.set_message(format!("{} rows, {} duplicates, {} rejects", now.rows, now.duplicates, now.rejected));
            }
        }
    });
    let health = ingest.health();
    ingest.sources_ended().await;
    let last = *synced.borrow_and_update();
    let mut reached = ingest.progress();
    reached.wait_for(|p| p.visible_seq >= last || last == 0).await?;
    let done = reached.borrow().clone();
    ingest.stop().await?;
    watch.abort();
    bar.finish_and_clear();
    let failed: Vec<String> =
        health.iter().map(|(_, h)| h.report()).filter(|r| r.state == datasjo_sources::State::Failed).map(|r| r.reason).collect();
    tell(&args, &lake, &done, started.elapsed()).await?;
    for reason in &failed {
        eprintln!("{reason}");
    }
    Ok(failed.is_empty())
}

fn named<'c>(config: &'c Config, name: &str) -> anyhow::Result<&'c Feed> {
    let known: Vec<&str> = config.feeds.iter().map(|f| &*f.name).collect();
    config
        .feeds
        .iter()
        .find(|f| *f.name == *name)
        .with_context(|| format!("there is no feed \"{name}\" that is switched on; there are: {}", known.join(", ")))
}

/// How the feed reads files, or the usual way if it is fed otherwise.
fn file_config(source: &SourceConfig, path: &Path) -> anyhow::Result<FileConfig> {
    if let SourceConfig::File(file) = source {
        return Ok(FileConfig { path: path.to_owned(), watch: false, ..file.clone() });
    }
    let quoted = toml::Value::String(path.display().to_string());
    Ok(toml::from_str(&format!("path = {quoted}"))?)
}

/// A file named on the command line is read again each time: what is there already is found by its key.
struct Forgetful;

impl Cursors for Forgetful {
    fn load(&self, _: &str) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(None)
    }

    fn store(&self, _: &str, _: &[u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}

fn bar(quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

async fn tell(args: &Ingest, lake: &datasjo_lake::Lake, done: &datasjo_ingest::Progress, took: Duration) -> anyhow::Result<()> {
    let seconds = took.as_secs_f64();
    if args.json {
        let told = serde_json::json!({ "feed": args.feed, "rows": done.rows, "duplicates": done.duplicates, "rejects": done.rejected, "seconds": seconds });
        println!("{told}");
        return Ok(());
    }
    println!("{} rows, {} duplicates, {} rejects in {seconds:.1} s", done.rows, done.duplicates, done.rejected);
    if done.rejected > 0 {
        let sql = format!(
            "SELECT code, count(*) AS rejects, min(reason) AS example FROM rejects WHERE feed = '{}' GROUP BY code ORDER BY code",
            args.feed.replace('\'', "''")
        );
        let rows = lake.sql(&sql).await?.collect().await?;
        let mut encoder = datasjo_serve::format::Encoder::new(
            datasjo_serve::format::Format::Table,
            &rows.first().context("no rejects found")?.schema(),
            std::io::stdout(),
        )?;
        for batch in &rows {
            encoder.write(batch)?;
        }
        encoder.finish()?;
    }
    Ok(())
}
