//! One topology after the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use load::relaybench::netns;
use load::relaybench::stop::Stop;

use crate::balancer;
use crate::calls::{Calls, Load, Transport};
use crate::certificates;
use crate::changes;
use crate::cli::LabArgs;
use crate::doctor;
use crate::engine;
use crate::judge::Capture;
use crate::large;
use crate::members::{Running, Site, figure};
use crate::plan::{CLIENT, Family, Method, VIP, outside};
use crate::report::{Clients, Outcome, Report};
use crate::segment::Segment;

/// How long is slept at once by who waits for the end.
const STAYS: Duration = Duration::from_secs(60);

/// Runs the topologies that are asked for.
///
/// # Errors
/// Something of the lab could not be made or does not run. What goes wrong with calls is no error but what
/// the report says.
pub fn run(args: &LabArgs, stop: &Stop) -> Result<Report> {
    netns::sweep();
    let mut outcomes = Vec::new();
    for method in args.methods() {
        let folder = tempfile::Builder::new().prefix("ringfarm-lab-").tempdir();
        let folder = folder.context("a scratch folder")?;
        let came =
            raise(args, method, folder.path(), stop, |site, members| one(args, site, members))
                .with_context(|| format!("{method}; files are in {}", folder.path().display()));
        if args.keep || came.is_err() {
            let kept = folder.keep();
            eprintln!("{method}: logs and captures are kept in {}", kept.display());
        }
        outcomes.push(came?);
    }
    Ok(Report::of(outcomes))
}

/// A topology that stands, for clients of others' making.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'s> {
    /// The network namespace of the clients.
    pub clients: &'s str,
    /// That of the router between them and everything else.
    pub gate: &'s str,
    /// Where files may be put; `authority.pem` there vouches for the shared address.
    pub folder: &'s Path,
}

/// Has `work` done while a topology stands, whose balancer follows its members.
///
/// # Errors
/// Something of the lab could not be made or does not run, or `work` fails.
pub fn with<T>(
    args: &LabArgs,
    method: Method,
    stop: &Stop,
    work: impl FnOnce(Standing<'_>) -> Result<T>,
) -> Result<T> {
    netns::sweep();
    let folder = tempfile::Builder::new().prefix("ringfarm-lab-").tempdir();
    let folder = folder.context("a scratch folder")?;
    raise(args, method, folder.path(), stop, |site, members| {
        let _follows = balancer::follow(site)?;
        let (clients, gate) = (site.segment.clients.name(), site.segment.gate().name());
        let came = work(Standing { clients, gate, folder: site.folder });
        drop(members);
        came
    })
}

/// Builds a topology, has `work` done, and takes it down.
fn raise<T>(
    args: &LabArgs,
    method: Method,
    folder: &Path,
    stop: &Stop,
    work: impl FnOnce(Site<'_>, Vec<Running<'_>>) -> Result<T>,
) -> Result<T> {
    let segment = Segment::create(method)?;
    let ringfarm: PathBuf = args.ringfarm()?;
    let site = Site { segment: &segment, method, ringfarm: &ringfarm, folder, stop };
    certificates::make(folder)?;
    let _engine = engine::start(&segment, &args.nats_server()?, folder, stop)?;
    let members = site.start()?;
    balancer::start(site, args.spread, args.session_binding)?;
    work(site, members)
}

fn one(args: &LabArgs, site: Site<'_>, mut members: Vec<Running<'_>>) -> Result<Outcome> {
    let Site { segment, method, folder, stop, .. } = site;
    if args.stay {
        return stay(args, site);
    }
    let mut doctor = Vec::new();
    for family in args.families() {
        doctor.extend(doctor::ask(site, family)?);
    }
    let capture = Capture::start(segment, folder, stop)?;
    let clients = make_calls(args, site)?;
    let mut large = (0, 0);
    for family in args.families().into_iter().filter(|_| !args.session_binding) {
        let (sent, answered) = large::ask(site, family)?;
        large = (large.0 + sent, large.1 + answered);
    }
    let verdict = capture.judge(stop)?;
    members.iter_mut().try_for_each(Running::check)?;
    let inner_hop_share = inner_hop_share(&members)?;
    let conntrack_entries = balancer::tracked(site)?;
    let changes = if args.change_calls > 0 && !args.session_binding {
        changes::make(args, site, members)?
    } else {
        Vec::new()
    };
    Ok(Outcome {
        topology: method,
        spread: args.spread,
        calls: clients.iter().map(|one| one.calls).sum(),
        calls_failed: clients.iter().map(|one| one.calls_failed).sum(),
        rtp_sent: clients.iter().map(|one| one.rtp_sent).sum(),
        rtp_lost: clients.iter().map(|one| one.rtp_lost).sum(),
        inner_hop_share,
        wrong_source_answers: verdict.wrong_answers,
        wrong_source_media: verdict.wrong_media,
        answers_judged: verdict.answers,
        media_judged: verdict.media,
        large_requests: large.0,
        large_answered: large.1,
        conntrack_entries,
        doctor,
        clients,
        changes,
    })
}

/// Leaves everything to whoever has phones of his own, until he has had enough.
fn stay(args: &LabArgs, site: Site<'_>) -> Result<Outcome> {
    let _follows = balancer::follow(site)?;
    eprintln!("{} is up: clients are at {:?} in", site.method, outside(CLIENT).both());
    eprintln!("  ip netns exec {} bash", site.segment.clients.name());
    eprintln!("the shared address is {:?}, the balancer is in", VIP.both());
    eprintln!("  ip netns exec {} bash", site.segment.balancer.name());
    eprintln!("logs and settings are in {}; end it with Ctrl-C", site.folder.display());
    while site.stop.sleep(STAYS).is_ok() {}
    Ok(Outcome::of_nothing(site.method, args.spread))
}

/// All kinds of clients call at once; they share the calls.
fn make_calls(args: &LabArgs, site: Site<'_>) -> Result<Vec<Clients>> {
    let kinds: Vec<(Family, Transport)> = args
        .families()
        .into_iter()
        .flat_map(|family| args.transports().into_iter().map(move |transport| (family, transport)))
        .collect();
    let share = args.calls.div_ceil(kinds.len() as u32);
    let per_second = f64::from(args.rate) / kinds.len() as f64;
    let loads: Vec<Load> = kinds
        .into_iter()
        .map(|(family, transport)| {
            let seconds = args.seconds;
            Load::start(
                site,
                Calls { family, transport, count: share, per_second, seconds, run: 0 },
            )
        })
        .collect::<Result<_>>()?;
    loads.into_iter().map(|load| end(load, site.stop)).collect()
}

fn end(load: Load, stop: &Stop) -> Result<Clients> {
    let Calls { family, transport, .. } = load.calls;
    let report = load.report(stop)?;
    let reasons = [&report.failures, &report.hangup_failures, &report.registration_failures];
    let failures = reasons.into_iter().flatten().map(|(why, count)| format!("{count} x {why}"));
    Ok(Clients {
        family,
        transport,
        calls: report.sessions_requested,
        calls_failed: report.sessions_failed + report.hangups_failed,
        rtp_sent: report.rtp_packets_sent,
        rtp_lost: report.rtp_packets_lost,
        failures: failures.collect(),
    })
}

/// Of the messages that came from outside, those that were given to other members.
fn inner_hop_share(members: &[Running<'_>]) -> Result<f64> {
    let (mut received, mut relayed) = (0.0, 0.0);
    for member in members {
        let page = member.page()?;
        received += figure(&page, "ringfarm_transport_udp_received_total")
            + figure(&page, "ringfarm_transport_tcp_received_total");
        let returned = figure(&page, "ringfarm_farm_relayed_out_total{why=\"returned\"}");
        relayed += figure(&page, "ringfarm_farm_relayed_out_total") - returned;
    }
    Ok((relayed / f64::max(received, 1.0) * 1_000.0).round() / 1_000.0)
}
