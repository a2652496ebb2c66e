//! The handle that the rest of the process holds.

use std::any::Any;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use core_affinity::CoreId;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use relay_core::RelayConfig;
use relay_core::api::{Command, Event, SessionId, SessionReport};
use relay_core::ports::{Generation, PortRange, PortSource as _, PortTable, Usage};

use crate::config::EngineConfig;
use crate::counters::WorkerCounters;
use crate::error::{PortsError, StartError, SubmitError, WorkerHealth, WorkerState};
use crate::ledger::{Asked, Ledger};
use crate::mailbox::{Mailbox, Outlet};
use crate::priority::Priority;
use crate::probe;
use crate::shared_ports::SharedPorts;
use crate::watchdog::Watchdog;
use crate::worker::{Worker, WorkerPlan};

/// Called by a worker after it put events in the queue, and when it dies. It must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// How long a worker may take to be ready: it makes a ring and touches no network.
const START_MAX: Duration = Duration::from_secs(10);
/// How long stopping waits for a worker: its own limit, and some for it to get to it. A thread that
/// takes longer hangs and is left behind.
const STOP_MAX: Duration = Duration::from_secs(5);
/// How often an ending thread is looked at.
const STOP_LOOK: Duration = Duration::from_millis(1);

/// A running engine. Every method may be called from any thread and none blocks, except
/// [`Engine::start`] and [`Engine::stop`]. Dropping it stops it.
pub struct Engine {
    workers: Vec<WorkerHandle>,
    mailboxes: Vec<Arc<Mailbox>>,
    outlet: Arc<Outlet>,
    ports: SharedPorts,
    ledger: Mutex<Ledger>,
    watchdog: Option<Watchdog>,
}

struct WorkerHandle {
    core: Option<usize>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Probes the kernel and starts the workers. Returns once every worker is ready.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub fn start(config: EngineConfig, wake: Wake) -> Result<Engine, StartError> {
        config.validate()?;
        let range = range(&config)?;
        let descriptors = raise_descriptor_limit()?;
        let config = with_tables_of(config, descriptors);
        probe_apart(config.sockets_per_worker > config.ring.table)?;
        let count = config.workers.len();
        let outlet = Arc::new(Outlet::new(count, config.commands_outstanding_max));
        let mut engine = Engine {
            workers: Vec::with_capacity(count),
            mailboxes: Vec::with_capacity(count),
            outlet,
            ports: SharedPorts::new(PortTable::new(range, config.rest, config.seed)),
            ledger: Mutex::new(Ledger::new(count)),
            watchdog: None,
        };
        for worker in 0..count {
            engine.start_worker(worker, range, &config, &wake)?;
        }
        let watchdog = Watchdog::start(engine.mailboxes.clone(), config.stall, wake)?;
        engine.watchdog = Some(watchdog);
        Ok(engine)
    }

    fn start_worker(
        &mut self,
        worker: usize,
        range: PortRange,
        config: &EngineConfig,
        wake: &Wake,
    ) -> Result<(), StartError> {
        let mailbox = Mailbox::new(worker, config.commands_outstanding_max)
            .map_err(|error| StartError::Os { operation: "eventfd", error })?;
        let mailbox = Arc::new(mailbox);
        let plan = WorkerPlan {
            mailbox: Arc::clone(&mailbox),
            outlet: Arc::clone(&self.outlet),
            wake: Arc::clone(wake),
            ports: self.ports.clone(),
            relay: RelayConfig {
                ports: range,
                rest: config.rest,
                idle: config.idle,
                slots_max: config.sockets_per_worker,
                seed: config.seed,
            },
            config: config.clone(),
        };
        let core = config.workers[worker];
        let (ready, is_ready) = sync_channel(1);
        let thread = thread::Builder::new()
            .name(format!("relay-{worker}"))
            .spawn(move || thread_main(plan, core, &ready))
            .map_err(|error| StartError::Os { operation: "start a thread", error })?;
        self.mailboxes.push(mailbox);
        self.workers.push(WorkerHandle { core, thread: Some(thread) });
        await_ready(&is_ready)
    }

    /// Hands a command to the worker of its session. A new session goes to another worker if its
    /// own is lost.
    ///
    /// # Errors
    /// See [`SubmitError`]; the command comes back.
    pub fn submit(&self, command: Command) -> Result<(), SubmitError> {
        let session = command.session();
        let mut ledger = self.ledger();
        let Some(worker) = ledger.worker_of(session).or_else(|| self.place(session)) else {
            return Err(SubmitError::WorkerDown(Box::new(command)));
        };
        let asked = Asked::of(&command);
        self.mailboxes[worker].submit(command)?;
        ledger.asked(session, worker, asked);
        Ok(())
    }

    /// The worker of a new session; `None` if all are lost.
    fn place(&self, session: SessionId) -> Option<usize> {
        let choose = |from: &[usize]| {
            // The remainder is below the number of workers.
            let place = session.0.checked_rem(from.len() as u64)? as usize;
            from.get(place).copied()
        };
        let mut workers: Vec<usize> = (0..self.mailboxes.len()).collect();
        let own = choose(&workers)?;
        if !self.mailboxes[own].is_down() {
            return Some(own);
        }
        workers.retain(|worker| !self.mailboxes[*worker].is_down());
        choose(&workers)
    }

    /// Takes the next event, if there is one. Events of one session keep their order.
    pub fn poll_event(&self) -> Option<Event> {
        let mut ledger = self.ledger();
        loop {
            if let Some(event) = ledger.next_obituary() {
                return Some(event);
            }
            match self.outlet.take(&self.mailboxes) {
                Some((worker, event)) => {
                    if ledger.heard(worker, &event) {
                        return Some(event);
                    }
                }
                None if self.mourn(&mut ledger) => {}
                None => return None,
            }
        }
    }

    /// Sees to what lost workers owe, once everything that they said has been heard. Whether there
    /// was one.
    fn mourn(&self, ledger: &mut Ledger) -> bool {
        let mut any = false;
        for (worker, mailbox) in self.mailboxes.iter().enumerate() {
            if mailbox.is_down() && !ledger.is_mourned(worker) {
                ledger.mourn(worker, mailbox.take_last());
                any = true;
            }
        }
        any
    }

    /// Held while a command is handed over and while an event is taken, by no worker.
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A snapshot of every worker's counters.
    pub fn counters(&self) -> Vec<WorkerCounters> {
        let workers = self.mailboxes.iter().zip(&self.workers).enumerate();
        workers.map(|(n, (mailbox, worker))| mailbox.counters.snapshot(n, worker.core)).collect()
    }

    /// How full the media ports of each local address are that was used so far.
    pub fn ports(&self) -> Vec<(IpAddr, Usage)> {
        self.ports.clone().usage(Instant::now())
    }

    /// New sessions get ports of `ports` from now on; those that stand keep theirs. The range that was used
    /// before is named by [`Engine::ports_retired`] for as long as it is in use.
    ///
    /// # Errors
    /// [`PortsError`]; nothing has changed then.
    pub fn set_ports(&self, ports: RangeInclusive<u16>) -> Result<Generation, PortsError> {
        Ok(self.ports.set_range(PortRange::new(ports)?)?)
    }

    /// Earlier generations of ports ([`Engine::set_ports`]; the first is the default) of which some are in
    /// use or at rest.
    pub fn ports_retired(&self) -> Vec<Generation> {
        self.ports.retired()
    }

    /// Whether each worker works.
    pub fn health(&self) -> Vec<WorkerHealth> {
        let health = |mailbox: &Arc<Mailbox>| WorkerHealth {
            state: mailbox.state(),
            last_beat: mailbox.last_beat(),
        };
        self.mailboxes.iter().map(health).collect()
    }

    /// Stops the workers and closes every socket. Events that were not taken are lost. Takes 5 s
    /// at most.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // A worker that takes its time to stop does not hang.
        self.watchdog = None;
        for mailbox in &self.mailboxes {
            mailbox.stop();
        }
        let deadline = Instant::now() + STOP_MAX;
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            while !thread.is_finished() && Instant::now() < deadline {
                thread::sleep(STOP_LOOK);
            }
            if thread.is_finished() {
                // A panic was caught and reported by the thread itself.
                let _ = thread.join();
            } else {
                tracing::error!("a relay worker does not stop; it is left behind");
            }
        }
    }
}

/// Probes on a thread that ends with it: when a ring is closed the kernel interrupts the thread
/// that made it, in whatever system call it is by then.
fn probe_apart(several_tables: bool) -> Result<(), StartError> {
    let check = move || probe::check(several_tables);
    let probe = thread::Builder::new().name("relay-probe".to_owned()).spawn(check);
    let probe = probe.map_err(|error| StartError::Os { operation: "start a thread", error })?;
    let outcome = probe.join().unwrap_or_else(|panic| {
        let error = std::io::Error::other(words(&*panic).to_owned());
        Err(probe::ProbeError::Os { operation: "probe", error })
    });
    Ok(outcome?)
}

fn range(config: &EngineConfig) -> Result<PortRange, StartError> {
    let range = PortRange::new(config.ports.clone());
    range.map_err(|bad| StartError::NoPorts { first: bad.first, last: bad.last })
}

/// Raises the process's soft limit of descriptors to the hard one, and returns that.
fn raise_descriptor_limit() -> Result<u64, StartError> {
    let os = |operation| move |errno: nix::Error| StartError::Os { operation, error: errno.into() };
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(os("getrlimit"))?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(os("setrlimit"))?;
    }
    Ok(hard)
}

/// A ring's table may have no more places than the process descriptors (RLIMIT_NOFILE).
fn with_tables_of(mut config: EngineConfig, descriptors: u64) -> EngineConfig {
    let most = u32::try_from(descriptors).unwrap_or(u32::MAX);
    config.ring.table = config.ring.table.min(most);
    config
}

type Ready = SyncSender<Result<(), StartError>>;

fn await_ready(is_ready: &Receiver<Result<(), StartError>>) -> Result<(), StartError> {
    is_ready.recv_timeout(START_MAX).unwrap_or_else(|_| {
        let error = std::io::Error::other("the worker died or hung before it was ready");
        Err(StartError::Os { operation: "start a relay worker", error })
    })
}

/// The life of a worker's thread. However it ends, that is noted and the owner is woken.
fn thread_main(plan: WorkerPlan, core: Option<usize>, ready: &Ready) {
    let mailbox = Arc::clone(&plan.mailbox);
    let wake = Arc::clone(&plan.wake);
    let (state, last) = match catch_unwind(AssertUnwindSafe(|| begin(plan, core))) {
        Ok(Ok(worker)) => {
            // The owner waits for it, or has given up on it and stops it.
            let _ = ready.send(Ok(()));
            work(worker)
        }
        Ok(Err(error)) => {
            let _ = ready.send(Err(error));
            (WorkerState::Stopped, Vec::new())
        }
        // The owner sees that nobody is left to say that it is ready.
        Err(panic) => (died_of(&*panic), Vec::new()),
    };
    if let WorkerState::Died { reason } = &state {
        tracing::error!(%reason, "a relay worker has died; its calls end");
    }
    mailbox.ended(state, last);
    wake();
}

/// Makes the calling thread a worker.
fn begin(plan: WorkerPlan, core: Option<usize>) -> Result<Worker, StartError> {
    plan.mailbox.counters.tid.set(u64::from(nix::unistd::gettid().as_raw().cast_unsigned()));
    rank(plan.config.priority);
    let pinned = core.is_none_or(|id| core_affinity::set_for_current(CoreId { id }));
    match core {
        Some(core) if !pinned => Err(StartError::Pin { core }),
        Some(_) | None => Worker::new(plan),
    }
}

/// Works until the worker is stopped or dies, and clears up after it.
fn work(mut worker: Worker) -> (WorkerState, Vec<(SessionId, SessionReport)>) {
    let state = match catch_unwind(AssertUnwindSafe(|| worker.run())) {
        Ok(Ok(())) => WorkerState::Stopped,
        Ok(Err(error)) => WorkerState::Died { reason: format!("io_uring: {error}") },
        Err(panic) => died_of(&*panic),
    };
    // What panicked once may do so again, when its state is what is wrong.
    let last = catch_unwind(AssertUnwindSafe(|| worker.bury()));
    (state, last.unwrap_or_default())
}

fn died_of(panic: &(dyn Any + Send)) -> WorkerState {
    WorkerState::Died { reason: format!("panic: {}", words(panic)) }
}

/// Puts the calling worker before other threads, if that is permitted.
fn rank(priority: Priority) {
    if let Err(error) = priority.set() {
        tracing::info!(
            wanted = %priority, %error,
            "a relay worker runs at the process's own priority; grant CAP_SYS_NICE to raise it"
        );
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
