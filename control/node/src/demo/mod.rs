//! `ringfarm demo`: a node, phones, calls and a verdict, on one machine and with one command.
//!
//! The node runs in this process on the first cores; the phones are the load generator in a process
//! of its own on the last core. What is lost, late or broken is the generator's to say.

mod cpu;
mod node_side;
mod phones;
mod progress;
mod report;

use std::collections::VecDeque;

use anyhow::{Context as _, anyhow};
use control_core::settings::{self, Settings};
use load::progress::{Event, Phase};

use crate::cli::DemoArgs;
use crate::exit::Stop;
use crate::node::Node;

use node_side::{NodeSide, Snapshot};
use phones::Phones;
use progress::Display;
use report::DemoReport;

/// UDP ports that an audio and video call takes: two streams, RTP and RTCP, on two legs.
const PORTS_PER_CALL: usize = settings::PORTS_PER_AV_SESSION;

/// Calls that one worker is given if there are cores for more: 220,000 packets a second, about what
/// one core relays.
const CALLS_PER_WORKER: usize = 1_000;

/// Longest part of the generator's complaints that is repeated.
const STDERR_LINES_MAX: usize = 20;

/// Runs the demonstration.
pub(crate) fn demo(args: &DemoArgs) -> Result<(), Stop> {
    let password = phones::password()?;
    let available = available_cores()?;
    let settings = demo_settings(args, worker_cores(args, &available), available.len(), &password)?;
    let node = Node::start(&settings)?;
    let outcome = run_calls(args, &settings, &node, &password);
    let stopped = node.stop();
    let report = outcome?;
    stopped?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).context("the report as JSON")?);
    } else {
        print!("{report}");
    }
    if report.is_flawless() { Ok(()) } else { Err(Stop::Reported) }
}

fn run_calls(
    args: &DemoArgs,
    settings: &Settings,
    node: &Node,
    password: &str,
) -> anyhow::Result<DemoReport> {
    let (_, target) = *node.bound().first().context("the node has no listener")?;
    let mut display = Display::start(args, target, settings);
    let mut side = NodeSide::start(node, &settings.node.cores)?;
    let mut phones = Phones::start(args, target, settings, password)?;
    let load = loop {
        match phones.next_event()? {
            Some(Event::Progress(progress)) => {
                match progress.phase {
                    Phase::Holding => side.note_holding(node)?,
                    Phase::Registering
                    | Phase::Calling
                    | Phase::Draining
                    | Phase::HangingUp
                    | Phase::Unregistering
                    | Phase::Done => side.note_not_holding(node)?,
                }
                display.show(&progress);
            }
            Some(Event::Report(load)) => break load,
            Some(Event::Error { message }) => {
                return Err(anyhow!("the load generator could not run: {message}"));
            }
            None => return Err(phones.died()),
        }
    };
    display.finish();
    phones.wait()?;
    let end = Snapshot::take(node, &settings.node.cores)?;
    Ok(DemoReport::new(args, &side, &end, *load))
}

/// The node's settings: loopback, digest users, workers on cores of their own, and a port range that
/// carries the calls.
fn demo_settings(
    args: &DemoArgs,
    cores: &[usize],
    available: usize,
    password: &str,
) -> Result<Settings, Stop> {
    let mut text = String::from(
        "[[sip.listen]]\ntransport = \"udp\"\naddress = \"127.0.0.1:0\"\n[sip]\ndomains = [\"demo.test\"]\ndigest = [\"sha-256\", \"md5\"]\n",
    );
    // A core that the generator does not share may be the workers' alone.
    let priority = if cores.len() < available { "realtime" } else { "nice" };
    text += &format!("[node]\ncores = {cores:?}\npriority = \"{priority}\"\n");
    if let Some(ports) = wide_range(args.sessions as usize) {
        text += &format!("[media]\nports = \"{ports}\"\n");
    }
    for name in phones::names(args.sessions) {
        text += &format!("[[users.list]]\nname = \"{name}\"\npassword = \"{password}\"\n");
    }
    settings::check(&text).map_err(|problems| {
        let lines: Vec<_> = problems.iter().take(3).map(ToString::to_string).collect();
        Stop::Failed(anyhow!("the demo's own settings are wrong: {}", lines.join("; ")))
    })
}

/// The default range where it carries that many calls, else as wide a one as leaves room for the
/// phones' own ports.
fn wide_range(sessions: usize) -> Option<&'static str> {
    let default = settings::Media::default().ports.count();
    (sessions * PORTS_PER_CALL > default).then_some("10000-59999")
}

fn available_cores() -> Result<Vec<usize>, Stop> {
    let cores = core_affinity::get_core_ids()
        .filter(|cores| !cores.is_empty())
        .context("the system does not say which cores this process may run on")
        .map_err(Stop::CannotStart)?;
    Ok(cores.into_iter().map(|core| core.id).collect())
}

/// The first cores, as many as the calls need; the last core is the generator's.
fn worker_cores<'c>(args: &DemoArgs, cores: &'c [usize]) -> &'c [usize] {
    let wanted = (args.sessions as usize).div_ceil(CALLS_PER_WORKER);
    &cores[..wanted.min(cores.len() - 1).max(1)]
}

/// Keeps the last lines of what a child process complains about.
fn keep_last(lines: &mut VecDeque<String>, line: String) {
    if lines.len() == STDERR_LINES_MAX {
        lines.pop_front();
    }
    lines.push_back(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(sessions: u32) -> DemoArgs {
        DemoArgs { sessions, seconds: 1, json: false }
    }

    #[test]
    fn the_generators_core_is_no_workers() {
        assert_eq!(worker_cores(&args(50), &[0, 1]), [0]);
        assert_eq!(worker_cores(&args(5000), &[0, 1, 2, 3]), [0, 1, 2]);
        assert_eq!(worker_cores(&args(1001), &[4, 5, 6, 7]), [4, 5]);
        assert_eq!(worker_cores(&args(50), &[7]), [7]);
    }

    #[test]
    fn the_demos_settings_are_right_and_have_two_groups_of_users() {
        for sessions in [1, 50, 5000] {
            let settings = demo_settings(&args(sessions), &[0], 2, "s3cret").unwrap();
            assert_eq!(settings.users.list.len(), 2 * sessions as usize);
            assert!(!settings.users.is_open());
            assert!(settings.media.ports.count() >= PORTS_PER_CALL * sessions as usize);
            assert_eq!(settings.node.priority, settings::WorkerPriority::Realtime);
        }
    }

    #[test]
    fn on_a_single_core_the_workers_leave_room_for_the_phones() {
        let settings = demo_settings(&args(1), &[0], 1, "s3cret").unwrap();
        assert_eq!(settings.node.priority, settings::WorkerPriority::Nice);
    }

    #[test]
    fn only_the_last_complaints_are_kept() {
        let mut lines = VecDeque::new();
        for i in 0..100 {
            keep_last(&mut lines, i.to_string());
        }
        assert_eq!(lines.len(), STDERR_LINES_MAX);
        assert_eq!(lines.back().map(String::as_str), Some("99"));
    }
}
