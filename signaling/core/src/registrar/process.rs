//! What a REGISTER does (RFC 3261 10.3 steps 6 to 8).

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::binding::Binding;
use super::extensions::Extensions;
use super::{Expiry, Outcome, Registrar, Version};
use crate::transport::Arrival;
use crate::wire::{Contact, HeaderName, Message, NameAddr};

/// An interval that is not too brief whatever the minimum is (RFC 3261 10.3 step 7).
const NEVER_TOO_BRIEF: Duration = Duration::from_secs(3600);

/// Longest Contact URI and `+sip.instance`, in bytes, which are kept for hours: several times what
/// phones send.
pub(super) const CONTACT_BYTES_MAX: usize = 1024;

/// Longest address of record, in bytes, of which one is remembered for a while even where it has no binding
/// any more: twice the longest that mail has (RFC 5321 4.5.3.1).
pub(super) const AOR_BYTES_MAX: usize = 640;

/// What a REGISTER asks for.
enum Wanted<'m> {
    /// No Contact: the list of bindings.
    Nothing,
    /// `*`: no bindings any more.
    RemoveAll,
    Update(SmallVec<[NameAddr<'m>; 1]>),
}

/// The bindings of a user as they will be, if all goes well.
pub(super) type Bindings = SmallVec<[Binding; 1]>;

impl Registrar {
    /// Does what an authenticated REGISTER for `aor` asks, all of it or nothing.
    ///
    /// 200 with the bindings; 400 if a Contact or `*` is wrong; 423 if a time is too brief; 439 if the
    /// proxy next to the client keeps no flows (RFC 5626 6); 500 if the request
    /// is older than what it would change; 503 at a bound.
    pub fn process(
        &mut self,
        now: Instant,
        aor: &str,
        arrival: Arrival,
        request: &Message,
    ) -> Outcome {
        self.purge(now);
        self.change(now, aor, arrival, request).unwrap_or_else(|refused| refused)
    }

    fn change(
        &mut self,
        now: Instant,
        aor: &str,
        arrival: Arrival,
        request: &Message,
    ) -> Result<Outcome, Outcome> {
        if aor.len() > AOR_BYTES_MAX {
            return Err(bad("Address Too Long"));
        }
        let extensions = Extensions::read(request)?;
        match wanted(request)? {
            Wanted::Nothing => {}
            Wanted::RemoveAll => self.remove_all(aor, request)?,
            Wanted::Update(contacts) => {
                let new = |contact: &NameAddr<'_>| Binding::new(contact, arrival, &extensions, now);
                let refreshed = match contacts.as_slice() {
                    [contact] => self.refresh(now, aor, request, contact, new)?,
                    [] | [_, _, ..] => false,
                };
                if !refreshed {
                    self.update(now, aor, request, &contacts, new)?;
                }
            }
        }
        Ok(self.ok(now, aor, request, &extensions))
    }

    fn ok(&self, now: Instant, aor: &str, request: &Message, extensions: &Extensions) -> Outcome {
        let bindings = self.records.get(aor).map(|record| record.bindings.as_slice());
        let public = extensions.gruu.then(|| request.to().uri().ok()).flatten();
        let public = public.map(|uri| uri.address_of_record());
        let contact = |binding: &Binding| {
            let mut contact = binding.contact(now);
            if let Some(public) = &public {
                self.write_gruus(&mut contact, binding, aor, public);
            }
            (HeaderName::Contact, contact)
        };
        let contacts = bindings.unwrap_or_default().iter().map(contact);
        let headers = contacts.chain(extensions.headers()).collect();
        Outcome { status: 200, reason: "OK", headers }
    }

    /// RFC 3261 10.3 step 6.
    fn remove_all(&mut self, aor: &str, request: &Message) -> Result<(), Outcome> {
        let order = self.order(request);
        let bindings = self.records.get(aor).map(|record| record.bindings.clone());
        let bindings = bindings.unwrap_or_default();
        if bindings.iter().any(|binding| !is_newer(order, binding)) {
            return Err(out_of_order());
        }
        self.replace(aor, Bindings::new(), None);
        Ok(())
    }

    /// What nearly every REGISTER does: the device that it names has a binding, which lasts on. Does it in
    /// place, to the same effect as [`Registrar::update`]; `false`, and nothing done, if it is anything else.
    fn refresh(
        &mut self,
        now: Instant,
        aor: &str,
        request: &Message,
        contact: &NameAddr<'_>,
        new: impl Fn(&NameAddr<'_>) -> Binding,
    ) -> Result<bool, Outcome> {
        let lasts = self.lasts(contact, request)?;
        let (call_id, cseq) = self.order(request);
        let is_over = self.len > self.config.bindings_max;
        let Some(record) = self.records.get_mut(aor).filter(|_| !is_over && !lasts.is_zero())
        else {
            return Ok(false);
        };
        if record.bindings.len() > self.config.bindings_per_user_max {
            return Ok(false);
        }
        let mut binding = new(contact);
        let old = record.bindings.iter_mut().find(|old| old.is_same_device(&binding));
        // Which connections bindings came over is in an index, which stays as it is.
        let is_same_way = |old: &&mut Binding| {
            !old.flow_lost && old.arrival.connection == binding.arrival.connection
        };
        let Some(old) = old.filter(is_same_way) else {
            return Ok(false);
        };
        if !is_newer((call_id, cseq), old) {
            return Err(out_of_order());
        }
        let Some(mut expiry) = old.timer.and_then(|timer| self.expiries.cancel(timer)) else {
            return Ok(false);
        };
        self.last_serial += 1;
        binding.call_id = call_id;
        binding.cseq = cseq;
        binding.serial = self.last_serial;
        binding.expires = now + lasts;
        expiry.serial = self.last_serial;
        if let Some(changes) = &mut self.changes {
            changes.push_back(expiry.aor.clone());
        }
        if let Some(copies) = &mut self.copies {
            copies.note(&expiry.aor, None);
        }
        let timer = self.expiries.schedule(binding.expires, expiry);
        binding.timer = Some(timer.expect("the wheel has the room that the old timer has left"));
        *old = binding;
        Ok(true)
    }

    /// RFC 3261 10.3 step 7.
    fn update(
        &mut self,
        now: Instant,
        aor: &str,
        request: &Message,
        contacts: &[NameAddr<'_>],
        new: impl Fn(&NameAddr<'_>) -> Binding,
    ) -> Result<(), Outcome> {
        let (call_id, cseq) = self.order(request);
        let record = self.records.get(aor);
        let mut bindings = record.map(|record| record.bindings.clone()).unwrap_or_default();
        let first_new_serial = self.last_serial + 1;
        for contact in contacts {
            let lasts = self.lasts(contact, request)?;
            let mut binding = new(contact);
            let old = bindings.iter().position(|old| old.is_same_device(&binding));
            if let Some(old) = old.and_then(|at| bindings.get(at))
                // The same device twice in one request: the last mention counts.
                && old.serial < first_new_serial
                && !is_newer((call_id, cseq), old)
            {
                return Err(out_of_order());
            }
            self.last_serial += 1;
            binding.call_id = call_id;
            binding.cseq = cseq;
            binding.serial = self.last_serial;
            binding.expires = now + lasts;
            match (old, lasts.is_zero()) {
                (Some(at), true) => drop(bindings.remove(at)),
                (None, true) => {}
                (Some(at), false) => bindings[at] = binding,
                (None, false) => bindings.push(binding),
            }
            if bindings.len() > self.config.bindings_per_user_max {
                let first =
                    bindings.iter().filter(|old| old.timer.is_some()).map(|old| old.expires);
                return Err(too_many(now, "Too Many Contacts", first.min()));
            }
        }
        self.check_total(now, aor, bindings.len())?;
        self.replace(aor, bindings, None);
        Ok(())
    }

    fn check_total(&self, now: Instant, aor: &str, wanted: usize) -> Result<(), Outcome> {
        let had = self.records.get(aor).map_or(0, |record| record.bindings.len());
        if self.len - had + wanted > self.config.bindings_max {
            return Err(too_many(now, "Too Many Registrations", self.next_expiry()));
        }
        Ok(())
    }

    /// Puts `bindings` in the place of those of `aor`, and sets timers for what is new. `version`: what
    /// another member calls the list.
    pub(super) fn replace(&mut self, aor: &str, mut bindings: Bindings, version: Option<Version>) {
        let aor: Arc<str> = match self.records.get_key_value(aor) {
            Some((aor, _)) => aor.clone(),
            None => aor.into(),
        };
        let old = self.records.remove(&aor).unwrap_or_default().bindings;
        self.len = self.len - old.len() + bindings.len();
        let kept = |timer| bindings.iter().any(|binding| binding.timer == Some(timer));
        for timer in old.iter().filter_map(|binding| binding.timer) {
            if !kept(timer) {
                self.expiries.cancel(timer);
            }
        }
        for binding in bindings.iter_mut().filter(|binding| binding.timer.is_none()) {
            let expiry = Expiry { aor: aor.clone(), serial: binding.serial };
            let timer = self.expiries.schedule(binding.expires, expiry);
            binding.timer = Some(timer.expect("the wheel has room for a timer of each binding"));
        }
        for connection in old.iter().filter_map(|binding| binding.arrival.connection) {
            self.flows.remove(&(connection, aor.clone()));
        }
        for connection in bindings.iter().filter_map(|binding| binding.arrival.connection) {
            self.flows.insert((connection, aor.clone()));
        }
        if let Some(changes) = &mut self.changes {
            changes.push_back(aor.clone());
        }
        if let Some(copies) = &mut self.copies {
            copies.note(&aor, version);
            if bindings.is_empty() {
                copies.note_empty(&aor);
            }
        }
        if !bindings.is_empty() {
            self.records.insert(aor, super::Record { bindings });
        }
    }

    /// How long a Contact is to last (RFC 3261 10.3 step 7); zero removes it.
    fn lasts(&self, contact: &NameAddr<'_>, request: &Message) -> Result<Duration, Outcome> {
        let config = &self.config;
        let asked = contact.expires().or_else(|| request.expires());
        let asked = asked.map(|secs| Duration::from_secs(secs.into()));
        let lasts = asked.unwrap_or(config.expires_default).min(config.expires_max);
        let is_brief = lasts < config.expires_min && lasts < NEVER_TOO_BRIEF;
        if is_brief && !lasts.is_zero() {
            let min = config.expires_min.as_secs().to_string();
            let headers = vec![(HeaderName::MinExpires, min)];
            return Err(Outcome { status: 423, reason: "Interval Too Brief", headers });
        }
        Ok(lasts)
    }

    /// What orders the requests of one device: Call-ID (its hash) and CSeq.
    fn order(&self, request: &Message) -> (u64, u32) {
        (self.orders.hash(request.call_id().as_bytes()), request.cseq().number)
    }
}

/// Reads the Contacts of a REGISTER.
fn wanted(request: &Message) -> Result<Wanted<'_>, Outcome> {
    let mut contacts = SmallVec::new();
    let mut any = false;
    for contact in request.contacts() {
        match contact {
            Ok(Contact::Any) => any = true,
            Ok(Contact::Addr(addr)) => contacts.push(checked(addr)?),
            Err(_) => return Err(bad("Bad Contact Header")),
        }
    }
    match (any, contacts.is_empty()) {
        (false, true) => Ok(Wanted::Nothing),
        (false, false) => Ok(Wanted::Update(contacts)),
        // RFC 3261 10.3 step 6: alone, and with `Expires: 0`.
        (true, true) if request.expires() == Some(0) => Ok(Wanted::RemoveAll),
        (true, true) => Err(bad("Contact * Without Expires 0")),
        (true, false) => Err(bad("Contact * Beside Others")),
    }
}

fn checked(contact: NameAddr<'_>) -> Result<NameAddr<'_>, Outcome> {
    if contact.uri().is_err() {
        return Err(bad("Bad Contact URI"));
    }
    let instance = contact.instance().unwrap_or_default();
    if contact.uri_text().len() > CONTACT_BYTES_MAX || instance.len() > CONTACT_BYTES_MAX {
        return Err(bad("Contact Too Long"));
    }
    if !is_instance(instance) {
        return Err(bad("Bad Contact Instance"));
    }
    Ok(contact)
}

/// It is written back in quotes and angle brackets.
pub(super) fn is_instance(text: &str) -> bool {
    !text.contains(['"', '\\', '<', '>', '\r', '\n'])
}

/// RFC 3261 10.3 step 7: of the same Call-ID, only a higher CSeq may change a binding.
const fn is_newer((call_id, cseq): (u64, u32), binding: &Binding) -> bool {
    call_id != binding.call_id || cseq > binding.cseq
}

pub(super) const fn bad(reason: &'static str) -> Outcome {
    Outcome { status: 400, reason, headers: Vec::new() }
}

const fn out_of_order() -> Outcome {
    Outcome { status: 500, reason: "Registration Out Of Order", headers: Vec::new() }
}

/// There may be room again at `room`, when a binding expires.
fn too_many(now: Instant, reason: &'static str, room: Option<Instant>) -> Outcome {
    let wait = room.map_or(Duration::ZERO, |room| room.saturating_duration_since(now));
    let retry_after = wait.as_secs().saturating_add(1).to_string();
    Outcome { status: 503, reason, headers: vec![(HeaderName::RetryAfter, retry_after)] }
}
