//! This member's own record: taking the name, renewing the lease, being fenced, leaving.

use std::net::IpAddr;
use std::time::Instant;

use super::Membership;
use super::api::{Fence, JoinError, Output, UsedMedia};
use super::arrival::{Arrival, CONTINUES_MAX};
use super::slot::Slot;
use crate::cluster::{
    Document, Incarnate, Incarnation, Key, Load, Member, MemberId, MemberRecord, Presence, Profile,
};
use crate::settings::{AddressPair, PortRange};

/// Media ports and the address that they are told under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Media {
    pub(super) ports: PortRange,
    pub(super) wan_ip: AddressPair,
    pub(super) own_wan_ip: AddressPair,
}

impl Media {
    pub(super) fn of(profile: &Profile) -> Media {
        Media { ports: profile.media_ports, wan_ip: profile.wan_ip, own_wan_ip: profile.own_wan_ip }
    }

    pub(super) const fn used(self) -> UsedMedia {
        UsedMedia { ports: self.ports, wan_ip: self.wan_ip }
    }

    pub(super) fn put_in(self, profile: Profile) -> Profile {
        Profile {
            media_ports: self.ports,
            wan_ip: self.wan_ip,
            own_wan_ip: self.own_wan_ip,
            ..profile
        }
    }
}

/// Beats of another process after which it is alive for certain: one may be the last of a process that
/// has just died, shown late.
const SIGNS_OF_LIFE: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    Stay,
    /// Give back what is held; the reason if it was not asked for.
    Leave(Option<JoinError>),
}

/// What this process is in the cluster.
#[derive(Debug)]
pub(super) struct Own {
    wish: Wish,
    /// Nothing is left to do.
    ended: bool,
    /// Who it is, as it was told outside.
    pub(super) announced: Option<Incarnate>,
    /// Whether a view has held it as that.
    pub(super) admitted: bool,
    pub(super) arrival: Arrival,
    /// Who this process was before it was taken for dead, the latest at the end.
    pub(super) earlier: Vec<Incarnate>,
    /// Starts up to this one are not this process any more.
    spent: Incarnation,
    /// Its media, claimed.
    pub(super) media: Option<Media>,
    /// Claims of earlier media that calls still use; they are few, because each takes a change of
    /// settings, and bounded by [`super::claims::KEPT_MAX`].
    pub(super) kept: Vec<(IpAddr, PortRange)>,
    /// Media that another member's claims are against, so that it is told once.
    pub(super) refused: Option<Media>,
    pub(super) draining: bool,
    pub(super) load: Load,
    /// The newest key of tokens that its signaling reads.
    pub(super) token_key: u32,
    /// When the lease is to be renewed.
    pub(super) beat_at: Instant,
    /// What was told outside last.
    profile: Option<Profile>,
}

impl Own {
    pub(super) fn new(now: Instant) -> Own {
        Own {
            wish: Wish::Stay,
            ended: false,
            announced: None,
            admitted: false,
            arrival: Arrival::Outside,
            earlier: Vec::new(),
            spent: Incarnation(0),
            media: None,
            kept: Vec::new(),
            refused: None,
            draining: false,
            load: Load::default(),
            token_key: 0,
            beat_at: now,
            profile: None,
        }
    }

    /// Wants to leave from now on.
    pub(super) fn leave(&mut self, why: Option<JoinError>) {
        if self.wish == Wish::Stay {
            self.wish = Wish::Leave(why);
        }
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.wish != Wish::Stay
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}

impl Membership {
    /// This process's record, while it is the one that writes it.
    pub(super) fn own_record(&self) -> Option<&MemberRecord> {
        let record = self.store.records.get(&self.identity.name)?.get()?;
        let is_own = record.instance == self.identity.instance
            && record.presence.is_lease()
            && record.member.incarnation > self.own.spent;
        is_own.then_some(record)
    }

    /// Who this process is, if its record stands and it wants to stay.
    pub(super) fn acting(&self) -> Option<Incarnate> {
        let record = self.own_record().filter(|_| !self.own.is_leaving())?;
        (record.presence == Presence::Here).then(|| record.member.incarnate())
    }

    pub(super) fn settle_own(&mut self, now: Instant) {
        if self.own.ended {
            return;
        }
        let name = self.identity.name.clone();
        if self.is_barred(&name, self.identity.certified) {
            self.own.leave(Some(JoinError::Barred(name.clone())));
        }
        self.store.records.entry(name).or_insert_with(|| Slot::new(now));
        match (self.own_record().cloned(), self.own.announced) {
            (Some(record), Some(was)) if record.member.incarnate() == was => {
                self.keep_number(was, now);
                if self.own.announced.is_some() {
                    self.renew(record, now);
                }
            }
            (Some(record), None) => {
                self.own.announced = Some(record.member.incarnate());
                self.outputs.put(Output::Joined(record.member.incarnate()));
                self.renew(record, now);
            }
            (Some(_) | None, Some(was)) => self.lost_record(was, now),
            (None, None) => self.take_name(now),
        }
    }

    /// The record is no longer this process's.
    fn lost_record(&mut self, was: Incarnate, now: Instant) {
        if self.own.is_leaving() {
            return;
        }
        let Some(slot) = self.store.records.get(&self.identity.name) else { return };
        let why = match slot.get() {
            // Nobody has taken it: the engine has lost it. What others know of us still holds.
            None if slot.is_absent() => return self.restore(was, now),
            None => Fence::Replaced,
            Some(record) if record.instance == self.identity.instance => Fence::Removed,
            Some(record) if record.presence.is_lease() => Fence::Replaced,
            Some(_) => Fence::Removed,
        };
        self.fence(was, why);
        self.take_name(now);
    }

    /// This process is no longer `was`. One that leaves has stopped being it anyway.
    pub(super) fn fence(&mut self, was: Incarnate, why: Fence) {
        if self.own.is_leaving() {
            return;
        }
        self.own.spent = self.own.spent.max(was.incarnation);
        if self.own.earlier.len() == CONTINUES_MAX {
            self.own.earlier.remove(0);
        }
        self.own.earlier.push(was);
        self.own.announced = None;
        self.own.admitted = false;
        self.own.arrival = Arrival::Outside;
        self.own.media = None;
        self.own.kept.clear();
        self.own.refused = None;
        self.own.profile = None;
        self.outputs.put(Output::Fenced { was, why });
    }

    fn restore(&mut self, was: Incarnate, now: Instant) {
        let has_media = self.own.media.is_some();
        let presence = if has_media { Presence::Here } else { Presence::Joining };
        let record = self.record(was, presence, 1);
        self.write_record(record, now);
    }

    /// The number of this member stands in the table, also after the engine has lost that.
    fn keep_number(&mut self, was: Incarnate, now: Instant) {
        let name = &self.identity.name;
        let slot = &mut self.store.ids;
        let number = slot.get().and_then(|table| table.ids.get(name)).copied();
        if number == Some(was.id) || slot.is_unreadable() || !slot.is_free(now) {
            return;
        }
        let mut table = slot.get().cloned().unwrap_or_default();
        if number.is_none() && table.restore(name, was.id) {
            self.store.desk.write(slot, Key::Ids, table, now);
        } else {
            self.fence(was, Fence::NumberTaken);
        }
    }

    /// Renews the lease when it is time, or as soon as there is news in it.
    fn renew(&mut self, record: MemberRecord, now: Instant) {
        let presence = match (self.own.is_leaving(), record.presence, self.own.media) {
            (true, _, _) => Presence::Left,
            (false, Presence::Joining, None) => Presence::Joining,
            (false, _, _) => Presence::Here,
        };
        let next = self.record(record.member.incarnate(), presence, record.beat.saturating_add(1));
        let is_news =
            MemberRecord { beat: record.beat, load: record.load, ..next.clone() } != record;
        if is_news || now >= self.own.beat_at {
            self.tell_profile(&next);
            self.write_record(next, now);
        }
    }

    fn tell_profile(&mut self, record: &MemberRecord) {
        let profile = &record.member.profile;
        if record.presence == Presence::Here && self.own.profile.as_ref() != Some(profile) {
            self.own.profile = Some(profile.clone());
            self.outputs.put(Output::ProfileChanged(Box::new(profile.clone())));
        }
    }

    fn record(&self, incarnate: Incarnate, presence: Presence, beat: u64) -> MemberRecord {
        let wanted = self.wanted_profile();
        let profile = match self.own.media {
            Some(media) => media.put_in(wanted),
            None => wanted,
        };
        let profile = Profile { continues: self.continues(incarnate.id), ..profile };
        MemberRecord {
            version: MemberRecord::VERSION,
            instance: self.identity.instance,
            beat,
            presence,
            load: self.own.load,
            joining: presence == Presence::Here && self.is_joining(),
            refused_by: self.refusals(),
            token_key: self.own.token_key,
            certified: self.identity.certified,
            member: Member {
                name: self.identity.name.clone(),
                id: incarnate.id,
                incarnation: incarnate.incarnation,
                profile,
            },
        }
    }

    fn write_record(&mut self, record: MemberRecord, now: Instant) {
        let name = &self.identity.name;
        let Some(slot) = self.store.records.get_mut(name) else { return };
        if slot.is_free(now) {
            self.own.beat_at = now + self.timing.beat;
            self.store.desk.write(slot, Key::Member(name.clone()), record, now);
        }
    }

    /// Takes the name, with a new incarnation, if nobody alive has it.
    fn take_name(&mut self, now: Instant) {
        if self.own.is_leaving() {
            return;
        }
        let Some(id) = self.number(now) else { return };
        let Some(slot) = self.store.records.get(&self.identity.name) else { return };
        let incarnation = |record: &MemberRecord| record.member.incarnation;
        let recorded = slot.get().map(incarnation).unwrap_or_default();
        let in_view = self.view.as_ref().and_then(|view| Some(view.by_id(id)?.incarnation));
        let last = self.own.spent.max(recorded).max(in_view.unwrap_or_default());
        match self.name_is_free(slot, now) {
            Ok(true) => {
                let incarnate = Incarnate { id, incarnation: last.next() };
                let record = self.record(incarnate, Presence::Joining, 1);
                self.write_record(record, now);
            }
            Ok(false) => {}
            Err(taken) => self.own.leave(Some(taken)),
        }
    }

    /// Whether the name can be taken now. `Ok(false)`: it has to be seen.
    fn name_is_free(&self, slot: &Slot<MemberRecord>, now: Instant) -> Result<bool, JoinError> {
        // An engine that takes no writes at all makes the living look dead. Whoever has written
        // nothing itself knows by what moves otherwise; if nothing does, it waits for longer.
        let is_quiet = now >= self.last_move + self.timing.stalled();
        let lease = if is_quiet { 2 * self.timing.lease } else { self.timing.lease };
        let is_dead = self.stood_still(slot, lease, now);
        let Some(record) = slot.get() else { return Ok(slot.is_absent() || is_dead) };
        let mesh = record.member.profile.mesh;
        // We listen there, so the process that did is gone. Said once: if it takes the name back, two
        // hosts have one address, and only one of them can have the name.
        let is_first = self.own.spent == Incarnation(0);
        let was_here = is_first && mesh == self.local.mesh && !mesh.ip().is_unspecified();
        if !record.presence.is_lease() || record.instance == self.identity.instance || was_here {
            return Ok(true);
        }
        if slot.moves() >= SIGNS_OF_LIFE && !is_dead {
            return Err(JoinError::NameTaken { name: self.identity.name.clone(), mesh });
        }
        Ok(is_dead)
    }

    /// This name's number, as the table has it. `None`: not yet.
    fn number(&mut self, now: Instant) -> Option<MemberId> {
        let slot = &mut self.store.ids;
        if slot.is_unreadable() {
            return None;
        }
        let known = slot.get().and_then(|table| table.ids.get(&self.identity.name)).copied();
        if known.is_some() || !slot.is_free(now) {
            return known;
        }
        let mut table = slot.get().cloned().unwrap_or_default();
        let floor = self.view.iter().flat_map(|view| &view.members).map(|member| member.id).max();
        match table.allot(&self.identity.name, floor) {
            Ok(_) => {
                self.store.desk.write(slot, Key::Ids, table, now);
            }
            Err(none) => self.own.leave(Some(JoinError::NoIdLeft(none))),
        }
        None
    }

    /// Ends when nothing is held any more.
    pub(super) fn settle_leaving(&mut self) {
        let Wish::Leave(why) = &self.own.wish else { return };
        let holds = self.own_record().is_some() || self.holds.is_some() || self.has_claims();
        if self.own.ended || holds {
            return;
        }
        let output = why.clone().map_or(Output::Left, Output::Refused);
        self.own.ended = true;
        self.outputs.put(output);
    }
}
