//! `ringfarm run`: a node until it is told to stop.

use anyhow::anyhow;
use control_core::settings::Settings;

use crate::exit::Stop;

/// Runs a node with these settings, which have been checked and fit this machine.
pub(crate) fn run(settings: Settings) -> Result<(), Stop> {
    Err(Stop::Failed(anyhow!("node {} is not linked to its parts yet", settings.node.name)))
}
