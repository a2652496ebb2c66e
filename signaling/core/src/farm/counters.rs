//! What the router has decided, counted.

use super::{Decision, Dropped, Refusal, Why};

/// How often the router has decided what, from this node's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// By the place in [`Counters::KINDS`].
    pub decided: [u64; Counters::KINDS.len()],
    /// Requests of this node's that no farm member could send for it: answered 503 (S22).
    pub no_exit: u64,
}

impl Counters {
    /// The decisions, as counters name them.
    pub const KINDS: [&str; 15] = [
        "here",
        "relay_pinned",
        "relay_named",
        "relay_spread",
        "relay_asked",
        "relay_returned",
        "return",
        "refuse_481_owner_gone",
        "refuse_503_owner_unreachable",
        "refuse_503_nobody_takes",
        "ping_200",
        "ping_503",
        "drop_owner_gone",
        "drop_owner_unreachable",
        "drop_nobody_takes",
    ];

    /// Counts one.
    pub const fn note(&mut self, decision: &Decision) {
        self.decided[place(decision)] += 1;
    }
}

const fn place(decision: &Decision) -> usize {
    match decision {
        Decision::Here => 0,
        Decision::Relay { why, .. } => match why {
            Why::Pinned => 1,
            Why::Named => 2,
            Why::Spread => 3,
            Why::Asked => 4,
            Why::Returned => 5,
        },
        Decision::Return => 6,
        Decision::Refuse(Refusal::Gone) => 7,
        Decision::Refuse(Refusal::Unreachable) => 8,
        Decision::Refuse(Refusal::NobodyTakes) => 9,
        Decision::Ping { ready: true } => 10,
        Decision::Ping { ready: false } => 11,
        Decision::Drop(Dropped::Gone) => 12,
        Decision::Drop(Dropped::Unreachable) => 13,
        Decision::Drop(Dropped::NobodyTakes) => 14,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::farm::{Identity, Incarnation, MemberId};

    #[test]
    fn each_decision_is_counted_under_its_name() {
        let to =
            Identity { member: MemberId::new(2).expect("a number"), incarnation: Incarnation(1) };
        for (decision, name) in [
            (Decision::Here, "here"),
            (Decision::Relay { to, why: Why::Pinned }, "relay_pinned"),
            (Decision::Relay { to, why: Why::Returned }, "relay_returned"),
            (Decision::Return, "return"),
            (Decision::Refuse(Refusal::Gone), "refuse_481_owner_gone"),
            (Decision::Refuse(Refusal::NobodyTakes), "refuse_503_nobody_takes"),
            (Decision::Ping { ready: false }, "ping_503"),
            (Decision::Drop(Dropped::NobodyTakes), "drop_nobody_takes"),
        ] {
            let mut counters = Counters::default();
            counters.note(&decision);
            let counted: Vec<_> =
                Counters::KINDS.iter().zip(counters.decided).filter(|(_, n)| *n == 1).collect();
            assert_eq!(counted, [(&name, 1)]);
        }
    }
}
