//! The network between agents and members.

use std::time::{Duration, Instant};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use smallvec::SmallVec;

use crate::AgentId;

/// How a way treats its packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// The share that is lost, 0 to 1.
    pub loss: f64,
    /// The share that arrives twice, 0 to 1.
    pub duplicate: f64,
    /// The shortest way.
    pub delay_min: Duration,
    /// The longest way; packets overtake each other as far as the two differ.
    pub delay_max: Duration,
}

impl Link {
    /// A way.
    #[must_use]
    pub const fn new(loss: f64, duplicate: f64, delay_min: Duration, delay_max: Duration) -> Link {
        Link { loss, duplicate, delay_min, delay_max }
    }

    /// When the copies of a packet arrive that is sent now: none, one or two.
    pub fn carry(&self, rng: &mut ChaCha8Rng) -> SmallVec<[Duration; 2]> {
        let mut copies = SmallVec::new();
        if rng.random_bool(self.loss) {
            return copies;
        }
        copies.push(self.delay(rng));
        if rng.random_bool(self.duplicate) {
            copies.push(self.delay(rng));
        }
        copies
    }

    /// How long one packet takes.
    pub fn delay(&self, rng: &mut ChaCha8Rng) -> Duration {
        rng.random_range(self.delay_min..=self.delay_max)
    }
}

/// A time in which nothing reaches an agent or leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Whose.
    pub agent: AgentId,
    /// From when.
    pub from: Instant,
    /// Until when.
    pub until: Instant,
}

/// The outages of a run.
#[derive(Clone, Debug, Default)]
pub struct Outages(Vec<Outage>);

impl Outages {
    /// One more.
    pub fn add(&mut self, outage: Outage) {
        self.0.push(outage);
    }

    /// Whether the agent is cut off now.
    #[must_use]
    pub fn cuts(&self, agent: AgentId, now: Instant) -> bool {
        self.touches(agent, now, now)
    }

    /// Whether the agent is cut off at any time between the two instants.
    #[must_use]
    pub fn touches(&self, agent: AgentId, from: Instant, until: Instant) -> bool {
        self.0.iter().any(|o| o.agent == agent && o.from <= until && from <= o.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_way_loses_repeats_and_delays_as_it_is_told() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let (min, max) = (Duration::from_millis(1), Duration::from_millis(5));
        let link = Link::new(0.25, 0.25, min, max);
        let copies: Vec<_> = (0..10_000).map(|_| link.carry(&mut rng)).collect();
        let lost = copies.iter().filter(|c| c.is_empty()).count();
        let twice = copies.iter().filter(|c| c.len() == 2).count();
        assert!((2300..2700).contains(&lost), "{lost}");
        assert!((1700..2050).contains(&twice), "{twice}");
        assert!(copies.iter().flatten().all(|d| (min..=max).contains(d)));
    }

    #[test]
    fn an_outage_cuts_off_its_agent_for_its_time() {
        let mut outages = Outages::default();
        let from = Instant::now();
        let until = from + Duration::from_secs(2);
        outages.add(Outage { agent: AgentId(1), from, until });
        assert!(outages.cuts(AgentId(1), from + Duration::from_secs(1)));
        assert!(!outages.cuts(AgentId(0), from));
        assert!(!outages.cuts(AgentId(1), until + Duration::from_secs(1)));
    }
}
