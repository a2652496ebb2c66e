//! The task of a connection in use: it reads and writes where the signaling thread does not, and does what
//! its end asks for.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control_core::mesh::{Leave, Liveness};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::greet::Ready;
use super::inbox::Waking;
use super::peer::Peer;
use super::pipe::{Apart, Ended, Pipe, Read, Socket, Written};
use super::reading::Reading;
use super::shared::Shared;

/// How long a last word may take.
const LAST_WORD: Duration = Duration::from_millis(200);
/// A member that takes nothing at all of what waits for it within this stands still, also if it shows signs
/// of life: twice the silence after which it would be down.
const STALLED_AFTER: Duration = Duration::from_secs(2);
/// A signaling thread that has read nothing for that long may be busy with something else; what keeps
/// members together is read nevertheless. Heartbeats come every 100 ms.
const UNREAD_MAX: Duration = Duration::from_millis(150);

impl Ended {
    /// What the other side is told; `None`: it knows, or would not hear it.
    const fn last_word(&self) -> Option<Leave> {
        match self {
            Ended::Malformed(_) | Ended::Unexpected(_) | Ended::TooMuch => Some(Leave::Broken),
            Ended::Closed
            | Ended::Io(_)
            | Ended::TooSlow
            | Ended::Goodbye(_)
            | Ended::Left
            | Ended::Killed => None,
        }
    }
}

/// Uses a connection until it ends.
pub(super) async fn run<S: Apart>(shared: &Arc<Shared>, ready: Ready<S>) {
    let Ready { stream, buffer, peer, hello, link, .. } = ready;
    tracing::info!(
        member = %peer.name, incarnation = %hello.member.incarnation, version = link.version,
        "connected"
    );
    let parts = match stream.apart() {
        Ok(parts) => parts,
        Err(error) => return end(shared, &peer, link.number, &Ended::Io(error)),
    };
    let pipe = Pipe::new(parts, buffer, Arc::clone(&peer), link.clone(), Reading::new(hello));
    let pipe = Arc::new(pipe);
    let ended = tokio::select! {
        biased;
        // First: what comes on a connection that was replaced is not to be mixed with what comes on its
        // successor.
        () = link.kill.notified() => Ended::Killed,
        ended = pipe.over() => ended,
        () = peer.out.overflows(link.number) => Ended::TooSlow,
        error = serve(shared, &pipe) => Ended::Io(error),
        () = peer.requests.expire() => Ended::Left,
    };
    let parting = shared.parting.begin();
    end(shared, &peer, link.number, &ended);
    pipe.stop();
    let why = ended.last_word().filter(|_| !pipe.is_amid());
    if why.is_some() || matches!(ended, Ended::Left) {
        // Whether it is heard does not matter.
        let _ = timeout(LAST_WORD, pipe.hang_up(why)).await;
    }
    pipe.close();
    drop(parting);
}

/// Reads and writes, until something goes wrong that has nothing to do with the other side.
async fn serve(shared: &Arc<Shared>, pipe: &Arc<Pipe>) -> io::Error {
    let mut pumped = shared.pumped.subscribe();
    // What came with the first frames.
    pipe.read(shared, Waking::Whoever);
    loop {
        let is_pumped = *pumped.borrow_and_update();
        let interest = match is_pumped {
            true => Interest::WRITABLE,
            false => Interest::READABLE | Interest::WRITABLE,
        };
        let fd = match pipe.socket.watch(interest) {
            Ok(fd) => fd,
            Err(error) => return error,
        };
        if is_pumped {
            shared.hand_over(pipe);
        }
        let serving = async {
            tokio::join!(write(pipe, &fd), read(shared, pipe, &fd, is_pumped));
        };
        tokio::select! {
            () = serving => {}
            changed = pumped.changed() => if let Err(error) = changed { return io::Error::other(error) },
        }
    }
}

/// Writes whatever waits and is not written by the signaling thread.
async fn write(pipe: &Pipe, fd: &AsyncFd<Socket>) {
    loop {
        match pipe.write() {
            Written::More => tokio::task::yield_now().await,
            Written::All | Written::Over => pipe.peer.out.ready().await,
            Written::Blocked => match timeout(STALLED_AFTER, fd.writable()).await {
                Ok(Ok(mut ready)) if pipe.write() == Written::Blocked => ready.clear_ready(),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return pipe.fail(Ended::Io(error)),
                Err(_) => return pipe.fail(Ended::TooSlow),
            },
        }
    }
}

/// Reads, where the signaling thread does not.
async fn read(shared: &Shared, pipe: &Pipe, fd: &AsyncFd<Socket>, is_pumped: bool) {
    if is_pumped {
        let mut ticks = tokio::time::interval(control_core::mesh::HEARTBEAT);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let mut is_behind = pipe.is_unread_for(UNREAD_MAX);
            while is_behind && pipe.is_open() {
                is_behind = pipe.read(shared, Waking::Whoever) == Read::More;
                tokio::task::yield_now().await;
            }
        }
    }
    loop {
        let mut ready = match fd.readable().await {
            Ok(ready) => ready,
            Err(error) => return pipe.fail(Ended::Io(error)),
        };
        match pipe.read(shared, Waking::Whoever) {
            Read::More => tokio::task::yield_now().await,
            Read::Drained => ready.clear_ready(),
            Read::Over => return,
        }
    }
}

/// The connection of that number is no more.
pub(super) fn end(shared: &Shared, peer: &Peer, number: u64, ended: &Ended) {
    if peer.uninstall(number, Instant::now()).is_none() {
        return;
    }
    match ended {
        Ended::Malformed(_) | Ended::Unexpected(_) => {
            shared.totals.malformed.add(1);
            tracing::warn!(member = %peer.name, "connection ended because of what it sent: {ended}");
        }
        Ended::TooSlow | Ended::TooMuch => {
            tracing::warn!(member = %peer.name, "connection ended: {ended}");
        }
        Ended::Closed | Ended::Io(_) | Ended::Goodbye(_) | Ended::Left | Ended::Killed => {
            tracing::info!(member = %peer.name, "connection ended: {ended}")
        }
    }
    let step = match ended {
        Ended::Goodbye(Leave::Stopping) => peer.step(Liveness::handle_goodbye),
        Ended::Closed
        | Ended::Io(_)
        | Ended::Malformed(_)
        | Ended::Unexpected(_)
        | Ended::TooSlow
        | Ended::TooMuch
        | Ended::Goodbye(_)
        | Ended::Left
        | Ended::Killed => peer.step(|live| live.handle_lost(Instant::now())),
    };
    shared.apply(peer, step);
    peer.changed.notify_one();
}
