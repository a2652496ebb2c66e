//! The arguments of a benchmark.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::cli::SESSIONS_MAX;
use crate::paired::args::{self, RunArgs};
use crate::paired::cell::Timing;
use crate::relaybench::lab::{CorePlan, Topology, UdpHash};
use crate::relaybench::systems::System;
use crate::relaybench::udp_hash;
use crate::relaybench::workload::{Purpose, Workload};

/// The streams of the target: 16,000.
const STREAMS: [u32; 6] = [100, 500, 1_000, 2_000, 4_000, 16_000];

/// The streams whose cost is compared with that of the most.
const FEW_STREAMS: u32 = 100;

/// Sessions of the video loads: 200 streams of video are 30,000 packets a second.
const VIDEO_SESSIONS: u32 = 100;

/// What `--quick` runs: enough to see that everything works, too little to learn anything.
const QUICK_STREAMS: [u32; 2] = [4, 16];
const QUICK_ROUNDS: u32 = 2;
const QUICK_SECONDS: f64 = 0.3;
const QUICK_VIDEO_SESSIONS: u32 = 2;
const QUICK_LIVE_SESSIONS: u32 = 20;

/// Parts of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// G.711 at each number of streams.
    Audio,
    /// Video in bursts, alone and with audio.
    Video,
    /// Set-up time and memory with many sessions live.
    Setup,
    /// The highest rate without loss, and 130 % of it.
    Capacity,
}

/// Compare relays, packet for packet, on this machine.
#[derive(Args, Clone, Debug)]
pub struct RelayArgs {
    /// Systems to compare, in the order in which they take turns.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST",
          default_values_t = [System::Ringfarm, System::Rtpengine, System::Epoll, System::Forward])]
    pub systems: Vec<System>,

    /// What to measure.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LIST",
          default_values_t = [Part::Audio, Part::Video, Part::Setup, Part::Capacity])]
    pub parts: Vec<Part>,

    /// G.711 streams, each in one direction [default: 100,500,1000,2000,4000,16000].
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub streams: Vec<u32>,

    /// Rounds: each measures every system once [default: 6].
    #[arg(long, value_name = "N")]
    pub rounds: Option<u32>,

    /// Measured seconds of each system, load and round [default: 3].
    #[arg(long, value_name = "T")]
    pub seconds: Option<f64>,

    /// More packets a second than this are not offered: streams that would send more get longer
    /// packet times, see --stretched-pps.
    #[arg(long, value_name = "N", default_value_t = 110_000)]
    pub pps_max: u32,

    /// Packets a second, in total, of streams that are beyond --pps-max at 50 packets a second.
    #[arg(long, value_name = "N", default_value_t = 60_000)]
    pub stretched_pps: u32,

    /// Sessions with audio and video to hold at once when set-up and memory are measured [default:
    /// 10000].
    #[arg(long, value_name = "N")]
    pub live_sessions: Option<u32>,

    /// Buckets of the kernel's table of UDP sockets in the relay's namespace, for all systems alike: 128
    /// to 65536; 0 leaves it as the system has it.
    #[arg(long, value_name = "N", default_value_t = udp_hash::BUCKETS_MAX)]
    pub udp_hash: u32,

    /// The core of the system under test [default: the first].
    #[arg(long, value_name = "N")]
    pub relay_core: Option<usize>,

    /// The rtpengine to measure.
    #[arg(long, value_name = "FILE", default_value = "rtpengine")]
    pub rtpengine: PathBuf,

    /// Everything tiny: whether it works, not how fast.
    #[arg(long)]
    pub quick: bool,

    /// How it is run, and where the report goes.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Arguments that have been checked.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) systems: Vec<System>,
    pub(crate) rounds: u32,
    pub(crate) timing: Timing,
    pub(crate) workloads: Vec<Workload>,
    /// Sessions to hold when set-up is measured.
    pub(crate) live_sessions: Option<u32>,
    pub(crate) capacity: bool,
    pub(crate) cores: CorePlan,
    pub(crate) topology: Topology,
    pub(crate) udp_hash: UdpHash,
    pub(crate) quick: bool,
}

impl RelayArgs {
    /// Checks everything that can be checked before anything is started.
    ///
    /// # Errors
    /// Names the option and what it may be.
    pub(crate) fn plan(&self) -> Result<Plan> {
        let rounds = args::rounds(self.rounds, if self.quick { QUICK_ROUNDS } else { 6 })?;
        let seconds = if self.quick { QUICK_SECONDS } else { 3.0 };
        let measured = args::measured(self.seconds, seconds)?;
        let quick_live = if self.quick { QUICK_LIVE_SESSIONS } else { 10_000 };
        let live = self.live_sessions.unwrap_or(quick_live);
        ensure!(
            (10..=SESSIONS_MAX).contains(&live),
            "--live-sessions {live}: give 10 to {SESSIONS_MAX}"
        );
        args::each_once(&self.systems, |system| system.name())?;
        let warm_up = measured.min(Duration::from_millis(700));
        Ok(Plan {
            systems: self.systems.clone(),
            rounds,
            timing: Timing { warm_up, measured },
            workloads: self.workloads()?,
            live_sessions: self.has(Part::Setup).then_some(live),
            capacity: self.has(Part::Capacity),
            cores: self.run.cores(self.relay_core)?,
            topology: self.run.topology,
            udp_hash: self.udp_hash()?,
            quick: self.quick,
        })
    }

    fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    fn udp_hash(&self) -> Result<UdpHash> {
        let (least, most) = (udp_hash::BUCKETS_MIN, udp_hash::BUCKETS_MAX);
        let buckets = self.udp_hash;
        let good = buckets == 0 || (least..=most).contains(&buckets);
        ensure!(good, "--udp-hash {buckets}: give {least} to {most}, or 0");
        Ok(if buckets == 0 { UdpHash::System } else { UdpHash::Own(buckets) })
    }

    fn workloads(&self) -> Result<Vec<Workload>> {
        for (name, pps) in [("pps-max", self.pps_max), ("stretched-pps", self.stretched_pps)] {
            ensure!((100..=5_000_000).contains(&pps), "--{name} {pps}: give 100 to 5000000");
        }
        let mut streams = self.streams.clone();
        if streams.is_empty() {
            streams = if self.quick { QUICK_STREAMS.to_vec() } else { STREAMS.to_vec() };
        }
        let mut loads = Vec::new();
        if self.has(Part::Audio) {
            for streams in streams {
                let most = SESSIONS_MAX * 2;
                let good = (2..=most).contains(&streams) && streams.is_multiple_of(2);
                ensure!(good, "--streams {streams}: give even numbers from 2 to {most}");
                let native = Workload::g711(streams, self.pps_max);
                let stretched = Workload::g711(streams, self.stretched_pps);
                loads.push(if native.is_stretched() { stretched } else { native });
            }
            let stretched = loads.iter().filter(|load| load.is_stretched());
            if let Some(most) = stretched.max_by_key(|load| load.streams()).copied() {
                if self.udp_hash()? != UdpHash::System {
                    loads.push(Workload { purpose: Purpose::SystemHash, ..most });
                }
                loads.push(Workload::at_rate(FEW_STREAMS, self.stretched_pps, Purpose::SameRate));
            }
        }
        if self.has(Part::Video) {
            let sessions = if self.quick { QUICK_VIDEO_SESSIONS } else { VIDEO_SESSIONS };
            loads.extend([Workload::video(sessions, false), Workload::video(sessions, true)]);
        }
        Ok(loads)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        relay: RelayArgs,
    }

    fn plan(words: &str) -> Result<Plan> {
        let words = std::iter::once("relay").chain(words.split_whitespace());
        Line::try_parse_from(words)?.relay.plan()
    }

    fn names(words: &str) -> Vec<String> {
        plan(words).unwrap().workloads.iter().map(Workload::name).collect()
    }

    #[test]
    fn the_default_is_every_system_and_load() {
        assert_eq!(
            names(""),
            [
                "g711-100",
                "g711-500",
                "g711-1000",
                "g711-2000",
                "g711-4000",
                "g711-16000",
                "g711-16000-system-hash",
                "g711-100-same-rate",
                "video-200",
                "av-400",
            ]
        );
        let plan = plan("").unwrap();
        assert_eq!((plan.systems.len(), plan.rounds, plan.live_sessions), (4, 6, Some(10_000)));
        let stretched: Vec<_> = plan
            .workloads
            .iter()
            .filter(|load| load.is_stretched())
            .map(Workload::streams)
            .collect();
        assert_eq!(stretched, [4_000, 16_000, 16_000]);
    }

    #[test]
    fn the_table_of_sockets_is_large_unless_it_is_left_to_the_system() {
        assert_eq!(plan("").unwrap().udp_hash, UdpHash::Own(65_536));
        assert_eq!(plan("--udp-hash 0").unwrap().udp_hash, UdpHash::System);
        assert!(!names("--udp-hash 0").iter().any(|name| name.ends_with("system-hash")));
    }

    #[test]
    fn parts_and_streams_are_chosen() {
        assert_eq!(names("--parts audio --streams 10"), ["g711-10"]);
        assert_eq!(names("--parts video --quick"), ["video-4", "av-8"]);
        assert_eq!(plan("--parts audio").unwrap().live_sessions, None);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (words, why) in [
            ("--rounds 0", "--rounds"),
            ("--streams 3", "--streams 3"),
            ("--seconds 0", "--seconds"),
            ("--systems epoll,epoll", "twice"),
            ("--udp-hash 100000", "--udp-hash 100000"),
            ("--relay-core 9999", "core 9999"),
        ] {
            let error = format!("{:#}", plan(words).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }
}
