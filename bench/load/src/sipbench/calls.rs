//! Calls, both ends of them: INVITE, 100, 180, 200, ACK, BYE, 200. Each end acts on what reaches it
//! through the server alone, as two phones would; that they share a table only saves looking things up.

use std::net::SocketAddrV4;

use crate::sipbench::ends::{End, Link, Transport};
use crate::sipbench::judge::{self, Came, Judge};
use crate::sipbench::scan::{Scan, Start, members_of, uri_of, value_of};
use crate::sipbench::schedule::Waits;
use crate::sipbench::tally::{Interval, Tally};
use crate::sipbench::template::{self, Id};
use crate::sipbench::texts::{self, CalleeTexts, CallerTexts};

/// T1 of RFC 3261 17.1.1.1: after it, twice it and so on a request is sent again over UDP.
pub(crate) const T1_NS: u64 = 500_000_000;

/// Lapses of T1 after which a message that is not answered is sent again: 0.5, 1.5 and 3.5 s.
const AGAIN: [u8; 3] = [1, 3, 7];

/// Lapses of T1 after which nothing is awaited any more: 8 s.
const LAPSES_MAX: u8 = 16;

/// Both ends, and what is counted: lent for the time of one step.
pub(crate) struct World<'a> {
    pub(crate) caller: &'a mut End,
    pub(crate) callee: &'a mut End,
    pub(crate) tally: &'a mut Tally,
    pub(crate) now_ns: u64,
}

/// How the calls are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    pub(crate) transport: Transport,
    /// Phones that are called in turn.
    pub(crate) phones: u32,
    pub(crate) ring_ns: u64,
    pub(crate) hold_ns: u64,
    /// Most calls at once; a power of two.
    pub(crate) places: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum CallerStage {
    #[default]
    Free,
    Inviting,
    /// Something has come: the INVITE is not sent again.
    Proceeding,
    Up,
    HangingUp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum CalleeStage {
    #[default]
    Idle,
    Ringing,
    Answered,
    Acknowledged,
    Over,
}

#[derive(Debug)]
struct Call {
    number: u32,
    id: Id,
    user: u32,
    stage: CallerStage,
    /// To the first hop of the INVITE, and of what comes after it.
    link: Link,
    within: Link,
    due_ns: u64,
    bye_ns: u64,
    has_rung: bool,
    /// The To line with the callee's tag, the callee's Contact, and the Route lines that lead there.
    to: Vec<u8>,
    target: Vec<u8>,
    routes: Vec<u8>,
    callee: CalleeStage,
    callee_link: Link,
    rang_ns: u64,
    /// The lines that answers to the INVITE repeat.
    copied: Vec<u8>,
}

/// What is sent again if nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// An answer to the INVITE.
    Answer,
    /// The ACK of the 200.
    Ack,
    /// The answer to the BYE.
    End,
}

#[derive(Clone, Copy, Debug)]
struct Check {
    number: u32,
    awaited: Awaited,
    lapses: u8,
}

pub(crate) struct Calls {
    run: u32,
    manner: Manner,
    caller_texts: Vec<CallerTexts>,
    callee_texts: Vec<CalleeTexts>,
    offers: Vec<String>,
    answers: Vec<String>,
    calls: Vec<Call>,
    next: u32,
    live: u32,
    ringing: Waits<u32>,
    holding: Waits<u32>,
    checks: Waits<Check>,
    judge: Judge,
    is_holding: bool,
}

impl Calls {
    pub(crate) fn new(run: u32, manner: Manner, caller: &End, callee: &End) -> Calls {
        let (theirs, ours) = (callee.addresses(), caller.addresses());
        let nowhere = Link::Stream(u32::MAX);
        let place = |number| Call {
            number,
            id: template::id(run, number),
            user: 0,
            stage: CallerStage::Free,
            link: nowhere,
            within: nowhere,
            due_ns: 0,
            bye_ns: 0,
            has_rung: false,
            to: Vec::new(),
            target: Vec::new(),
            routes: Vec::new(),
            callee: CalleeStage::Idle,
            callee_link: nowhere,
            rang_ns: 0,
            copied: Vec::new(),
        };
        let transport = manner.transport;
        Calls {
            run,
            caller_texts: ours.iter().map(|own| CallerTexts::new(transport, *own)).collect(),
            callee_texts: theirs.iter().map(|own| CalleeTexts::new(transport, *own)).collect(),
            offers: ours.iter().map(|own| texts::offer(*own)).collect(),
            answers: theirs.iter().map(|own| texts::answer(*own)).collect(),
            calls: (0..manner.places).map(place).collect(),
            next: 0,
            live: 0,
            ringing: Waits::new(manner.ring_ns),
            holding: Waits::new(manner.hold_ns),
            checks: Waits::new(T1_NS),
            judge: Judge::default(),
            is_holding: false,
            manner,
        }
    }

    /// Calls that are answered from now on are held until told to hang up, or as long as at first.
    pub(crate) fn hold(&mut self, on: bool) {
        self.is_holding = on;
    }

    /// Calls that have begun and have not ended.
    pub(crate) const fn live(&self) -> u32 {
        self.live
    }

    pub(crate) fn next_ns(&self) -> Option<u64> {
        [self.ringing.next_ns(), self.holding.next_ns(), self.checks.next_ns()]
            .into_iter()
            .flatten()
            .min()
    }

    fn at(&mut self, number: u32) -> &mut Call {
        let place = number & (self.manner.places - 1);
        &mut self.calls[place as usize]
    }

    /// Begins the call that was due at `due_ns`.
    pub(crate) fn start(&mut self, due_ns: u64, world: &mut World<'_>) {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        world.tally.counts.started += 1;
        let (id, user) = (template::id(self.run, number), number % self.manner.phones);
        let link = world.caller.link(number);
        let call = self.at(number);
        if call.stage != CallerStage::Free {
            return world.tally.fail("the generator has no place for more calls at once");
        }
        *call = Call {
            number,
            id,
            user,
            stage: CallerStage::Inviting,
            link,
            within: link,
            due_ns,
            has_rung: false,
            callee: CalleeStage::Idle,
            to: std::mem::take(&mut call.to),
            target: std::mem::take(&mut call.target),
            routes: std::mem::take(&mut call.routes),
            copied: std::mem::take(&mut call.copied),
            ..*call
        };
        self.live += 1;
        self.send_invite(number, world);
        self.await_it(number, Awaited::Answer, world.now_ns);
    }

    fn send_invite(&mut self, number: u32, world: &mut World<'_>) {
        let Call { link, id, user, .. } = *self.at(number);
        let texts = &self.caller_texts[End::identity(link)];
        world.tally.counts.messages_sent += 1;
        world.caller.send(link, |bytes| texts.invite.write(bytes, &id, user));
    }

    fn await_it(&mut self, number: u32, awaited: Awaited, now_ns: u64) {
        self.checks.add(now_ns, Check { number, awaited, lapses: 1 });
    }

    /// Does what is due by now.
    pub(crate) fn handle_timeout(&mut self, world: &mut World<'_>) {
        while let Some(number) = self.ringing.take(world.now_ns) {
            self.answer(number, world);
        }
        while let Some(number) = self.holding.take(world.now_ns) {
            self.hang_up(number, world);
        }
        while let Some(check) = self.checks.take(world.now_ns) {
            self.check(check, world);
        }
    }

    fn check(&mut self, check: Check, world: &mut World<'_>) {
        let Check { number, awaited, lapses } = check;
        let call = self.at(number);
        let (stage, callee) = (call.stage, call.callee);
        let is_awaited = call.number == number
            && match awaited {
                Awaited::Answer => matches!(stage, CallerStage::Inviting | CallerStage::Proceeding),
                Awaited::Ack => callee == CalleeStage::Answered,
                Awaited::End => stage == CallerStage::HangingUp,
            };
        if !is_awaited {
            return;
        }
        if lapses >= LAPSES_MAX {
            return self.fail(
                number,
                match awaited {
                    Awaited::Answer => "no final answer to an INVITE",
                    Awaited::Ack => "no ACK",
                    Awaited::End => "no answer to a BYE",
                },
                world,
            );
        }
        self.checks.add(world.now_ns, Check { lapses: lapses + 1, ..check });
        // RFC 3261 13.3.1.4: a 200 is repeated by the callee over any transport.
        let is_datagram = self.manner.transport == Transport::Udp || awaited == Awaited::Ack;
        if !is_datagram
            || !AGAIN.contains(&lapses)
            || stage == CallerStage::Proceeding && awaited == Awaited::Answer
        {
            return;
        }
        world.tally.counts.sent_again += 1;
        match awaited {
            Awaited::Answer => self.send_invite(number, world),
            Awaited::Ack => self.send_ok(number, world),
            Awaited::End => self.send_within(number, Within::Bye, world),
        }
    }

    fn fail(&mut self, number: u32, reason: &str, world: &mut World<'_>) {
        world.tally.fail(reason);
        self.free(number);
    }

    fn free(&mut self, number: u32) {
        let call = self.at(number);
        if call.number == number && call.stage != CallerStage::Free {
            call.stage = CallerStage::Free;
            self.live -= 1;
        }
    }

    /// The call that a message belongs to.
    fn number_of(&mut self, scan: &Scan<'_>) -> Option<u32> {
        let number = template::number(self.run, scan.call_id_value())?;
        (self.at(number).number == number).then_some(number)
    }

    fn judge(&mut self, bytes: &[u8], came: Came, world: &mut World<'_>) {
        if !self.judge.is_next() {
            return;
        }
        world.tally.counts.judged += 1;
        if let Some(fault) = judge::fault_of(bytes, came) {
            misjudge(world.tally, &fault);
        }
    }

    /// A message has come to the callers.
    pub(crate) fn handle_at_caller(
        &mut self,
        bytes: &[u8],
        scan: &Scan<'_>,
        world: &mut World<'_>,
    ) {
        self.judge(bytes, Came::ToCaller, world);
        let (Start::Response { status }, Some(number)) = (scan.start, self.number_of(scan)) else {
            world.tally.counts.strays += 1;
            return;
        };
        match scan.cseq_value() {
            Some((1, b"INVITE")) => self.handle_answer(number, status, scan, world),
            Some((2, b"BYE")) => self.handle_end(number, status, world),
            Some(_) | None => world.tally.counts.strays += 1,
        }
    }

    fn handle_answer(&mut self, number: u32, status: u16, scan: &Scan<'_>, world: &mut World<'_>) {
        let call = self.at(number);
        match (status, call.stage) {
            (..200, CallerStage::Inviting | CallerStage::Proceeding) => {
                call.stage = CallerStage::Proceeding;
                if status == 180 && !call.has_rung {
                    call.has_rung = true;
                    world.tally.note(Interval::InviteRinging, world.now_ns - call.due_ns);
                }
            }
            // Over UDP a 180 may be overtaken.
            (..200, _) => {
                if status == 180 && !call.has_rung {
                    call.has_rung = true;
                    world.tally.note(Interval::InviteRinging, world.now_ns - call.due_ns);
                }
            }
            (200..300, CallerStage::Inviting | CallerStage::Proceeding) => {
                self.establish(number, scan, world);
            }
            (200..300, CallerStage::Up | CallerStage::HangingUp) => {
                world.tally.counts.came_again += 1;
                self.send_within(number, Within::Ack, world);
            }
            (300.., CallerStage::Inviting | CallerStage::Proceeding) => {
                call.to.clear();
                call.to.extend_from_slice(scan.to);
                self.send_refused_ack(number, world);
                self.fail(number, &format!("status {status}"), world);
            }
            (200.., _) => world.tally.counts.came_again += 1,
        }
    }

    fn establish(&mut self, number: u32, scan: &Scan<'_>, world: &mut World<'_>) {
        let is_same = {
            let Call { callee_link, .. } = *self.at(number);
            self.answers
                .get(End::identity(callee_link))
                .is_some_and(|answer| answer.as_bytes() == scan.body)
        };
        if !is_same {
            misjudge(world.tally, "an answer's description was changed");
        }
        let (Some(contact), true) = (scan.contact, scan.has_to_tag()) else {
            return self.fail(number, "a 200 without Contact or tag", world);
        };
        let call = self.at(number);
        call.stage = CallerStage::Up;
        let ring_ns = world.now_ns.saturating_sub(call.due_ns).min(call.rang_ns);
        world.tally.note(Interval::InviteOk, world.now_ns - call.due_ns - ring_ns);
        world.tally.counts.answered += 1;
        let replace = |buffer: &mut Vec<u8>, with: &[u8]| {
            buffer.clear();
            buffer.extend_from_slice(with);
        };
        replace(&mut call.to, scan.to);
        replace(&mut call.target, uri_of(contact));
        call.routes.clear();
        let mut first = None;
        // RFC 3261 12.1.2: the caller's route set is the Record-Route in reverse order.
        for line in scan.record_routes.iter().rev() {
            for member in members_of(value_of(line)).rev() {
                first = first.or(Some(member));
                call.routes.extend_from_slice(b"Route: ");
                call.routes.extend_from_slice(member);
                call.routes.extend_from_slice(b"\r\n");
            }
        }
        if let Link::Udp(_) = call.link {
            let next = first.map_or(call.target.as_slice(), uri_of);
            call.within = address_of(next).map_or(call.link, Link::Udp);
        }
        self.send_within(number, Within::Ack, world);
        if !self.is_holding {
            self.holding.add(world.now_ns, number);
        }
    }

    fn handle_end(&mut self, number: u32, status: u16, world: &mut World<'_>) {
        let call = self.at(number);
        if call.stage != CallerStage::HangingUp {
            world.tally.counts.came_again += 1;
            return;
        }
        match status {
            ..200 => {}
            200..300 => {
                world.tally.note(Interval::ByeOk, world.now_ns - call.bye_ns);
                world.tally.counts.completed += 1;
                self.free(number);
            }
            _ => self.fail(number, &format!("status {status} to a BYE"), world),
        }
    }

    /// Ends a call that is up.
    pub(crate) fn hang_up(&mut self, number: u32, world: &mut World<'_>) {
        let call = self.at(number);
        if call.number != number || call.stage != CallerStage::Up {
            return;
        }
        call.stage = CallerStage::HangingUp;
        call.bye_ns = world.now_ns;
        self.send_within(number, Within::Bye, world);
        self.await_it(number, Awaited::End, world.now_ns);
    }

    fn send_within(&mut self, number: u32, what: Within, world: &mut World<'_>) {
        let place = number & (self.manner.places - 1);
        let call = &self.calls[place as usize];
        let texts = &self.caller_texts[End::identity(call.link)];
        let (method, via, end) = match what {
            Within::Ack => (&b"ACK "[..], &texts.ack_via, &texts.ack_end),
            Within::Bye => (&b"BYE "[..], &texts.bye_via, &texts.bye_end),
        };
        world.tally.counts.messages_sent += 1;
        world.caller.send(call.within, |bytes| {
            bytes.extend_from_slice(method);
            bytes.extend_from_slice(&call.target);
            bytes.extend_from_slice(b" SIP/2.0\r\n");
            via.write(bytes, &call.id, call.user);
            bytes.extend_from_slice(&call.routes);
            texts.from.write(bytes, &call.id, call.user);
            bytes.extend_from_slice(&call.to);
            end.write(bytes, &call.id, call.user);
        });
    }

    /// The ACK of a refusal goes hop by hop, with the branch of its INVITE (RFC 3261 17.1.1.3).
    fn send_refused_ack(&mut self, number: u32, world: &mut World<'_>) {
        let place = number & (self.manner.places - 1);
        let call = &self.calls[place as usize];
        let texts = &self.caller_texts[End::identity(call.link)];
        let mut via = Vec::new();
        texts.ack_via.write(&mut via, &call.id, call.user);
        if let Some(at) = memchr::memmem::find(&via, b"a;rport") {
            via[at] = b'i';
        }
        world.tally.counts.messages_sent += 1;
        world.caller.send(call.link, |bytes| {
            bytes.extend_from_slice(b"ACK sip:u");
            bytes.extend_from_slice(&template::user(call.user));
            bytes.extend_from_slice(format!("@{} SIP/2.0\r\n", texts::DOMAIN).as_bytes());
            bytes.extend_from_slice(&via);
            texts.from.write(bytes, &call.id, call.user);
            bytes.extend_from_slice(&call.to);
            texts.ack_end.write(bytes, &call.id, call.user);
        });
    }

    /// A message has come to the callees.
    pub(crate) fn handle_at_callee(
        &mut self,
        from: Link,
        bytes: &[u8],
        scan: &Scan<'_>,
        world: &mut World<'_>,
    ) {
        self.judge(bytes, Came::ToCallee, world);
        let (Start::Request { method }, Some(number)) = (scan.start, self.number_of(scan)) else {
            world.tally.counts.strays += 1;
            return;
        };
        match method {
            b"INVITE" => self.handle_invite(number, from, scan, world),
            b"ACK" => {
                let call = self.at(number);
                if call.callee == CalleeStage::Answered {
                    call.callee = CalleeStage::Acknowledged;
                }
            }
            b"BYE" => {
                let call = self.at(number);
                if call.callee == CalleeStage::Over {
                    world.tally.counts.came_again += 1;
                }
                call.callee = CalleeStage::Over;
                world.tally.counts.messages_sent += 1;
                world.callee.send(from, |bytes| {
                    bytes.extend_from_slice(b"SIP/2.0 200 OK\r\n");
                    copy_lines(bytes, scan);
                    bytes.extend_from_slice(scan.to);
                    bytes.extend_from_slice(b"Content-Length: 0\r\n\r\n");
                });
            }
            _ => world.tally.counts.strays += 1,
        }
    }

    fn handle_invite(&mut self, number: u32, from: Link, scan: &Scan<'_>, world: &mut World<'_>) {
        let caller = End::identity(self.at(number).link);
        if self.offers[caller].as_bytes() != scan.body {
            misjudge(world.tally, "an offer was changed");
        }
        let call = self.at(number);
        match call.callee {
            CalleeStage::Idle => {
                call.callee = CalleeStage::Ringing;
                call.callee_link = from;
                call.rang_ns = world.now_ns;
                call.copied.clear();
                copy_lines(&mut call.copied, scan);
                call.copied.extend_from_slice(scan.to.trim_ascii_end());
                call.copied.extend_from_slice(b";tag=");
                call.copied.extend_from_slice(&call.id);
                call.copied.extend_from_slice(b"c\r\n");
                self.send_ringing(number, world);
                self.ringing.add(world.now_ns, number);
            }
            CalleeStage::Ringing => {
                world.tally.counts.came_again += 1;
                self.send_ringing(number, world);
            }
            CalleeStage::Answered | CalleeStage::Acknowledged | CalleeStage::Over => {
                world.tally.counts.came_again += 1;
                self.send_ok(number, world);
            }
        }
    }

    fn answer(&mut self, number: u32, world: &mut World<'_>) {
        let call = self.at(number);
        if call.number != number || call.callee != CalleeStage::Ringing {
            return;
        }
        call.callee = CalleeStage::Answered;
        call.rang_ns = world.now_ns - call.rang_ns;
        self.send_ok(number, world);
        self.await_it(number, Awaited::Ack, world.now_ns);
    }

    fn send_ringing(&self, number: u32, world: &mut World<'_>) {
        self.respond(number, b"SIP/2.0 180 Ringing\r\n", |texts| &texts.ringing_end, world);
    }

    fn send_ok(&self, number: u32, world: &mut World<'_>) {
        self.respond(number, b"SIP/2.0 200 OK\r\n", |texts| &texts.ok_end, world);
    }

    fn respond(
        &self,
        number: u32,
        first: &[u8],
        end: fn(&CalleeTexts) -> &[u8],
        world: &mut World<'_>,
    ) {
        let call = &self.calls[(number & (self.manner.places - 1)) as usize];
        let texts = &self.callee_texts[End::identity(call.callee_link)];
        world.tally.counts.messages_sent += 1;
        world.callee.send(call.callee_link, |bytes| {
            bytes.extend_from_slice(first);
            bytes.extend_from_slice(&call.copied);
            bytes.extend_from_slice(end(texts));
        });
    }

    /// How many calls have begun.
    pub(crate) const fn begun(&self) -> u32 {
        self.next
    }
}

#[derive(Clone, Copy)]
enum Within {
    Ack,
    Bye,
}

fn misjudge(tally: &mut Tally, fault: &str) {
    tally.counts.misjudged += 1;
    tally.remark(format!("judge: {fault}"));
}

/// The lines that an answer repeats (RFC 3261 8.2.6.2, 12.1.1), but for To.
fn copy_lines(into: &mut Vec<u8>, scan: &Scan<'_>) {
    for line in scan.vias.iter().chain(scan.record_routes.iter()) {
        into.extend_from_slice(line);
    }
    for line in [scan.from, scan.call_id, scan.cseq] {
        into.extend_from_slice(line);
    }
}

/// The address of a URI whose host is one.
fn address_of(uri: &[u8]) -> Option<SocketAddrV4> {
    let text = std::str::from_utf8(uri).ok()?;
    let rest = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:"))?;
    let host = rest.split([';', '?']).next()?;
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    host.parse().ok().or_else(|| Some(SocketAddrV4::new(host.parse().ok()?, 5_060)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_hop_is_where_the_top_route_says() {
        let at = |uri: &str| address_of(uri.as_bytes()).map(|at| at.to_string());
        assert_eq!(at("sip:10.0.0.1;lr;r2=on").as_deref(), Some("10.0.0.1:5060"));
        assert_eq!(at("sip:x@10.0.0.1:5070;transport=udp").as_deref(), Some("10.0.0.1:5070"));
        assert_eq!(at("sip:node.example;lr"), None);
        assert_eq!(at("tel:1"), None);
    }
}
