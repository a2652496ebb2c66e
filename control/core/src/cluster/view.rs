//! The view: who is in the cluster, as its Controller has published it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::document::{Document, documents};
use super::ids::{Epoch, Incarnation, MemberId, MemberName, Term, UnixMillis};
use super::member::{Member, Profile};
use super::role::{Farm, Placement, PlacementSetting, Surroundings};

/// Most members of a cluster: [`super::DOCUMENT_BYTES_MAX`] holds a view of that many, at up to 2 KiB
/// each. Further ones are not admitted.
pub const MEMBERS_MAX: usize = 256;

/// The members of the cluster. Views follow each other by their epochs; a member goes by the newest
/// that it has seen, and keeps it while Controller or engine are away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The document's version.
    pub version: u16,
    /// Its number.
    pub epoch: Epoch,
    /// During which term it was published.
    pub term: Term,
    /// Who published it.
    pub controller: MemberName,
    /// When that was, by the publisher's calendar.
    pub published: UnixMillis,
    /// The members, by their numbers.
    pub members: Vec<Member>,
}

documents! {
    View: "the view", 1;
}

impl View {
    /// A view of nobody, where there is none.
    #[must_use]
    pub(crate) fn nobody(controller: MemberName) -> View {
        View {
            version: View::VERSION,
            epoch: Epoch(0),
            term: Term(0),
            controller,
            published: UnixMillis(0),
            members: Vec::new(),
        }
    }

    /// Whether what views promise holds: few enough members, by their numbers, no name twice.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let names: BTreeSet<_> = self.members.iter().map(|member| &member.name).collect();
        self.members.len() <= MEMBERS_MAX
            && names.len() == self.members.len()
            && self.members.is_sorted_by(|a, b| a.id < b.id)
    }

    /// The member of that name.
    #[must_use]
    pub fn member(&self, name: &MemberName) -> Option<&Member> {
        self.members.iter().find(|member| member.name == *name)
    }

    /// The member with that number.
    #[must_use]
    pub fn by_id(&self, id: MemberId) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&id, |member| member.id).ok()?;
        self.members.get(at)
    }

    /// Whether just that start of that member is in it.
    #[must_use]
    pub fn holds(&self, id: MemberId, incarnation: Incarnation) -> bool {
        self.by_id(id).is_some_and(|member| member.incarnation == incarnation)
    }

    /// What the farm setting of `member` comes to in this view (S23). Where the view does not hold it
    /// (it has not been admitted yet, say), the others are those that it would find.
    #[must_use]
    pub fn farm(&self, member: &Member) -> Farm {
        let is_available =
            |other: &Member| other.id != member.id && is_available_in_farm(&other.profile);
        let around = match self.members.iter().any(is_available) {
            true => Surroundings::Farm,
            false => Surroundings::NoFarm,
        };
        member.profile.farm.effective(member.profile.role, around)
    }

    /// Those whose farm setting comes to `Member` (S25), draining ones among them: they are asked for
    /// what is theirs.
    pub fn farm_members(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.profile.farm.is_member(member.profile.role))
    }

    /// Those that create call legs and tasks for others and do not drain (S16).
    pub fn creates_call_legs(&self) -> impl Iterator<Item = &Member> {
        self.creating(|profile| profile.call_legs)
    }

    /// Those that create Signals for others and do not drain (S16, S19).
    pub fn creates_signals(&self) -> impl Iterator<Item = &Member> {
        self.creating(|profile| profile.signals)
    }

    fn creating(
        &self,
        setting: impl Fn(&Profile) -> PlacementSetting,
    ) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| {
            let placement = setting(&member.profile).effective(member.profile.role, true);
            placement == Placement::LocallyForOthers && !member.profile.draining
        })
    }
}

/// S23, S22: alive is who is in a view.
fn is_available_in_farm(profile: &Profile) -> bool {
    profile.farm.is_member(profile.role) && !profile.draining
}
