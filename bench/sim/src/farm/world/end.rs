//! Whether members agree again once nothing more goes wrong, and what is left at the end.

use std::collections::BTreeSet;
use std::time::Duration;

use control_core::cluster::membership::Standing;
use control_core::cluster::{Document, FarmSetting, Incarnate, Key, View};
use signaling_core::proxy::Load;

use super::{Event, World};
use crate::farm::{Report, SETTLED};

impl World<'_> {
    /// Judges the membership once it has had its time, and lets it stand still from then on.
    pub(super) fn calm(&mut self) {
        let now = self.now();
        if self.pending > 0 || now < self.calm_since + SETTLED {
            self.clock.at(now + Duration::from_secs(1), Event::Calm);
            return;
        }
        if let Some(what) = self.disagreement() {
            let rule = "members agree within 35 s after the last disturbance";
            self.ledger.wrong(now, rule, what);
        }
        self.is_frozen = true;
        self.replay_dead();
    }

    fn disagreement(&mut self) -> Option<String> {
        let view = self.store.values().find(|(key, _)| **key == Key::View);
        let Some(view) = view.and_then(|(_, (_, bytes))| View::from_bytes(bytes).ok()) else {
            return Some("there is no view".to_owned());
        };
        let mut living = BTreeSet::new();
        let mut controllers = 0;
        for slot in &self.slots {
            let Some(process) = &slot.process else { continue };
            let standing = process.membership.standing();
            let Standing::Part(own) = standing else {
                return Some(format!("{} is {standing:?}", slot.name));
            };
            living.insert(own);
            controllers += usize::from(process.membership.is_controller().is_some());
            if process.membership.epoch() != view.epoch {
                let epoch = process.membership.epoch();
                return Some(format!("{} has view {epoch}, not {}", slot.name, view.epoch));
            }
        }
        let members: BTreeSet<Incarnate> = view.members.iter().map(|m| m.incarnate()).collect();
        if members != living {
            return Some(format!("view {} has {members:?}, there are {living:?}", view.epoch));
        }
        (controllers != 1).then(|| format!("{controllers} Controllers"))
    }

    pub(super) fn finish(mut self) -> Report {
        let now = self.now();
        if !self.is_frozen {
            self.ledger.wrong(
                now,
                "the cluster comes to rest",
                format!("{} troubles", self.pending),
            );
        }
        for at in 0..self.slots.len() {
            let slot = &self.slots[at];
            let Some(process) = &slot.process else { continue };
            let load = process.proxy.load();
            let what = format!("{}: {load:?}", slot.name);
            if load != Load::default() || process.proxy.poll_timeout().is_some() {
                let due = process.proxy.poll_timeout().is_some();
                self.ledger.wrong(now, "nothing is left", format!("{what}, timers: {due}"));
            }
        }
        self.ledger.finish(now);
        self.meet(match self.plan.members {
            ..6 => "3 to 5 members",
            6..10 => "6 to 9 members",
            10..21 => "10 to 20 members",
            _ => "21 to 50 members",
        });
        for farm in self.plan.others.clone() {
            self.meet(match farm {
                FarmSetting::Disabled => "a member that is Disabled",
                FarmSetting::Relay => "a backend set to Relay",
                FarmSetting::Auto | FarmSetting::Member => "a backend set to Auto",
            });
        }
        let link = self.plan.link;
        for (is_so, what) in [
            (link.loss > 0.0, "packets are lost"),
            (link.duplicate > 0.0, "packets come twice"),
            (self.plan.mesh_loss > 0.0, "messages between members are lost"),
            (self.plan.mesh_twice > 0.0, "messages between members come twice"),
            (self.plan.engine_unknown > 0.0, "writes of unknown outcome"),
        ] {
            if is_so {
                self.meet(what);
            }
        }
        Report {
            seed: self.seed,
            members: self.plan.members,
            calls: self.plan.calls.len(),
            disturbances: self.plan.disturbances.len(),
            simulated: self.clock.elapsed(),
            events: self.events,
            fingerprint: self.fingerprint,
            counts: self.ledger.counts,
            met: self.met,
            violations: self.ledger.violations,
        }
    }
}
