//! Phones that register, with digest if they are asked for it.

use crate::sipbench::calls::{T1_NS, World};
use crate::sipbench::digest::{self, Challenge, Credentials, Hex};
use crate::sipbench::ends::{End, Link, Transport};
use crate::sipbench::scan::{Scan, Start};
use crate::sipbench::schedule::Waits;
use crate::sipbench::tally::Interval;
use crate::sipbench::template::{self, USER_BYTES};
use crate::sipbench::texts::{REGISTER_END, RegisterTexts, registrar_uri};

/// The password of every phone.
pub(crate) const PASSWORD: &str = "secret-of-the-bench";

/// As for calls.
const AGAIN: [u8; 3] = [1, 3, 7];
const LAPSES_MAX: u8 = 16;

/// What a registration begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Habit {
    /// Nothing: the registrar asks first, if it asks at all.
    Fresh,
    /// Credentials for the nonce that the phone knows, if it knows one.
    Refresh,
}

#[derive(Debug)]
struct Phone {
    link: Link,
    cseq: u32,
    credentials: Option<Box<Credentials>>,
    /// When the registration that is in progress was due.
    due_ns: Option<u64>,
    /// Whether its last request had credentials.
    proven: bool,
}

#[derive(Clone, Copy, Debug)]
struct Check {
    phone: u32,
    cseq: u32,
    lapses: u8,
}

/// The phones of the callees' side.
pub(crate) struct Registrations {
    run: u32,
    habit: Habit,
    transport: Transport,
    texts: Vec<RegisterTexts>,
    phones: Vec<Phone>,
    next: u32,
    busy: u32,
    requests: u32,
    checks: Waits<Check>,
    ha2: Hex,
    uri: String,
    scratch: String,
}

impl Registrations {
    pub(crate) fn new(run: u32, transport: Transport, phones: u32, end: &End) -> Registrations {
        let call_id = format!("reg{run:08x}-");
        let phone = |number| Phone {
            link: end.link(number),
            cseq: 0,
            credentials: None,
            due_ns: None,
            proven: false,
        };
        let uri = registrar_uri();
        Registrations {
            run,
            habit: Habit::Fresh,
            transport,
            texts: end
                .addresses()
                .iter()
                .map(|own| RegisterTexts::new(transport, *own, &call_id))
                .collect(),
            phones: (0..phones).map(phone).collect(),
            next: 0,
            busy: 0,
            requests: 0,
            checks: Waits::new(T1_NS),
            ha2: digest::ha2("REGISTER", &uri),
            uri,
            scratch: String::new(),
        }
    }

    pub(crate) fn set_habit(&mut self, habit: Habit) {
        self.habit = habit;
    }

    /// Registrations that go on.
    pub(crate) const fn busy(&self) -> u32 {
        self.busy
    }

    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.checks.next_ns()
    }

    /// The next phone registers, which was due at `due_ns`.
    pub(crate) fn start(&mut self, due_ns: u64, world: &mut World<'_>) {
        let number = self.next;
        self.next = (self.next + 1) % self.phones.len().max(1) as u32;
        world.tally.counts.started += 1;
        let phone = &mut self.phones[number as usize];
        if phone.due_ns.is_some() {
            return world.tally.fail("a phone's last registration still went on");
        }
        phone.due_ns = Some(due_ns);
        phone.proven = self.habit == Habit::Refresh && phone.credentials.is_some();
        self.busy += 1;
        self.send(number, 1, world);
    }

    /// Sends the next request of a phone, whose last one is `lapses` of T1 old, less one.
    fn send(&mut self, number: u32, lapses: u8, world: &mut World<'_>) {
        self.requests = self.requests.wrapping_add(1);
        let id = template::id(self.run, self.requests);
        let phone = &mut self.phones[number as usize];
        phone.cseq += 1;
        let texts = &self.texts[End::identity(phone.link)];
        self.scratch.clear();
        if let Some(credentials) = phone.credentials.as_mut().filter(|_| phone.proven) {
            let user = template::user(number);
            let user = format!("u{}", String::from_utf8_lossy(&user));
            credentials.write(&mut self.scratch, &user, &self.uri, &self.ha2);
        }
        let (cseq, scratch) = (phone.cseq, &self.scratch);
        world.tally.counts.messages_sent += 1;
        world.callee.send(phone.link, |bytes| {
            texts.head.write(bytes, &id, number);
            bytes.extend_from_slice(cseq.to_string().as_bytes());
            texts.middle.write(bytes, &id, number);
            bytes.extend_from_slice(scratch.as_bytes());
            bytes.extend_from_slice(REGISTER_END);
        });
        self.checks.add(world.now_ns, Check { phone: number, cseq, lapses });
    }

    /// Does what is due by now.
    pub(crate) fn handle_timeout(&mut self, world: &mut World<'_>) {
        while let Some(check) = self.checks.take(world.now_ns) {
            let phone = &self.phones[check.phone as usize];
            if phone.due_ns.is_none() || phone.cseq != check.cseq {
                continue;
            }
            if check.lapses >= LAPSES_MAX {
                self.end(check.phone);
                world.tally.fail("no answer to a REGISTER");
            } else if self.transport == Transport::Udp && AGAIN.contains(&check.lapses) {
                // With a CSeq and, where there is one, a nonce count of its own: the registrar has
                // to do as much for it as for a repetition of the same bytes, or more.
                world.tally.counts.sent_again += 1;
                self.send(check.phone, check.lapses + 1, world);
            } else {
                self.checks.add(world.now_ns, Check { lapses: check.lapses + 1, ..check });
            }
        }
    }

    fn end(&mut self, number: u32) -> Option<u64> {
        let due_ns = self.phones[number as usize].due_ns.take();
        self.busy -= u32::from(due_ns.is_some());
        due_ns
    }

    /// An answer to a REGISTER has come; other messages are left alone.
    pub(crate) fn handle(&mut self, scan: &Scan<'_>, world: &mut World<'_>) -> bool {
        let Start::Response { status } = scan.start else { return false };
        let Some((cseq, b"REGISTER")) = scan.cseq_value() else { return false };
        let Some(number) = phone_of(scan.call_id_value()) else { return false };
        let Some(phone) = self.phones.get_mut(number as usize) else { return false };
        if phone.cseq != cseq || phone.due_ns.is_none() {
            world.tally.counts.came_again += 1;
            return true;
        }
        match status {
            ..200 => {}
            200..300 => {
                if let Some(due_ns) = self.end(number) {
                    world.tally.note(Interval::RegisterOk, world.now_ns - due_ns);
                    world.tally.counts.completed += 1;
                }
            }
            401 => self.prove(number, scan, world),
            _ => {
                self.end(number);
                world.tally.fail(format!("status {status} to a REGISTER"));
            }
        }
        true
    }

    fn prove(&mut self, number: u32, scan: &Scan<'_>, world: &mut World<'_>) {
        let stale = scan.challenge.is_some_and(is_stale);
        let challenge = scan.challenge.and_then(Challenge::read);
        let phone = &mut self.phones[number as usize];
        world.tally.counts.challenged += 1;
        let Some(challenge) = challenge.filter(|_| !phone.proven || stale) else {
            self.end(number);
            return world
                .tally
                .fail("a registrar refused credentials or asked for others than MD5");
        };
        let user = format!("u{}", String::from_utf8_lossy(&template::user(number)));
        phone.credentials = Some(Box::new(Credentials::new(&user, PASSWORD, challenge)));
        phone.proven = true;
        self.send(number, 1, world);
    }
}

fn is_stale(challenge: &[u8]) -> bool {
    let text = String::from_utf8_lossy(challenge).to_ascii_lowercase();
    text.contains("stale=true") || text.contains("stale=\"true\"")
}

/// The phone's number, at the end of its Call-ID.
fn phone_of(call_id: &[u8]) -> Option<u32> {
    let digits = call_id.len().checked_sub(USER_BYTES)?;
    std::str::from_utf8(&call_id[digits..]).ok()?.parse().ok()
}
