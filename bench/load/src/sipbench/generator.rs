//! A generator as those who measure see it: a thread that is told what to do and tells what it counted.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustls::ClientConfig;

use crate::ids::Side;
use crate::os;
use crate::relaybench::lab::Lab;
use crate::relaybench::stop::Stop;
use crate::sipbench::calls::{Calls, Manner};
use crate::sipbench::ends::{End, EndPlan, Transport};
use crate::sipbench::engine::{Engine, Order, Told, Work};
use crate::sipbench::registrations::{Habit, Registrations};

/// How long the generator may take to answer: it looks each 2 ms.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Orders that wait to be read: who gives them waits for an answer after a few.
const ORDERS_MAX: usize = 16;

/// How often somebody who waits for the generator looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Registrations a second before the calls: below what any system under test holds.
const PREPARE_PER_SECOND: f64 = 1_000.0;

/// What a generator is to be like.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) transport: Transport,
    /// The servers; calls and phones go to each of them in turn.
    pub(crate) servers: Vec<SocketAddrV4>,
    /// Whether each datagram goes to one of them at random.
    pub(crate) scatters: bool,
    /// Connections of either side, for TCP and TLS.
    pub(crate) connections: u32,
    /// Phones that register, and are called.
    pub(crate) phones: u32,
    pub(crate) ring: Duration,
    pub(crate) hold: Duration,
    /// Most calls at once.
    pub(crate) calls_max: u32,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

pub(crate) struct Generator {
    orders: SyncSender<Order>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Generator {
    /// Opens the sockets of both sides in their places and starts the thread, which goes before all
    /// others of its core.
    ///
    /// # Errors
    /// A server takes no connection, or a socket cannot be had.
    pub(crate) fn start(lab: &Lab, shape: &Shape) -> Result<Generator> {
        let open = |side: Side| {
            lab.at_client(side, |address| {
                End::open(&EndPlan {
                    transport: shape.transport,
                    address,
                    servers: shape.servers.clone(),
                    scatters: shape.scatters,
                    connections: shape.connections,
                    tls: shape.tls.clone(),
                })
            })
        };
        let (caller, callee) = (open(Side::Caller)?, open(Side::Callee)?);
        let run = os::random_u64() as u32;
        let manner = Manner {
            transport: shape.transport,
            phones: shape.phones,
            ring_ns: shape.ring.as_nanos() as u64,
            hold_ns: shape.hold.as_nanos() as u64,
            places: shape.calls_max.next_power_of_two(),
        };
        let (orders, receiver) = sync_channel(ORDERS_MAX);
        let engine = Engine {
            calls: Calls::new(run, manner, &caller, &callee),
            registrations: Registrations::new(run, shape.transport, shape.phones, &callee),
            caller,
            callee,
            orders: receiver,
        };
        let cores = lab.cores.clone();
        let thread = std::thread::Builder::new().name("sip-generator".into());
        let thread = thread.spawn(move || {
            os::pin_to(&cores.generator)?;
            os::prefer_punctuality(!cores.generator.contains(&cores.relay));
            engine.run()
        });
        let thread = thread.context("starting the generator's thread")?;
        Ok(Generator { orders, thread: Some(thread) })
    }

    fn order(&self, order: Order) -> Result<()> {
        self.orders.send(order).map_err(|_| anyhow!("the generator has ended"))
    }

    /// Lets `count` pieces of work begin, `per_second` a second, from now on.
    pub(crate) fn begin(&self, work: Work, per_second: f64, count: u64) -> Result<()> {
        self.order(Order::Begin { work, per_second, count })
    }

    /// Nothing more begins.
    pub(crate) fn enough(&self) -> Result<()> {
        self.order(Order::Enough)
    }

    /// Calls that are answered from now on are held until told to hang up, or as long as at first.
    pub(crate) fn hold(&self, on: bool) -> Result<()> {
        self.order(Order::Hold(on))
    }

    pub(crate) fn forget_times(&self) -> Result<()> {
        self.order(Order::ForgetTimes)
    }

    /// What it has counted until now.
    pub(crate) fn ask(&self) -> Result<Told> {
        let (to, from) = sync_channel(1);
        self.order(Order::Tell(to))?;
        from.recv_timeout(ANSWER_MAX).context("the generator does not answer")
    }

    /// Waits until nothing goes on and nothing is to begin.
    ///
    /// # Errors
    /// It takes longer than `limit`, or the user has had enough.
    pub(crate) fn settle(&self, limit: Duration, stop: &Stop) -> Result<Told> {
        self.wait(limit, stop, |told| told.live == 0 && !told.has_more)
    }

    /// Waits until `is_so`.
    ///
    /// # Errors
    /// As [`Generator::settle`].
    pub(crate) fn wait(
        &self,
        limit: Duration,
        stop: &Stop,
        is_so: impl Fn(&Told) -> bool,
    ) -> Result<Told> {
        let deadline = Instant::now() + limit;
        loop {
            let told = self.ask()?;
            if is_so(&told) {
                return Ok(told);
            }
            if Instant::now() > deadline {
                bail!("after {limit:?} {} calls or registrations still go on", told.live);
            }
            stop.sleep(LOOK_AGAIN)?;
        }
    }

    /// Every phone registers once, so that it can be called.
    ///
    /// # Errors
    /// One of them could not, or the server is not there.
    pub(crate) fn prepare(&self, phones: u32, stop: &Stop) -> Result<()> {
        let work = Work::Registrations(Habit::Fresh);
        self.begin(work, PREPARE_PER_SECOND, phones.into())?;
        let seconds = f64::from(phones) / PREPARE_PER_SECOND + 20.0;
        let told = self.settle(Duration::from_secs_f64(seconds), stop)?;
        let done = told.tally.counts.completed;
        ensure!(
            done == u64::from(phones),
            "{done} of {phones} phones could register: {:?}",
            told.tally.reasons
        );
        Ok(())
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.orders.send(Order::Finish);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
