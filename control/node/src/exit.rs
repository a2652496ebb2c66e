//! How a command ends.

use std::process::ExitCode;

/// Why a command did not do what it was asked for; decides the exit code.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It ran and failed: exit code 1.
    Failed(anyhow::Error),
    /// The command line or the settings are wrong: exit code 2.
    Usage(anyhow::Error),
    /// This machine does not let it start (a port is taken, the kernel is too old): exit code 3.
    CannotStart(anyhow::Error),
    /// It ran, found problems, and has reported them already: exit code 1.
    Reported,
}

/// The exit codes, as `--help` explains them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it ran and failed, or found problems
  2  the command line or the settings are wrong, or a file cannot be read
  3  this machine does not let it start (a port is taken, the kernel is too old)";

impl Stop {
    /// Says on standard error what went wrong.
    pub(crate) fn report(self) -> ExitCode {
        match &self {
            Stop::Failed(error) => eprintln!("ringfarm: {error:#}"),
            Stop::Usage(error) => eprintln!("{error:#}"),
            Stop::CannotStart(error) => eprintln!("ringfarm: cannot start: {error:#}"),
            Stop::Reported => {}
        }
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Stop::Failed(_) | Stop::Reported => 1,
            Stop::Usage(_) => 2,
            Stop::CannotStart(_) => 3,
        }
    }
}

/// An error without a better name is a failure of the command.
impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Stop {
        Stop::Failed(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_explained() {
        let error = || anyhow::anyhow!("");
        let stops = [Stop::Failed(error()), Stop::Usage(error()), Stop::CannotStart(error())];
        for stop in stops {
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", stop.code())), "{stop:?}");
        }
        assert_eq!(Stop::Reported.code(), 1);
    }
}
