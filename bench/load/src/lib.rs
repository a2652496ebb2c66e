//! The built-in load generator: A/V calls over SIP (UDP, TCP, TLS) and RTP through a node under test.
//!
//! It judges with other people's code: SIP by `rsip`, RTP and RTCP by the crates of webrtc-rs; it
//! depends on no other crate of this project. It is meant to run as a process of its own (see
//! [`cli::execute`]), on cores that the node does not use; [`run`] is the same within a process.
//!
//! Two groups of users register, callers call callees, and both sides send audio and video in which
//! every packet can be verified on its own. Every call ends answered or failed with a reason, every
//! packet received, lost, broken or at the wrong place, and the generator measures its own lateness
//! so that its limit is not taken for the node's ([`saturation`]).

pub mod cli;
mod engine;
pub mod farmbench;
mod guard;
mod ids;
mod media;
pub mod mutate;
mod os;
mod paired;
pub mod progress;
pub mod relaybench;
pub mod report;
pub mod saturation;
mod sip;
pub mod sipbench;
pub mod users;

use std::ops::ControlFlow;

use anyhow::{Context, Result, anyhow};

pub use crate::progress::Progress;
pub use crate::report::Report;

/// Runs a load to its end. `progress` hears of it some five times a second and may break it off; it
/// is called on the thread of the SIP side, which shares the media threads' cores.
///
/// # Errors
/// The arguments cannot be, or sockets or threads cannot be had. What goes wrong with calls is not
/// an error but the content of the report.
pub fn run(
    args: &cli::LoadArgs,
    progress: impl FnMut(&Progress) -> ControlFlow<()> + Send,
) -> Result<Report> {
    let plan = args.plan()?;
    std::thread::scope(|scope| {
        let sip = std::thread::Builder::new().name("load-sip".into());
        let sip = sip.spawn_scoped(scope, || {
            if let Some(core) = plan.cores.as_ref().and_then(|cores| cores.first()) {
                os::pin(*core);
            }
            engine::run(plan, progress)
        });
        let sip = sip.context("starting the SIP thread")?;
        sip.join().map_err(|_| anyhow!("the SIP thread panicked"))?
    })
}
