//! Standard output as a command's result.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

use crate::exit::Stop;

/// Writes a command's result. A reader that went away (`ringfarm config default | head`) has what
/// it wanted.
pub(crate) fn print(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output").map_err(Stop::Failed)
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
