//! Requests that are too large for UDP go over TCP, where nobody has asked for UDP (RFC 3261 18.1.1).
//!
//! The next hop may know no TCP: a connection that cannot be opened takes the request back to UDP, and
//! further ones to that hop go over UDP at once for a while. What goes to the flow of a phone behind NAT
//! stays there: nothing else reaches it.

use std::time::{Duration, Instant};

use super::Proxy;
use crate::resolve::{Hop, Standing};
use crate::table::Key;
use crate::transport::{Target, Transport};
use crate::wire::{HeaderName, Message};

/// How long a hop is spared TCP that did not take it. A phone that knows none will not learn it soon, and
/// behind a firewall that drops what it does not know each try costs its caller the time to connect.
const WITHOUT_TCP: Duration = Duration::from_secs(600);

/// A request that has been sent over TCP for its size alone.
#[derive(Debug)]
pub(super) struct Detour {
    /// As it was to go over UDP.
    request: Message,
    tcp: Target,
}

pub(super) fn over_tcp(tcp: &Target) -> Hop {
    Hop { address: tcp.remote, transport: tcp.transport, server_name: None }
}

impl Proxy {
    /// Where and as what a branch's request is sent that was to go to `target`.
    pub(super) fn sized(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        request: Message,
        target: Target,
    ) -> (Message, Target) {
        if target.transport != Transport::Udp || request.raw().len() <= self.config.udp_bytes_max {
            return (request, target);
        }
        let may = self.branch_mut(key, index).is_some_and(|branch| branch.any_transport);
        let tcp = may.then(|| self.addresses.beside(&self.config, &target, Transport::Tcp));
        let Some(tcp) = tcp.flatten() else { return (request, target) };
        if self.resting.standing(now, &over_tcp(&tcp)) != Standing::Good {
            return (request, target);
        }
        let Some(large) = self.with_via_of(&request, &tcp) else { return (request, target) };
        if let Some(branch) = self.branch_mut(key, index) {
            branch.detour = Some(Box::new(Detour { request, tcp }));
        }
        (large, tcp)
    }

    /// The same with the transport and the address of `target` in our Via. The branch stays: should
    /// both ways lead to the server after all, it takes the second for a repetition.
    fn with_via_of(&self, request: &Message, target: &Target) -> Option<Message> {
        let via = request.top_via();
        let branch = via.branch()?;
        let sent_by = self.sent_by(target, request.call_id());
        let transport = target.transport.via_name();
        let via = format!("SIP/2.0/{transport} {sent_by};branch={branch};rport");
        let mut edit = request.edit();
        edit.replace_value(HeaderName::Via, 0, via);
        edit.finish_message().ok()
    }

    /// A branch's request could not be delivered: one that had gone over TCP for its size goes over UDP
    /// now. `false`: there is no such way back.
    pub(super) fn take_back_to_udp(&mut self, now: Instant, key: Key, index: usize) -> bool {
        let Some(branch) = self.branch_mut(key, index) else { return false };
        let wanted = !branch.heard && !branch.cancel_sent && branch.is_pending();
        let Some(detour) = branch.detour.take().filter(|_| wanted) else { return false };
        let target = branch.target;
        self.resting.note(now, &over_tcp(&detour.tcp), WITHOUT_TCP, false);
        self.put_on_way(now, key, index, detour.request, target);
        true
    }
}
