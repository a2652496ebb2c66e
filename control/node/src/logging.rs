//! Where log lines go.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use control_core::settings::LogFilter;

use crate::exit::Stop;

/// Logs to standard error from here on, as `filter` says.
pub(crate) fn start(filter: &LogFilter) -> Result<(), Stop> {
    let filter = EnvFilter::try_new(filter.as_str()).map_err(|error| Stop::Usage(error.into()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    Ok(())
}
