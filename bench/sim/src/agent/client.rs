//! Client transactions of an agent: made apart from the core's, so that one judges the other.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use signaling_core::wire::{Message, Method, RequestBuilder};

use super::{Cx, Timer};
use crate::CallNo;

pub(super) const T1: Duration = Duration::from_millis(500);
pub(super) const T2: Duration = Duration::from_secs(4);
/// 64*T1.
pub(super) const GIVE_UP: Duration = Duration::from_secs(32);

/// How long an INVITE rings at most: longer than any proxy lets it (timer C and what follows), so that
/// only a final response that was lost for good is given up.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Register,
    Invite(CallNo),
    Reinvite(CallNo),
    Bye(CallNo),
    /// Ends a dialog that the agent does not keep.
    StrayBye,
    Cancel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has come.
    Calling,
    /// A provisional response has come.
    Proceeding,
    /// A failure, or the final response of a request other than INVITE.
    Completed,
    /// A 2xx to an INVITE.
    Accepted,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) request: Message,
    pub(super) purpose: Purpose,
    to: SocketAddr,
    phase: Phase,
    interval: Duration,
    gives_up: Option<Instant>,
    /// Sent again when a final response is repeated: by the To tag that it is for.
    acks: BTreeMap<String, (SocketAddr, Bytes)>,
    /// Tells a timer that was replaced.
    generation: u32,
    reliable: bool,
}

impl Client {
    fn is_invite(&self) -> bool {
        *self.request.method() == Method::Invite
    }
}

/// What a response means to its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Provisional,
    /// For the first time under this tag.
    Final,
    /// Seen before, or of no interest any more.
    Old,
}

#[derive(Debug, Default)]
pub(super) struct Clients {
    table: BTreeMap<u64, Client>,
    next: u64,
}

impl Clients {
    /// A branch for the next request, with which its responses are found.
    pub(super) fn next_branch(&mut self, agent: usize) -> String {
        self.next += 1;
        format!("z9hG4bKa{agent}x{}", self.next)
    }

    pub(super) fn get(&self, id: u64) -> Option<&Client> {
        self.table.get(&id)
    }

    /// Sends a request whose branch is the last one made.
    pub(super) fn send(
        &mut self,
        cx: &mut Cx<'_>,
        request: Message,
        to: SocketAddr,
        reliable: bool,
        purpose: Purpose,
    ) -> u64 {
        let id = self.next;
        cx.send(to, request.raw().clone());
        let client = Client {
            request,
            purpose,
            to,
            phase: Phase::Calling,
            interval: T1,
            gives_up: Some(cx.now + GIVE_UP),
            acks: BTreeMap::new(),
            generation: 0,
            reliable,
        };
        self.table.insert(id, client);
        self.arm(cx, id);
        id
    }

    fn arm(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(client) = self.table.get_mut(&id) else { return };
        client.generation += 1;
        let timer = Timer::Client { id, generation: client.generation };
        let repeats = !client.reliable
            && (client.phase == Phase::Calling
                || client.phase == Phase::Proceeding && !client.is_invite());
        let next = repeats.then(|| cx.now + client.interval);
        if let Some(at) = [next, client.gives_up].into_iter().flatten().min() {
            cx.wake(at, timer);
        }
    }

    /// Repeats the request or gives up; what was given up.
    pub(super) fn handle_timer(
        &mut self,
        cx: &mut Cx<'_>,
        id: u64,
        generation: u32,
    ) -> Option<Purpose> {
        let client = self.table.get_mut(&id).filter(|c| c.generation == generation)?;
        if matches!(client.phase, Phase::Completed | Phase::Accepted) {
            return None;
        }
        if client.gives_up.is_some_and(|at| at <= cx.now) {
            client.phase = Phase::Completed;
            return Some(client.purpose);
        }
        cx.send(client.to, client.request.raw().clone());
        client.interval *= 2;
        if !client.is_invite() {
            client.interval = client.interval.min(T2);
        }
        self.arm(cx, id);
        None
    }

    /// The connection has gone: what was sent on it may be lost, and so may what it would have
    /// brought. What is not answered on another one is given up.
    pub(super) fn connection_lost(&mut self, cx: &mut Cx<'_>) {
        let open = |c: &Client| matches!(c.phase, Phase::Calling | Phase::Proceeding);
        let ids: Vec<u64> = self.table.iter().filter(|(_, c)| open(c)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(client) = self.table.get_mut(&id) {
                let latest = cx.now + GIVE_UP;
                client.gives_up = Some(client.gives_up.map_or(latest, |at| at.min(latest)));
            }
            self.arm(cx, id);
        }
    }

    /// The transaction that a response is for, by its branch.
    pub(super) fn find(&self, response: &Message) -> Option<u64> {
        let branch = response.top_via().branch()?.to_owned();
        let id = branch.rsplit_once('x')?.1.parse().ok()?;
        self.table.contains_key(&id).then_some(id)
    }

    pub(super) fn hear(&mut self, cx: &mut Cx<'_>, id: u64, response: &Message) -> Heard {
        let status = response.status().unwrap_or_default();
        let Some(client) = self.table.get_mut(&id) else { return Heard::Old };
        if response.method() != client.request.method() {
            return Heard::Old;
        }
        if status < 200 {
            return self.hear_provisional(cx, id);
        }
        let tag = response.to().tag().unwrap_or_default();
        if let Some((to, ack)) = client.acks.get(tag) {
            cx.send(*to, ack.clone());
            return Heard::Old;
        }
        match client.phase {
            Phase::Calling | Phase::Proceeding => {}
            Phase::Completed => return Heard::Old,
            // Another fork has answered, too.
            Phase::Accepted if status < 300 => return Heard::Final,
            Phase::Accepted => return Heard::Old,
        }
        if !client.is_invite() {
            client.phase = Phase::Completed;
        } else if status < 300 {
            client.phase = Phase::Accepted;
        } else {
            client.phase = Phase::Completed;
            let ack = RequestBuilder::ack(&client.request, response).finish();
            client.acks.insert(tag.to_owned(), (client.to, ack.clone()));
            cx.send(client.to, ack);
        }
        Heard::Final
    }

    fn hear_provisional(&mut self, cx: &mut Cx<'_>, id: u64) -> Heard {
        let Some(client) = self.table.get_mut(&id) else { return Heard::Old };
        match client.phase {
            Phase::Calling => {
                client.phase = Phase::Proceeding;
                if client.is_invite() {
                    client.gives_up = Some(cx.now + PATIENCE);
                } else {
                    client.interval = T2;
                }
                self.arm(cx, id);
                Heard::Provisional
            }
            Phase::Proceeding => Heard::Provisional,
            Phase::Completed | Phase::Accepted => Heard::Old,
        }
    }

    /// Sends the ACK for a 2xx, now and whenever that comes again.
    pub(super) fn acknowledge(
        &mut self,
        cx: &mut Cx<'_>,
        id: u64,
        tag: &str,
        to: SocketAddr,
        ack: Bytes,
    ) {
        cx.send(to, ack.clone());
        if let Some(client) = self.table.get_mut(&id) {
            client.acks.insert(tag.to_owned(), (to, ack));
        }
    }

    /// Whether an INVITE may be cancelled now (RFC 3261 9.1).
    pub(super) fn may_cancel(&self, id: u64) -> bool {
        self.table.get(&id).is_some_and(|c| c.phase == Phase::Proceeding)
    }

    /// The CANCEL for an INVITE, which waits for its final response no longer than 64*T1 from now.
    pub(super) fn cancel(&mut self, cx: &mut Cx<'_>, id: u64) {
        let Some(client) = self.table.get_mut(&id) else { return };
        client.gives_up = Some(cx.now + GIVE_UP);
        let cancel = RequestBuilder::cancel(&client.request).finish_message();
        let (to, reliable) = (client.to, client.reliable);
        self.arm(cx, id);
        let Ok(cancel) = cancel else { return };
        // The CANCEL has the branch of the INVITE: its responses find the INVITE and are told apart
        // by their method.
        self.next += 1;
        self.send(cx, cancel, to, reliable, Purpose::Cancel);
    }

    /// The CANCEL that a response with the branch of an INVITE may be for.
    pub(super) fn cancel_answered(&mut self, response: &Message) {
        if *response.method() != Method::Cancel {
            return;
        }
        let cancel = self.table.values_mut().find(|c| {
            c.purpose == Purpose::Cancel
                && c.request.top_via().branch() == response.top_via().branch()
        });
        if let Some(cancel) = cancel {
            cancel.phase = Phase::Completed;
        }
    }
}
