//! The run itself: registers, calls, holds, hangs up, reports. One thread, driven by SIP messages
//! and timers; media runs on threads of its own.

mod callee;
mod caller;
mod connections;
mod exchange;
mod hangup;
mod outcome;
mod phases;
mod queue;
mod register;
mod session;
mod summary;

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::cli::Plan;
use crate::engine::outcome::Failure;
use crate::engine::queue::{Pacer, TimerQueue};
use crate::engine::register::Registration;
use crate::engine::session::{Outcome, Session};
use crate::engine::summary::Window;
use crate::ids::{SessionId, Side};
use crate::media::packet::Shape;
use crate::media::{MediaConfig, MediaPlane};
use crate::os;
use crate::progress::{Phase, Progress};
use crate::report::{Reasons, Report};
use crate::sip::client::ClientTx;
use crate::sip::server::ServerTx;
use crate::sip::timers::Timers;
use crate::sip::wire::Wire;

/// Time between two snapshots of the progress.
const PROGRESS_PERIOD: Duration = Duration::from_millis(200);

/// How long a cancelled run waits for the answers to its last BYEs.
const CANCEL_PATIENCE: Duration = Duration::from_secs(1);

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A registration, by its place in the list.
    Register(usize),
    /// A call's INVITE.
    Invite(SessionId),
    /// The BYE that ends a call as planned.
    Bye(SessionId, Side),
    /// A CANCEL, or the BYE of a call that has failed: nobody waits for the answer.
    CleanUp,
}

/// What a timer is for.
#[derive(Clone, Debug)]
pub(crate) enum Wake {
    /// A client transaction.
    Client(Arc<str>),
    /// A server transaction.
    Server(Arc<str>),
    /// The callee has rung long enough.
    Answer(SessionId),
    /// The caller has waited long enough.
    GiveUp(SessionId),
    /// The call has had its media (calls with a time of their own).
    HoldOver(SessionId),
    /// Its last packets have had time to arrive.
    DrainOver(SessionId),
}

/// What is counted besides media.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) failures: Reasons,
    pub(crate) hangup_failures: Reasons,
    pub(crate) registration_failures: Reasons,
    pub(crate) registered: u32,
    pub(crate) registrations_failed: u32,
    pub(crate) registrations_renewed: u32,
    pub(crate) connections_lost: u32,
    pub(crate) connections_restored: u32,
    pub(crate) unregistered: u32,
    pub(crate) unregistrations_failed: u32,
    pub(crate) up: u32,
    pub(crate) failed: u32,
    /// Calls that are up or will never be.
    pub(crate) settled: u32,
    pub(crate) over: u32,
    pub(crate) hangups_ok: u32,
    pub(crate) hangups_failed: u32,
    pub(crate) retransmissions: u64,
    pub(crate) unreadable: u64,
    pub(crate) unexpected: u64,
    pub(crate) setup_ns: Histogram<u64>,
    pub(crate) post_dial_ns: Histogram<u64>,
    pub(crate) register_ns: Histogram<u64>,
}

impl Counters {
    fn new() -> Counters {
        use crate::media::stats::histogram;
        Counters {
            failures: Reasons::new(),
            hangup_failures: Reasons::new(),
            registration_failures: Reasons::new(),
            registered: 0,
            registrations_failed: 0,
            registrations_renewed: 0,
            connections_lost: 0,
            connections_restored: 0,
            unregistered: 0,
            unregistrations_failed: 0,
            up: 0,
            failed: 0,
            settled: 0,
            over: 0,
            hangups_ok: 0,
            hangups_failed: 0,
            retransmissions: 0,
            unreadable: 0,
            unexpected: 0,
            setup_ns: histogram(),
            post_dial_ns: histogram(),
            register_ns: histogram(),
        }
    }
}

/// The state of a run.
pub(crate) struct Engine {
    pub(crate) plan: Plan,
    /// Tells this run's messages and packets from any other's.
    pub(crate) run: u64,
    pub(crate) sip_timers: Timers,
    pub(crate) wire: Wire,
    pub(crate) media: MediaPlane,
    pub(crate) clients: HashMap<Arc<str>, ClientTx<Owner>>,
    pub(crate) servers: HashMap<Arc<str>, ServerTx>,
    pub(crate) timers: TimerQueue<Wake>,
    pub(crate) registrations: Vec<Registration>,
    pub(crate) next_registration: usize,
    pub(crate) registering: u32,
    pub(crate) sessions: Vec<Session>,
    /// The calls by the side and the Call-ID that it sees.
    pub(crate) calls: HashMap<(Side, String), SessionId>,
    /// Calls whose BYE waits for a connection, by the side that hangs up and the connection's number.
    pub(crate) byes_waiting: Vec<(Side, u32, SessionId)>,
    pub(crate) next_call: u32,
    pub(crate) next_hangup: u32,
    /// Makes branches, tags and cnonces distinct.
    pub(crate) serial: u64,
    pub(crate) counters: Counters,
    pub(crate) pacers: Pacers,
    pub(crate) phase: Phase,
    /// When the holding or draining phase ends.
    pub(crate) phase_ends_at: Instant,
    pub(crate) window: Window,
    pub(crate) started: Instant,
    pub(crate) deadline: Instant,
    pub(crate) cancelled: bool,
    pub(crate) deadline_reached: bool,
    cpu_ns_before: u64,
}

/// How fast things are begun.
#[derive(Debug)]
pub(crate) struct Pacers {
    pub(crate) register: Pacer,
    pub(crate) call: Pacer,
    pub(crate) hangup: Pacer,
}

/// Runs `plan` to its end.
///
/// # Errors
/// Sockets or threads cannot be had.
pub(crate) fn run(
    plan: Plan,
    mut progress: impl FnMut(&Progress) -> ControlFlow<()>,
) -> Result<Report> {
    let mut engine = Engine::new(plan)?;
    let mut snapshots = summary::Snapshots::new(Instant::now());
    while engine.phase != Phase::Done {
        let now = Instant::now();
        engine.turn(now);
        if let Some(snapshot) = snapshots.take(&engine, now)
            && progress(&snapshot).is_break()
        {
            engine.cancel(now);
        }
        engine.wire.wait(engine.idle_time(now, snapshots.next_at()));
        engine.listen();
        engine.mind_connections(Instant::now());
    }
    let last = snapshots.last(&engine, Instant::now());
    // The run is over: there is nothing left that a break could end.
    let _ = progress(&last);
    engine.finish()
}

impl Engine {
    fn new(plan: Plan) -> Result<Engine> {
        let now = Instant::now();
        let run = os::random_u64();
        os::raise_descriptor_limit()?;
        let wire = Wire::open(plan.bind, plan.streaming.as_ref(), plan.guard.clone())?;
        let media = MediaPlane::start(&MediaConfig {
            sessions: plan.args.sessions,
            sessions_per_socket: plan.args.sessions_per_socket.min(plan.args.sessions),
            cores: plan.cores.clone(),
            may_dominate: plan.other_cores,
            bind: plan.bind,
            ports: plan.args.media_ports.map(|ports| ports.low..=ports.high),
            audio: Shape::AUDIO,
            video: plan.video,
            reports: true,
            run,
        })?;
        let pacers = Pacers {
            register: Pacer::new(plan.args.register_rate, now),
            call: Pacer::new(plan.args.rate, now),
            hangup: Pacer::new(plan.args.hangup_rate, now),
        };
        let deadline = now + plan.args.deadline(&plan.users);
        let registrations = Registration::all(&plan);
        Ok(Engine {
            run,
            sip_timers: Timers { t1: Duration::from_millis(plan.args.t1_ms) },
            wire,
            media,
            clients: HashMap::new(),
            servers: HashMap::new(),
            timers: TimerQueue::new(),
            next_registration: 0,
            registering: 0,
            registrations,
            sessions: (0..plan.args.sessions).map(|_| Session::new()).collect(),
            calls: HashMap::new(),
            byes_waiting: Vec::new(),
            next_call: 0,
            next_hangup: 0,
            serial: 0,
            counters: Counters::new(),
            pacers,
            phase: Phase::Registering,
            phase_ends_at: now,
            window: Window::default(),
            started: now,
            deadline,
            cancelled: false,
            deadline_reached: false,
            cpu_ns_before: os::thread_cpu_ns(),
            plan,
        })
    }

    pub(crate) fn session(&mut self, session: SessionId) -> &mut Session {
        &mut self.sessions[session.0 as usize]
    }

    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A number that this run has not used and others will not guess.
    pub(crate) fn token(&mut self) -> String {
        let serial = self.next_serial();
        format!("{:016x}", crate::media::packet::mix(self.run.wrapping_add(serial)))
    }

    /// Counts `session` as failed, unless its outcome is known, and takes down what there is of it.
    pub(crate) fn fail(&mut self, session: SessionId, failure: Failure, now: Instant) {
        if self.session(session).outcome.is_some() {
            return;
        }
        outcome::note(&mut self.counters.failures, &failure);
        self.counters.failed += 1;
        let state = self.session(session);
        state.outcome = Some(Outcome::Failed(failure));
        if state.up {
            self.media.stop_session(session);
        } else {
            self.counters.settled += 1;
        }
        self.counters.over += 1;
        self.take_down(session, now);
    }

    /// Ends the run early.
    fn cancel(&mut self, now: Instant) {
        if self.cancelled {
            return;
        }
        self.cancelled = true;
        self.fail_rest(&Failure::Cancelled, now);
        self.phase = Phase::HangingUp;
        self.deadline = self.deadline.min(now + CANCEL_PATIENCE);
    }

    /// Fails every call that has no outcome.
    pub(crate) fn fail_rest(&mut self, failure: &Failure, now: Instant) {
        for number in 0..self.plan.args.sessions {
            self.fail(SessionId(number), failure.clone(), now);
        }
        self.next_call = self.plan.args.sessions;
    }
}
