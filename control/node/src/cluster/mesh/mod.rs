//! The member mesh: one TLS connection between each two members of the cluster.
//!
//! It has a thread of its own, which makes connections, says that this member lives, and notices when others
//! do not. Once a connection is in use, the signaling thread reads and writes it in its own turns ([`Pump`]):
//! a relayed message then costs no wake-up of anybody else. Whoever else sends leaves an encoded frame in its
//! peer's bounded queue and goes on; the mesh's thread writes it, waits where the system takes no more, and
//! reads where the signaling thread is too busy to. What comes is left in one of two [`Inbox`]es: SIP and
//! registrations for the signaling thread, views, events and requests for whoever keeps the membership; how
//! peers do is told to both.
//!
//! A peer that reads slowly, stands still or is gone costs its own queue and nobody else anything. Frames
//! of one member arrive in their order, or the connection ends ([`inbox::MeshEvent::PeerUp`] says when what both
//! have in common is to be compared); only messages of SIP are dropped by themselves where there is too
//! much, as a network does.

mod accept;
mod dial;
mod figures;
mod greet;
mod inbox;
mod link;
pub(crate) mod metrics;
mod outgoing;
mod peer;
mod pipe;
mod pump;
mod reading;
mod requests;
mod shared;
mod strangers;
mod tls;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use control_core::cluster::{Epoch, Load, Member, MemberId, MemberName, UnixSeconds};
use control_core::mesh::{Body, Frame, Hello, Reply, Request, RequestId};
use tokio::sync::oneshot;

pub(crate) use figures::{MeshFigures, PeerFigures};
pub(crate) use greet::{next, say};
pub(crate) use inbox::{Inbox, MeshEvent, Wake};
pub(crate) use outgoing::SendError;
pub(crate) use pump::Pump;
pub(crate) use requests::Pending;
use shared::{Parts, Shared};
use tls::Tls;
pub(crate) use tls::{JOINING, host, provider, trust};

use super::keys::{Keys, Tokens};

/// How long goodbyes may take at the end.
const STOP_WITHIN: Duration = Duration::from_secs(1);

/// What a mesh is started with.
pub(crate) struct Config {
    /// Where other members reach this one.
    pub(crate) listen: SocketAddr,
    /// Who this is, and what it says of itself.
    pub(crate) member: Member,
    /// What it proves itself by.
    pub(crate) keys: Keys,
    /// The tokens that let others in; `None`: this member lets nobody in.
    pub(crate) tokens: Option<Tokens>,
    /// Wakes the signaling thread.
    pub(crate) wake_signaling: Wake,
    /// Wakes whoever keeps the membership.
    pub(crate) wake_control: Wake,
}

/// A running mesh. Dropped without [`Mesh::stop`], it ends without a word.
pub(crate) struct Mesh {
    /// For whoever sends.
    pub(crate) handle: MeshHandle,
    /// For the signaling thread.
    pub(crate) signaling: Inbox,
    /// For whoever keeps the membership.
    pub(crate) control: Inbox,
    /// Where it listens, with the port that the system chose.
    pub(crate) address: SocketAddr,
    thread: thread::JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Mesh {
    /// Starts one.
    ///
    /// # Errors
    /// If the address cannot be bound, or the keys do not fit each other or the member's name.
    pub(crate) fn start(config: Config) -> anyhow::Result<Mesh> {
        let listen = config.listen;
        let listener = TcpListener::bind(listen)
            .with_context(|| format!("cannot listen for other members on {listen}"))?;
        Mesh::start_on(listener, config)
    }

    /// Starts one that listens on this socket, which is that of [`Config::listen`].
    ///
    /// # Errors
    /// If the socket cannot be used, or the keys do not fit each other or the member's name.
    pub(crate) fn start_on(listener: TcpListener, config: Config) -> anyhow::Result<Mesh> {
        let Config { listen: _, member, keys, tokens, wake_signaling, wake_control } = config;
        anyhow::ensure!(
            member.name == keys.identity.name,
            "the keys are those of the member {}, and this is {}",
            keys.identity.name,
            member.name
        );
        let tls = Tls::new(&keys)?;
        listener.set_nonblocking(true).context("cannot listen for other members")?;
        let address = listener.local_addr().context("cannot listen for other members")?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the mesh's runtime")?;
        let (signaling, control) = (Inbox::new(wake_signaling), Inbox::new(wake_control));
        let shared = Arc::new(Shared::new(Parts {
            hello: Hello::new(keys.identity.cluster, member, Load::default()),
            identity: keys.identity,
            tls,
            tokens,
            signaling: signaling.clone(),
            control: control.clone(),
            runtime: runtime.handle().clone(),
        }));
        let handle = MeshHandle { shared: Arc::clone(&shared) };
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("mesh".to_owned()).spawn(move || {
            runtime.block_on(run(shared, listener, stopped));
            runtime.shutdown_timeout(STOP_WITHIN);
        })?;
        Ok(Mesh { handle, signaling, control, address, thread, stop })
    }

    /// Says goodbye to all members and ends.
    pub(crate) fn stop(self) {
        // If it has ended by itself, nobody is there to be told.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            tracing::error!("the mesh's thread has panicked");
        }
    }
}

async fn run(shared: Arc<Shared>, listener: TcpListener, stopped: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("cannot listen for other members: {error}");
            return;
        }
    };
    let accepting = tokio::spawn(accept::accept(Arc::clone(&shared), listener));
    let pulse = tokio::spawn(dial::pulse(Arc::clone(&shared)));
    // An error is a mesh that was dropped without a word, and ends without one.
    let is_told = stopped.await.is_ok();
    shared.is_stopping.store(true, Ordering::Release);
    accepting.abort();
    pulse.abort();
    if !is_told {
        return;
    }
    let end = Instant::now() + STOP_WITHIN;
    while !shared.has_left() && Instant::now() < end {
        // And again those that have come up since.
        shared.leave_all();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Sends to other members. Nothing of it ever waits.
#[derive(Clone)]
pub(crate) struct MeshHandle {
    shared: Arc<Shared>,
}

impl MeshHandle {
    /// Leaves a frame in that member's queue.
    ///
    /// # Errors
    /// If there is no connection to it, or its queue is full. What is not SIP and does not fit ends the
    /// connection, so that both sides know that something is missing.
    pub(crate) fn send(&self, member: MemberId, frame: &Frame) -> Result<(), SendError> {
        self.shared.by_id(member).ok_or(SendError::NotConnected)?.send(frame)
    }

    /// Leaves a frame in each connected member's queue; in how many.
    pub(crate) fn send_all(&self, frame: &Frame) -> usize {
        self.shared.all().iter().filter(|peer| peer.send(frame).is_ok()).count()
    }

    /// Asks that member. Its answer, or why there is none, comes within `deadline` (a minute at most).
    pub(crate) fn request(&self, member: MemberId, body: Bytes, deadline: Duration) -> Pending {
        let Some(peer) = self.shared.by_id(member) else {
            return Pending::failed(SendError::NotConnected.into());
        };
        let (id, deadline_ms, pending) = match peer.requests.begin(Instant::now(), deadline) {
            Ok(begun) => begun,
            Err(error) => return Pending::failed(error),
        };
        let frame = Frame::Request(Request { id, deadline_ms, body: Body(body) });
        if let Err(error) = peer.send(&frame) {
            peer.requests.end(id, Err(error.into()));
        }
        pending
    }

    /// Answers a request of that member; an error is told in words.
    ///
    /// # Errors
    /// As [`MeshHandle::send`].
    pub(crate) fn reply(
        &self,
        member: MemberId,
        id: RequestId,
        answer: Result<Bytes, String>,
    ) -> Result<(), SendError> {
        let is_answered = answer.is_ok();
        let body = Body(answer.unwrap_or_else(Bytes::from));
        self.send(member, &Frame::Reply(Reply { id, is_answered, body }))
    }

    /// The members that there are to be connections to, and where they are reached. Others that connect
    /// by themselves are taken, too, for as long as they are there.
    pub(crate) fn set_peers(&self, wanted: &[(MemberName, SocketAddr)]) {
        let own = self.shared.own();
        for peer in self.shared.all() {
            let is_wanted = wanted.iter().any(|(name, _)| *name == peer.name);
            peer.state().is_wanted = is_wanted;
            peer.changed.notify_one();
        }
        for (name, address) in wanted.iter().filter(|(name, _)| *name != own.member.name) {
            let Some((peer, is_new)) = self.shared.by_name(name) else {
                tracing::error!(member = %name, "is one more than there may be connections to");
                continue;
            };
            {
                let mut state = peer.state();
                state.is_wanted = true;
                state.address = Some(*address);
            }
            if is_new {
                self.shared.runtime.spawn(dial::keep(Arc::clone(&self.shared), peer));
            } else {
                peer.changed.notify_one();
            }
        }
    }

    /// Whose certificates are no good any more, and until when they were issued.
    pub(crate) fn set_barred(&self, barred: BTreeMap<MemberName, UnixSeconds>) {
        self.shared.set_barred(barred);
    }

    /// Whose each number is, as the list of members says. Whoever goes by another's is refused.
    pub(crate) fn set_numbers(&self, listed: impl Iterator<Item = (MemberId, MemberName)>) {
        self.shared.set_numbers(listed.collect());
    }

    /// What this member says of itself from now on. If it is another incarnation (it was taken for dead, and
    /// comes back), all connections begin anew.
    pub(crate) fn set_member(&self, member: Member) {
        let hello = Hello::new(self.shared.identity.cluster, member, self.shared.load());
        let frame = Frame::Hello(Box::new(hello.clone()));
        let who = |hello: &Hello| (hello.member.id, hello.member.incarnation);
        let is_other = who(&self.shared.own()) != who(&hello);
        self.shared.set_own(hello);
        if is_other {
            self.shared.leave_all();
        } else {
            self.send_all(&frame);
        }
    }

    /// What heartbeats say from now on.
    pub(crate) fn set_load(&self, load: Load) {
        self.shared.calls.set(load.calls.into());
        self.shared.cpu_permille.set(load.cpu_permille.into());
    }

    /// The view that this member goes by, for heartbeats.
    pub(crate) fn set_epoch(&self, epoch: Epoch) {
        self.shared.epoch.set(epoch.0);
    }

    /// How all of it does.
    pub(crate) fn figures(&self) -> MeshFigures {
        let totals = &self.shared.totals;
        let mut peers: Vec<PeerFigures> =
            self.shared.all().iter().map(|peer| peer.figures()).collect();
        peers.sort_by(|one, other| one.name.cmp(&other.name));
        MeshFigures {
            peers,
            accepted: totals.accepted.get(),
            turned_away: totals.turned_away.get(),
            handshakes_failed: totals.handshakes_failed.get(),
            malformed: totals.malformed.get(),
            joined: totals.joined.get(),
            join_refused: totals.join_refused.get(),
        }
    }
}
