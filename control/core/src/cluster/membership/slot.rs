//! What is known of one key of the engine, and the one operation that may be under way on it.

use std::time::Instant;

use super::api::{Ask, Nonce, Outcome, Timing};
use crate::cluster::{Document, Revision, Unreadable};

/// Reads in a row that must show an older value than the one that is known before it is believed. A
/// replica that lags behind shows one for a moment; an engine that has lost data does for good.
const OLDER_READS: u8 = 3;

/// A value, as far as it is known.
#[derive(Debug)]
enum Content<D> {
    Absent,
    Unreadable,
    Is(D),
}

#[derive(Debug)]
struct Op<D> {
    nonce: Nonce,
    since: Instant,
    /// The revision that was known when it began.
    on: Revision,
    /// `None`: it reads.
    writes: Option<D>,
}

/// One key.
#[derive(Debug)]
pub(super) struct Slot<D> {
    content: Content<D>,
    /// Of the newest value or deletion that was seen; 0: none.
    revision: Revision,
    /// When the revision moved last, by our clock.
    moved_at: Instant,
    /// How often it has moved before our eyes.
    moves: u32,
    op: Option<Op<D>>,
    /// No operation before then.
    hold: Option<Instant>,
    must_read: bool,
    older_reads: u8,
    /// Whether the value was handed in since the engine was lost.
    heard: bool,
}

/// What a slot can be asked whatever its document is.
pub(super) trait AnySlot {
    /// Takes what the watch has shown. `is_live`: it has just happened. An error for a value that
    /// cannot be read.
    fn observe(
        &mut self,
        revision: Revision,
        bytes: Option<&[u8]>,
        is_live: bool,
        now: Instant,
    ) -> Result<bool, Unreadable>;
    /// Takes the outcome of the operation `nonce`. Whether it was a write that was done.
    fn finish(
        &mut self,
        nonce: Nonce,
        outcome: Outcome,
        timing: &Timing,
        now: Instant,
    ) -> Result<bool, Unreadable>;
    /// The engine is lost: no outcome is waited for.
    fn lose(&mut self);
    /// The engine is back with everything handed in.
    fn come_back(&mut self, now: Instant);
    /// Whatever stood still until now may have moved.
    fn thaw(&mut self, now: Instant);
    /// Gives up waiting for an outcome; begins a read if one is needed.
    fn work(&mut self, timing: &Timing, now: Instant, nonce: Nonce) -> Option<Ask>;
    /// When [`AnySlot::work`] has something to do next, if at all.
    fn next(&self, timing: &Timing) -> Option<Instant>;
}

impl<D: Document> Slot<D> {
    pub(super) fn new(now: Instant) -> Slot<D> {
        Slot {
            content: Content::Absent,
            revision: Revision(0),
            moved_at: now,
            moves: 0,
            op: None,
            hold: None,
            must_read: false,
            older_reads: 0,
            heard: false,
        }
    }

    /// The value, if it is there and can be read.
    pub(super) fn get(&self) -> Option<&D> {
        match &self.content {
            Content::Is(document) => Some(document),
            Content::Absent | Content::Unreadable => None,
        }
    }

    pub(super) fn is_absent(&self) -> bool {
        matches!(self.content, Content::Absent)
    }

    pub(super) fn is_unreadable(&self) -> bool {
        matches!(self.content, Content::Unreadable)
    }

    /// When it moved last, by our clock.
    pub(super) fn moved_at(&self) -> Instant {
        self.moved_at
    }

    /// How often it has moved before our eyes, by somebody else's hand.
    pub(super) fn moves(&self) -> u32 {
        self.moves
    }

    /// Whether a write may begin.
    pub(super) fn is_free(&self, now: Instant) -> bool {
        self.op.is_none() && !self.must_read && self.hold.is_none_or(|until| until <= now)
    }

    /// Begins a write on the value that is known.
    pub(super) fn write(&mut self, document: D, nonce: Nonce, now: Instant) -> Ask {
        let expected = (!self.is_absent()).then_some(self.revision);
        let bytes = document.to_bytes();
        self.hold = None;
        self.op = Some(Op { nonce, since: now, on: self.revision, writes: Some(document) });
        Ask::Write { expected, bytes }
    }

    fn take(&mut self, revision: Revision, content: Content<D>, now: Instant) {
        self.revision = revision;
        self.content = content;
        self.moved_at = now;
        self.older_reads = 0;
        self.must_read = false;
    }

    fn take_bytes(
        &mut self,
        revision: Revision,
        bytes: Option<&[u8]>,
        now: Instant,
    ) -> Result<(), Unreadable> {
        let Some(bytes) = bytes else {
            self.take(revision, Content::Absent, now);
            return Ok(());
        };
        match D::from_bytes(bytes) {
            Ok(document) => self.take(revision, Content::Is(document), now),
            Err(unreadable) => {
                self.take(revision, Content::Unreadable, now);
                return Err(unreadable);
            }
        }
        Ok(())
    }

    /// A read that shows nothing newer: either nothing has changed, or what we know was lost.
    fn take_read(
        &mut self,
        found: Option<(Revision, Vec<u8>)>,
        timing: &Timing,
        now: Instant,
    ) -> Result<(), Unreadable> {
        let revision = found.as_ref().map(|(revision, _)| *revision);
        let bytes = found.as_ref().map(|(_, bytes)| bytes.as_slice());
        if let Some(revision) = revision.filter(|revision| *revision > self.revision) {
            return self.take_bytes(revision, bytes, now);
        }
        self.hold = Some(now + timing.retry);
        let is_same = match revision {
            Some(revision) => revision == self.revision,
            None => self.is_absent(),
        };
        if is_same {
            self.must_read = false;
            self.older_reads = 0;
            return Ok(());
        }
        self.older_reads += 1;
        if self.older_reads < OLDER_READS {
            return Ok(());
        }
        self.take_bytes(revision.unwrap_or_default(), bytes, now)
    }
}

impl<D: Document> AnySlot for Slot<D> {
    fn observe(
        &mut self,
        revision: Revision,
        bytes: Option<&[u8]>,
        is_live: bool,
        now: Instant,
    ) -> Result<bool, Unreadable> {
        self.heard = true;
        if revision == self.revision {
            self.must_read = false;
            return Ok(false);
        }
        if revision < self.revision {
            // Either it comes late, or the engine has lost what we know: a read tells.
            self.must_read |= !is_live;
            return Ok(false);
        }
        let is_ours = self.op.as_ref().is_some_and(|op| op.writes.is_some());
        self.moves = self.moves.saturating_add(u32::from(is_live && !is_ours));
        self.take_bytes(revision, bytes, now).map(|()| true)
    }

    fn finish(
        &mut self,
        nonce: Nonce,
        outcome: Outcome,
        timing: &Timing,
        now: Instant,
    ) -> Result<bool, Unreadable> {
        let Some(op) = self.op.take_if(|op| op.nonce == nonce) else { return Ok(false) };
        match (outcome, op.writes) {
            (Outcome::Done(revision), Some(document)) => {
                if revision > self.revision {
                    self.take(revision, Content::Is(document), now);
                }
                return Ok(true);
            }
            (Outcome::Value(found), None) => self.take_read(found, timing, now)?,
            // The watch may have shown already what was in the way.
            (Outcome::Conflict, Some(_)) => self.must_read |= self.revision == op.on,
            (Outcome::Unknown, Some(_)) => self.must_read = true,
            (Outcome::Unavailable, writes) => {
                self.must_read |= writes.is_none();
                self.hold = Some(now + timing.retry);
            }
            (Outcome::Done(_) | Outcome::Conflict | Outcome::Unknown, None)
            | (Outcome::Value(_), Some(_)) => {
                self.must_read = true;
                self.hold = Some(now + timing.retry);
            }
        }
        Ok(false)
    }

    fn lose(&mut self) {
        self.op = None;
        self.hold = None;
        self.must_read = false;
        self.heard = false;
    }

    fn come_back(&mut self, now: Instant) {
        self.thaw(now);
        self.must_read |= !self.heard && !self.is_absent();
    }

    fn thaw(&mut self, now: Instant) {
        self.moved_at = now;
    }

    fn work(&mut self, timing: &Timing, now: Instant, nonce: Nonce) -> Option<Ask> {
        if self.op.take_if(|op| op.since + timing.outcome <= now).is_some() {
            self.must_read = true;
        }
        let may = self.op.is_none() && self.hold.is_none_or(|until| until <= now);
        if !may || !self.must_read {
            return None;
        }
        self.hold = None;
        self.op = Some(Op { nonce, since: now, on: self.revision, writes: None });
        Some(Ask::Read)
    }

    fn next(&self, timing: &Timing) -> Option<Instant> {
        match &self.op {
            Some(op) => Some(op.since + timing.outcome),
            None => self.hold,
        }
    }
}
