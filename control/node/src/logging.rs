//! Where log lines go.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use control_core::settings::LogFilter;

use crate::exit::Stop;

/// Logs to standard error from here on, as `filter` says.
pub(crate) fn start(filter: &LogFilter) -> Result<(), Stop> {
    let filter = directives(filter.as_str()).map_err(|error| Stop::Usage(error.into()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    Ok(())
}

/// The filter, with what rustls warns of left out unless it is asked for: strangers' TLS messages, a line
/// each, which the operator can do nothing about and anybody could fill the log with.
fn directives(filter: &str) -> Result<EnvFilter, ParseError> {
    // Of directives for one part the last one holds.
    EnvFilter::try_new(format!("rustls=error,{filter}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::directives;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no test panics with it").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(directives(filter).expect("a filter"))
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(target: "rustls::msgs::handshake", "a stranger's");
            tracing::warn!(target: "ringfarm", "our own");
        });
        let bytes = lines.0.lock().expect("no test panics with it").clone();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn strangers_cannot_fill_the_log_by_way_of_tls() {
        let text = logged("info");
        assert!(text.contains("our own") && !text.contains("a stranger's"), "{text}");
        assert!(logged("info,rustls=warn").contains("a stranger's"));
    }
}
