//! Connections that this member opens, and opens again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control_core::mesh::Liveness;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::client::TlsStream;

use super::greet::{Failure, Ready, complain, greet};
use super::link;
use super::peer::Peer;
use super::shared::Shared;
use super::strangers::READY_WITHIN;
use super::tls::{host, identity};

/// How long a connection may take to be opened, before TLS: members are near each other.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// The first pause between two attempts.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A connection that has lasted this long was a good one: the next is opened at once, and others after
/// a pause.
const GOOD_AFTER: Duration = Duration::from_secs(5);

/// The pauses between attempts: each twice the last, a quarter more or less, so that members that have
/// lost each other together do not all come at the same time.
#[derive(Clone, Copy, Debug)]
struct Backoff {
    pause: Duration,
    /// Numbers that look random enough for this (xorshift).
    dice: u32,
}

impl Backoff {
    const fn new(seed: u32) -> Backoff {
        Backoff { pause: PAUSE_MIN, dice: seed | 1 }
    }

    fn reset(&mut self) {
        self.pause = PAUSE_MIN;
    }

    fn next(&mut self) -> Duration {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 17;
        self.dice ^= self.dice << 5;
        let pause = self.pause * (75 + self.dice % 51) / 100;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        pause
    }
}

/// Keeps a connection to that member, if nobody does yet.
pub(super) fn keep_if_new<S>(shared: &Arc<Shared>, ready: &Ready<S>) {
    if ready.is_new {
        shared.runtime.spawn(keep(Arc::clone(shared), Arc::clone(&ready.peer)));
    }
}

/// Keeps a connection to that member, for as long as there is to be one.
pub(super) async fn keep(shared: Arc<Shared>, peer: Arc<Peer>) {
    let seed = peer.name.as_str().bytes().chain(shared.identity.name.as_str().bytes());
    let mut backoff = Backoff::new(seed.fold(7, |sum, byte| sum * 31 % 65_521 + u32::from(byte)));
    loop {
        let (address, is_linked, lasted) = {
            let mut state = peer.state();
            (state.address, state.link.is_some(), state.lasted.take())
        };
        match lasted {
            Some(lasted) if lasted >= GOOD_AFTER => backoff.reset(),
            // One that breaks again and again is not to be opened as fast as it breaks.
            Some(_) if !is_linked && !shared.is_stopping() => {
                sleep(backoff.next()).await;
                continue;
            }
            Some(_) | None => {}
        }
        if shared.is_stopping() || (!is_linked && shared.forget(&peer)) {
            return;
        }
        match address.filter(|_| !is_linked) {
            None => peer.changed.notified().await,
            Some(address) => attempt(&shared, &peer, address, &mut backoff).await,
        }
    }
}

/// One attempt, and the pause after it if it fails.
async fn attempt(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    address: SocketAddr,
    backoff: &mut Backoff,
) {
    let failure = match timeout(READY_WITHIN, dial(shared, peer, address)).await {
        Ok(Ok(ready)) => {
            let shared = Arc::clone(shared);
            tokio::spawn(async move { link::run(&shared, ready).await });
            return;
        }
        Ok(Err(failure)) => failure,
        Err(_) => Failure::Late,
    };
    if matches!(failure, Failure::ConnectionRefused) {
        let step = peer.step(Liveness::handle_refused);
        shared.apply(peer, step);
    }
    complain(shared, address, &failure, &format!("cannot connect to {}", peer.name));
    tokio::select! {
        () = sleep(backoff.next()) => {}
        // It has opened one itself, or is not wanted any more.
        () = peer.changed.notified() => {}
    }
}

async fn dial(
    shared: &Arc<Shared>,
    peer: &Peer,
    address: SocketAddr,
) -> Result<Ready<TlsStream<TcpStream>>, Failure> {
    let connecting = timeout(CONNECT_WITHIN, TcpStream::connect(address));
    let stream = connecting.await.map_err(|_| Failure::Late)??;
    stream.set_nodelay(true)?;
    let host = host().map_err(Failure::Certificate)?;
    let stream = shared.tls.connector.connect(host, stream).await?;
    let there = identity(stream.get_ref().1.peer_certificates()).map_err(Failure::Certificate)?;
    greet(shared, stream, &there, Some(&peer.name)).await
}

/// Looks at every member every so often, and shows each that this one lives.
pub(super) async fn pulse(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(control_core::mesh::HEARTBEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = Instant::now();
        for peer in shared.all() {
            let step = peer.step(|live| live.handle_look(now));
            shared.apply(&peer, step);
            if peer.state().link.is_some() {
                let frame = shared.heartbeat(&peer, now);
                // What does not fit is not waited for: the member is not reading then.
                let _ = peer.send(&frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_differ() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..10).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        let (one, other) = (pauses(1), pauses(2));
        assert_ne!(one, other);
        for (at, pause) in one.iter().chain(&other).enumerate() {
            let middle = (PAUSE_MIN * 2_u32.pow(at as u32 % 10)).min(PAUSE_MAX);
            assert!((middle * 3 / 4..=middle * 5 / 4).contains(pause), "{at}: {pause:?}");
        }
    }
}
