//! Calls that stand while something happens to the cluster.

use std::net::SocketAddr;

use crate::member::{Cluster, logs};
use crate::phone::{Call, Phone};

/// A call that stands, with both phones.
pub(crate) struct Standing {
    caller: Phone,
    callee: Phone,
    outgoing: Call,
    incoming: Call,
}

impl Standing {
    pub(crate) fn begin(cluster: &Cluster, members: &[SocketAddr], number: u64) -> Standing {
        let mut callee = Phone::new(&format!("sb{number}"), 1_000 + 2 * number);
        assert_eq!(callee.register(members), 200, "{}", logs(cluster));
        let mut caller = Phone::new(&format!("sa{number}"), 1_001 + 2 * number);
        let (outgoing, incoming) = caller
            .call(members, &mut callee)
            .unwrap_or_else(|status| panic!("call {number}: {status}\n{}", logs(cluster)));
        Standing { caller, callee, outgoing, incoming }
    }

    /// What each side's request within it is answered.
    pub(crate) fn ask(&mut self, members: &[SocketAddr]) -> [u16; 2] {
        let Standing { caller, callee, outgoing, incoming } = self;
        [
            caller.ask_within(members, outgoing, "INFO", callee),
            callee.ask_within(members, incoming, "INFO", caller),
        ]
    }

    pub(crate) fn end(&mut self, members: &[SocketAddr]) -> u16 {
        self.caller.hang_up(members, &mut self.outgoing, &mut self.callee)
    }
}
