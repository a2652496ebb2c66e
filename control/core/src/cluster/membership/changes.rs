//! Changes of settings that stand in the engine.

use std::net::IpAddr;
use std::time::Instant;

use super::Membership;
use super::api::{ChangeError, EngineLink, Nonce, Output, Ticket};
use super::slot::Slot;
use crate::cluster::{
    Change, Key, Member, MemberName, Overlap, Scope, SettingKey, SettingsDocument,
};

/// Most changes that wait at once: they are made by people.
const CHANGES_MAX: usize = 16;

/// A change that waits for the engine.
#[derive(Debug)]
pub(super) struct Pending {
    ticket: Ticket,
    scope: Scope,
    change: Change,
    pub(super) until: Instant,
    /// The write that makes it.
    nonce: Option<Nonce>,
}

impl Membership {
    pub(super) fn accept_change(
        &mut self,
        ticket: Ticket,
        scope: Scope,
        change: Change,
        now: Instant,
    ) {
        let checked = if self.changes.len() >= CHANGES_MAX {
            Err(ChangeError::Busy)
        } else {
            SettingKey::parse(change.key.name(), &scope)
                .and_then(|_| change.check())
                .map_err(ChangeError::Wrong)
        };
        match checked {
            Ok(()) => {
                let until = now + self.timing.change;
                self.changes.push_back(Pending { ticket, scope, change, until, nonce: None });
            }
            Err(_) => self.answer(ticket, checked),
        }
    }

    fn answer(&mut self, ticket: Ticket, result: Result<(), ChangeError>) {
        self.outputs.put(Output::SettingChanged { ticket, result });
    }

    /// The write `nonce` was done: so is the change that it was for, if any.
    pub(super) fn change_done(&mut self, nonce: Nonce) {
        let at = self.changes.iter().position(|pending| pending.nonce == Some(nonce));
        if let Some(done) = at.and_then(|at| self.changes.remove(at)) {
            self.answer(done.ticket, Ok(()));
        }
    }

    pub(super) fn settle_changes(&mut self, now: Instant) {
        let is_up = self.engine == EngineLink::Back;
        for mut pending in std::mem::take(&mut self.changes) {
            let result = if is_up { self.try_change(&mut pending, now) } else { None };
            let late = (now >= pending.until).then_some(Err(ChangeError::Unanswered));
            match result.or(late) {
                Some(result) => self.answer(pending.ticket, result),
                None => self.changes.push_back(pending),
            }
        }
    }

    /// Begins the write that makes the change, unless another is under way. `Some`: it is decided.
    fn try_change(
        &mut self,
        pending: &mut Pending,
        now: Instant,
    ) -> Option<Result<(), ChangeError>> {
        let slot = match &pending.scope {
            Scope::Cluster => &self.store.cluster_settings,
            Scope::Member(name) => {
                self.store.member_settings.entry(name.clone()).or_insert_with(|| Slot::new(now))
            }
        };
        if slot.is_unreadable() {
            let why = format!("the settings of {} cannot be read", pending.scope);
            return Some(Err(ChangeError::Unreadable(why)));
        }
        if !slot.is_free(now) {
            return None;
        }
        let mut document = slot.get().cloned().unwrap_or_default();
        if let Err(why) = document.allows(&pending.change) {
            return Some(Err(ChangeError::Wrong(why)));
        }
        if !document.apply(&pending.change) {
            return Some(Ok(()));
        }
        if let Some(overlap) = self.would_overlap(&pending.scope, &pending.change, &document) {
            return Some(Err(ChangeError::Overlap(overlap)));
        }
        pending.nonce = self.write_settings(&pending.scope, document, now);
        None
    }

    fn write_settings(
        &mut self,
        scope: &Scope,
        document: SettingsDocument,
        now: Instant,
    ) -> Option<Nonce> {
        let (slot, key) = match scope {
            Scope::Cluster => (&mut self.store.cluster_settings, Key::ClusterSettings),
            Scope::Member(name) => {
                (self.store.member_settings.get_mut(name)?, Key::MemberSettings(name.clone()))
            }
        };
        Some(self.store.desk.write(slot, key, document, now))
    }

    /// Two members that would have the same media ports if `document` stood, as far as the view
    /// knows. What it does not know is found when the ports are claimed.
    fn would_overlap(
        &self,
        scope: &Scope,
        change: &Change,
        document: &SettingsDocument,
    ) -> Option<Overlap> {
        let concerns = matches!(
            change.key,
            SettingKey::ClusterWanIp | SettingKey::MediaPorts | SettingKey::WanIp
        );
        let view = self.view.as_ref().filter(|_| concerns)?;
        let changed = |member: &Member| match scope {
            Scope::Cluster => document.wan_ip_of(member),
            Scope::Member(name) if member.name == *name => document.media_of(member),
            Scope::Member(_) => member.clone(),
        };
        let members: Vec<Member> = view.members.iter().map(changed).collect();
        let is_changed = |member: &Member| match scope {
            Scope::Cluster => true,
            Scope::Member(name) => member.name == *name,
        };
        let changed = members.iter().filter(|member| is_changed(member));
        let in_view = changed
            .clone()
            .find_map(|member| members.iter().find_map(|other| Overlap::between(other, member)));
        in_view.or_else(|| changed.into_iter().find_map(|member| self.against_claims(member)))
    }

    /// A claim that is against the media of `member`.
    fn against_claims(&self, member: &Member) -> Option<Overlap> {
        let check = |address: IpAddr, name: &MemberName| {
            let ranges = self.store.ranges.get(&address)?.get()?;
            ranges.check(address, name, member.profile.media_ports).err()
        };
        let addresses = member.profile.wan_ip.addresses();
        let found = addresses.into_iter().find_map(|address| check(address, &member.name));
        found.filter(|overlap| !self.is_gone(&overlap.holder.0))
    }
}
