//! The signaling thread: moves messages, relay events and time into the proxy core, and what comes
//! out of it to the transports and the relay.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use relay_core::api::{Command, Event, Refusal, SessionId};
use relay_engine::{Engine, SubmitError};
use serde_json::Value;
use signaling_core::call::Owner;
use signaling_core::events::Package;
use signaling_core::ng;
use signaling_core::proxy::Proxy;
use signaling_core::proxy::output::{Notice, Output};
use signaling_core::transport::{ListenerId, Transport};
use signaling_net::{Input, Resolver, Transports};

use super::alarm::Alarm;
use super::bans;
use super::commands::Ask;
use super::farm::{FarmParts, FarmSide};
use super::gather::Gather;
use super::metrics::{Figures, OverloadFigures, Tally};
use super::ng::{self as ng_side, NgSide};
use super::notices::Notices;
use super::pressure::Pressure;
use super::strain::Strain;
use super::translate::SignalingParts;
use super::{Bound, Shared, calls_log};
use crate::control::Answer;

/// Most closes that wait for a busy relay: each is a session, and a full table of them fits.
const CLOSES_WAITING_MAX: usize = 1 << 20;

/// Closes tried again each time round, so that a full queue of them does not hold up messages.
const CLOSES_AT_ONCE: usize = 256;

/// The longest that the runtime is not asked what is ready, while datagrams keep coming and are received
/// without it: a new connection waits for that long, an ICMP report, a look-up that has just ended. To ask it
/// costs as much as to receive; this makes it the fifth part of turns under load, or less.
const ASKED_EVERY: Duration = Duration::from_millis(5);

/// How old the figures may be that others read while there is always something to do.
const FIGURES_EVERY: Duration = Duration::from_millis(10);

pub(super) struct EventLoop {
    proxy: Proxy,
    ng: Option<NgSide>,
    farm: Option<Box<FarmSide>>,
    transports: Transports,
    transports_of: Vec<Transport>,
    resolver: Resolver,
    engine: Arc<Engine>,
    shared: Arc<Shared>,
    /// Sessions to close once the relay takes commands again: a close must not be lost.
    closes_waiting: VecDeque<SessionId>,
    /// Answers made up here for commands that the relay did not take.
    answers: VecDeque<Event>,
    alarm: Alarm,
    gather: Gather,
    notices: Notices,
    pressure: Pressure,
    strain: Strain,
    tally: Tally,
    /// When the runtime was asked last what is ready.
    asked: Instant,
    /// When the figures were handed over last, and whether something was done since.
    told: Instant,
    untold: bool,
}

impl EventLoop {
    /// Binds the listeners. Has to be called inside a runtime.
    pub(super) fn bind(
        parts: SignalingParts,
        farm: Option<FarmParts>,
        engine: Arc<Engine>,
        shared: Arc<Shared>,
    ) -> anyhow::Result<EventLoop> {
        let transports_of: Vec<_> = parts.listeners.iter().map(|l| l.transport).collect();
        let mut transports = Transports::bind_secure(parts.listeners, parts.limits, parts.tls)?;
        transports.set_origins(parts.ws_origins);
        let now = Instant::now();
        let proxy = (parts.proxy)(now, &transports.bound());
        let last = u16::try_from(transports.bound().len().saturating_sub(1)).unwrap_or(u16::MAX);
        let ng = parts.ng.map(|core| NgSide { listener: ListenerId(last), core: core() });
        let listeners = || transports_of.iter().copied().zip(transports.bound()).collect();
        let mut event_loop = EventLoop {
            proxy,
            ng,
            farm: farm.map(|farm| Box::new(FarmSide::new(farm, listeners()))),
            transports,
            transports_of,
            resolver: Resolver::new(&parts.resolver)?,
            engine,
            shared,
            closes_waiting: VecDeque::new(),
            answers: VecDeque::new(),
            alarm: Alarm::default(),
            gather: Gather::new(now, parts.gather),
            notices: Notices::default(),
            pressure: Pressure::default(),
            strain: Strain::new(now),
            tally: Tally::default(),
            asked: now,
            told: now,
            untold: false,
        };
        // Nothing is received before the node is the member that it is to be.
        event_loop.take_from_members(now);
        Ok(event_loop)
    }

    pub(super) fn bound(&self) -> Bound {
        let listeners = self.transports_of.iter().copied().zip(self.transports.bound());
        let mut sip: Vec<(Transport, SocketAddr)> = listeners.collect();
        // Its listener is the last one.
        let ng = self.ng.as_ref().and_then(|_| sip.pop()).map(|(_, address)| address);
        Bound { sip, ng }
    }

    /// Whether nothing is left to be released.
    fn is_idle(&self) -> bool {
        self.proxy.load().calls == 0
            && self.proxy.load().byes == 0
            && self.ng.as_ref().is_none_or(|ng| ng.core.sessions() == 0)
    }

    /// When either core has something to do by itself.
    fn due(&self) -> Option<Instant> {
        let ng = self.ng.as_ref().and_then(|ng| ng.core.poll_timeout());
        [self.proxy.poll_timeout(), ng].into_iter().flatten().min()
    }

    fn answer_asks(&mut self) {
        while let Some((ask, sender)) = self.shared.asks.next() {
            // Who asked may have given up.
            let _ = sender.send(self.answer(ask));
        }
    }

    /// Answers a command.
    fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Bans => Ok(bans::list(&self.proxy, Instant::now())),
            Ask::Ban { source, time, reason } => {
                let banned = self.proxy.ban(Instant::now(), source, time, &reason);
                banned.map_err(|why| format!("{source} is not banned: {why}"))?;
                tracing::warn!(%source, reason, "banned by the operator for {} s", time.as_secs());
                Ok(Value::Null)
            }
            Ask::Unban { source } => {
                if !self.proxy.unban(Instant::now(), source) {
                    return Err(format!("{source} is not banned"));
                }
                tracing::warn!(%source, "ban lifted by the operator");
                Ok(Value::Null)
            }
            Ask::Refresh { tls } => {
                if let Some(tls) = tls {
                    self.transports.set_tls(tls);
                }
                self.reload_name_servers()
            }
            Ask::Drain => {
                let now = Instant::now();
                self.proxy.handle_drain(now);
                self.deliver(now);
                Ok(Value::Null)
            }
            Ask::Addresses(addresses) => {
                self.proxy.set_host_addresses(&addresses);
                Ok(Value::Null)
            }
        }
    }

    fn reload_name_servers(&mut self) -> Answer {
        match self.resolver.reload() {
            Ok(changed) => {
                if changed {
                    tracing::info!("the system's name servers have changed and are used");
                }
                Ok(Value::Null)
            }
            Err(error) => Err(format!("the name servers in use stay: {error}")),
        }
    }

    fn handle_stop(&mut self, now: Instant) {
        self.proxy.handle_stop(now);
        if let Some(ng) = &mut self.ng {
            ng.core.handle_stop();
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.proxy.poll_timeout().is_some_and(|due| due <= now) {
            self.proxy.handle_timeout(now);
        }
        if let Some(ng) = &mut self.ng
            && ng.core.poll_timeout().is_some_and(|due| due <= now)
        {
            ng.core.handle_timeout(now);
        }
    }

    /// What the relay tells of a session goes to whom it belongs to.
    fn handle_media(&mut self, now: Instant, event: Event) {
        match (Owner::of(event.session()), &mut self.ng) {
            (Owner::Ng, Some(ng)) => ng.core.handle_media(event),
            (Owner::Proxy, _) | (Owner::Ng, None) => self.proxy.handle_media(now, event),
        }
    }

    /// Goes round until the node is stopped.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let mut inputs = Vec::new();
        let mut stopping = None;
        loop {
            let now = Instant::now();
            if stopping.is_none() {
                stopping = self.shared.stop_deadline();
                if stopping.is_some() {
                    self.handle_stop(now);
                    self.deliver(now);
                }
            }
            if let Some(deadline) = stopping
                && (self.is_idle() || now >= deadline)
            {
                break;
            }
            self.answer_asks();
            if !self.receive_now(now, &mut inputs) {
                let watch = self.proxy.overload().is_on().then(|| self.strain.due());
                let due = [self.due(), stopping, watch].into_iter().flatten().min();
                self.tell_figures(now);
                self.wait(now, due, &mut inputs).await;
                self.asked = Instant::now();
            }
            let now = Instant::now();
            self.look_at_load(now);
            let messages = inputs.len();
            for input in inputs.drain(..) {
                self.take(now, input);
            }
            while let Some(event) = self.engine.poll_event() {
                self.handle_media(now, event);
            }
            let relayed = self.take_from_members(now);
            self.handle_timeout(now);
            self.deliver(now);
            if let Some(window) = self.gather.after(now, messages, relayed) {
                self.rest(window).await;
            }
        }
        let now = Instant::now();
        self.proxy.handle_stopped(now);
        self.deliver(now);
        self.tell_figures(now);
        self.transports.shutdown(super::STOP_WITHIN).await;
        Ok(())
    }

    /// What other members of the farm have sent: how many messages.
    fn take_from_members(&mut self, now: Instant) -> usize {
        let Some(farm) = &mut self.farm else { return 0 };
        farm.take(now, &mut self.proxy, &mut self.transports)
    }

    /// Receives the datagrams and other members' messages that have come together, if there are any and nothing else can have happened
    /// that matters: what the relay tells, commands and deadlines are looked at in every turn, and whatever
    /// only the runtime knows of is asked for every [`ASKED_EVERY`].
    fn receive_now(&mut self, now: Instant, inputs: &mut Vec<Input>) -> bool {
        let may = self.gather.is_on()
            && now.saturating_duration_since(self.asked) < ASKED_EVERY
            && self.resolver.is_idle()
            && !self.transports.has_connections();
        if !may {
            return false;
        }
        let has_datagrams = self.transports.recv_now(inputs);
        self.farm.as_mut().is_some_and(|farm| farm.read_now()) || has_datagrams
    }

    /// Lets messages come together.
    async fn rest(&mut self, window: Duration) {
        // First the connections write what this turn has queued for them.
        if self.transports.has_connections() {
            let_others_run().await;
            if self.transports.has_input() {
                return;
            }
        }
        // Whatever else runs on this thread is to wait, too.
        std::thread::sleep(window);
        // Connections read what has come before the next turn begins: they would be a turn behind.
        if self.transports.has_connections() {
            tokio::task::yield_now().await;
        }
    }

    /// Waits for something to do; what DNS has found is taken at once.
    async fn wait(&mut self, now: Instant, due: Option<Instant>, inputs: &mut Vec<Input>) {
        if now.saturating_duration_since(self.asked) >= ASKED_EVERY && self.gather.is_on() {
            // Datagrams that are there would end the wait before the runtime has looked at anything.
            tokio::task::yield_now().await;
        }
        self.alarm.set(now, due);
        tokio::select! {
            () = self.transports.recv_batch(inputs) => {}
            () = readable(self.farm.as_deref()) => {}
            () = self.shared.wake.notified() => {}
            () = self.alarm.ring() => {}
            (tokens, found) = self.resolver.next() => {
                let now = Instant::now();
                for token in tokens {
                    self.proxy.handle_resolved(now, token, found.clone());
                }
            }
        }
        if let Some(farm) = &mut self.farm {
            farm.read_ready();
        }
    }

    fn take(&mut self, now: Instant, input: Input) {
        let listener = self.ng.as_ref().map(|ng| ng.listener);
        match input {
            Input::Message { arrival, bytes } => match &mut self.ng {
                Some(ng) if ng.listener == arrival.listener => {
                    ng.core.handle_datagram(now, &arrival, &bytes);
                }
                Some(_) | None => self.proxy.handle_message(now, arrival, bytes),
            },
            Input::Closed { connection, remote, reason } => {
                tracing::debug!(%remote, %reason, "connection closed");
                self.proxy.handle_closed(now, connection);
                if let Some(farm) = &mut self.farm {
                    farm.closed(connection);
                }
            }
            Input::SendFailed { target, error, .. } => {
                tracing::debug!(remote = %target.remote, %error, "message not sent");
                // A controller that gets no reply asks again.
                if Some(target.listener) != listener {
                    self.proxy.handle_transport_error(now, &target);
                }
                if let Some(farm) = &mut self.farm {
                    farm.send_failed(&target);
                }
            }
        }
    }

    /// Carries out everything that the cores want done.
    fn deliver(&mut self, now: Instant) {
        self.retry_closes();
        self.look_at_ports(now);
        loop {
            while let Some(output) = self.proxy.poll_output() {
                match output {
                    Output::Transmit(transmit) => {
                        self.tally.sent(&transmit.bytes);
                        match &mut self.farm {
                            Some(farm) if farm.is_way_of_others(&transmit.target) => {
                                farm.write(transmit);
                            }
                            Some(_) | None => self.transports.send(transmit),
                        }
                    }
                    Output::Media(command) => self.submit(*command),
                    Output::Alias { connection, port } => self.transports.alias(connection, port),
                    Output::Farm(output) => {
                        if let Some(farm) = &mut self.farm {
                            farm.put(*output);
                        }
                    }
                    Output::Resolve(ask) => self.resolver.ask(ask.token, ask.query, ask.seed),
                    Output::Record(record) => {
                        self.tally.ended(record.end);
                        calls_log::record(&record);
                    }
                    Output::Close(connection) => self.transports.close(connection),
                    Output::Notice(notice) => {
                        if let Notice::Malformed { kind, .. } = &notice {
                            self.tally.malformed(kind);
                        }
                        self.notices.proxy(now, &notice);
                    }
                }
            }
            while let Some(output) = self.ng.as_mut().and_then(|ng| ng.core.poll_output()) {
                match output {
                    ng::Output::Transmit(transmit) => self.transports.send(transmit),
                    ng::Output::Media(command) => self.submit(*command),
                    ng::Output::Record(record) => ng_side::record(&record),
                    ng::Output::Notice(notice) => self.notices.ng(now, &notice),
                }
            }
            if self.farm.as_mut().is_some_and(|farm| farm.flush(now, &mut self.proxy)) {
                continue;
            }
            let Some(answer) = self.answers.pop_front() else { break };
            self.handle_media(now, answer);
        }
        self.transports.flush();
        if let Some(farm) = &mut self.farm {
            farm.write_out();
        }
        self.untold = true;
        if !self.gather.is_on() || now.saturating_duration_since(self.told) >= FIGURES_EVERY {
            self.tell_figures(now);
        }
    }

    /// Hands the figures over if they may have changed.
    fn tell_figures(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.untold, false) {
            return;
        }
        self.told = now;
        let figures = Figures {
            load: self.proxy.load(),
            net: self.transports.counters(),
            transactions: self.proxy.transaction_counters(),
            registrations: self.proxy.registrar().len(),
            subscriptions: Package::ALL.map(|package| self.proxy.events().count(package)),
            publications: self.proxy.events().publications(),
            tally: self.tally,
            guard: self.proxy.guard().dropped(),
            overload: OverloadFigures::of(self.proxy.overload(), &self.strain),
            drained: self.proxy.is_drained() && self.is_idle(),
            farm: self.farm.as_ref().map(|farm| farm.figures(&self.proxy)),
        };
        *self.shared.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }

    /// Measures, now and then, how late the node is.
    fn look_at_load(&mut self, now: Instant) {
        let lag = self.transports.waited();
        let transports = &self.transports;
        if let Some(sample) = self.strain.turn(now, lag, || transports.backlog()) {
            self.proxy.handle_load(now, &sample);
        }
    }

    /// Looks, now and then, at whether the media ports run short.
    fn look_at_ports(&mut self, now: Instant) {
        let Some(figures) = self.pressure.look(now, || self.engine.ports()) else { return };
        self.strain.note_ports(figures);
        if let Some(ng) = &mut self.ng {
            ng.core.note_ports(figures);
        }
    }

    fn submit(&mut self, command: Command) {
        let (command, reason) = match self.engine.submit(command) {
            Ok(()) => return,
            Err(SubmitError::Overloaded(command)) => {
                (command, Refusal::TableFull { what: "places for commands left", limit: 0 })
            }
            Err(SubmitError::WorkerDown(command)) => (command, Refusal::WorkerLost),
        };
        match *command {
            Command::Apply { session, token, .. } => {
                self.answers.push_back(Event::Refused { session, token, reason });
            }
            Command::Report { session, token } => {
                self.answers.push_back(Event::Report { session, token, report: None });
            }
            Command::Close { session } if self.closes_waiting.len() < CLOSES_WAITING_MAX => {
                self.closes_waiting.push_back(session);
            }
            Command::Close { session } => {
                tracing::warn!(
                    session = session.0,
                    "the relay is not told of an ended session; it will end as idle"
                );
            }
        }
    }

    fn retry_closes(&mut self) {
        for _ in 0..self.closes_waiting.len().min(CLOSES_AT_ONCE) {
            let Some(session) = self.closes_waiting.pop_front() else { return };
            match self.engine.submit(Command::Close { session }) {
                Ok(()) => {}
                // To the back: another worker may have room.
                Err(SubmitError::Overloaded(_)) => self.closes_waiting.push_back(session),
                // Its sessions have gone with the worker.
                Err(SubmitError::WorkerDown(_)) => {}
            }
        }
    }
}

/// Waits until another member has sent something; for ever, where there is none.
async fn readable(farm: Option<&FarmSide>) {
    match farm {
        Some(farm) => farm.readable().await,
        None => std::future::pending().await,
    }
}

/// Lets the tasks run that are ready, without looking for I/O in between as `yield_now` does.
async fn let_others_run() {
    let mut has_run = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_run, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
