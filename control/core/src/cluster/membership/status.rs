//! What can be asked of a membership.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Membership;
use super::api::{EngineLink, PeerState, Standing};
use crate::cluster::{
    Farm, Incarnate, Load, Member, MemberName, Presence, Profile, Scope, SettingsDocument, Term,
    TokenKeys, UnixSeconds, View,
};

/// A member as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Who it is and what it says of itself.
    pub member: Member,
    /// What its farm setting comes to.
    pub farm: Farm,
    /// Whether the view holds this start of it.
    pub in_view: bool,
    /// What its record says.
    pub presence: Presence,
    /// How busy it was at its last beat.
    pub load: Load,
    /// Whether it has just come, and takes no new work yet.
    pub joining: bool,
    /// How long ago that was, by this member's clock.
    pub still_for: Duration,
    /// How the mesh sees it; `None`: this member itself, or one that the mesh has not reported.
    pub peer: Option<PeerState>,
    /// Whether it holds the Controller's lease.
    pub is_controller: bool,
    /// The newest key of tokens that it reads.
    pub token_key: u32,
}

impl Membership {
    /// The view that this member goes by.
    #[must_use]
    pub fn view(&self) -> Option<&Arc<View>> {
        self.view.as_ref()
    }

    /// Where this process stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match self.own.announced {
            None => Standing::Outside,
            Some(own) if self.own.admitted => Standing::Part(own),
            Some(own) => Standing::Waiting(own),
        }
    }

    /// The term in which this member holds the Controller's lease, as far as it knows.
    #[must_use]
    pub fn is_controller(&self) -> Option<Term> {
        self.holds
    }

    /// Who holds the Controller's lease, as far as the engine was heard.
    #[must_use]
    pub fn controller(&self) -> Option<(&MemberName, Incarnate, Term)> {
        let lease = self.store.controller.get()?;
        let holder = lease.holder.as_ref()?;
        Some((&holder.name, holder.incarnate, lease.term))
    }

    /// Whether the engine can be reached.
    #[must_use]
    pub fn engine(&self) -> EngineLink {
        self.engine
    }

    /// What this member says of itself: its media ports claimed, everything else as its settings are.
    #[must_use]
    pub fn profile(&self) -> Profile {
        let wanted = self.wanted_profile();
        let profile = match self.own.media {
            Some(media) => media.put_in(wanted),
            None => wanted,
        };
        let own = self.own.announced.map(|own| self.continues(own.id));
        Profile { joining: self.is_joining(), continues: own.unwrap_or_default(), ..profile }
    }

    /// Settings in the engine, as far as it was heard; `None`: there are none, or they cannot be read.
    #[must_use]
    pub fn settings(&self, scope: &Scope) -> Option<&SettingsDocument> {
        match scope {
            Scope::Cluster => self.store.cluster_settings.get(),
            Scope::Member(name) => self.store.member_settings.get(name)?.get(),
        }
    }

    /// What the farm's tokens are made and read with.
    #[must_use]
    pub fn token_keys(&self) -> TokenKeys {
        self.token_keys
    }

    /// Whose certificates are no good any more, and until when they were issued.
    #[must_use]
    pub fn barred(&self) -> BTreeMap<MemberName, UnixSeconds> {
        let settings = self.store.member_settings.iter();
        settings.filter_map(|(name, slot)| Some((name.clone(), slot.get()?.barred()?))).collect()
    }

    /// Whether whoever goes by that name was taken out of the cluster after its certificate was issued.
    pub(super) fn is_barred(&self, name: &MemberName, certified: UnixSeconds) -> bool {
        let settings = self.store.member_settings.get(name).and_then(|slot| slot.get());
        settings.and_then(SettingsDocument::barred).is_some_and(|until| certified <= until)
    }

    /// Every member that has a record, by name.
    pub fn members(&self, now: Instant) -> impl Iterator<Item = MemberStatus> {
        let controller = self.controller().map(|(name, _, _)| name.clone());
        let none = || View::nobody(self.identity.name.clone());
        let view = self.view.clone().unwrap_or_else(|| Arc::new(none()));
        self.store.records.iter().filter_map(move |(name, slot)| {
            let record = slot.get()?;
            let incarnate = record.member.incarnate();
            let peer = self.peers.get(name).filter(|(of, _)| *of == incarnate);
            Some(MemberStatus {
                farm: view.farm(&record.member),
                in_view: view.holds(incarnate.id, incarnate.incarnation),
                presence: record.presence,
                load: record.load,
                joining: record.joining,
                still_for: now.saturating_duration_since(slot.moved_at()),
                peer: peer.map(|(_, state)| *state),
                is_controller: controller.as_ref() == Some(name),
                token_key: record.token_key,
                member: record.member.clone(),
            })
        })
    }

    /// Notices that were dropped because nobody took them.
    #[must_use]
    pub fn notices_dropped(&self) -> u64 {
        self.outputs.dropped()
    }
}
