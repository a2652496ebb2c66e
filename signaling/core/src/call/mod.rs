//! Calls as far as a Media Proxy needs to know them: who the two parties are, which dialogs the
//! INVITE has created, and which relay sessions carry their media.

pub mod addresses;
pub mod dialog;
pub mod ids;
pub mod media;
pub(crate) mod refusal;
pub mod session_timer;

use std::time::{Duration, Instant};

use relay_core::api::{Leg, SessionId, SessionReport};
use smallvec::SmallVec;

use crate::proxy::output::{CallEnd, CallRecord};
use crate::table::Key;
use crate::timer::TimerId;
use crate::transport::Target;

pub use addresses::{Family, LearningPolicy, MediaAddresses, Place, Unserved};
pub use dialog::Dialog;
pub use ids::{Owner, SessionIds};
pub use media::{MediaSession, OfferAnswerError, OfferId};
pub use session_timer::SessionTimers;

/// Names a call for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId(pub Key);

/// Most dialogs that one branch may create by forking further down. Further early ones share the media
/// of the branch but are not told apart; one that is confirmed takes the place of one that is not.
pub const DIALOGS_PER_BRANCH_MAX: usize = 8;

/// What logs call a call: its Call-ID without the host, which is often the address of the phone that
/// made it. Users' addresses are personal data and appear at DEBUG only.
#[must_use]
pub fn log_name(call_id: &str) -> &str {
    call_id.split_once('@').map_or(call_id, |(word, _)| word)
}

/// How one party of a call is reached.
#[derive(Clone, Copy, Debug)]
pub struct Party {
    /// The way that its messages come and go.
    pub flow: Target,
    /// Nothing stands between it and this node.
    pub adjacent: bool,
    /// Its Contact cannot be reached as written: it is behind NAT, or its connection is the only
    /// way to it. Requests for it use the flow.
    pub pinned_to_flow: bool,
}

/// One target that the INVITE went to.
#[derive(Debug)]
pub struct CallBranch {
    /// The callee.
    pub party: Party,
    /// Its media; `None` where no description has been seen, or once it has been released. By itself,
    /// since calls whose media is not relayed have none.
    pub media: Option<Box<MediaSession>>,
    /// Its dialogs.
    pub dialogs: SmallVec<[Dialog; 1]>,
    /// The offer that a response has carried and a PRACK or ACK answers (RFC 3264, late offer).
    pub late_offer: Option<LateOffer>,
}

/// An offer in a response to an INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LateOffer {
    /// Its name in its session.
    pub offer: OfferId,
    /// The CSeq number of the INVITE, and of the ACK that answers.
    pub cseq: u32,
}

impl CallBranch {
    /// A branch towards `party`, without media and dialogs yet.
    #[must_use]
    pub fn new(party: Party) -> Self {
        CallBranch { party, media: None, dialogs: SmallVec::new(), late_offer: None }
    }

    /// Notes that the callee has answered under `tag`; `confirmed` for a 2xx.
    pub fn note_dialog(&mut self, tag: &str, confirmed: bool) {
        if let Some(dialog) = self.dialogs.iter_mut().find(|d| &*d.tag == tag) {
            // A dialog that was given up while it was early and is confirmed after all is up.
            dialog.over &= dialog.confirmed || !confirmed;
            dialog.confirmed |= confirmed;
            return;
        }
        let dialog = Dialog::new(tag, confirmed);
        if self.dialogs.len() < DIALOGS_PER_BRANCH_MAX {
            self.dialogs.push(dialog);
        } else if confirmed && let Some(early) = self.dialogs.iter_mut().find(|d| !d.confirmed) {
            *early = dialog;
        }
    }

    /// Whether a confirmed dialog of this branch is still up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.dialogs.iter().any(Dialog::is_up)
    }

    /// The dialog with the callee's `tag`.
    pub fn dialog_mut(&mut self, tag: &str) -> Option<&mut Dialog> {
        self.dialogs.iter_mut().find(|dialog| &*dialog.tag == tag)
    }
}

/// One call: an INVITE that was accepted for forwarding, and everything that came of it.
#[derive(Debug)]
pub struct Call {
    /// The SIP Call-ID.
    pub sip_call_id: Box<str>,
    /// The caller's From tag.
    pub caller_tag: Box<str>,
    /// The caller.
    pub caller: Party,
    /// The targets.
    pub branches: SmallVec<[CallBranch; 1]>,
    /// From and To as the call record shows them.
    pub parties: [Box<str>; 2],
    /// When the INVITE came.
    pub started: Instant,
    /// When the first 2xx was forwarded.
    pub answered: Option<Instant>,
    /// From the INVITE to its final response.
    pub setup: Option<Duration>,
    /// Ends the call whatever happens; after the end, bounds the wait for the relay's reports.
    pub timer: Option<TimerId>,
    /// Why and when it ended, once it has.
    pub ended: Option<(CallEnd, Instant)>,
    /// The INVITE has no final response yet.
    pub inviting: bool,
    /// The INVITE as it is being proxied; it may be forgotten before the call.
    pub context: Option<Key>,
    /// Relay sessions whose report has not come yet.
    pub sessions: SmallVec<[SessionId; 1]>,
    /// The reports of those that have ended.
    pub reports: Vec<SessionReport>,
}

impl Call {
    /// The leg that a message with this From tag and To tag was sent by, and the branch that it
    /// belongs to. `None`: the tags are not of this call.
    #[must_use]
    pub fn sender(&self, from_tag: &str, to_tag: &str) -> Option<(Leg, usize)> {
        if from_tag == &*self.caller_tag {
            return Some((Leg::Caller, self.branch_of(to_tag)?));
        }
        if to_tag == &*self.caller_tag {
            return Some((Leg::Callee, self.branch_of(from_tag)?));
        }
        None
    }

    fn branch_of(&self, callee_tag: &str) -> Option<usize> {
        self.branches.iter().position(|b| b.dialogs.iter().any(|d| &*d.tag == callee_tag))
    }

    /// The party on `leg`, for the given branch.
    #[must_use]
    pub fn party(&self, leg: Leg, branch: usize) -> Option<&Party> {
        match leg {
            Leg::Caller => Some(&self.caller),
            Leg::Callee => self.branches.get(branch).map(|b| &b.party),
        }
    }

    /// The party on `leg`, for the given branch, to be changed.
    pub fn party_mut(&mut self, leg: Leg, branch: usize) -> Option<&mut Party> {
        match leg {
            Leg::Caller => Some(&mut self.caller),
            Leg::Callee => self.branches.get_mut(branch).map(|b| &mut b.party),
        }
    }

    /// Whether any confirmed dialog is still up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.branches.iter().any(CallBranch::is_up)
    }

    /// When the first session of a dialog that is up expires (RFC 4028).
    #[must_use]
    pub fn session_end(&self) -> Option<Instant> {
        let dialogs = self.branches.iter().flat_map(|branch| &branch.dialogs);
        dialogs.filter(|dialog| dialog.is_up()).filter_map(|dialog| dialog.expires).min()
    }

    /// What is written down of a call that has ended.
    #[must_use]
    pub fn record(&mut self, end: CallEnd, ended: Instant) -> CallRecord {
        CallRecord {
            call_id: self.sip_call_id.to_string(),
            from: self.parties[0].to_string(),
            to: self.parties[1].to_string(),
            end,
            setup: self.setup,
            duration: self
                .answered
                .map_or(Duration::ZERO, |at| ended.saturating_duration_since(at)),
            media: std::mem::take(&mut self.reports),
        }
    }
}
