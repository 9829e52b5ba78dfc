//! What was typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use datasjo_serve::format::Format;
use url::Url;

const EXAMPLES: &str = "\
Examples:
  datasjo demo                                  a small town, its broker and its lake, on this machine
  datasjo init my-town && datasjo check --config my-town
  datasjo run --config my-town                  take in what the feeds bring, answer SQL
  datasjo query \"SELECT * FROM ledger\"          ask the lake
  datasjo query --url http://127.0.0.1:8080 \"SELECT count(*) FROM water_meters\"
  datasjo ingest zone-meters readings.csv.gz    bring in files once

Exit codes: 0 done, 1 failed or something was found, 2 wrong usage.";

/// A town's sensors, kept without loss and turned into things people act on.
#[derive(Debug, Parser)]
#[command(name = "datasjo", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Args {
    /// Directory of the configuration: datasjo.toml, feeds/, datasets/, reference/.
    #[arg(long, global = true, env = "DATASJO_CONFIG", default_value = "config")]
    pub config: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take in what the feeds bring, keep it, answer SQL; until Ctrl-C.
    Run(Run),
    /// A small town that sends real messages to a lake of its own; nothing to install, no network.
    Demo(Demo),
    /// All mistakes of the configuration at once, as file:line:column.
    Check(Json),
    /// Every setting in force and where it comes from; secrets as ***.
    Explain,
    /// Write the default configuration into a directory; never overwrites.
    Init {
        /// Where to.
        directory: PathBuf,
    },
    /// Run one SQL query, on the lake or on a running instance.
    Query(Query),
    /// Bring in files through a feed, once, by the same way as everything else.
    Ingest(Ingest),
    /// The tables of the lake: rows, files, bytes, days.
    Tables(Json),
    /// Look for what is not as it should be: markers, ledger, damaged or orphaned files, silent sensors, clocks.
    Doctor(Json),
    /// The alerts: list them, show one with its evidence, or say what you do about it. While no instance runs here.
    Alerts(Alerts),
    /// The products: which run, what they read, how they do; explain one, or plot lag and cost of a running instance.
    Pipelines(Pipelines),
    /// Compute rows of a product over the lake as it is, and keep nothing.
    RunProduct(RunProduct),
    /// Run the cases of products: of all, of one, or a single case.
    Test(Test),
    /// What the products would have published over a recording, on the recording's own clock.
    Backtest(Backtest),
    /// Fit the flood products to each catchment's own past and write reference/flood_parameters.csv.
    Calibrate {
        /// What is calibrated.
        #[arg(value_enum)]
        what: Calibrated,
    },
    /// Compact, drop what is too old, make checkpoints, now. A running instance does it by itself.
    Maintain,
    /// Publish a recorded MQTT capture (JSON lines with topic, retain and payload or raw) to a broker.
    Replay(Replay),
    /// Print shell completions.
    Completions {
        /// For which shell.
        shell: Shell,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Stop by itself after this long (90s, 2m, 1h).
    #[arg(long = "for", value_parser = humantime::parse_duration)]
    pub run_for: Option<Duration>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// How much of the past is sent first, as fast as it is taken.
    #[arg(long, default_value = "2d", value_parser = humantime::parse_duration)]
    pub history: Duration,
    /// Seconds of the town's time in a second of ours, once the past is sent.
    #[arg(long, default_value_t = 60.0)]
    pub speed: f64,
    /// Where the town's configuration, journal, lake and truth go. A second start there goes on where the first stopped.
    #[arg(long, default_value = "datasjo-demo")]
    pub dir: PathBuf,
    /// Port of the SQL door; 0 takes any free one.
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// Stop by itself after this long (90s, 2m, 1h).
    #[arg(long = "for", value_parser = humantime::parse_duration)]
    pub run_for: Option<Duration>,
    /// Which town: the same seed is the same town.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Json {
    /// For machines.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Query {
    /// The query; `-` reads it from standard input.
    pub sql: String,
    /// The form of the answer.
    #[arg(long, short, value_enum, default_value_t = QueryFormat::Table)]
    pub format: QueryFormat,
    /// Write the answer to this file.
    #[arg(long, short)]
    pub output: Option<PathBuf>,
    /// Ask a running instance, for example 127.0.0.1:8080, instead of reading the lake.
    #[arg(long, value_parser = instance_url)]
    pub url: Option<Url>,
}

/// The address of an instance; one without a scheme is taken as plain HTTP, which is what an instance speaks.
fn instance_url(text: &str) -> Result<Url, String> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    match Url::parse(&whole) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) => Ok(url),
        Ok(url) => Err(format!("an instance answers by http or https, not by {}: write http://host:port", url.scheme())),
        Err(error) => Err(format!("{error}: write http://host:port")),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum QueryFormat {
    Table,
    Csv,
    Json,
    Ndjson,
    Arrow,
    Parquet,
}

impl From<QueryFormat> for Format {
    fn from(format: QueryFormat) -> Self {
        match format {
            QueryFormat::Table => Format::Table,
            QueryFormat::Csv => Format::Csv,
            QueryFormat::Json => Format::Json,
            QueryFormat::Ndjson => Format::Ndjson,
            QueryFormat::Arrow => Format::Arrow,
            QueryFormat::Parquet => Format::Parquet,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Ingest {
    /// The feed whose decoding and dataset the files are brought in by.
    pub feed: String,
    /// The files; gzip is recognised.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// For machines.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Alerts {
    #[command(subcommand)]
    pub command: Option<AlertsCommand>,
    /// For machines.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// The open alerts, the gravest first, and the silences in force. Done when nothing else is said.
    List(AlertsList),
    /// One alert: its evidence, its history, the curves of its figures.
    Show {
        /// The alert, or the beginning of its name.
        id: String,
    },
    /// You have seen it.
    Ack(AlertsAct),
    /// It is over. The same condition going on does not raise it again.
    Resolve(AlertsAct),
    /// There was nothing. The same condition going on does not raise it again.
    FalseAlarm(AlertsAct),
    /// Tell nobody of a key until a time; its alerts are kept all the same.
    Silence(AlertsSilence),
}

impl Default for AlertsCommand {
    fn default() -> Self {
        Self::List(AlertsList::default())
    }
}

#[derive(Debug, Default, clap::Args)]
pub(crate) struct AlertsList {
    /// Closed ones too.
    #[arg(long)]
    pub all: bool,
    /// Of this product.
    #[arg(long)]
    pub product: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AlertsAct {
    /// The alert, or the beginning of its name.
    pub id: String,
    /// Who does it.
    #[arg(long, env = "USER")]
    pub who: String,
    /// Why.
    #[arg(long)]
    pub why: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AlertsSilence {
    /// The key as the list shows it, for example zone_id=Z1.
    pub key: String,
    /// Until when, for example 2026-08-20T08:00:00Z.
    #[arg(long)]
    pub until: jiff::Timestamp,
    /// Of this product; without it, of all.
    #[arg(long)]
    pub product: Option<String>,
    /// Who wants it.
    #[arg(long, env = "USER")]
    pub who: String,
    /// Why.
    #[arg(long)]
    pub why: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Pipelines {
    #[command(subcommand)]
    pub command: Option<PipelinesCommand>,
    /// For machines.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PipelinesCommand {
    /// One product: its head, its steps, what it reads, its columns, its cases.
    Explain {
        /// The product.
        name: String,
    },
    /// Lag and cost of the products of a running instance, as bars.
    Plot {
        /// Only this product.
        name: Option<String>,
        /// The instance, for example 127.0.0.1:8080; without it, the address in datasjo.toml.
        #[arg(long, value_parser = instance_url)]
        url: Option<Url>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunProduct {
    /// The product.
    pub name: String,
    /// The moment: what arrived later is not seen, for example 2026-03-20T10:15:00Z.
    #[arg(long)]
    pub as_of: jiff::Timestamp,
    /// Answer every tick after this one; without it, only the last.
    #[arg(long)]
    pub since: Option<jiff::Timestamp>,
    /// The form of the rows.
    #[arg(long, short, value_enum, default_value_t = RowFormat::Table)]
    pub format: RowFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RowFormat {
    Table,
    Csv,
    Json,
}

impl From<RowFormat> for Format {
    fn from(format: RowFormat) -> Self {
        match format {
            RowFormat::Table => Format::Table,
            RowFormat::Csv => Format::Csv,
            RowFormat::Json => Format::Json,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Test {
    /// Folders: of products, of one product, or of one case; without any, pipelines in the configuration or here.
    pub paths: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Backtest {
    /// What kind of recording.
    #[arg(value_enum)]
    pub area: BacktestArea,
    /// The recording: lots.json and stream.jsonl.gz; or readings.csv.gz, meters.csv and zones.csv; or catchments.json and series/.
    #[arg(long)]
    pub data: PathBuf,
    /// Where the lines go, JSON each.
    #[arg(long)]
    pub out: PathBuf,
    /// Flood: where the lag of each catchment goes.
    #[arg(long)]
    pub lags: Option<PathBuf>,
    /// Flood: earlier rows of the same catchments, laid out like the data.
    #[arg(long)]
    pub history: Option<PathBuf>,
    /// Flood: fit the parameters to all rows, the future too, for comparison.
    #[arg(long)]
    pub in_sample: bool,
    /// Flood: the product whose warnings are written.
    #[arg(long)]
    pub product: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Calibrated {
    /// Soil model and regression of each catchment.
    Flood,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum BacktestArea {
    /// Free spaces as the signs would have shown them.
    Parking,
    /// Leak alerts as they would have been raised.
    Leaks,
    /// Flood warnings as they would have been issued.
    Flood,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The capture; gzip is recognised.
    pub capture: PathBuf,
    /// Host and port of the broker.
    #[arg(long, default_value = "127.0.0.1:1883")]
    pub broker: String,
    /// Messages a second; as fast as the broker takes them if absent.
    #[arg(long)]
    pub rate: Option<u32>,
}

pub(crate) fn print_completions(shell: Shell) {
    clap_complete::generate(shell, &mut Args::command(), "datasjo", &mut std::io::stdout());
}

#[cfg(test)]
mod tests {
    use super::instance_url;

    #[test]
    fn an_address_without_a_scheme_is_asked_by_http() {
        let url = |text| instance_url(text).map(String::from);
        assert_eq!(url("localhost:8080").as_deref(), Ok("http://localhost:8080/"));
        assert_eq!(url("127.0.0.1:8080").as_deref(), Ok("http://127.0.0.1:8080/"));
        assert_eq!(url("https://lake.town.example").as_deref(), Ok("https://lake.town.example/"));
        assert!(url("mqtt://localhost").is_err_and(|told| told.contains("write http://host:port")));
        assert!(url("http://").is_err());
    }
}
