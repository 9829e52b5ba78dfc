//! The program's own log: standard error, text for people or JSON for a collector. `DATASJO_LOG` sets the level.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts it. A second call does nothing.
pub(crate) fn start(format: LogFormat) {
    let levels =
        EnvFilter::try_from_env("DATASJO_LOG").unwrap_or_else(|_| EnvFilter::new("warn,buoyant_kernel=off,datasjo=info"));
    let colour = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(levels).with_writer(stderr).with_ansi(colour);
    let _ = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().try_init(),
    };
}
