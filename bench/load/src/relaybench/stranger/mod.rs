//! The stranger: somebody who is no party to a call and sends to its media ports.
//!
//! Each *case* is a call of its own through a real relay: caller and callee send to each other, and
//! the stranger sends to the port that the caller was given. What is counted is how many of its
//! packets reached a party, how many of the parties' packets reached it ("RTP bleed",
//! CVE-2025-53399; RFC 7362 on why relays listen to more than SDP says), and how many the call lost.
//! All cases of a mode run side by side. What this program may let through is what its documentation
//! states ([`case::stated`]); more is a failure.

mod case;
mod packet;
mod report;
mod scene;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;

use crate::os;
use crate::paired::args::core_plan;
use crate::relaybench::lab::{Lab, Topology, UdpHash};
use crate::relaybench::machine;
use crate::relaybench::stop::Stop;
use crate::relaybench::systems::{self, Programs, System};

use case::Mode;
use report::{ModeReport, StrangerReport, SystemReport};

/// Most packets of the stranger in one case.
const PACKETS_MAX: u32 = 1_000;

/// Longest that the whole run may take: each of some ten modes lasts for the packets of the longest
/// case at 20 ms each, and a few seconds.
const RUN_MAX: Duration = Duration::from_secs(600);

/// Play the stranger: send to the media ports of calls that are none of ours, and count what comes of it.
#[derive(Args, Clone, Debug)]
pub struct StrangerArgs {
    /// Systems to try, one after the other: ringfarm, rtpengine.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST",
          default_values_t = [System::Ringfarm])]
    pub systems: Vec<System>,

    /// Packets that the stranger sends in each case, one each 20 ms: 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub packets: u32,

    /// Where: in network namespaces (needs root), or on loopback, where nobody can seem to be behind
    /// NAT.
    #[arg(long, value_enum, default_value_t = Topology::Auto)]
    pub topology: Topology,

    /// The ringfarm to try [default: this program].
    #[arg(long, value_name = "FILE")]
    pub ringfarm: Option<PathBuf>,

    /// The rtpengine to try.
    #[arg(long, value_name = "FILE", default_value = "rtpengine")]
    pub rtpengine: PathBuf,

    /// Write the report as JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Plays the stranger: progress on standard error, the report on standard output. Succeeds only if
/// everything was tried and ringfarm let no more through than its documentation states.
///
/// # Errors
/// The arguments cannot be, or the place cannot be made.
pub fn execute(args: &StrangerArgs) -> Result<ExitCode> {
    ensure!((1..=PACKETS_MAX).contains(&args.packets), "--packets: give 1 to {PACKETS_MAX}");
    for system in &args.systems {
        ensure!(system.speaks_ng(), "--systems: {system} takes no calls; give ringfarm, rtpengine");
    }
    let stop = Stop::on_signals()?.with_deadline(Instant::now() + RUN_MAX);
    os::raise_descriptor_limit()?;
    let report = std::thread::scope(|scope| {
        // Children live no longer than the thread that starts them.
        let playing = scope.spawn(|| play(args, &stop));
        playing.join().map_err(|_| anyhow!("the stranger's thread panicked"))?
    })?;
    if args.json {
        println!("{}", serde_json::to_string(&report).context("the report as JSON")?);
    } else {
        print!("{}", table::Table(&report));
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn play(args: &StrangerArgs, stop: &Stop) -> Result<StrangerReport> {
    let cores = core_plan(None, Vec::new())?;
    os::pin_to(&cores.generator)?;
    let this = std::env::current_exe().context("the path of this program")?;
    let ringfarm = args.ringfarm.clone().unwrap_or_else(|| this.clone());
    let programs = Programs { this, ringfarm, rtpengine: args.rtpengine.clone() };
    let lab = Lab::make(args.topology, cores, UdpHash::System)?;
    let mut report = StrangerReport::new(lab.topology(), args.packets);
    report.notes.extend(
        lab.fallback
            .iter()
            .map(|why| format!("Namespaces could not be made, so loopback was taken: {why}")),
    );
    for &system in &args.systems {
        let program = match system {
            System::Ringfarm => &programs.ringfarm,
            System::Rtpengine | System::Epoll | System::Forward => &programs.rtpengine,
        };
        let mut of_system = SystemReport { version: machine::version(program), modes: Vec::new() };
        for mode in case::modes(system) {
            if stop.is_set() {
                break;
            }
            eprintln!("{system}, {}: {}", mode.name, mode.description);
            of_system.modes.push(try_mode(&lab, &programs, system, mode, args.packets, stop));
        }
        report.systems.insert(system, of_system);
    }
    report.conclude(stop.is_set());
    Ok(report)
}

fn try_mode(
    lab: &Lab,
    programs: &Programs,
    system: System,
    mode: &Mode,
    packets: u32,
    stop: &Stop,
) -> ModeReport {
    let mut report = ModeReport::new(mode);
    if mode.needs_nat && lab.public_address().is_none() {
        report.skipped = Some("nobody can seem to be behind NAT on loopback".into());
        return report;
    }
    let started = systems::start_with(system, lab, programs, mode.habits);
    let cases = started.and_then(|mut running| {
        report.command.clone_from(&running.command);
        let cases = scene::play(lab, &running, mode, packets, stop);
        cases.map_err(|error| running.explain(error))
    });
    match cases {
        Ok(cases) => report.cases = cases,
        Err(error) => {
            eprintln!("{error:#}");
            report.failed = Some(format!("{error:#}"));
        }
    }
    report
}
