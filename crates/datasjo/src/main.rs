//! `datasjo`: the binary. Reads the configuration, wires the rooms together, answers the terminal.

mod args;
mod command;
mod config;
mod instance;
mod log;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

/// Stack of a worker: planning a query recurses as deep as its expressions nest. Only what is used is ever backed by memory.
const STACK_BYTES: usize = 32 << 20;
/// Done.
const OK: u8 = 0;
/// It was tried and failed, or something was found that is not as it should be.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("datasjo")
        .thread_stack_size(STACK_BYTES)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return told(&anyhow::Error::new(error).context("start the runtime")),
    };
    match runtime.block_on(dispatch(args)) {
        Ok(true) => ExitCode::from(OK),
        Ok(false) => ExitCode::from(FAILED),
        Err(error) => told(&error),
    }
}

async fn dispatch(args: Args) -> anyhow::Result<bool> {
    instance::install_tls();
    match args.command {
        Command::Run(run) => command::run::run(&args.config, run).await,
        Command::Demo(demo) => command::demo::run(demo).await,
        Command::Check(check) => command::check::run(&args.config, check),
        Command::Explain => command::check::explain(&args.config),
        Command::Init { directory } => command::check::init(&directory),
        Command::Query(query) => command::query::run(&args.config, query).await,
        Command::Ingest(ingest) => command::ingest::run(&args.config, ingest).await,
        Command::Tables(tables) => command::tables::run(&args.config, tables).await,
        Command::Doctor(doctor) => command::doctor::run(&args.config, doctor).await,
        Command::Alerts(alerts) => command::alerts::run(&args.config, alerts),
        Command::Backtest(backtest) => command::backtest::run(backtest).await,
        Command::Calibrate { what: args::Calibrated::Flood } => command::calibrate::run(&args.config).await,
        Command::Pipelines(pipelines) => command::pipelines::run(&args.config, pipelines).await,
        Command::RunProduct(product) => command::run_product::run(&args.config, product).await,
        Command::Test(test) => command::test::run(&args.config, test).await,
        Command::Maintain => command::tables::maintain(&args.config).await,
        Command::Replay(replay) => command::replay::run(replay).await,
        Command::Completions { shell } => {
            args::print_completions(shell);
            Ok(true)
        }
    }
}

/// One sentence per cause, the nearest first; what a sentence has said already is not said again.
fn told(error: &anyhow::Error) -> ExitCode {
    let mut said = error.to_string();
    eprintln!("datasjo: {said}");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.contains(&cause) {
            eprintln!("  because: {cause}");
            said = cause;
        }
    }
    ExitCode::from(FAILED)
}
