use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::Replay;

/// Publishes a capture again.
pub(crate) async fn run(args: Replay) -> anyhow::Result<bool> {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} messages acknowledged, {per_sec}") {
        bar.set_style(style);
    }
    let started = Instant::now();
    let sent = datasjo_town::replay::replay(&args.capture, &args.broker, args.rate, |n| bar.set_position(n)).await?;
    bar.finish_and_clear();
    println!("{sent} messages acknowledged in {:.1} s", started.elapsed().as_secs_f64());
    Ok(true)
}
