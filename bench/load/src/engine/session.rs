//! What is known of one call.

use std::sync::Arc;
use std::time::Instant;

use rsip::Request;

use crate::engine::outcome::Failure;
use crate::ids::Side;
use crate::media::flow::Remote;
use crate::sip::dialog::Dialog;
use crate::sip::hop::Hop;

/// An INVITE that waits for its final answer.
#[derive(Debug)]
pub(crate) struct Inviting {
    pub(crate) started: Instant,
    /// The branch of the current attempt.
    pub(crate) branch: Arc<str>,
    pub(crate) cseq: u32,
    /// Challenges answered so far.
    pub(crate) challenges: u32,
    /// The last provisional answer.
    pub(crate) provisional: Option<u16>,
    /// Whether the ringing was timed.
    pub(crate) rang: bool,
    /// The caller has given up: cancel as soon as that is allowed (RFC 3261 9.1).
    pub(crate) give_up: bool,
    pub(crate) cancelled: bool,
}

/// The caller's side of a call.
#[derive(Debug)]
pub(crate) enum Caller {
    /// Its turn has not come.
    Waiting,
    /// The INVITE is out.
    Inviting(Box<Inviting>),
    /// The 2xx came and was acknowledged.
    Up(Box<Dialog>),
    /// It is over for the caller.
    Gone,
}

/// The callee's side of a call.
#[derive(Debug)]
pub(crate) enum Callee {
    /// No INVITE has come.
    Idle,
    /// It came and is not answered yet: its transaction, itself and where it came from.
    Ringing(Arc<str>, Box<Request>, Hop),
    /// The 2xx went out and waits for its ACK.
    Answered(Arc<str>, Box<Dialog>),
    /// The ACK came.
    Up(Box<Dialog>),
    /// It is over for the callee.
    Gone,
}

/// How far the end of a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hangup {
    /// Not begun.
    No,
    /// A BYE is out.
    Begun,
    /// The BYE has had its final answer, or never will.
    Over,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was up until it was to end.
    Answered,
    /// It was not.
    Failed(Failure),
}

/// One call.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) caller: Caller,
    pub(crate) callee: Callee,
    /// The ACK of the 2xx and where it went, for when the 2xx comes again.
    pub(crate) ack: Option<(Vec<u8>, Hop)>,
    /// Where each side sends its media, once it knows.
    pub(crate) remotes: [Option<[Option<Remote>; 2]>; 2],
    /// Both sides were up, so media was started.
    pub(crate) up: bool,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) hangup: Hangup,
    /// It was up, and did not end as planned.
    pub(crate) hangup_failed: bool,
    /// A BYE was received, by either side.
    pub(crate) bye_received: bool,
    pub(crate) bye_challenges: u32,
    /// A BYE had to be sent twice, because the connection was lost on which its answer was to come.
    pub(crate) bye_repeats: bool,
}

impl Session {
    pub(crate) const fn new() -> Session {
        Session {
            caller: Caller::Waiting,
            callee: Callee::Idle,
            ack: None,
            remotes: [None, None],
            up: false,
            outcome: None,
            hangup: Hangup::No,
            hangup_failed: false,
            bye_received: false,
            bye_challenges: 0,
            bye_repeats: false,
        }
    }

    /// Neither a call to come nor one under way.
    pub(crate) fn is_over(&self) -> bool {
        self.outcome.is_some() && self.hangup != Hangup::Begun
    }

    /// Whether it failed, or did not end as planned.
    pub(crate) fn has_suffered(&self) -> bool {
        self.hangup_failed || matches!(self.outcome, Some(Outcome::Failed(_)))
    }

    /// The dialog of `side`, if it is up.
    pub(crate) fn dialog_mut(&mut self, side: Side) -> Option<&mut Dialog> {
        match side {
            Side::Caller => match &mut self.caller {
                Caller::Up(dialog) => Some(dialog),
                Caller::Waiting | Caller::Inviting(_) | Caller::Gone => None,
            },
            Side::Callee => match &mut self.callee {
                Callee::Up(dialog) | Callee::Answered(_, dialog) => Some(dialog),
                Callee::Idle | Callee::Ringing(..) | Callee::Gone => None,
            },
        }
    }

    /// Ends `side`'s part.
    pub(crate) fn leave(&mut self, side: Side) {
        match side {
            Side::Caller => self.caller = Caller::Gone,
            Side::Callee => self.callee = Callee::Gone,
        }
    }
}
