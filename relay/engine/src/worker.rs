//! A worker: one thread that owns one ring and one relay.
//!
//! Each turn of its loop takes a batch of completions, reads the clock once, lets the relay decide
//! on every packet, and hands all sends to the kernel with the system call that waits for the
//! next batch.

mod gathering;
mod packets;
mod run;
mod sockets;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relay_core::api::{Event, SessionId, SessionReport};
use relay_core::{Relay, RelayConfig, SlotId};

use crate::config::EngineConfig;
use crate::counters::Counters;
use crate::engine::Wake;
use crate::error::StartError;
use crate::mailbox::{Mailbox, Outlet};
use crate::ring::{Completion, Operation, PoolSizes, Ring};
use crate::shared_ports::SharedPorts;
use crate::socket::SocketOptions;
use gathering::Gathering;
use packets::{PARTS_MAX, Part};
use run::Run;
use sockets::Sockets;

/// Completions taken in one turn: bounds how long a packet waits for those before it (about 2 us
/// each) while keeping the cost of a system call per packet small.
const BATCH_MAX: usize = 512;
/// Buffers for what the kernel merges, a power of two: enough for the bursts of a turn, and few
/// because each is as long as a datagram can be (only what is used of it takes memory).
const MERGED_BUFFERS: u16 = 128;
/// Commands carried out in one turn. One that opens the 8 sockets of an audio and video session
/// takes about 60 us, in which no packet is relayed.
const COMMANDS_PER_TURN: usize = 4;
/// Longest wait, so that an idle worker shows that it is alive.
const BEAT_MAX: Duration = Duration::from_secs(1);
/// Signs of life of an idle worker in the time after which it counts as lost.
const BEATS: u32 = 4;
/// How soon events that found the queue full are tried again.
const OUTBOX_RETRY: Duration = Duration::from_millis(5);
/// How long a stopping worker waits for its sockets to close before it leaves that to the kernel.
const STOP_MAX: Duration = Duration::from_secs(2);

/// What a worker is made of, as long as its thread has not started.
pub(crate) struct WorkerPlan {
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) outlet: Arc<Outlet>,
    pub(crate) wake: Wake,
    pub(crate) ports: SharedPorts,
    pub(crate) relay: RelayConfig,
    pub(crate) config: EngineConfig,
}

/// The state of a worker's thread.
pub(crate) struct Worker {
    mailbox: Arc<Mailbox>,
    outlet: Arc<Outlet>,
    wake: Wake,
    relay: Relay,
    ring: Ring,
    sockets: Sockets,
    batch: Vec<Completion>,
    /// More completions may be waiting.
    batch_was_full: bool,
    /// Sockets whose receive has ended and is to be armed again.
    rearm: Vec<SlotId>,
    /// Whether a receive met no buffer in this turn.
    exhausted: bool,
    /// Events on their way out, in order.
    outbox: VecDeque<Event>,
    published_at: Option<Instant>,
    beat: Duration,
    gathering: Gathering,
    run: Run,
    /// What becomes of the datagrams of a merged one; kept for its memory.
    parts: Vec<Part>,
    /// Whether runs are sent with one request.
    segments: bool,
}

impl Worker {
    /// Makes the ring of the calling thread.
    pub(crate) fn new(plan: WorkerPlan) -> Result<Worker, StartError> {
        let WorkerPlan { mailbox, outlet, wake, ports, relay, config } = plan;
        let sockets = config.sockets_per_worker;
        let buffers = PoolSizes {
            single: config.buffers_per_worker,
            single_bytes: config.buffer_bytes,
            merged: MERGED_BUFFERS,
        };
        let ring = Ring::new(config.ring, sockets, buffers);
        let mut ring = ring.map_err(|(operation, error)| StartError::Os { operation, error })?;
        ring.await_wake(mailbox.wake_fd())
            .map_err(|error| StartError::Os { operation: "io_uring read", error })?;
        let options = SocketOptions {
            dscp: config.dscp,
            receive_bytes: config.socket_receive_bytes,
            merges: config.segments,
        };
        Ok(Worker {
            relay: Relay::with_ports(relay, Box::new(ports)),
            ring,
            sockets: Sockets::new(options),
            batch: Vec::with_capacity(BATCH_MAX),
            batch_was_full: false,
            rearm: Vec::with_capacity(sockets as usize),
            exhausted: false,
            outbox: VecDeque::new(),
            published_at: None,
            gathering: Gathering::new(config.gather),
            run: Run::new(),
            parts: Vec::with_capacity(PARTS_MAX),
            segments: config.segments,
            beat: (config.stall / BEATS).min(BEAT_MAX),
            mailbox,
            outlet,
            wake,
        })
    }

    fn counters(&self) -> &Counters {
        &self.mailbox.counters
    }

    /// Works until it is told to stop.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        while !self.mailbox.should_stop() {
            let now = self.turn()?;
            let timeout = self.timeout(now);
            self.ring.submit_and_wait(timeout, self.gathering.plan(now, timeout))?;
            self.counters().wakes.add(1);
        }
        self.close_all()
    }

    /// Deals with everything that has come. Returns the time that it took it for.
    fn turn(&mut self) -> io::Result<Instant> {
        let now = Instant::now();
        self.mailbox.beat(now);
        self.take_completions(now)?;
        let controlled = self.take_commands(now)? | self.serve_timers(now);
        let acted = self.act(now)?;
        if controlled || acted || !self.outbox.is_empty() {
            // Events go out after the actions before them: see `relay_core::Action`.
            self.ring.submit()?;
            self.hand_out_events();
        }
        self.rearm_receives()?;
        self.publish(now, controlled);
        Ok(now)
    }

    fn timeout(&self, now: Instant) -> Duration {
        if self.mailbox.has_commands() || self.batch_was_full {
            return Duration::ZERO;
        }
        let most = if self.outbox.is_empty() { self.beat } else { OUTBOX_RETRY };
        let due = self.relay.poll_timeout().map(|at| at.saturating_duration_since(now));
        due.map_or(most, |due| due.min(most))
    }

    fn take_completions(&mut self, now: Instant) -> io::Result<()> {
        if self.ring.has_overflowed() {
            self.counters().completions_overflowed.add(1);
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.ring.reap(&mut batch, BATCH_MAX);
        self.counters().completions.add(batch.len() as u64);
        self.batch_was_full = batch.len() == BATCH_MAX;
        for completion in batch.drain(..) {
            self.complete(now, completion)?;
        }
        self.send_run();
        self.batch = batch;
        Ok(())
    }

    fn complete(&mut self, now: Instant, completion: Completion) -> io::Result<()> {
        let slot = SlotId::from_bits(completion.subject);
        match completion.operation {
            Operation::Receive => self.received(now, slot, completion)?,
            Operation::Send => {
                if let Err(errno) = completion.result {
                    self.counters().send_failed(errno);
                }
            }
            Operation::SendRun => {
                if let Err(errno) = completion.result {
                    self.counters().send_failed(errno);
                    self.judge_segments(errno);
                }
            }
            Operation::Connect => self.connected(slot, completion.result.is_ok()),
            Operation::Cancel => {
                // ENOENT: the receive has just ended by itself. EALREADY: it is running; once more.
                if completion.result == Err(libc::EALREADY) {
                    self.ring.cancel_receive(slot.to_bits())?;
                }
            }
            Operation::Close => {
                self.sockets.remove(slot);
                self.relay.handle_shut(now, slot);
                self.published_at = None;
            }
            Operation::Wake => {
                self.mailbox.awake();
                self.ring.await_wake(self.mailbox.wake_fd())?;
            }
        }
        Ok(())
    }

    fn received(&mut self, now: Instant, slot: SlotId, completion: Completion) -> io::Result<()> {
        if let Some(buffer) = completion.buffer {
            if completion.result.is_ok() {
                self.relay_packet(now, slot, buffer);
            } else {
                self.ring.release(buffer);
            }
        }
        if !completion.more {
            self.receive_ended(slot, completion.result)?;
        }
        Ok(())
    }

    fn receive_ended(&mut self, slot: SlotId, result: Result<u32, i32>) -> io::Result<()> {
        match result {
            Err(libc::ENOBUFS) => {
                self.exhausted = true;
                self.counters().buffers_exhausted.add(1);
            }
            Ok(_) | Err(libc::ECANCELED) => {}
            Err(_) => self.counters().receive_errors.add(1),
        }
        match self.sockets.receive_ended(slot, result) {
            sockets::Next::Nothing => {}
            sockets::Next::Rearm => self.rearm.push(slot),
            sockets::Next::GiveUp => self.counters().receive_failed.add(1),
            sockets::Next::Close => self.ring.close(slot.index() as u32, slot.to_bits())?,
        }
        Ok(())
    }

    fn rearm_receives(&mut self) -> io::Result<()> {
        if self.exhausted {
            // Gives the buffers of this turn back first, or there are none to receive into.
            self.exhausted = false;
            self.ring.submit()?;
        }
        while let Some(slot) = self.rearm.pop() {
            if let Some(intake) = self.sockets.arm(slot) {
                self.counters().rearmed.add(1);
                self.ring.receive(slot.index() as u32, intake, slot.to_bits())?;
            }
        }
        Ok(())
    }

    fn connected(&mut self, slot: SlotId, done: bool) {
        if !done {
            self.counters().connect_errors.add(1);
        }
        if let Some(peer) = self.sockets.connect_answered(slot) {
            self.relay.handle_connected(slot, peer, done);
        }
    }

    /// Carries out commands that wait; whether there were any.
    fn take_commands(&mut self, now: Instant) -> io::Result<bool> {
        let mut any = false;
        for _ in 0..COMMANDS_PER_TURN {
            let Some(command) = self.mailbox.next_command() else { break };
            any = true;
            self.counters().commands.add(1);
            self.gathering.commanded(now);
            self.relay.handle_command(now, command);
            self.act(now)?;
        }
        Ok(any)
    }

    fn serve_timers(&mut self, now: Instant) -> bool {
        let due = self.relay.poll_timeout().is_some_and(|at| at <= now);
        if due {
            self.relay.handle_timeout(now);
        }
        due
    }

    /// Does what the relay asks for; whether it asked for anything.
    fn act(&mut self, now: Instant) -> io::Result<bool> {
        let mut any = false;
        while let Some(action) = self.relay.poll_action() {
            any = true;
            self.sockets.act(now, action, &mut self.ring, &mut self.relay)?;
        }
        Ok(any)
    }

    fn hand_out_events(&mut self) {
        while let Some(event) = self.relay.poll_event() {
            self.outbox.push_back(event);
        }
        let mut any = false;
        while let Some(event) = self.outbox.pop_front() {
            if let Some(event) = self.mailbox.deliver(&self.outlet, event) {
                self.outbox.push_front(event);
                break;
            }
            any = true;
        }
        if any {
            (self.wake)();
        }
    }

    /// Brings the counters up to date that are not counted as things happen.
    fn publish(&mut self, now: Instant, controlled: bool) {
        let due =
            self.published_at.is_none_or(|at| now.saturating_duration_since(at) >= BEAT_MAX / 2);
        if !due && !controlled {
            return;
        }
        self.published_at = Some(now);
        let counters = self.counters();
        counters.ports_used.set(u64::from(self.relay.ports_used()));
        counters.sessions.set(self.relay.sessions() as u64);
        counters.sockets.set(self.sockets.open() as u64);
    }

    /// Closes every socket and waits until the kernel has, so that the ports can be bound again.
    fn close_all(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + STOP_MAX;
        self.rearm.clear();
        self.sockets.close_all(&mut self.ring)?;
        while self.sockets.open() > 0 && Instant::now() < deadline {
            self.ring.submit_and_wait(OUTBOX_RETRY, None)?;
            self.take_completions(Instant::now())?;
        }
        Ok(())
    }

    /// Closes what is still open and gives its ports back; returns what its sessions relayed.
    pub(crate) fn bury(self) -> Vec<(SessionId, SessionReport)> {
        let Worker { ring, mut relay, .. } = self;
        // The sockets first: a port that is given back must not be bound any more.
        drop(ring);
        relay.abandon(Instant::now())
    }
}
