//! The calls of one mode, side by side: who sends what in which beat, and where it turns up.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::case::{Case, Kind, Mode, Place, Time, stated};
use super::packet::{self, Mark, WRONG_TYPE, Who};
use super::report::{CaseReport, Outcome};
use crate::ids::Side;
use crate::media::flow::Remote;
use crate::media::sockets::{Binder, Pair};
use crate::os;
use crate::relaybench::control;
use crate::relaybench::control::Control;
use crate::relaybench::lab::Lab;
use crate::relaybench::ng::{NgClient, Sight};
use crate::relaybench::stop::Stop;
use crate::relaybench::systems::{NETWORKS, Running};

/// Each party sends a packet a beat: G.711's packet time. The stranger's come half a beat later, so
/// that the order in which packets reach the relay is known.
const BEAT_NS: u64 = 20_000_000;

/// The callee speaks once it has heard as many packets of the caller as make a peer known, so that
/// what is lost on the way to the caller is not for want of an address.
const HEARD_MIN: usize = 3;

/// It waits no longer than this, because the stranger may have taken the caller's place.
const LEAD_BEATS_MAX: u32 = 50;

/// How long a call goes on after the stranger has gone.
const TAIL_BEATS: u32 = 30;

/// A report each so many beats, the first before the callee speaks.
const REPORT_BEATS: u32 = 10;
const REPORT_PHASE: u32 = 4;

/// The last packets have arrived when none has for this long, which a busy machine may hold one up.
const QUIET: Duration = Duration::from_millis(700);

/// Looks for last packets, each this long after the one before, end here.
const DRAIN_PAUSE: Duration = Duration::from_millis(100);
const DRAIN_LOOKS_MAX: u32 = 50;

/// Room for a datagram: ours are far smaller.
const DATAGRAM_BYTES: usize = 2_048;

/// Most datagrams that are read of one socket at once: no socket is sent more than a few a beat.
const READS_MAX: u32 = 1_000;

/// What one side of a call sends, and what of it arrived.
struct Voice {
    pair: Pair,
    remote: Remote,
    ssrc: u32,
    sequence: u16,
    /// By number: whether it has reached the other side.
    arrived: Vec<bool>,
}

impl Voice {
    fn new(pair: Pair, remote: Remote) -> Voice {
        let random = os::random_u64();
        let sequence = (random >> 32) as u16;
        Voice { pair, remote, ssrc: random as u32, sequence, arrived: Vec::new() }
    }

    fn place(&self, number: u32) -> packet::Place {
        packet::Place { ssrc: self.ssrc, sequence: self.sequence.wrapping_add(number as u16) }
    }

    fn speak(&mut self, mark: impl Fn(u32) -> Mark) -> Result<()> {
        let number = self.arrived.len() as u32;
        let packet = packet::rtp(mark(number), self.place(number), None);
        self.pair.rtp.send_to(&packet, self.remote.rtp).context("sending media")?;
        self.arrived.push(false);
        if number % REPORT_BEATS == REPORT_PHASE {
            let report = packet::rtcp(mark(number), self.ssrc);
            self.pair.rtcp.send_to(&report, self.remote.rtcp).context("sending RTCP")?;
        }
        Ok(())
    }

    /// Whether so many of its packets have arrived that the relay knows where they come from.
    fn is_known(&self) -> bool {
        self.arrived.iter().filter(|arrived| **arrived).nth(HEARD_MIN - 1).is_some()
    }

    fn lost(&self) -> u32 {
        self.arrived.iter().filter(|arrived| !**arrived).count() as u32
    }
}

/// One call and its stranger.
struct Call {
    case: Case,
    session: u16,
    caller: Voice,
    callee: Voice,
    stranger: Pair,
    /// What the stranger sends if it sends a stream of its own.
    own: packet::Place,
    /// The beat from which the callee speaks, once that is settled.
    callee_from: Option<u32>,
    sent: u32,
    injected: u32,
    diverted: u32,
    /// Datagrams that came to any of its sockets.
    seen: u32,
}

/// When who sends, in beats.
struct Timeline {
    settle: u32,
    packets: u32,
}

impl Timeline {
    fn caller_from(&self, time: Time) -> u32 {
        match time {
            Time::Before => self.packets,
            Time::During | Time::After => 0,
        }
    }

    /// `None`: not yet known.
    fn stranger_from(&self, time: Time, callee_from: Option<u32>) -> Option<u32> {
        match time {
            Time::Before | Time::During => Some(0),
            Time::After => callee_from.map(|from| from + self.settle),
        }
    }

    /// The first beat after the last that is needed.
    fn end(&self, time: Time, callee_from: Option<u32>) -> Option<u32> {
        let stranger = self.stranger_from(time, callee_from)? + self.packets;
        Some(stranger.max(callee_from?) + TAIL_BEATS)
    }

    /// No call takes longer.
    fn end_max(&self) -> u32 {
        LEAD_BEATS_MAX + self.settle + 2 * self.packets + TAIL_BEATS
    }
}

/// Plays all cases of `mode` on a system that has just been started.
///
/// # Errors
/// A call could not be set up, a packet could not be sent, or the user has had enough.
pub(crate) fn play(
    lab: &Lab,
    running: &Running,
    mode: &Mode,
    packets: u32,
    stop: &Stop,
) -> Result<Vec<CaseReport>> {
    let server = running.ng.context("a system that takes no ng commands")?;
    let mut client =
        lab.at_client(Side::Caller, |address| NgClient::bind(address, server, Some(NETWORKS)))?;
    let run = os::random_u64();
    let mut sockets = Sockets::bind(lab, mode)?;
    let mut calls = Vec::new();
    for (session, case) in (0u16..).zip(Case::all()) {
        let described = lab.client_address(Side::Caller);
        let of_call = sockets.of_call(case.place)?;
        calls.push(Call::set_up(&mut client, mode, (session, case), described, of_call)?);
    }
    let timeline = Timeline { settle: mode.settle_beats, packets };
    let start_ns = os::monotonic_ns() + BEAT_NS;
    for beat in 0..=timeline.end_max() {
        stop.check()?;
        if calls.iter().all(|call| call.is_over(beat, &timeline)) {
            break;
        }
        let beat_ns = start_ns + u64::from(beat) * BEAT_NS;
        os::sleep_until(beat_ns);
        calls.iter_mut().try_for_each(|call| call.speak(run, beat, &timeline))?;
        os::sleep_until(beat_ns + BEAT_NS / 2);
        calls.iter_mut().try_for_each(|call| call.attack(run, beat, &timeline))?;
        calls.iter_mut().for_each(|call| call.listen(run));
    }
    drain(&mut calls, run, stop)?;
    // A node that is told to stop gives calls time to end by themselves.
    calls.iter().try_for_each(|call| client.tear_down(u32::from(call.session)))?;
    Ok(calls.iter().map(|call| call.report(mode)).collect())
}

/// Takes what still comes until nothing does.
fn drain(calls: &mut [Call], run: u64, stop: &Stop) -> Result<()> {
    let seen = |calls: &[Call]| calls.iter().map(|call| u64::from(call.seen)).sum::<u64>();
    let (mut before, mut quiet) = (seen(calls), Duration::ZERO);
    for _ in 0..DRAIN_LOOKS_MAX {
        stop.sleep(DRAIN_PAUSE)?;
        calls.iter_mut().for_each(|call| call.listen(run));
        let now = seen(calls);
        quiet = if now == before { quiet + DRAIN_PAUSE } else { Duration::ZERO };
        before = now;
        if quiet >= QUIET {
            break;
        }
    }
    Ok(())
}

/// Sockets for all calls of a mode, taken from the end: entering a namespace takes its time, so each
/// is entered once.
struct Sockets {
    callers: Vec<Pair>,
    callees: Vec<Pair>,
    /// The stranger's, at its own address and at the caller's.
    strangers: [Vec<Pair>; 2],
}

impl Sockets {
    fn bind(lab: &Lab, mode: &Mode) -> Result<Sockets> {
        let private = lab.client_address(Side::Caller);
        let public = lab.public_address().filter(|_| mode.needs_nat).unwrap_or(private);
        let count = |wanted: Place| Case::all().filter(|case| case.place == wanted).count();
        let [other, same] = [Place::OtherAddress, Place::SameAddress].map(count);
        let at = |address, count| {
            move |_| {
                let mut binder = Binder::new(address, None);
                (0..count).map(|_| ready_pair(&mut binder)).collect::<Result<Vec<_>>>()
            }
        };
        Ok(Sockets {
            callers: lab.at_client(Side::Caller, at(public, other + same))?,
            callees: lab
                .at_client(Side::Callee, at(lab.client_address(Side::Callee), other + same))?,
            strangers: [
                lab.at_client(Side::Caller, at(lab.stranger_address(), other))?,
                lab.at_client(Side::Caller, at(public, same))?,
            ],
        })
    }

    /// Caller's, callee's and stranger's.
    fn of_call(&mut self, place: Place) -> Result<[Pair; 3]> {
        let strangers = match place {
            Place::OtherAddress => &mut self.strangers[0],
            Place::SameAddress => &mut self.strangers[1],
        };
        let pairs = [self.callers.pop(), self.callees.pop(), strangers.pop()];
        let [Some(caller), Some(callee), Some(stranger)] = pairs else {
            bail!("more calls than sockets were counted");
        };
        Ok([caller, callee, stranger])
    }
}

/// A pair of sockets that do not wait.
fn ready_pair(binder: &mut Binder) -> Result<Pair> {
    let pair = binder.pair()?;
    for socket in [&pair.rtp, &pair.rtcp] {
        socket.set_nonblocking(true).context("a socket that does not wait")?;
    }
    Ok(pair)
}

impl Call {
    /// A call whose caller's SDP has the address `described`.
    fn set_up(
        client: &mut NgClient,
        mode: &Mode,
        (session, case): (u16, Case),
        described: Ipv4Addr,
        [caller, callee, stranger]: [Pair; 3],
    ) -> Result<Call> {
        let [caller_at, callee_at] = [&caller, &callee].map(|pair| control::ipv4(pair.address));
        let sources = [*caller_at.ip(), *callee_at.ip()];
        let media = [SocketAddrV4::new(described, caller_at.port()), callee_at];
        let mut remotes = [None, None];
        for side in Side::BOTH {
            let sight = Sight { received_from: Some(sources[side.index()]), flags: mode.flags };
            let media = [Some(media[side.index()]), None];
            let [audio, _] = client.describe(u32::from(session), side, media, sight)?;
            // An offer tells where the callee is to send, and the answer where the caller is.
            remotes[1 - side.index()] = audio;
        }
        let [Some(of_caller), Some(of_callee)] = remotes else {
            bail!("the relay gave no ports for audio");
        };
        let random = os::random_u64();
        Ok(Call {
            case,
            session,
            caller: Voice::new(caller, of_caller),
            callee: Voice::new(callee, of_callee),
            stranger,
            own: packet::Place { ssrc: random as u32, sequence: (random >> 32) as u16 },
            callee_from: None,
            sent: 0,
            injected: 0,
            diverted: 0,
            seen: 0,
        })
    }

    fn speak(&mut self, run: u64, beat: u32, timeline: &Timeline) -> Result<()> {
        let session = self.session;
        let mark = |who| move |number| Mark { run, who, session, number };
        let caller_from = timeline.caller_from(self.case.time);
        if beat >= caller_from {
            self.caller.speak(mark(Who::Caller))?;
        }
        if self.caller.is_known() || beat >= caller_from + LEAD_BEATS_MAX {
            self.callee_from.get_or_insert(beat);
        }
        if self.callee_from.is_some() {
            self.callee.speak(mark(Who::Callee))?;
        }
        Ok(())
    }

    fn is_over(&self, beat: u32, timeline: &Timeline) -> bool {
        timeline.end(self.case.time, self.callee_from).is_some_and(|end| beat >= end)
    }

    fn attack(&mut self, run: u64, beat: u32, timeline: &Timeline) -> Result<()> {
        let from = timeline.stranger_from(self.case.time, self.callee_from);
        if from.is_none_or(|from| beat < from) || self.sent == timeline.packets {
            return Ok(());
        }
        let number = self.sent;
        let mark = Mark { run, who: Who::Stranger, session: self.session, number };
        let (packet, to_rtcp) = self.forge(mark);
        let (socket, target) = if to_rtcp {
            (&self.stranger.rtcp, self.caller.remote.rtcp)
        } else {
            (&self.stranger.rtp, self.caller.remote.rtp)
        };
        socket.send_to(&packet, target).context("sending as the stranger")?;
        self.sent += 1;
        Ok(())
    }

    /// The stranger's packet, and whether it is for the RTCP port.
    fn forge(&self, mark: Mark) -> (Vec<u8>, bool) {
        // As the caller's next packet would be.
        let next = self.caller.arrived.len() as u32 + 1;
        let guess = match self.case.time {
            Time::Before => self.caller.place(mark.number),
            Time::During | Time::After => self.caller.place(next),
        };
        let own = packet::Place {
            sequence: self.own.sequence.wrapping_add(mark.number as u16),
            ..self.own
        };
        match self.case.kind {
            Kind::RandomSsrc => {
                let random = os::random_u64();
                let place = packet::Place { ssrc: random as u32, sequence: (random >> 32) as u16 };
                (packet::rtp(mark, place, None), false)
            }
            Kind::OwnStream => (packet::rtp(mark, own, None), false),
            Kind::GuessedSsrc => (packet::rtp(mark, guess, None), false),
            Kind::WrongType => (packet::rtp(mark, guess, Some(WRONG_TYPE)), false),
            Kind::Rtcp => (packet::rtcp(mark, self.caller.ssrc), true),
            Kind::RtcpOnRtp => (packet::rtcp(mark, self.caller.ssrc), false),
            Kind::Noise => (packet::noise(mark), false),
        }
    }

    /// Takes what has come to any of the call's sockets.
    fn listen(&mut self, run: u64) {
        let session = self.session;
        let own = |packet: &[u8]| Mark::read(packet, run).filter(|mark| mark.session == session);
        let Call { caller, callee, .. } = self;
        let (mut injected, mut seen) = (0, 0);
        for (pair, sender, arrived) in [
            (&callee.pair, Who::Caller, &mut caller.arrived),
            (&caller.pair, Who::Callee, &mut callee.arrived),
        ] {
            for socket in [&pair.rtp, &pair.rtcp] {
                seen += read(socket, |packet| match own(packet) {
                    Some(mark) if mark.who == Who::Stranger => injected += 1,
                    Some(mark) if mark.who == sender && !packet::is_rtcp(packet) => {
                        if let Some(place) = arrived.get_mut(mark.number as usize) {
                            *place = true;
                        }
                    }
                    Some(_) | None => {}
                });
            }
        }
        let mut diverted = 0;
        for socket in [&self.stranger.rtp, &self.stranger.rtcp] {
            seen += read(socket, |packet| {
                diverted += u32::from(own(packet).is_some_and(|mark| mark.who != Who::Stranger));
            });
        }
        self.injected += injected;
        self.diverted += diverted;
        self.seen += seen;
    }

    fn report(&self, mode: &Mode) -> CaseReport {
        let outcome = Outcome {
            injected: self.injected,
            diverted: self.diverted,
            lost: self.caller.lost() + self.callee.lost(),
        };
        let packets = (self.caller.arrived.len() + self.callee.arrived.len()) as u32;
        CaseReport::new(self.case, self.sent, packets, outcome, stated(mode.rule, self.case))
    }
}

/// Reads what there is and returns how many datagrams that was.
fn read(socket: &UdpSocket, mut see: impl FnMut(&[u8])) -> u32 {
    let mut buffer = [0; DATAGRAM_BYTES];
    for number in 0..READS_MAX {
        // The only error that is not "nothing there" is what an earlier packet met (ICMP).
        let Ok(length) = socket.recv(&mut buffer) else { return number };
        see(&buffer[..length]);
    }
    READS_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stranger_comes_before_with_or_after_the_caller() {
        let timeline = Timeline { settle: 25, packets: 20 };
        let of = |time| (timeline.caller_from(time), timeline.stranger_from(time, Some(7)));
        assert_eq!(of(Time::Before), (20, Some(0)));
        assert_eq!(of(Time::During), (0, Some(0)));
        assert_eq!(of(Time::After), (0, Some(32)));
        assert_eq!(timeline.stranger_from(Time::After, None), None);
    }

    #[test]
    fn a_call_goes_on_after_the_stranger_and_ends_in_time_whatever_is_heard() {
        let timeline = Timeline { settle: 25, packets: 20 };
        for time in Time::ALL {
            let latest = timeline.caller_from(time) + LEAD_BEATS_MAX;
            for callee_from in [5, latest] {
                let end = timeline.end(time, Some(callee_from)).unwrap();
                let attack = timeline.stranger_from(time, Some(callee_from)).unwrap();
                assert!(end >= attack + timeline.packets + TAIL_BEATS);
                assert!(end <= timeline.end_max(), "{time:?} {callee_from}");
            }
        }
    }
}
