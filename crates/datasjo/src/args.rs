//! What was typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use datasjo_serve::format::Format;

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
    /// Ask a running instance, for example http://127.0.0.1:8080, instead of reading the lake.
    #[arg(long)]
    pub url: Option<url::Url>,
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
