//! What the demonstration reads off the node itself, before, while and after the calls are up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::cpu;
use crate::node::Node;

/// The node at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) at: Instant,
    /// Processor time of the workers' threads and of the kernel on their behalf.
    pub(super) cpu: Duration,
    pub(super) packets_in: u64,
    pub(super) rtp_relayed: u64,
    pub(super) rtcp_relayed: u64,
    /// Datagrams that were not relayed, by reason.
    pub(super) drops: BTreeMap<&'static str, u64>,
    pub(super) send_errors: u64,
    pub(super) buffers_exhausted: u64,
    pub(super) sessions: usize,
    pub(super) resident_bytes: u64,
}

impl Snapshot {
    pub(super) fn take(node: &Node, cores: &[usize]) -> anyhow::Result<Snapshot> {
        if let Some(failure) = node.failure() {
            return Err(anyhow::anyhow!(failure));
        }
        let counters = node.counters();
        let sum = |f: fn(&relay_engine::WorkerCounters) -> u64| counters.iter().map(f).sum();
        let mut drops = BTreeMap::new();
        for (reason, count) in counters.iter().flat_map(|c| &c.drops) {
            *drops.entry(*reason).or_default() += count;
        }
        let threads: Duration = counters.iter().map(|c| c.cpu).sum();
        Ok(Snapshot {
            at: Instant::now(),
            cpu: threads + cpu::ksoftirqd(cores) + cpu::interrupts_apart(cores),
            packets_in: sum(|c| c.packets_in),
            rtp_relayed: sum(|c| c.rtp_relayed),
            rtcp_relayed: sum(|c| c.rtcp_relayed),
            drops,
            send_errors: sum(|c| c.send_errors.iter().map(|(_, count)| count).sum()),
            buffers_exhausted: sum(|c| c.buffers_exhausted),
            sessions: node.load().sessions,
            resident_bytes: cpu::resident_bytes(),
        })
    }

    pub(super) const fn relayed(&self) -> u64 {
        self.rtp_relayed + self.rtcp_relayed
    }
}

/// The node from its start to the end of the media.
pub(super) struct NodeSide {
    cores: Vec<usize>,
    pub(super) start: Snapshot,
    /// When all calls were first seen up.
    pub(super) up: Option<Snapshot>,
    /// When media was last seen running.
    pub(super) held: Option<Snapshot>,
}

impl NodeSide {
    pub(super) fn start(node: &Node, cores: &[usize]) -> anyhow::Result<NodeSide> {
        let start = Snapshot::take(node, cores)?;
        Ok(NodeSide { cores: cores.to_vec(), start, up: None, held: None })
    }

    /// All calls are up and media runs.
    pub(super) fn note_holding(&mut self, node: &Node) -> anyhow::Result<()> {
        let snapshot = Snapshot::take(node, &self.cores)?;
        if self.up.is_none() {
            self.up = Some(snapshot.clone());
        }
        self.held = Some(snapshot);
        Ok(())
    }

    /// They are not up yet, or media has stopped; a dead node is noticed all the same.
    pub(super) fn note_not_holding(&mut self, node: &Node) -> anyhow::Result<()> {
        node.failure().map_or(Ok(()), |failure| Err(anyhow::anyhow!(failure)))
    }

    /// Processor time per relayed packet while all calls were up, in microseconds.
    pub(super) fn cpu_us_per_packet(&self) -> Option<f64> {
        let (up, held) = (self.up.as_ref()?, self.held.as_ref()?);
        let packets = held.relayed().checked_sub(up.relayed()).filter(|packets| *packets > 0)?;
        Some(held.cpu.saturating_sub(up.cpu).as_secs_f64() * 1e6 / packets as f64)
    }

    /// Share of one core that the workers used while all calls were up.
    pub(super) fn cores_busy(&self) -> Option<f64> {
        let (up, held) = (self.up.as_ref()?, self.held.as_ref()?);
        let time = held.at.saturating_duration_since(up.at).as_secs_f64();
        (time > 0.0).then(|| held.cpu.saturating_sub(up.cpu).as_secs_f64() / time)
    }

    /// Growth of the node's resident memory per session that is up: registrations, transactions,
    /// dialogs and media state; not the kernel's sockets.
    pub(super) fn bytes_per_session(&self) -> Option<u64> {
        let held = self.held.as_ref()?;
        let sessions = u64::try_from(held.sessions).ok().filter(|sessions| *sessions > 0)?;
        Some(held.resident_bytes.saturating_sub(self.start.resident_bytes) / sessions)
    }
}
