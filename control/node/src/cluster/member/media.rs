//! Media ports and WAN IP as the cluster has them, brought to the node's calls (S60, S63, S71).
//!
//! What is new has been claimed when it is said here. New calls get it; those that stand keep what they have,
//! which is given back once none of them uses it any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use control_core::cluster::Profile;
use control_core::cluster::membership::UsedMedia;
use control_core::settings::{AddressPair, PortRange};
use relay_engine::Generation;

use crate::cluster::membership::Handle;
use crate::node::media::MediaSide;

/// How long a call whose address has been written takes at most to have its ports: the relay's queue.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// How often it is said again that a change has to wait.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// What calls use of media that the member has no longer.
pub(crate) type Earlier = Arc<Mutex<Vec<UsedMedia>>>;

/// What can be done about the media of calls; the node's, or a test's.
pub(super) trait Calls {
    fn set_wan_ip(&self, wan_ip: AddressPair);
    fn set_ports(&self, ports: PortRange) -> Result<Generation, String>;
    fn retired(&self) -> Vec<Generation>;
}

impl Calls for MediaSide {
    fn set_wan_ip(&self, wan_ip: AddressPair) {
        MediaSide::set_wan_ip(self, wan_ip);
    }

    fn set_ports(&self, ports: PortRange) -> Result<Generation, String> {
        MediaSide::set_ports(self, ports)
    }

    fn retired(&self) -> Vec<Generation> {
        MediaSide::retired(self)
    }
}

/// Which media new calls get, and which those that stand have.
pub(super) struct MediaChange<C> {
    calls: C,
    latest: UsedMedia,
    generation: Generation,
    /// New calls are told this address; they get these ports at that time.
    next: Option<(UsedMedia, Instant)>,
    earlier: BTreeMap<Generation, UsedMedia>,
    shown: Earlier,
    /// What the membership has been told.
    told: Option<(UsedMedia, Vec<UsedMedia>)>,
    said: Option<Instant>,
}

pub(super) const fn of(profile: &Profile) -> UsedMedia {
    UsedMedia { ports: profile.media_ports, wan_ip: profile.wan_ip }
}

impl<C: Calls> MediaChange<C> {
    /// Before there are calls: `wanted` is used at once, in place of the ports that the file names.
    pub(super) fn new(calls: C, ports: PortRange, wanted: UsedMedia) -> MediaChange<C> {
        calls.set_wan_ip(wanted.wan_ip);
        let mut change = MediaChange {
            calls,
            latest: UsedMedia { ports, ..wanted },
            generation: Generation::default(),
            next: None,
            earlier: BTreeMap::new(),
            shown: Earlier::default(),
            told: None,
            said: None,
        };
        if wanted.ports != ports {
            match change.calls.set_ports(wanted.ports) {
                Ok(generation) => (change.latest, change.generation) = (wanted, generation),
                Err(why) => {
                    tracing::error!(ports = %wanted.ports, "media ports are not used: {why}")
                }
            }
        }
        change
    }

    /// What calls use beside what new ones get, for whoever wants to know.
    pub(super) fn shown(&self) -> Earlier {
        Arc::clone(&self.shown)
    }

    /// To be called now and then, with what the member has now.
    pub(super) fn turn(&mut self, wanted: UsedMedia, now: Instant) {
        if self.next.is_none() && wanted != self.latest {
            // The address first: who is told it before the ports have changed uses ports of before
            // under it, never the other way round, and what was before is held for longer.
            self.calls.set_wan_ip(wanted.wan_ip);
            self.next = Some((wanted, now + UNDER_WAY));
        }
        if let Some((next, _)) = self.next.filter(|(_, at)| *at <= now) {
            self.take(next, now);
        }
        let retired = self.calls.retired();
        self.earlier.retain(|generation, media| {
            let is_used = retired.contains(generation);
            if !is_used {
                tracing::info!(ports = %media.ports, "no call uses these media ports of before any more");
            }
            is_used
        });
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = self.in_use();
    }

    fn take(&mut self, next: UsedMedia, now: Instant) {
        match self.calls.set_ports(next.ports) {
            Ok(generation) => {
                tracing::info!(
                    ports = %next.ports,
                    wan_ip = ?next.wan_ip.addresses(),
                    before = %self.latest.ports,
                    "new calls use these media ports and this WAN IP"
                );
                let before = std::mem::replace(&mut self.generation, generation);
                self.earlier.insert(before, std::mem::replace(&mut self.latest, next));
                self.next = None;
            }
            Err(why) if self.said.is_none_or(|said| now >= said + SAID_EVERY) => {
                self.said = Some(now);
                tracing::warn!(ports = %next.ports, "new media ports wait: {why}");
            }
            Err(_) => {}
        }
    }

    fn in_use(&self) -> Vec<UsedMedia> {
        self.earlier.values().copied().collect()
    }

    /// Tells the membership what may be given back.
    pub(super) fn tell(&mut self, membership: &Handle) {
        let now = (self.latest, self.in_use());
        // What is on its way is used from both.
        if self.next.is_some() || self.told.as_ref() == Some(&now) {
            return;
        }
        if membership.media_used(now.0, now.1.clone()).is_ok() {
            self.told = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[derive(Default)]
    struct Node {
        wan_ip: AddressPair,
        ports: Vec<PortRange>,
        retired: Vec<Generation>,
    }

    impl Calls for Rc<RefCell<Node>> {
        fn set_wan_ip(&self, wan_ip: AddressPair) {
            self.borrow_mut().wan_ip = wan_ip;
        }

        fn set_ports(&self, ports: PortRange) -> Result<Generation, String> {
            let mut node = self.borrow_mut();
            let before = Generation(u32::try_from(node.ports.len()).expect("few"));
            node.retired.push(before);
            node.ports.push(ports);
            Ok(Generation(before.0 + 1))
        }

        fn retired(&self) -> Vec<Generation> {
            self.borrow().retired.clone()
        }
    }

    fn media(first: u16, host: u8) -> UsedMedia {
        UsedMedia {
            ports: PortRange::new(first, first + 99).expect("a range"),
            wan_ip: AddressPair { v4: Some([203, 0, 113, host].into()), v6: None },
        }
    }

    #[test]
    fn a_node_starts_with_what_the_cluster_says() {
        let node = Rc::new(RefCell::new(Node::default()));
        let change = MediaChange::new(Rc::clone(&node), media(20_000, 1).ports, media(30_000, 7));
        assert_eq!(change.latest, media(30_000, 7));
        assert_eq!(node.borrow().wan_ip, media(30_000, 7).wan_ip);
        assert_eq!(node.borrow().ports, [media(30_000, 7).ports]);
    }

    #[test]
    fn the_address_changes_first_and_what_calls_have_is_kept_until_they_end() {
        let node = Rc::new(RefCell::new(Node::default()));
        let (before, after) = (media(20_000, 1), media(30_000, 2));
        let mut change = MediaChange::new(Rc::clone(&node), before.ports, before);
        let start = Instant::now();
        change.turn(before, start);
        assert!(node.borrow().ports.is_empty());
        change.turn(after, start);
        assert_eq!(node.borrow().wan_ip, after.wan_ip);
        assert!(node.borrow().ports.is_empty(), "calls that are being made have the old address");
        change.turn(after, start + UNDER_WAY);
        assert_eq!(node.borrow().ports, [after.ports]);
        assert_eq!((change.latest, change.in_use()), (after, vec![before]));
        assert_eq!(*change.shown().lock().expect("a lock"), [before]);
        node.borrow_mut().retired.clear();
        change.turn(after, start + 2 * UNDER_WAY);
        assert_eq!(change.in_use(), []);
    }

    /// S63, S71: another address under the same ports is told apart from the one before.
    #[test]
    fn a_change_of_the_address_alone_keeps_the_one_before_for_the_calls_that_have_it() {
        let node = Rc::new(RefCell::new(Node::default()));
        let (before, after) = (media(20_000, 1), media(20_000, 2));
        let mut change = MediaChange::new(Rc::clone(&node), before.ports, before);
        let start = Instant::now();
        change.turn(after, start);
        change.turn(after, start + UNDER_WAY);
        assert_eq!((change.latest, change.in_use()), (after, vec![before]));
    }
}
