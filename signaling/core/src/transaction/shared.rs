//! What client and server transactions share: timers, outputs, keys, peers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::hash::Keyed;
use super::index::KeyMaker;
use super::machine::Timer;
use super::peers::Peers;
use super::{Cause, ClientTx, Config, Counters, Event, ServerTx, Timing};
use crate::guard::rate::Rate;
use crate::timer::{TimerId, Wheel};
use crate::transport::{Target, Transmit};

/// A transaction of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Tx {
    Client(ClientTx),
    Server(ServerTx),
}

/// A timer that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) tx: Tx,
    pub(super) timer: Timer,
}

/// The running timers of a transaction.
#[derive(Debug, Default)]
pub(super) struct Timers {
    retransmit: Option<TimerId>,
    deadline: Option<TimerId>,
}

impl Timers {
    const fn slot(&mut self, timer: Timer) -> &mut Option<TimerId> {
        match timer {
            Timer::Retransmit => &mut self.retransmit,
            Timer::Deadline => &mut self.deadline,
        }
    }

    /// Notes that a timer has expired.
    pub(super) const fn expired(&mut self, timer: Timer) {
        *self.slot(timer) = None;
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) timing: Timing,
    pub(super) keys: KeyMaker,
    pub(super) peers: Peers,
    pub(super) wheel: Wheel<Due>,
    pub(super) transmits: VecDeque<Transmit>,
    pub(super) events: VecDeque<Event>,
    pub(super) counters: Counters,
    started: Instant,
    refusals: Rate,
    refusals_bucket: u64,
}

/// Refusals for want of a place that are answered each second, and that may be at once: some 10 us
/// each. The senders of others repeat themselves, or give up after 32 s.
const REFUSALS_PER_S: u32 = 1_000;

impl Shared {
    pub(super) fn new(now: Instant, config: &Config) -> Self {
        let keyed = Keyed::new(&config.seed);
        let mut timing = config.timing;
        // An interval of no length would be over again at once, until the deadline.
        timing.t2 = timing.t2.max(timing.t1);
        Shared {
            timing,
            keys: KeyMaker::new(keyed),
            peers: Peers::new(keyed),
            // Two timers a transaction.
            wheel: Wheel::new(now, 2 * (config.clients_max + config.servers_max)),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
            started: now,
            refusals: Rate::new(REFUSALS_PER_S, REFUSALS_PER_S),
            refusals_bucket: 0,
        }
    }

    /// Whether a request for which there is no place is answered.
    pub(super) fn may_refuse(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.started).as_nanos();
        self.refusals.take(&mut self.refusals_bucket, u64::try_from(since).unwrap_or(u64::MAX / 4))
    }

    pub(super) fn start(
        &mut self,
        now: Instant,
        timers: &mut Timers,
        Due { tx, timer }: Due,
        after: Duration,
    ) {
        self.stop(timers, timer);
        let id = self.wheel.schedule(now + after, Due { tx, timer });
        *timers.slot(timer) =
            Some(id.expect("the wheel has room for both timers of every transaction"));
    }

    pub(super) fn stop(&mut self, timers: &mut Timers, timer: Timer) {
        if let Some(id) = timers.slot(timer).take() {
            self.wheel.cancel(id);
        }
    }

    pub(super) fn stop_all(&mut self, timers: &mut Timers) {
        self.stop(timers, Timer::Retransmit);
        self.stop(timers, Timer::Deadline);
    }

    pub(super) fn transmit(&mut self, target: Target, bytes: Bytes) {
        self.transmits.push_back(Transmit { target, bytes, server_name: None });
    }

    pub(super) const fn count_failure(&mut self, cause: Cause) {
        match cause {
            Cause::Timeout => self.counters.timeouts += 1,
            Cause::Transport => self.counters.transport_errors += 1,
        }
    }
}
