//! A member of the cluster that is set to `Relay`: what it sends goes out through farm members (S22).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::Proxy;
use super::addresses::advertised;
use super::config::Listener;
use super::failures::RETRY_AFTER;
use super::farm::{FarmOutput, NO_LISTENER};
use super::inbound::Answer;
use super::output::{Notice, Output};
use crate::farm::membership::{Standing, Whose};
use crate::farm::{Farm, Identity, Member, Mode};
use crate::transport::{ListenerId, Target, Transmit, Transport};
use crate::wire::{HeaderName, Message};

impl Proxy {
    /// Whether this member sends through others.
    pub(super) fn relays(&self) -> bool {
        self.farm.as_ref().is_some_and(|farm| farm.membership.mode() == Mode::Relay)
    }

    /// Another member has this one send a message from its own listeners; `name` is what the server there
    /// has to prove. `false`: no listener of this node reaches it.
    pub fn handle_send_out(
        &mut self,
        transport: Transport,
        remote: SocketAddr,
        name: Option<&Arc<str>>,
        bytes: Bytes,
    ) -> bool {
        let own = self.addresses.target(&self.config, transport, remote, None);
        let Some(own) = own else { return false };
        let name = name.map(|name| self.names.number(name));
        self.transmit(Target { name, ..own }, bytes);
        true
    }

    /// What Via, Record-Route and Contact call this node on the way to `target` in a message with this
    /// Call-ID.
    pub(super) fn sent_by(&self, target: &Target, call_id: &str) -> SocketAddr {
        let exit = self.farm.as_deref().filter(|farm| farm.membership.mode() == Mode::Relay);
        let exit = exit
            .filter(|_| target.connection.is_none())
            .and_then(|farm| exit_of(farm, target, call_id));
        exit.and_then(|exit| exit.address(target.transport, target.remote.is_ipv4()))
            .unwrap_or_else(|| self.known_as(target.transport, target.listener, target.local))
    }

    /// What peers whose messages come to `local` know this node by.
    pub(super) fn known_as(
        &self,
        transport: Transport,
        listener: ListenerId,
        local: SocketAddr,
    ) -> SocketAddr {
        let of_other = || self.known_as_other(transport, local);
        let of_other = (listener == NO_LISTENER).then(of_other).flatten();
        of_other.unwrap_or_else(|| advertised(&self.config, listener, local))
    }

    /// What peers are told whose connection is at `local`, which another member has: a name that this node
    /// and that member have in common, a balancer's, for listeners like that one (S33).
    fn known_as_other(&self, transport: Transport, local: SocketAddr) -> Option<SocketAddr> {
        let membership = &self.farm.as_deref()?.membership;
        let Some(Whose::Of(id)) = membership.whose(local) else { return None };
        let owner = membership.member(id)?;
        let is_like = |listener: &&Listener| {
            let bound = listener.bound;
            listener.transport == transport
                && bound.is_ipv4() == local.is_ipv4()
                && bound.port() == local.port()
        };
        let like = self.config.listeners.iter().filter(is_like);
        like.filter_map(|listener| listener.advertised).find(|address| owner.has(*address))
    }

    /// Whether a request can leave this node.
    ///
    /// # Errors
    /// 503 if farm members are to send it and there is none.
    pub(super) fn check_exit(&mut self) -> Result<(), Answer> {
        let Some(farm) = self.farm.as_deref_mut() else { return Ok(()) };
        if !farm.membership.has_no_exit() {
            return Ok(());
        }
        farm.counters.no_exit += 1;
        self.notice(Notice::NoExit);
        Err(Answer::new(503, "No Farm Member To Send Through")
            .with(HeaderName::RetryAfter, RETRY_AFTER))
    }

    /// How a message leaves this node, which sends through others. A response to what came to this node's
    /// own sockets leaves from there, and what is for a connection goes to whoever has it.
    pub(super) fn sent_out(&mut self, transmit: Transmit) -> Output {
        let target = transmit.target;
        let is_direct = transmit.bytes.starts_with(b"SIP/2.0 ") && target.listener != NO_LISTENER;
        if target.connection.is_some() || is_direct {
            return Output::Transmit(transmit);
        }
        let Some(farm) = self.farm.as_deref() else { return Output::Transmit(transmit) };
        let message = Message::parse_datagram(transmit.bytes.clone());
        let call_id = message.as_ref().map_or("", Message::call_id);
        match exit_of(farm, &target, call_id).map(|exit| exit.identity) {
            Some(by) => Output::Farm(Box::new(FarmOutput::SendOut { by, transmit })),
            None => Output::Transmit(self.by_itself(transmit)),
        }
    }

    /// Nobody sends it for this node: by a listener of its own where it came by another's.
    fn by_itself(&mut self, mut transmit: Transmit) -> Transmit {
        let Target { transport, listener, remote, .. } = transmit.target;
        if listener == NO_LISTENER
            && let Some(own) = self.addresses.target(&self.config, transport, remote, None)
        {
            transmit.target =
                Target { listener: own.listener, local: own.local, ..transmit.target };
        }
        transmit
    }
}

/// The farm member that sends to `target`: the one whose own address it came by, which a NAT device lets
/// through, else that of the Call-ID.
fn exit_of<'f>(farm: &'f Farm, target: &Target, call_id: &str) -> Option<&'f Member> {
    let membership = &farm.membership;
    let reachable = |identity: Identity| membership.standing(identity) == Standing::Reachable;
    if target.listener == NO_LISTENER
        && let Some(Whose::Of(id)) = membership.whose(target.local)
        && let Some(member) = membership.member(id).filter(|member| reachable(member.identity))
    {
        return Some(member);
    }
    let taker = membership.taker(farm.spread.of_call(call_id))?;
    membership.member(taker.member)
}
