//! The generator's one thread: what is due, what has come, what is to be sent, in turns.

use std::os::fd::AsRawFd as _;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use crate::ids::Side;
use crate::os;
use crate::sipbench::calls::{Calls, World};
use crate::sipbench::ends::{End, Inbox, Link};
use crate::sipbench::registrations::{Habit, Registrations};
use crate::sipbench::scan::Scan;
use crate::sipbench::schedule::Schedule;
use crate::sipbench::tally::Tally;

/// What has begun late catches up, but not without looking at what comes in between.
const STARTS_MAX: u32 = 64;

/// Descriptors that are told of at once.
const EVENTS_MAX: usize = 256;

/// The longest wait: orders are looked for this often.
const WAIT_NS_MAX: u64 = 2_000_000;

/// A wait while something could not be written.
const STUCK_NS: u64 = 200_000;

/// What begins at a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Calls,
    Registrations(Habit),
    /// Calls that are up are ended, the oldest first.
    HangUps,
}

/// What the generator is told.
pub(crate) enum Order {
    /// To begin `count` pieces of work, `per_second` a second.
    Begin { work: Work, per_second: f64, count: u64 },
    /// To begin no more.
    Enough,
    /// To hold calls until told to hang up, or as long as at first.
    Hold(bool),
    /// To measure times anew.
    ForgetTimes,
    /// To tell what it has counted.
    Tell(SyncSender<Told>),
    /// To end.
    Finish,
}

/// What it has counted, and what goes on.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) tally: Tally,
    pub(crate) at_ns: u64,
    /// Calls and registrations that go on.
    pub(crate) live: u32,
    /// Whether there is more to begin.
    pub(crate) has_more: bool,
}

pub(crate) struct Engine {
    pub(crate) caller: End,
    pub(crate) callee: End,
    pub(crate) calls: Calls,
    pub(crate) registrations: Registrations,
    pub(crate) orders: Receiver<Order>,
}

/// The state of the loop.
struct Turns {
    engine: Engine,
    epoll: Epoll,
    tally: Tally,
    work: Option<(Work, Schedule)>,
    /// The next call to hang up.
    hang_up: u32,
    ready: [Vec<u32>; 2],
    inbox: Inbox,
}

impl Engine {
    /// Goes on until told to finish.
    pub(crate) fn run(self) -> Result<()> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?;
        for (side, end) in [(Side::Caller, &self.caller), (Side::Callee, &self.callee)] {
            for (number, descriptor) in (0u64..).zip(end.descriptors()) {
                let key = ((side.index() as u64) << 32) | number;
                epoll
                    .add(descriptor, EpollEvent::new(EpollFlags::EPOLLIN, key))
                    .context("adding to epoll")?;
            }
        }
        let turns = Turns {
            engine: self,
            epoll,
            tally: Tally::new(),
            work: None,
            hang_up: 0,
            ready: [Vec::new(), Vec::new()],
            inbox: Inbox::default(),
        };
        turns.run()
    }
}

impl Turns {
    fn run(mut self) -> Result<()> {
        while self.take_orders() {
            let now_ns = os::monotonic_ns();
            self.begin_due(now_ns);
            self.handle_timeouts(now_ns);
            self.engine.caller.flush();
            self.engine.callee.flush();
            self.wait(os::monotonic_ns())?;
            self.receive();
            self.engine.caller.flush();
            self.engine.callee.flush();
        }
        Ok(())
    }

    /// `false`: to end.
    fn take_orders(&mut self) -> bool {
        loop {
            match self.engine.orders.try_recv() {
                Ok(Order::Begin { work, per_second, count }) => {
                    if let Work::Registrations(habit) = work {
                        self.engine.registrations.set_habit(habit);
                    }
                    self.hang_up = 0;
                    let schedule = Schedule::new(os::monotonic_ns(), per_second, count);
                    self.work = Some((work, schedule));
                }
                Ok(Order::Enough) => {
                    if let Some((_, schedule)) = &mut self.work {
                        schedule.end();
                    }
                }
                Ok(Order::Hold(on)) => self.engine.calls.hold(on),
                Ok(Order::ForgetTimes) => self.tally.forget_times(),
                // Whoever asked may have gone.
                Ok(Order::Tell(to)) => drop(to.send(self.told())),
                Ok(Order::Finish) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    fn told(&mut self) -> Told {
        let ends = [self.engine.caller.faults(), self.engine.callee.faults()];
        self.tally.receive_drops = ends.iter().map(|(drops, _)| drops).sum();
        self.tally.send_failures = ends.iter().map(|(_, failures)| failures).sum();
        self.tally.cpu_ns = os::thread_cpu_ns();
        Told {
            tally: self.tally.clone(),
            at_ns: os::monotonic_ns(),
            live: self.engine.calls.live() + self.engine.registrations.busy(),
            has_more: self.work.as_ref().is_some_and(|(_, left)| left.next_ns().is_some()),
        }
    }

    fn begin_due(&mut self, now_ns: u64) {
        let Some((work, schedule)) = &mut self.work else { return };
        let Engine { caller, callee, calls, registrations, .. } = &mut self.engine;
        for _ in 0..STARTS_MAX {
            let Some(due_ns) = schedule.take(now_ns) else { return };
            self.tally.late_ns.saturating_record((now_ns - due_ns).max(1));
            let mut world = World { caller, callee, tally: &mut self.tally, now_ns };
            match work {
                Work::Calls => calls.start(due_ns, &mut world),
                Work::Registrations(_) => registrations.start(due_ns, &mut world),
                Work::HangUps => {
                    calls.hang_up(self.hang_up, &mut world);
                    self.hang_up += 1;
                    if self.hang_up >= calls.begun() {
                        schedule.end();
                    }
                }
            }
        }
    }

    fn handle_timeouts(&mut self, now_ns: u64) {
        let Engine { caller, callee, calls, registrations, .. } = &mut self.engine;
        let mut world = World { caller, callee, tally: &mut self.tally, now_ns };
        calls.handle_timeout(&mut world);
        registrations.handle_timeout(&mut world);
    }

    fn wait(&mut self, now_ns: u64) -> Result<()> {
        let Engine { caller, callee, calls, registrations, .. } = &self.engine;
        let due = self.work.as_ref().and_then(|(_, schedule)| schedule.next_ns());
        let due = [due, calls.next_ns(), registrations.next_ns()].into_iter().flatten().min();
        let mut wait_ns = due.map_or(WAIT_NS_MAX, |due| due.saturating_sub(now_ns));
        if caller.is_stuck() || callee.is_stuck() {
            wait_ns = wait_ns.min(STUCK_NS);
        }
        let mut events = [EpollEvent::empty(); EVENTS_MAX];
        let count = epoll_wait(&self.epoll, &mut events, wait_ns.min(WAIT_NS_MAX))?;
        self.ready.iter_mut().for_each(Vec::clear);
        for event in &events[..count] {
            let side = (event.data() >> 32) as usize & 1;
            self.ready[side].push(event.data() as u32);
        }
        Ok(())
    }

    fn receive(&mut self) {
        for side in [Side::Caller, Side::Callee] {
            let ready = &self.ready[side.index()];
            if ready.is_empty() {
                continue;
            }
            let mut inbox = std::mem::take(&mut self.inbox);
            inbox.clear();
            match side {
                Side::Caller => self.engine.caller.receive(ready, &mut inbox),
                Side::Callee => self.engine.callee.receive(ready, &mut inbox),
            }
            if !inbox.is_empty() {
                self.handle(side, &inbox);
            }
            self.inbox = inbox;
        }
    }

    fn handle(&mut self, side: Side, inbox: &Inbox) {
        let now_ns = os::monotonic_ns();
        for (from, bytes) in inbox.iter() {
            self.handle_message(side, from, bytes, now_ns);
        }
    }

    fn handle_message(&mut self, side: Side, from: Link, bytes: &[u8], now_ns: u64) {
        self.tally.counts.messages_received += 1;
        let Engine { caller, callee, calls, registrations, .. } = &mut self.engine;
        let mut world = World { caller, callee, tally: &mut self.tally, now_ns };
        let Some(scan) = Scan::read(bytes) else {
            world.tally.counts.misjudged += 1;
            world.tally.remark("judge: not a SIP message");
            return;
        };
        match side {
            Side::Caller => calls.handle_at_caller(bytes, &scan, &mut world),
            Side::Callee => {
                if !registrations.handle(&scan, &mut world) {
                    calls.handle_at_callee(from, bytes, &scan, &mut world);
                }
            }
        }
    }
}

/// As `epoll_wait`, to the nanosecond.
fn epoll_wait(epoll: &Epoll, events: &mut [EpollEvent], wait_ns: u64) -> Result<usize> {
    let wait = libc::timespec { tv_sec: 0, tv_nsec: wait_ns as libc::c_long };
    // SAFETY: `EpollEvent` is `repr(transparent)` over `libc::epoll_event`, of which the kernel writes
    // at most `events.len()`; `wait` outlives the call and no signal mask is passed.
    let count = unsafe {
        libc::epoll_pwait2(
            epoll.0.as_raw_fd(),
            events.as_mut_ptr().cast(),
            events.len() as libc::c_int,
            &raw const wait,
            std::ptr::null(),
        )
    };
    match usize::try_from(count) {
        Ok(count) => Ok(count),
        Err(_) if Errno::last() == Errno::EINTR => Ok(0),
        Err(_) => Err(Errno::last()).context("epoll_pwait2 (needs Linux 5.11)"),
    }
}
