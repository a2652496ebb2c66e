//! A node: the relay's workers and one signaling thread, started, watched and stopped together.

mod alarm;
mod bans;
mod calls_log;
pub(crate) mod certificates;
mod commands;
mod cpu;
mod event_loop;
pub(crate) mod farm;
mod gather;
pub(crate) mod host_addresses;
pub(crate) mod kernel;
pub(crate) mod media;
mod members;
pub(crate) mod metrics;
mod ng;
mod node_secret;
mod notices;
mod pressure;
mod rotation;
mod strain;
mod translate;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use control_core::cluster::Load as MemberLoad;
use control_core::settings::Settings;
use relay_engine::{Engine, WorkerCounters, WorkerState};
use signaling_core::proxy::Load;
use signaling_core::transport::Transport;
use signaling_net::tls::{Certificate, Tls};
use tokio::sync::Notify;

use crate::cluster::member;
use crate::control::Command;
use crate::control::server::{self, Control};
use crate::exit::Stop;
use commands::{Asks, Commands};
use event_loop::EventLoop;
use farm::FarmParts;
use host_addresses::Named;
use kernel::Kernel;
use media::{MediaSettings, MediaSide};

/// How long the signaling thread may take to release calls and close connections at the end.
pub(crate) const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How often the host's addresses are looked at: one that comes is known as soon as by the kernel's
/// routing, of which answers are used again for as long (S50).
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Far longer than it takes to read the counters once.
const SCRAPED_WITHIN: Duration = Duration::from_secs(1);

/// The addresses of a node's sockets, with the ports that the system chose.
#[derive(Clone, Debug)]
struct Bound {
    sip: Vec<(Transport, SocketAddr)>,
    ng: Option<SocketAddr>,
}

/// What both sides of a node's threads see.
struct Shared {
    /// Wakes the signaling thread: the relay has events, or the node is to stop.
    wake: Notify,
    stopping: Mutex<Option<Instant>>,
    /// The node takes nothing new (B4).
    draining: AtomicBool,
    figures: Mutex<metrics::Figures>,
    /// Questions to the signaling thread.
    asks: Asks,
    /// Those in use, for the metrics.
    certificates: Mutex<Vec<Certificate>>,
    /// The local addresses that the settings name, for the metrics.
    named: Mutex<Vec<Named>>,
    /// Asked once a second by the cluster's thread alone.
    cpu: cpu::Meter,
}

impl Shared {
    fn new() -> Shared {
        Shared {
            wake: Notify::new(),
            stopping: Mutex::default(),
            draining: AtomicBool::default(),
            figures: Mutex::default(),
            asks: Asks::default(),
            certificates: Mutex::default(),
            named: Mutex::default(),
            cpu: cpu::Meter::new(),
        }
    }

    fn stop_deadline(&self) -> Option<Instant> {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the node takes what is new.
    fn is_ready(&self) -> bool {
        self.stop_deadline().is_none() && !self.draining.load(Ordering::Acquire)
    }

    fn note_certificates(&self, tls: &Tls) {
        let mut noted = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        *noted = tls.certificates().to_vec();
    }
}

/// A running node. Dropping it without [`Node::stop`] leaves its threads to the end of the process.
pub(crate) struct Node {
    engine: Arc<Engine>,
    shared: Arc<Shared>,
    signaling: thread::JoinHandle<anyhow::Result<()>>,
    bound: Bound,
    commands: Arc<Commands>,
    /// `None`: this node is no member of a cluster.
    member: Option<member::Running>,
    /// Its file goes when the node does.
    control: Option<Control>,
}

impl Node {
    /// Starts the workers, then the signaling thread; returns once every listener is bound.
    ///
    /// # Errors
    /// [`Stop::CannotStart`] with what the machine lacks; nothing is left running.
    pub(crate) fn start(settings: &Settings) -> Result<Node, Stop> {
        host_addresses::check(settings).map_err(Stop::CannotStart)?;
        let shared = Arc::new(Shared::new());
        let waker = Arc::clone(&shared);
        let config = translate::engine(settings)?;
        let engine = Engine::start(config, Arc::new(move || waker.wake.notify_one()))
            .map_err(|error| Stop::CannotStart(error.into()))?;
        let engine = Arc::new(engine);
        for line in Kernel::read().advice(settings.media.ports) {
            tracing::warn!("{line}");
        }
        // Before SIP is received: what comes then is handled as a member does.
        let media = MediaSettings::new(&settings.media);
        let side = MediaSide::new(media.clone(), &engine);
        let mut member = match join(settings, &shared, side) {
            Ok(member) => member,
            Err(error) => {
                stop_engine(engine);
                return Err(Stop::CannotStart(error));
            }
        };
        let farm = member.as_mut().and_then(|member| member.farm.take());
        let asked = member.as_ref().map(|member| member.handle.clone());
        match spawn_signaling(settings, farm, &media, &engine, &shared) {
            Ok((signaling, bound)) => {
                let commands = Arc::new(Commands::new(shared.clone(), settings.clone(), asked));
                commands.look_at_addresses();
                let control = None;
                let mut node = Node { engine, shared, signaling, bound, commands, member, control };
                match node.serve(settings) {
                    Ok(()) => Ok(node),
                    Err(error) => {
                        // What is wrong with the address is the news.
                        let _ = node.stop();
                        Err(Stop::CannotStart(error))
                    }
                }
            }
            Err(error) => {
                stop_engine(engine);
                Err(Stop::CannotStart(error))
            }
        }
    }

    /// Opens what is not SIP: figures, commands.
    fn serve(&mut self, settings: &Settings) -> anyhow::Result<()> {
        self.serve_metrics(settings)?;
        let commands = Arc::clone(&self.commands);
        self.control = server::start(&settings.control.socket, move |one| commands.run(one))?;
        Ok(())
    }

    fn serve_metrics(&self, settings: &Settings) -> anyhow::Result<()> {
        let Some(listen) = settings.metrics.listen else { return Ok(()) };
        let member = self.member.as_ref().map(|member| member.handle.clone());
        let address = metrics::serve(listen, Arc::clone(&self.shared), &self.engine, member)?;
        tracing::info!(%address, "metrics are served at /metrics, health at /healthz and /readyz");
        Ok(())
    }

    /// The addresses that SIP is received on, with the ports that the system chose.
    pub(crate) fn bound(&self) -> &[(Transport, SocketAddr)] {
        &self.bound.sip
    }

    /// The address that ng commands are received on.
    pub(crate) fn ng(&self) -> Option<SocketAddr> {
        self.bound.ng
    }

    /// The workers' counters.
    pub(crate) fn counters(&self) -> Vec<WorkerCounters> {
        self.engine.counters()
    }

    /// Whether this node is a member of a cluster.
    pub(crate) fn is_member(&self) -> bool {
        self.member.is_some()
    }

    /// As the command `drain`.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn drain(&self) -> Result<(), String> {
        self.commands.run(Command::Drain {}).map(drop)
    }

    /// Whether the node drains and has nothing left to do.
    pub(crate) fn is_drained(&self) -> bool {
        self.shared.figures.lock().unwrap_or_else(PoisonError::into_inner).drained
    }

    /// How busy the signaling side was when it last went round.
    pub(crate) fn load(&self) -> Load {
        self.shared.figures.lock().unwrap_or_else(PoisonError::into_inner).load
    }

    /// Whether so much of the node has ended by itself that it cannot go on: its signaling thread, or
    /// its last worker. The engine ends a lost worker's sessions and places new ones on the others.
    pub(crate) fn failure(&self) -> Option<String> {
        if self.signaling.is_finished() {
            return Some("the signaling thread has ended".to_owned());
        }
        let mut lost = Vec::new();
        for (worker, health) in self.engine.health().into_iter().enumerate() {
            match health.state {
                WorkerState::Died { reason } => lost.push(format!("worker {worker}: {reason}")),
                WorkerState::Running | WorkerState::Stopped => return None,
            }
        }
        Some(format!("no media worker is left ({})", lost.join("; ")))
    }

    /// Why the cluster does not have this node as a member any more, and never will again as it is: another
    /// process has its name or its media ports.
    pub(crate) fn refused(&self) -> Option<String> {
        self.member.as_ref().and_then(|member| member.handle.refused())
    }

    /// As the command `refresh`; what comes of it is logged.
    pub(crate) fn refresh(&self) {
        match self.commands.run(Command::Refresh {}) {
            Ok(result) => tracing::info!(%result, "refreshed"),
            Err(error) => tracing::error!("told to refresh: {error}"),
        }
    }

    /// Looks at what nobody tells of: which addresses the host has, how near their ends the certificates
    /// are. To be called every [`LOOK_EVERY`] or so.
    pub(crate) fn look(&self) {
        self.commands.look_at_addresses();
        self.commands.look_at_certificates();
    }

    /// Releases every call, writes their records, closes every socket.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        *self.shared.stopping.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Instant::now() + STOP_WITHIN);
        self.shared.wake.notify_one();
        let ended = self.signaling.join();
        if let Some(member) = self.member {
            member.stop();
        }
        stop_engine(self.engine);
        ended.map_err(|_| anyhow!("the signaling thread has panicked"))?
    }
}

/// Makes this node a member of its cluster, if it is to be one.
fn join(
    settings: &Settings,
    shared: &Arc<Shared>,
    media: MediaSide,
) -> anyhow::Result<Option<member::Running>> {
    let (waker, loaded) = (Arc::clone(shared), Arc::clone(shared));
    let load = move || {
        let calls = loaded.figures.lock().unwrap_or_else(PoisonError::into_inner).load.calls;
        let cpu_permille = loaded.cpu.permille();
        MemberLoad { calls: u32::try_from(calls).unwrap_or(u32::MAX), cpu_permille }
    };
    member::start(settings, Arc::new(move || waker.wake.notify_one()), Arc::new(load), media)
}

fn stop_engine(mut engine: Arc<Engine>) {
    // The signaling thread has ended and given its share back; a scrape may hold one for the moment
    // that it takes to read counters.
    let end = Instant::now() + SCRAPED_WITHIN;
    loop {
        match Arc::try_unwrap(engine) {
            Ok(engine) => return engine.stop(),
            Err(_) if Instant::now() >= end => return,
            Err(shared) => engine = shared,
        }
        thread::sleep(Duration::from_millis(1));
    }
}

type Signaling = (thread::JoinHandle<anyhow::Result<()>>, Bound);

fn spawn_signaling(
    settings: &Settings,
    farm: Option<FarmParts>,
    media: &MediaSettings,
    engine: &Arc<Engine>,
    shared: &Arc<Shared>,
) -> anyhow::Result<Signaling> {
    let cluster = farm.as_ref().map(|farm| farm.secret);
    let parts = translate::signaling(settings, cluster.as_ref(), media)?;
    if let Some(tls) = &parts.tls {
        shared.note_certificates(tls);
    }
    let (ready, bound) = mpsc::sync_channel(1);
    let (engine, shared) = (Arc::clone(engine), Arc::clone(shared));
    let priority = translate::signaling_priority(settings);
    let handle = thread::Builder::new().name("signaling".to_owned()).spawn(move || {
        if let Err(error) = priority.set() {
            tracing::info!(wanted = %priority, %error, "signaling runs at the process's own priority");
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the signaling runtime")?;
        runtime.block_on(async move {
            let event_loop = match EventLoop::bind(parts, farm, engine, shared) {
                Ok(event_loop) => event_loop,
                Err(error) => {
                    // The starter is told; this thread has nothing left to do.
                    let _ = ready.send(Err(error));
                    return Ok(());
                }
            };
            let _ = ready.send(Ok(event_loop.bound()));
            // As a task: what wakes it from this thread (a connection's task, a timer) then does
            // without the two system calls that it takes to wake what is blocked on.
            match tokio::spawn(event_loop.run()).await {
                Ok(ended) => ended,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(error) => Err(error.into()),
                },
            }
        })
    })?;
    match bound.recv() {
        Ok(Ok(bound)) => Ok((handle, bound)),
        Ok(Err(error)) => {
            let _ = handle.join();
            Err(error)
        }
        Err(_) => match handle.join() {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Err(anyhow!("the signaling thread ended while it started")),
        },
    }
}
