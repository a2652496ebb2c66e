//! What a run is made of.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::net::Link;

/// A network with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// Nothing is lost, repeated or late.
    Calm,
    /// Nothing is lost, much is repeated and overtaken.
    Jittery,
    /// Signaling is lost, too.
    Lossy,
    /// Many phones use TCP, and connections break.
    Streams,
    /// Phones vanish from the network for seconds.
    Outages,
    /// Many phones are behind NAT.
    Nat,
    /// Too few ports, and other programs hold some of them.
    Scarce,
    /// Everything at once, media loss included.
    Storm,
}

impl Profile {
    /// All of them.
    pub const ALL: [Profile; 8] = [
        Profile::Calm,
        Profile::Jittery,
        Profile::Lossy,
        Profile::Streams,
        Profile::Outages,
        Profile::Nat,
        Profile::Scarce,
        Profile::Storm,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Profile::Calm => "calm",
            Profile::Jittery => "jittery",
            Profile::Lossy => "lossy",
            Profile::Streams => "streams",
            Profile::Outages => "outages",
            Profile::Nat => "nat",
            Profile::Scarce => "scarce",
            Profile::Storm => "storm",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// There is no profile of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownProfile;

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, UnknownProfile> {
        Profile::ALL.into_iter().find(|p| p.name() == text).ok_or(UnknownProfile)
    }
}

/// Everything that decides a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Decides all that is random.
    pub seed: u64,
    /// The profile that these settings began as.
    pub profile: Profile,
    /// How many calls are made.
    pub calls: u32,
    /// How many members there are.
    pub members: usize,
    /// Within what time the calls begin.
    pub spread: Duration,
    /// The way of SIP over UDP between an agent and a member, each way.
    pub sip: Link,
    /// The way of media between an agent and a member, each way.
    pub media: Link,
    /// The share of agents that use TCP.
    pub tcp_share: f64,
    /// The share of agents behind NAT.
    pub nat_share: f64,
    /// Media is learned from wherever the peer's SIP comes from.
    pub learn_always: bool,
    /// How many connections are broken in the course of the run.
    pub resets: u32,
    /// How many agents lose the network for a while in the course of the run.
    pub outages: u32,
    /// How often a port that the relay opens is held by another program.
    pub port_taken: f64,
    /// Media ports of each member.
    pub ports: (u16, u16),
    /// How long a closed port rests.
    pub rest: Duration,
}

/// Every message of one hop is there by then or never: RFC 3261 17.1.1.1 has T4 = 5 s for that, and
/// transactions forget on the strength of it.
pub const HOP_DELAY_MAX: Duration = Duration::from_secs(4);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Settings {
    /// A run of `calls` calls on a network of this kind.
    #[must_use]
    pub fn new(profile: Profile, seed: u64, calls: u32) -> Settings {
        let calm = Settings {
            seed,
            profile,
            calls,
            members: 1,
            spread: Duration::from_secs(2) * calls.max(1) / 2,
            sip: Link::new(0.0, 0.0, ms(1), ms(10)),
            media: Link::new(0.0, 0.0, ms(1), ms(10)),
            tcp_share: 0.2,
            nat_share: 0.1,
            learn_always: false,
            resets: 0,
            outages: 0,
            port_taken: 0.0,
            ports: (20_000, 29_999),
            rest: Duration::from_secs(30),
        };
        let late = Link::new(0.0, 0.15, ms(1), ms(900));
        let lossy = Link::new(0.12, 0.05, ms(1), ms(300));
        let shaken = Link::new(0.0, 0.05, ms(1), ms(80));
        match profile {
            Profile::Calm => calm,
            Profile::Jittery => Settings { sip: late, media: shaken, ..calm },
            Profile::Lossy => Settings { sip: lossy, media: shaken, ..calm },
            Profile::Streams => {
                Settings { tcp_share: 0.7, resets: 1 + calls / 4, sip: lossy, ..calm }
            }
            Profile::Outages => Settings { outages: 1 + calls / 3, ..calm },
            Profile::Nat => {
                Settings { nat_share: 0.5, learn_always: true, media: shaken, sip: lossy, ..calm }
            }
            Profile::Scarce => Settings { ports: (20_000, 20_039), port_taken: 0.05, ..calm },
            Profile::Storm => Settings {
                sip: Link::new(0.2, 0.1, ms(1), ms(1500)),
                media: Link::new(0.1, 0.05, ms(1), ms(200)),
                tcp_share: 0.3,
                nat_share: 0.3,
                resets: 1 + calls / 6,
                outages: 1 + calls / 6,
                port_taken: 0.03,
                spread: Duration::from_secs(u64::from(calls)) / 4,
                ..calm
            },
        }
    }

    /// Loses this share of all SIP datagrams.
    #[must_use]
    pub fn with_loss(mut self, loss: f64) -> Settings {
        self.sip.loss = loss;
        self
    }

    /// Whether every message of an agent gets where it goes, so that a script has one outcome.
    #[must_use]
    pub fn is_dependable(&self) -> bool {
        self.sip.loss == 0.0 && self.resets == 0 && self.outages == 0 && !self.is_scarce()
    }

    /// Whether a call can be refused for want of ports.
    #[must_use]
    pub fn is_scarce(&self) -> bool {
        self.port_taken > 0.0 || self.ports.1 - self.ports.0 < 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_found_by_its_name_and_keeps_to_the_life_of_a_message() {
        for profile in Profile::ALL {
            assert_eq!(profile.name().parse(), Ok(profile));
            let settings = Settings::new(profile, 1, 10);
            assert!(settings.sip.delay_max < HOP_DELAY_MAX);
        }
        assert_eq!("wild".parse::<Profile>(), Err(UnknownProfile));
    }
}
