//! What the handle and a worker share: a queue in, a queue out, and the worker's state.
//!
//! Nothing here is touched on the packet path, except the time of the last beat once a batch.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use crossbeam::utils::CachePadded;
use nix::sys::eventfd::{EfdFlags, EventFd};
use relay_core::api::{CloseCause, Command, Event, SessionId, SessionReport};

use crate::counters::Counters;
use crate::error::{SubmitError, WorkerState};

/// Events of one worker that answer no command and may be in the queue at once. More of them wait
/// inside the worker, so that they never take an answer's place.
const UNSOLICITED_MAX: usize = 1024;

/// An event on its way out.
#[derive(Debug)]
struct Envelope {
    worker: usize,
    event: Event,
}

/// The events of all workers, in the order of each.
#[derive(Debug)]
pub(crate) struct Outlet {
    queue: ArrayQueue<Envelope>,
}

impl Outlet {
    /// Room for every answer and every unsolicited event that may be on its way.
    pub(crate) fn new(workers: usize, commands_outstanding_max: usize) -> Outlet {
        Outlet { queue: ArrayQueue::new(workers * (commands_outstanding_max + UNSOLICITED_MAX)) }
    }

    /// Takes the next event and accounts for it; also the worker that it is from.
    pub(crate) fn take(&self, mailboxes: &[Arc<Mailbox>]) -> Option<(usize, Event)> {
        let Envelope { worker, event } = self.queue.pop()?;
        mailboxes[worker].on_its_way(&event).fetch_sub(1, Ordering::AcqRel);
        Some((worker, event))
    }
}

/// One worker's side.
#[derive(Debug)]
pub(crate) struct Mailbox {
    worker: usize,
    commands: ArrayQueue<Command>,
    /// Held while a command is put in, so that they become ready in their order.
    putting_in: Mutex<()>,
    /// Commands that are in the queue completely. A worker may outrank whoever puts one in, on the
    /// same core: it must neither wait for a command that is half in nor come back for it at once, or
    /// the other would never get to put in the rest.
    ready: AtomicUsize,
    commands_max: usize,
    /// Commands whose events have not been taken yet.
    outstanding: AtomicUsize,
    unsolicited: AtomicUsize,
    wake: EventFd,
    /// Whether the worker was woken and has not looked yet: saves a system call a command.
    woken: AtomicBool,
    stop: AtomicBool,
    state: Mutex<WorkerState>,
    down: AtomicBool,
    started: Instant,
    beat_us: AtomicU64,
    /// What a worker that has ended could say of its sessions.
    last: Mutex<Vec<(SessionId, SessionReport)>>,
    pub(crate) counters: CachePadded<Counters>,
}

impl Mailbox {
    pub(crate) fn new(worker: usize, commands_max: usize) -> Result<Mailbox, std::io::Error> {
        // Blocking: the ring waits for it, and a write blocks only at a count of 2^64 - 2.
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
        Ok(Mailbox {
            worker,
            commands: ArrayQueue::new(commands_max),
            putting_in: Mutex::new(()),
            ready: AtomicUsize::new(0),
            commands_max,
            outstanding: AtomicUsize::new(0),
            unsolicited: AtomicUsize::new(0),
            wake,
            woken: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            state: Mutex::new(WorkerState::Running),
            down: AtomicBool::new(false),
            started: Instant::now(),
            beat_us: AtomicU64::new(0),
            last: Mutex::new(Vec::new()),
            counters: CachePadded::default(),
        })
    }

    fn on_its_way(&self, event: &Event) -> &AtomicUsize {
        if is_answer(event) { &self.outstanding } else { &self.unsolicited }
    }

    /// Puts a command in, if there is room for its answer.
    pub(crate) fn submit(&self, command: Command) -> Result<(), SubmitError> {
        if self.down.load(Ordering::Acquire) {
            return Err(SubmitError::WorkerDown(Box::new(command)));
        }
        let one_more = |n: usize| (n < self.commands_max).then_some(n + 1);
        let room = self.outstanding.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        if room.is_err() {
            return Err(SubmitError::Overloaded(Box::new(command)));
        }
        if let Some(command) = self.put_in(command) {
            // Cannot be: the queue holds as many as may be outstanding.
            self.outstanding.fetch_sub(1, Ordering::AcqRel);
            return Err(SubmitError::Overloaded(Box::new(command)));
        }
        self.wake();
        Ok(())
    }

    /// Gives the command back if the queue is full.
    fn put_in(&self, command: Command) -> Option<Command> {
        let _order = self.putting_in.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = self.commands.push(command).err();
        if refused.is_none() {
            self.ready.fetch_add(1, Ordering::Release);
        }
        refused
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            // A write of 1 can only fail if the counter is full, and then the worker is woken.
            let _ = self.wake.write(1);
        }
    }

    /// Tells the worker to stop.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    pub(crate) fn should_stop(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// What the worker waits on.
    pub(crate) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// The worker is awake: whoever puts a command in from now on wakes it again.
    pub(crate) fn awake(&self) {
        self.woken.swap(false, Ordering::SeqCst);
    }

    /// Only the worker may call this.
    pub(crate) fn next_command(&self) -> Option<Command> {
        if !self.has_commands() {
            return None;
        }
        self.ready.fetch_sub(1, Ordering::AcqRel);
        self.commands.pop()
    }

    pub(crate) fn has_commands(&self) -> bool {
        self.ready.load(Ordering::Acquire) > 0
    }

    /// Hands an event out, or gives it back if it has to wait.
    pub(crate) fn deliver(&self, outlet: &Outlet, event: Event) -> Option<Event> {
        let answer = is_answer(&event);
        if !answer && self.unsolicited.load(Ordering::Acquire) >= UNSOLICITED_MAX {
            return Some(event);
        }
        if !answer {
            self.unsolicited.fetch_add(1, Ordering::AcqRel);
        }
        let envelope = Envelope { worker: self.worker, event };
        let Envelope { event, .. } = outlet.queue.push(envelope).err()?;
        if !answer {
            self.unsolicited.fetch_sub(1, Ordering::AcqRel);
        }
        Some(event)
    }

    /// The worker is alive at `now`.
    pub(crate) fn beat(&self, now: Instant) {
        let since = now.saturating_duration_since(self.started).as_micros();
        // Microseconds fit 64 bits for half a million years.
        self.beat_us.store(since as u64, Ordering::Relaxed);
    }

    pub(crate) fn last_beat(&self) -> Duration {
        let beat = Duration::from_micros(self.beat_us.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(beat)
    }

    /// The worker has ended, and leaves what it could say of its sessions.
    pub(crate) fn ended(&self, state: WorkerState, last: Vec<(SessionId, SessionReport)>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
        self.go_down(state);
    }

    /// The worker hangs. Should it go on after all, it finds that it is to stop.
    pub(crate) fn lose(&self, state: WorkerState) {
        self.go_down(state);
        self.stop();
    }

    /// What was said first stays.
    fn go_down(&self, state: WorkerState) {
        let mut current = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *current == WorkerState::Running {
            *current = state;
        }
        self.down.store(true, Ordering::Release);
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    pub(crate) fn take_last(&self) -> Vec<(SessionId, SessionReport)> {
        std::mem::take(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn state(&self) -> WorkerState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether the event answers a command, rather than telling of something that happened.
fn is_answer(event: &Event) -> bool {
    match event {
        Event::Closed { cause: CloseCause::Idle(_) | CloseCause::WorkerLost, .. } => false,
        Event::Closed { cause: CloseCause::Asked | CloseCause::Unknown, .. }
        | Event::Applied { .. }
        | Event::Refused { .. }
        | Event::Report { .. } => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(session: u64, cause: CloseCause) -> Event {
        Event::Closed { session: SessionId(session), cause, report: SessionReport::default() }
    }

    fn close(session: u64) -> Command {
        Command::Close { session: SessionId(session) }
    }

    #[test]
    fn events_that_answer_nothing_wait_and_never_take_an_answers_place() {
        let outlet = Outlet::new(1, 2);
        let mailbox = [Arc::new(Mailbox::new(0, 2).unwrap())];
        let idle = |n| closed(n, CloseCause::Idle(Duration::ZERO));
        let waits = |event| mailbox[0].deliver(&outlet, event).is_some();
        mailbox[0].submit(close(1)).unwrap();
        mailbox[0].submit(close(2)).unwrap();
        let all = UNSOLICITED_MAX as u64;
        assert!((0..all).all(|n| !waits(idle(n))));
        assert!(waits(idle(all)));
        assert!(!waits(closed(1, CloseCause::Asked)) && !waits(closed(2, CloseCause::Asked)));
        assert_eq!(outlet.take(&mailbox), Some((0, idle(0))));
        assert!(!waits(idle(all)));
    }

    #[test]
    fn a_command_counts_until_its_event_is_taken() {
        let outlet = Outlet::new(1, 1);
        let mailbox = [Arc::new(Mailbox::new(0, 1).unwrap())];
        mailbox[0].submit(close(1)).unwrap();
        mailbox[0].next_command().unwrap();
        assert!(matches!(mailbox[0].submit(close(2)), Err(SubmitError::Overloaded(_))));
        assert!(mailbox[0].deliver(&outlet, closed(1, CloseCause::Asked)).is_none());
        assert!(matches!(mailbox[0].submit(close(2)), Err(SubmitError::Overloaded(_))));
        outlet.take(&mailbox).unwrap();
        mailbox[0].submit(close(2)).unwrap();
    }

    /// A worker in real time may have interrupted whoever puts it in, on its own core.
    #[test]
    fn a_command_that_is_half_in_is_neither_waited_for_nor_looked_for() {
        let mailbox = Mailbox::new(0, 2).unwrap();
        mailbox.commands.push(close(1)).unwrap();
        assert!(!mailbox.has_commands());
        assert_eq!(mailbox.next_command(), None);
        assert_eq!(mailbox.put_in(close(2)), None);
        assert_eq!(mailbox.next_command(), Some(close(1)));
    }

    /// The worker is woken once for any number of commands, and again after it has looked.
    #[test]
    fn a_wake_up_is_written_once_until_the_worker_has_looked() {
        let mailbox = Mailbox::new(0, 8).unwrap();
        mailbox.submit(close(1)).unwrap();
        mailbox.submit(close(2)).unwrap();
        assert_eq!(mailbox.wake.read().unwrap(), 1);
        mailbox.awake();
        mailbox.submit(close(3)).unwrap();
        assert_eq!(mailbox.wake.read().unwrap(), 1);
    }
}
