//! What the signaling thread counts and hands over once each time round.

use std::time::Duration;

use signaling_core::events::Package;
use signaling_core::guard::Rule;
use signaling_core::overload::{Overload, Reason};
use signaling_core::proxy::Load;
use signaling_core::proxy::output::CallEnd;
use signaling_core::transaction;
use signaling_core::wire::Defect;

use crate::node::farm::FarmFigures;
use crate::node::strain::Strain;

/// A snapshot of the signaling side. Small and plain: it is copied under a lock that is held for
/// nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) load: Load,
    pub(crate) net: signaling_net::Counters,
    pub(crate) transactions: transaction::Counters,
    pub(crate) registrations: usize,
    /// Subscriptions, by the place in [`Package::ALL`].
    pub(crate) subscriptions: [usize; Package::ALL.len()],
    pub(crate) publications: usize,
    pub(crate) tally: Tally,
    /// By the place in [`Rule::ALL`].
    pub(crate) guard: [u64; Rule::ALL.len()],
    pub(crate) overload: OverloadFigures,
    /// The node takes nothing new and has nothing left to do.
    pub(crate) drained: bool,
    /// `None`: this node is no member.
    pub(crate) farm: Option<FarmFigures>,
}

/// What is refused for load, and how much of it there is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OverloadFigures {
    /// By the place in [`Reason::ALL`].
    pub(crate) refused: [u64; Reason::ALL.len()],
    pub(crate) unanswered: u64,
    pub(crate) emergencies: u64,
    /// Of new requests, 0 to 1.
    pub(crate) share: f64,
    pub(crate) lag: Duration,
    pub(crate) lost: u64,
}

impl OverloadFigures {
    pub(crate) fn of(overload: &Overload, strain: &Strain) -> OverloadFigures {
        OverloadFigures {
            refused: overload.refused(),
            unanswered: overload.unanswered(),
            emergencies: overload.emergencies(),
            share: overload.share(),
            lag: strain.lag(),
            lost: strain.lost(),
        }
    }
}

/// What the event loop itself counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// By the place in [`CallEnd::KINDS`].
    pub(crate) ends: [u64; CallEnd::KINDS.len()],
    /// By the place in [`Defect::KINDS`].
    pub(crate) malformed: [u64; Defect::KINDS.len()],
    /// Responses sent, 1xx to 6xx, repetitions included.
    pub(crate) responses: [u64; 6],
}

impl Tally {
    pub(crate) fn ended(&mut self, end: CallEnd) {
        count(&CallEnd::KINDS, &mut self.ends, end.kind());
    }

    pub(crate) fn malformed(&mut self, kind: &str) {
        count(&Defect::KINDS, &mut self.malformed, kind);
    }

    /// A message goes out.
    pub(crate) fn sent(&mut self, message: &[u8]) {
        if let Some(&class @ b'1'..=b'6') =
            message.strip_prefix(b"SIP/2.0 ").and_then(|m| m.first())
        {
            self.responses[usize::from(class - b'1')] += 1;
        }
    }
}

fn count(kinds: &[&str], counts: &mut [u64], kind: &str) {
    if let Some((_, count)) = kinds.iter().zip(counts).find(|(name, _)| **name == kind) {
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_counted_by_class_and_requests_are_not() {
        let mut tally = Tally::default();
        for message in ["SIP/2.0 200 OK", "SIP/2.0 180 Ringing", "BYE sip:a SIP/2.0", "SIP/2.0 9"] {
            tally.sent(message.as_bytes());
        }
        assert_eq!(tally.responses, [1, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn every_kind_of_end_and_defect_has_a_counter() {
        let mut tally = Tally::default();
        tally.ended(CallEnd::Refused(486));
        tally.ended(CallEnd::NodeStopped);
        assert_eq!(tally.ends, [0, 0, 1, 0, 0, 0, 0, 0, 1]);
        tally.malformed(Defect::BodyShort.kind());
        assert_eq!(tally.malformed, [0, 0, 1, 0, 0, 0]);
    }
}
