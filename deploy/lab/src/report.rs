//! What came of it.

use std::fmt;

use serde::Serialize;

use crate::calls::Transport;
use crate::changes::Change;
use crate::plan::{Family, Method};

/// The version of the report's shape; grows when a field changes its meaning.
pub const REPORT_VERSION: u32 = 1;

/// How a balancer chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Spread {
    /// Every datagram goes to a random frontend: the worst that a balancer can do.
    Random,
    /// By a hash of the sender's address and port.
    Source,
}

/// Calls of clients of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Clients {
    /// Their family.
    pub family: Family,
    /// What their SIP travels on.
    pub transport: Transport,
    /// Calls asked for.
    pub calls: u32,
    /// Those that were not set up, or did not end as they should.
    pub calls_failed: u32,
    /// RTP packets that they have sent.
    pub rtp_sent: u64,
    /// Those of them that did not arrive at the other side.
    pub rtp_lost: u64,
    /// Why calls failed, and how often.
    pub failures: Vec<String>,
}

/// What came of one topology.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The topology.
    pub topology: Method,
    /// How the balancer chose.
    pub spread: Spread,
    /// Calls asked for.
    pub calls: u32,
    /// Those that were not set up, or did not end as they should.
    pub calls_failed: u32,
    /// RTP packets that clients have sent.
    pub rtp_sent: u64,
    /// RTP packets that did not arrive.
    pub rtp_lost: u64,
    /// The share of SIP messages from outside that were given to another member than the one that they had
    /// come to.
    pub inner_hop_share: f64,
    /// SIP packets that clients got over UDP from another address or port than they had sent to, and answers
    /// that came from another one than their request went to.
    pub wrong_source_answers: u64,
    /// Media packets that clients got from an address and port that no description of theirs named.
    pub wrong_source_media: u64,
    /// SIP answers whose source was compared.
    pub answers_judged: u64,
    /// Media packets whose source was compared.
    pub media_judged: u64,
    /// INVITEs of 4 kB, which come as fragments.
    pub large_requests: u32,
    /// Those that were answered, from where they went to.
    pub large_answered: u32,
    /// Connections that the balancer's kernel tracks for SIP over UDP or for media: there should be none.
    pub conntrack_entries: u64,
    /// What `ringfarm doctor --from-outside` finds wrong with the balancer, by the names of its checks.
    pub doctor: Vec<String>,
    /// By kind of client.
    pub clients: Vec<Clients>,
    /// What came of frontends that left, one after the other.
    pub changes: Vec<Change>,
}

impl Outcome {
    /// What came of a topology in which nobody has called.
    #[must_use]
    pub const fn of_nothing(topology: Method, spread: Spread) -> Outcome {
        Outcome {
            topology,
            spread,
            calls: 0,
            calls_failed: 0,
            rtp_sent: 0,
            rtp_lost: 0,
            inner_hop_share: 0.0,
            wrong_source_answers: 0,
            wrong_source_media: 0,
            answers_judged: 0,
            media_judged: 0,
            large_requests: 0,
            large_answered: 0,
            conntrack_entries: 0,
            doctor: Vec::new(),
            clients: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Whether no call failed, no packet was lost and none came from the wrong place.
    #[must_use]
    pub fn is_flawless(&self) -> bool {
        self.calls_failed == 0
            && self.rtp_lost == 0
            && self.wrong_source_answers == 0
            && self.wrong_source_media == 0
            && self.large_answered == self.large_requests
            && self.conntrack_entries == 0
            && self.doctor.is_empty()
            && self.changes.iter().all(Change::is_flawless)
    }
}

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// See [`REPORT_VERSION`].
    pub version: u32,
    /// Calls asked for, in all topologies.
    pub calls: u32,
    /// Those that failed.
    pub calls_failed: u32,
    /// RTP packets that did not arrive.
    pub rtp_lost: u64,
    /// The mean over the topologies.
    pub inner_hop_share: f64,
    /// As in each topology.
    pub wrong_source_answers: u64,
    /// As in each topology.
    pub wrong_source_media: u64,
    /// One after the other.
    pub topologies: Vec<Outcome>,
}

impl Report {
    /// The sums.
    #[must_use]
    pub fn of(topologies: Vec<Outcome>) -> Report {
        let mean = topologies.iter().map(|one| one.inner_hop_share).sum::<f64>()
            / topologies.len().max(1) as f64;
        Report {
            version: REPORT_VERSION,
            calls: topologies.iter().map(|one| one.calls).sum(),
            calls_failed: topologies.iter().map(|one| one.calls_failed).sum(),
            rtp_lost: topologies.iter().map(|one| one.rtp_lost).sum(),
            inner_hop_share: (mean * 1_000.0).round() / 1_000.0,
            wrong_source_answers: topologies.iter().map(|one| one.wrong_source_answers).sum(),
            wrong_source_media: topologies.iter().map(|one| one.wrong_source_media).sum(),
            topologies,
        }
    }

    /// Whether each topology is.
    #[must_use]
    pub fn is_flawless(&self) -> bool {
        self.topologies.iter().all(Outcome::is_flawless)
    }
}

/// A table for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<14} {:<16} {:>6} {:>7} {:>9} {:>5} {:>10} {:>13} {:>12}",
            "TOPOLOGY",
            "CLIENTS",
            "CALLS",
            "FAILED",
            "RTP",
            "LOST",
            "INNER HOP",
            "WRONG ANSWERS",
            "WRONG MEDIA"
        )?;
        for one in &self.topologies {
            for clients in &one.clients {
                let kind = format!("{:?} over {}", clients.family, clients.transport.name());
                writeln!(
                    f,
                    "{:<14} {kind:<16} {:>6} {:>7} {:>9} {:>5}",
                    one.topology.name(),
                    clients.calls,
                    clients.calls_failed,
                    clients.rtp_sent,
                    clients.rtp_lost
                )?;
                for why in &clients.failures {
                    writeln!(f, "{:<14} {why}", "")?;
                }
            }
            writeln!(
                f,
                "{:<14} {:<16} {:>6} {:>7} {:>9} {:>5} {:>9.1}% {:>13} {:>12}",
                one.topology.name(),
                "all",
                one.calls,
                one.calls_failed,
                one.rtp_sent,
                one.rtp_lost,
                one.inner_hop_share * 100.0,
                one.wrong_source_answers,
                one.wrong_source_media
            )?;
            writeln!(
                f,
                "{:<14} INVITEs of 4 kB: {} sent, {} answered; tracked connections: {}",
                one.topology.name(),
                one.large_requests,
                one.large_answered,
                one.conntrack_entries
            )?;
            for check in &one.doctor {
                writeln!(f, "{:<14} ringfarm doctor finds: {check}", one.topology.name())?;
            }
            for change in &one.changes {
                writeln!(
                    f,
                    "{:<14} a frontend {:?}: nothing new after {} ms; of {} calls {} failed, {} packets lost; \
                     of {} later calls {} failed",
                    one.topology.name(),
                    change.what,
                    change.moved_ms,
                    change.calls,
                    change.calls_failed,
                    change.rtp_lost,
                    change.calls_after,
                    change.calls_after_failed
                )?;
            }
        }
        Ok(())
    }
}
