//! What is counted of the farm.

use signaling_core::farm::{Counters, Farm, Mode, Why};

/// What the signaling thread counts of the farm, and how it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FarmFigures {
    /// Messages given to other members, in the order of [`Why::ALL`].
    pub(crate) relayed_out: [u64; Why::ALL.len()],
    /// Messages that came from other members, in the same order.
    pub(crate) relayed_in: [u64; Why::ALL.len()],
    /// Messages that could not be given to a member, for want of a connection to it or of room.
    pub(crate) relay_failed: u64,
    /// Messages written to connections of other members.
    pub(crate) written_out: u64,
    /// Messages of other members written to connections of this one.
    pub(crate) written_in: u64,
    /// Messages that farm members send for this one (S22), and this one for others.
    pub(crate) sent_out: u64,
    /// See [`FarmFigures::sent_out`].
    pub(crate) sent_for: u64,
    /// Messages that another member could not write.
    pub(crate) undelivered: u64,
    /// Changes of registrations told to the others.
    pub(crate) replicas_out: u64,
    /// Users whose registrations were taken over from others.
    pub(crate) replicas_in: u64,
    /// Full copies of registrations taken from others.
    pub(crate) copies: u64,
    /// What this member does with what is new.
    pub(crate) mode: Mode,
    /// Whether it takes nothing new.
    pub(crate) draining: bool,
    /// Whether it has just come, and takes nothing new yet.
    pub(crate) joining: bool,
    /// Whether it sees fewer than half of the farm.
    pub(crate) minority: bool,
    /// Whether it is to send through farm members and none is there (S22).
    pub(crate) no_exit: bool,
    /// What the router has decided.
    pub(crate) counters: Counters,
}

/// The place of a reason in [`FarmFigures::relayed_out`].
pub(super) fn place(why: Why) -> usize {
    Why::ALL.iter().position(|other| *other == why).unwrap_or_default()
}

impl FarmFigures {
    /// With how the member stands now.
    pub(super) fn standing(self, farm: Option<&Farm>) -> FarmFigures {
        let Some(Farm { membership, counters, .. }) = farm else { return self };
        FarmFigures {
            mode: membership.mode(),
            draining: membership.is_draining(),
            joining: membership.is_joining(),
            minority: membership.is_minority(),
            no_exit: membership.has_no_exit(),
            counters: *counters,
            ..self
        }
    }
}
