//! Sends recorded deliveries through journal, decoders and lake as if they arrived now, with the time of the recording, and runs
//! products over what arrived. The lake is a temporary one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use async_trait::async_trait;
use datasjo_ingest::{FlushOptions, Ingest};
use datasjo_lake::Lake;
use datasjo_lake::RecordBatch;
use datasjo_pipeline::{Catalog, Interval, Planned, Runner};
use datasjo_sources::{Delivery, Health, Mark, Source, SourceError};

use crate::config::{self, Config};
use crate::instance::{feeds, open_store, product_feeds};

/// Deliveries in the order of their arrival; each has its time of arrival.
pub(super) type Deliveries = Box<dyn Iterator<Item = anyhow::Result<Delivery>> + Send>;

/// A recording and how it is read.
pub(super) struct Recording {
    /// A directory of configuration written for it: feeds and reference tables.
    pub config: Config,
    /// What arrived.
    pub deliveries: Deliveries,
}

/// A lake that holds a recording, and the products over it.
pub(super) struct Played {
    pub catalog: Arc<Catalog>,
    pub first_us: i64,
    pub last_us: i64,
    lake: Arc<Lake>,
    runner: Runner,
    ingest: Ingest,
}

impl Played {
    /// Brings a recording in, all of it, and tells from when to when it arrived.
    pub async fn new(recording: Recording) -> anyhow::Result<Self> {
        let Recording { config, deliveries } = recording;
        let (journal, lake) = open_store(&config).await?;
        let catalog = config.products.clone();
        let times = Arc::new(std::sync::Mutex::new((i64::MAX, i64::MIN)));
        let source = Replay { deliveries, mark: 0, health: Health::default(), times: times.clone() };
        let all: Vec<_> = feeds(&config).into_iter().chain(product_feeds(&config)?).collect();
        let sources: Vec<(Arc<str>, Box<dyn Source>)> = vec![("recording".into(), Box::new(source))];
        // Nothing is committed: the lake lasts as long as the run, and a file a day and table is slow to make.
        let flush = FlushOptions { every: Duration::from_secs(86_400), rows: usize::MAX, bytes: usize::MAX };
        let mut ingest = Ingest::start(journal.clone(), lake.clone(), all, sources, flush, false).await?;
        ingest.sources_ended().await;
        for (_, health) in ingest.health() {
            let report = health.report();
            if report.state == datasjo_sources::State::Failed {
                bail!("{}", report.reason);
            }
        }
        let runner = Runner::new(lake.clone(), journal.clone(), ingest.progress(), &catalog);
        let last = *journal.synced().borrow();
        runner.visible(last).await?;
        let (first_us, last_us) = *times.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if first_us > last_us {
            bail!("the recording is empty");
        }
        Ok(Self { catalog, first_us, last_us, lake, runner, ingest })
    }

    /// Runs `names` and all they read, over the whole recording, and gives the rows of each.
    pub async fn run(&mut self, names: &[&str]) -> anyhow::Result<BTreeMap<String, RecordBatch>> {
        self.run_on(names, &[]).await
    }

    /// The same on top of products that have run.
    pub async fn run_on(&mut self, names: &[&str], done: &[&str]) -> anyhow::Result<BTreeMap<String, RecordBatch>> {
        if let Some(name) = names.iter().find(|name| self.catalog.get(name).is_none()) {
            let problem = self.catalog.problems.iter().find(|problem| problem.file.starts_with(&format!("{name}/")));
            let idle = self.catalog.idle.iter().find(|idle| idle.product == **name);
            let lacks = idle.map(|idle| format!("it lacks {}", idle.missing.join(", ")));
            let why = problem.map(ToString::to_string).or(lacks).unwrap_or_else(|| "there is no such product".to_owned());
            bail!("{name} cannot run: {why}");
        }
        let mut made = BTreeMap::new();
        for planned in self.catalog.with_upstream(names) {
            if !done.contains(&planned.product.name()) {
                let rows = self.run_one(&planned).await?;
                made.insert(planned.product.name().to_owned(), rows);
            }
        }
        Ok(made)
    }

    /// Takes a reference table anew.
    pub fn load_reference(&self, name: &str, path: &Path) -> anyhow::Result<()> {
        Ok(self.lake.load_reference(name, path)?)
    }

    async fn run_one(&mut self, planned: &Planned) -> anyhow::Result<RecordBatch> {
        let since_us = self.first_us - 1;
        let last = self.last_us;
        let as_of_us = planned.product.header.every.next(last - 1);
        let ticks_us = planned.product.header.every.ticks(since_us, as_of_us);
        let started = std::time::Instant::now();
        let rows = self.runner.run(planned, &Interval { since_us, as_of_us, ticks_us }).await?;
        tracing::info!(
            product = planned.product.name(),
            rows = rows.num_rows(),
            ms = started.elapsed().as_millis() as u64,
            "computed"
        );
        Ok(rows)
    }

    /// Ends it; the temporary lake goes with its directory.
    pub fn end(self) {
        self.ingest.give_up();
    }
}

/// Loads the configuration that was written for a recording.
pub(super) fn configuration(dir: &Path) -> anyhow::Result<Config> {
    config::load(dir).map_err(|problems| anyhow::anyhow!("the configuration made for the recording:\n{problems}"))
}

struct Replay {
    deliveries: Deliveries,
    mark: Mark,
    health: Health,
    times: Arc<std::sync::Mutex<(i64, i64)>>,
}

#[async_trait]
impl Source for Replay {
    async fn next(&mut self) -> Result<Option<Delivery>, SourceError> {
        let Some(next) = self.deliveries.next() else { return Ok(None) };
        let delivery = next.map_err(|error| SourceError::Config(format!("{error:#}")))?;
        self.mark += 1;
        let mut times = self.times.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *times = (times.0.min(delivery.received_at_us), times.1.max(delivery.received_at_us));
        Ok(Some(Delivery { mark: self.mark, ..delivery }))
    }

    async fn settle(&mut self, _: Mark) -> Result<(), SourceError> {
        Ok(())
    }

    async fn stop(&mut self) {}

    fn health(&self) -> Health {
        self.health.clone()
    }
}

/// Opens a file that may be packed by gzip.
pub(super) fn open(path: &Path) -> anyhow::Result<Box<dyn std::io::BufRead + Send>> {
    let file = std::fs::File::open(path).with_context(|| format!("open {}", path.display()))?;
    let reader = std::io::BufReader::new(file);
    Ok(match path.extension().is_some_and(|end| end == "gz") {
        true => Box::new(std::io::BufReader::new(flate2::bufread::MultiGzDecoder::new(reader))),
        false => Box::new(reader),
    })
}
