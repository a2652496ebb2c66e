//! A frontend drains, another one dies, while calls go on: the balancer's map moves, nothing is lost but what
//! the dead one had.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use load::Report;
use serde::Serialize;

use crate::balancer;
use crate::calls::{Calls, Load, Transport};
use crate::cli::LabArgs;
use crate::members::{Running, Site};
use crate::plan::{FRONTENDS, Family};
use crate::process::until;

/// The map has to have moved within this.
pub const MOVED_MAX: Duration = Duration::from_secs(2);
/// After that long it will not.
const MOVED: Duration = Duration::from_secs(20);

/// What came of a frontend's end.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// What was done to it.
    pub what: What,
    /// From then on until the balancer gave it nothing new, in milliseconds.
    pub moved_ms: u64,
    /// Calls that were being made meanwhile.
    pub calls: u32,
    /// Those of them that failed; of a dead frontend, those that it had.
    pub calls_failed: u32,
    /// Packets that those calls lost.
    pub rtp_lost: u64,
    /// Calls that were begun after the map had moved.
    pub calls_after: u32,
    /// Those of them that failed.
    pub calls_after_failed: u32,
}

/// How a frontend leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It is told to take nothing new.
    Drained,
    /// SIGKILL.
    Killed,
}

impl Change {
    /// Whether nothing was lost that need not be, and the map moved in time.
    #[must_use]
    pub const fn is_flawless(&self) -> bool {
        let excused = matches!(self.what, What::Killed);
        let lost = self.calls_failed as u64 + self.rtp_lost;
        (excused || lost == 0)
            && self.calls_after_failed == 0
            && self.moved_ms as u128 <= MOVED_MAX.as_millis()
    }
}

/// The last frontend drains, then the one before it dies.
///
/// # Errors
/// The lab does not go on.
pub(crate) fn make(
    args: &LabArgs,
    site: Site<'_>,
    mut members: Vec<Running<'_>>,
) -> Result<Vec<Change>> {
    let _follows = balancer::follow(site)?;
    let mut take = |host: u8| {
        let place = members.iter().position(|one| one.member.host == host);
        place.map(|place| members.swap_remove(place)).context("a frontend that runs")
    };
    let [_, dies, drains] = FRONTENDS;
    let (dies, drains) = (take(dies)?, take(drains)?);
    let drained = change(args, site, What::Drained, drains.member.host, || drains.drain())?;
    let killed = change(args, site, What::Killed, dies.member.host, || dies.kill())?;
    drop(drains);
    Ok(vec![drained, killed])
}

fn change(
    args: &LabArgs,
    site: Site<'_>,
    what: What,
    host: u8,
    leave: impl FnOnce() -> Result<()>,
) -> Result<Change> {
    let run = 1 + 2 * u32::from(what == What::Killed);
    let family = args.families().first().copied().unwrap_or(Family::Ipv4);
    let count = args.change_calls;
    let calls = Calls {
        family,
        transport: Transport::Udp,
        count,
        per_second: args.rate.into(),
        seconds: args.seconds,
        run,
    };
    let mut during = Load::start(site, calls)?;
    during.wait_up(count / 3, site.stop)?;
    let begun = Instant::now();
    leave()?;
    until("the balancer's map to move", MOVED, site.stop, || balancer::has_left(site, host))?;
    let moved = begun.elapsed();
    let after = Load::start(site, Calls { run: run + 1, ..calls })?;
    let (during, after) = (during.report(site.stop)?, after.report(site.stop)?);
    let failed = |report: &Report| report.sessions_failed + report.hangups_failed;
    Ok(Change {
        what,
        moved_ms: u64::try_from(moved.as_millis()).unwrap_or(u64::MAX),
        calls: during.sessions_requested,
        calls_failed: failed(&during),
        rtp_lost: during.rtp_packets_lost,
        calls_after: after.sessions_requested,
        calls_after_failed: failed(&after),
    })
}
