//! One measurement: one server, one load, once.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::paired::cell::{CoreFigures, Effort, GeneratorFigures, Timing, Words, share};
use crate::relaybench::cpu::{Meter, Spent};
use crate::relaybench::lab::Lab;
use crate::relaybench::stop::Stop;
use crate::report::Quantiles;
use crate::sipbench::ends::Transport;
use crate::sipbench::engine::{Told, Work};
use crate::sipbench::generator::{Generator, Shape};
use crate::sipbench::registrations::Habit;
use crate::sipbench::report::Figures;
use crate::sipbench::systems::Running;
use crate::sipbench::tally::Interval;
use crate::sipbench::workload::{Kind, Workload};

/// How long the callee lets it ring, and how long a call is held: short, so that few are live, but
/// longer than a server needs, so that a call's messages do not overtake each other.
pub(crate) const RING: Duration = Duration::from_millis(50);
pub(crate) const HOLD: Duration = Duration::from_millis(100);

/// Most calls at once: what 10 s of the highest rate begin, the longest that a call may take.
pub(crate) const CALLS_MAX: u32 = 1 << 17;

/// For calls that go on when no more begin: beyond the time that the generator waits for anything.
pub(crate) const DRAIN: Duration = Duration::from_secs(20);

/// What the generator is judged by.
const WORDS: Words = Words { begun: "starts", did: "began", carried: "messages" };

pub(crate) fn servers_of(running: &Running, transport: Transport) -> Vec<SocketAddrV4> {
    match transport {
        Transport::Udp | Transport::Tcp => running.addresses.clone(),
        Transport::Tls => vec![running.tls_address],
    }
}

/// Measures a server that has just been started.
///
/// # Errors
/// The server failed, or the user has had enough.
pub(crate) fn measure(
    lab: &Lab,
    running: &mut Running,
    load: &Workload,
    timing: Timing,
    stop: &Stop,
) -> Result<Figures> {
    let shape = Shape {
        transport: load.transport,
        servers: servers_of(running, load.transport),
        scatters: running.scatters,
        connections: load.connections,
        phones: load.phones,
        ring: RING,
        hold: HOLD,
        calls_max: CALLS_MAX,
        tls: running.tls.clone(),
    };
    let generator = Generator::start(lab, &shape)?;
    if matches!(load.kind, Kind::Call | Kind::Refresh) {
        generator.prepare(load.phones, stop).context("before the measurement")?;
    }
    let base = generator.ask()?;
    let seconds = (timing.warm_up + timing.measured).as_secs_f64() + DRAIN.as_secs_f64();
    generator.begin(load.kind.work(), load.per_second, (load.per_second * seconds) as u64)?;
    stop.sleep(timing.warm_up)?;
    let meter = Meter::new(lab.cores.relay, running.pids())?;
    generator.forget_times()?;
    let before = (meter.read()?, generator.ask()?);
    stop.sleep(timing.measured)?;
    let after = (meter.read()?, generator.ask()?);
    generator.enough()?;
    let end = generator.settle(DRAIN, stop)?;
    running.check()?;
    let window = Window {
        spent: Spent::between(&before.0, &after.0),
        base,
        before: before.1,
        after: after.1,
        end,
    };
    ensure!(
        window.end.tally.counts.completed > window.base.tally.counts.completed,
        "nothing was completed: {:?}",
        window.end.tally.reasons
    );
    Ok(window.figures(load))
}

/// Everything that registers, at this rate, once; used to fill a server.
///
/// # Errors
/// Some could not.
pub(crate) fn fill(
    generator: &Generator,
    count: u32,
    per_second: f64,
    stop: &Stop,
) -> Result<Told> {
    generator.begin(Work::Registrations(Habit::Fresh), per_second, count.into())?;
    let seconds = f64::from(count) / per_second + DRAIN.as_secs_f64();
    generator.settle(Duration::from_secs_f64(seconds), stop)
}

/// What was counted between two moments, and until the end.
struct Window {
    spent: Spent,
    /// Before anything of the load began.
    base: Told,
    before: Told,
    after: Told,
    end: Told,
}

impl Window {
    fn figures(&self, load: &Workload) -> Figures {
        let spent = &self.spent;
        let [base, before, after, end] =
            [&self.base, &self.before, &self.after, &self.end].map(|told| &told.tally.counts);
        let seconds = (self.after.at_ns - self.before.at_ns) as f64 / 1e9;
        let completed_per_second = (after.completed - before.completed) as f64 / seconds;
        let us_each = |ns: u64| {
            if completed_per_second > 0.0 {
                share(spent, ns) * 1e6 / completed_per_second
            } else {
                0.0
            }
        };
        let latency = Interval::ALL
            .into_iter()
            .map(|interval| {
                let times = &self.after.tally.latency_ns[interval as usize];
                (interval.name().to_owned(), Quantiles::of_ns(times))
            })
            .filter(|(_, quantiles)| quantiles.count > 0);
        let again = |counts: &crate::sipbench::tally::Counts| counts.sent_again + counts.came_again;
        Figures {
            cpu_us_per_call: us_each(spent.busy_ns),
            cpu_us_per_transaction: us_each(spent.busy_ns) / load.kind.transactions(),
            cpu_us_per_call_processes: us_each(spent.process_ns),
            core: CoreFigures::of(spent),
            offered_per_second: load.per_second,
            completed_per_second,
            started: end.started - base.started,
            completed: end.completed - base.completed,
            failures: end.failed - base.failed,
            retransmissions: again(end) - again(before),
            challenged: end.challenged - base.challenged,
            judged: end.judged - base.judged,
            misjudged: end.misjudged - base.misjudged,
            reasons: self.end.tally.reasons.clone(),
            latency_us: latency.collect::<BTreeMap<_, _>>(),
            generator: self.generator(load, seconds),
        }
    }

    fn generator(&self, load: &Workload, seconds: f64) -> GeneratorFigures {
        let (before, after) = (&self.before.tally, &self.after.tally);
        let started = (after.counts.started - before.counts.started) as f64 / seconds;
        let end = &self.end.tally;
        let effort = Effort {
            busy_share: after.cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1e9 / seconds,
            late_us_p99: Quantiles::of_ns(&after.late_ns).p99,
            done_share: started / load.per_second,
            receive_drops: end.receive_drops,
            // A connection has its own failures, which are those of calls.
            send_failures: if load.transport == Transport::Udp { end.send_failures } else { 0 },
        };
        effort.judge(WORDS)
    }
}
