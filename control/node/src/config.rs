//! `ringfarm config`: what settings there are.

use crate::exit::Stop;
use crate::output;

/// Prints the commented default file.
pub(crate) fn default() -> Result<(), Stop> {
    output::print(&control_core::settings::default_file())
}
