//! The cluster's engine.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use load::relaybench::stop::Stop;

use crate::plan::{ENGINE, Family, inside};
use crate::process::{Process, until};
use crate::segment::Segment;

/// Where its clients connect.
pub(crate) const PORT: u16 = 4222;
const READY: Duration = Duration::from_secs(20);

/// Starts the server; it takes connections when this returns.
///
/// # Errors
/// It does not start.
pub(crate) fn start(
    segment: &Segment,
    server: &Path,
    folder: &Path,
    stop: &Stop,
) -> Result<Process> {
    let at = inside(ENGINE).at(Family::Ipv4, PORT);
    let (store, config) = (folder.join("engine"), folder.join("engine.conf"));
    let text =
        format!("server_name: lab\nlisten: \"{at}\"\njetstream {{ store_dir: {store:?} }}\n");
    fs::write(&config, text).with_context(|| format!("writing {}", config.display()))?;
    let mut command = segment.engine.command(server);
    let mut process = Process::spawn("engine", command.arg("-c").arg(&config), folder)
        .context("nats-server: `deploy/test --install` fetches it, --nats-server names it")?;
    until("the engine to listen", READY, stop, || {
        process.check()?;
        segment.engine.enter(|| Ok(TcpStream::connect(at).is_ok()))
    })?;
    Ok(process)
}
