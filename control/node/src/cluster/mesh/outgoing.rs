//! What waits to be written to one peer: encoded where it is handed over, written in one go.

use std::sync::{Mutex, MutexGuard, PoisonError};

use control_core::mesh::{Frame, encode};
use tokio::sync::Notify;

use super::figures::Figures;

/// Most bytes of SIP that wait for a peer: a second of a hundred thousand messages would be 20 times
/// this, and what has waited longer is sent again by its sender anyway.
pub(super) const SIP_BYTES_MAX: usize = 4 << 20;
/// Most frames that wait.
pub(super) const FRAMES_MAX: usize = 16_384;
/// Most bytes of everything: what is not SIP has this beyond SIP's share, so that a flood of calls does not
/// keep members from agreeing.
pub(super) const BYTES_MAX: usize = 2 * SIP_BYTES_MAX;
/// Beyond SIP's share of frames.
const FRAMES_EXTRA: usize = 4_096;
/// A buffer that has grown past this is given back once it is empty.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    /// There is no such member, or no connection to it.
    #[error("there is no connection to the member")]
    NotConnected,
    /// Too much waits for it already.
    #[error("the member takes what it is sent too slowly")]
    Full,
    /// The frame is longer than frames are.
    #[error("the frame is too long")]
    TooLong,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    frames: usize,
    /// The connection that takes them, if there is one.
    link: Option<u64>,
    /// Something that must not be left out did not fit.
    has_overflowed: bool,
    /// Nothing is taken any more, and the connection ends once what waits is written.
    is_finishing: bool,
}

/// What [`Outgoing::take`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// None wait.
    Nothing,
    /// This many frames.
    Frames(usize),
    /// All is written, and the connection is to end.
    Finished,
    /// Another connection takes them now, or none.
    Replaced,
}

/// The queue. It empties into a connection and is closed without one.
#[derive(Default)]
pub(super) struct Outgoing {
    queue: Mutex<Queue>,
    ready: Notify,
    overflowed: Notify,
}

impl Outgoing {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a frame. `true`: nothing waited before it, so that [`Outgoing::wake`] has to be called
    /// for it to be written.
    pub(super) fn push(&self, frame: &Frame, figures: &Figures) -> Result<bool, SendError> {
        let mut queue = self.queue();
        if queue.link.is_none() || queue.is_finishing {
            figures.not_connected.add(1);
            return Err(SendError::NotConnected);
        }
        let is_sip = frame.is_sip();
        let (bytes_max, frames_max) = match is_sip {
            true => (SIP_BYTES_MAX, FRAMES_MAX),
            false => (BYTES_MAX, FRAMES_MAX + FRAMES_EXTRA),
        };
        if queue.bytes.len() >= bytes_max || queue.frames >= frames_max {
            figures.dropped_out.add(1);
            queue.has_overflowed |= !is_sip;
            drop(queue);
            if !is_sip {
                self.overflowed.notify_one();
            }
            return Err(SendError::Full);
        }
        let was_empty = queue.frames == 0;
        encode(frame, &mut queue.bytes).map_err(|_| SendError::TooLong)?;
        queue.frames += 1;
        Ok(was_empty)
    }

    /// Has what waits written.
    pub(super) fn wake(&self) {
        self.ready.notify_one();
    }

    /// What waits now: frames, bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let queue = self.queue();
        (queue.frames, queue.bytes.len())
    }

    /// The connection of that number, and no other, takes frames from here on.
    pub(super) fn open(&self, link: u64) {
        *self.queue() = Queue { link: Some(link), ..Queue::default() };
    }

    /// Has the connection end once what waits, and then `last`, is written.
    pub(super) fn finish(&self, last: &Frame) {
        let mut queue = self.queue();
        if queue.link.is_some() && !queue.is_finishing && encode(last, &mut queue.bytes).is_ok() {
            queue.frames += 1;
            queue.is_finishing = true;
        }
        drop(queue);
        self.ready.notify_one();
    }

    /// There is none; what waited is dropped.
    pub(super) fn close(&self) {
        *self.queue() = Queue::default();
    }

    /// Returns once something that must not be left out did not fit: the connection of that number has to
    /// end, also in the middle of writing to it.
    pub(super) async fn overflows(&self, link: u64) {
        loop {
            {
                let queue = self.queue();
                if queue.link == Some(link) && queue.has_overflowed {
                    return;
                }
            }
            self.overflowed.notified().await;
        }
    }

    /// Waits until [`Outgoing::wake`] is called, or has been since this was last waited for.
    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Exchanges `batch`, which is empty, for all that waits.
    pub(super) fn take(&self, link: u64, batch: &mut Vec<u8>) -> Taken {
        if batch.capacity() > KEPT_BYTES_MAX {
            *batch = Vec::new();
        }
        let mut queue = self.queue();
        if queue.link != Some(link) {
            return Taken::Replaced;
        }
        if queue.frames > 0 {
            std::mem::swap(&mut queue.bytes, batch);
            return Taken::Frames(std::mem::take(&mut queue.frames));
        }
        if queue.is_finishing { Taken::Finished } else { Taken::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use control_core::mesh::{Body, Errand, Hop, ListenerKind, Sip};

    use super::*;

    fn sip(bytes: usize) -> Frame {
        let address = "192.0.2.1:5060".parse().expect("an address");
        let listener = ListenerKind::Address;
        let hop = Hop { transport: 0, listener, local: address, remote: address, connection: 0 };
        Frame::SipRelay(
            Errand { why: 0, asked: 0 },
            Sip { hop, bytes: Bytes::from(vec![0; bytes]) },
        )
    }

    fn event(bytes: usize) -> Frame {
        Frame::Event(Body(Bytes::from(vec![0; bytes])))
    }

    fn open() -> (Outgoing, Figures) {
        let out = Outgoing::default();
        out.open(1);
        (out, Figures::default())
    }

    #[test]
    fn without_a_connection_nothing_waits() {
        let (out, figures) = (Outgoing::default(), Figures::default());
        assert_eq!(out.push(&sip(1), &figures), Err(SendError::NotConnected));
        assert_eq!((out.waiting(), figures.not_connected.get()), ((0, 0), 1));
    }

    #[test]
    fn the_newest_message_of_too_many_is_dropped_and_counted() {
        let (out, figures) = open();
        let mut taken = 0;
        while out.push(&sip(1), &figures).is_ok() {
            taken += 1;
        }
        assert_eq!(
            (taken, out.waiting().0, figures.dropped_out.get()),
            (FRAMES_MAX, FRAMES_MAX, 1)
        );
    }

    #[test]
    fn sip_cannot_take_the_room_of_what_members_agree_by() {
        let (out, figures) = open();
        while out.push(&sip(60_000), &figures).is_ok() {}
        assert!(out.waiting().1 < SIP_BYTES_MAX + 61_000);
        assert_eq!(out.push(&event(60_000), &figures), Ok(false));
        let mut batch = Vec::new();
        let taken = out.take(1, &mut batch);
        assert!(matches!(taken, Taken::Frames(_)), "a full queue of SIP breaks nothing");
    }

    /// An event that is left out would be missed by nobody: the connection has to end, so that both sides
    /// know.
    #[tokio::test]
    async fn what_must_not_be_left_out_ends_the_connection() {
        let (out, figures) = open();
        while out.push(&event(60_000), &figures).is_ok() {}
        assert!(out.waiting().1 < BYTES_MAX + 61_000);
        out.overflows(1).await;
        out.open(1);
        assert_eq!(out.push(&event(1), &figures), Ok(true), "the next connection begins anew");
    }

    #[test]
    fn all_that_waits_is_taken_at_once_in_its_order() {
        let (out, figures) = open();
        assert_eq!(out.push(&event(1), &figures), Ok(true));
        assert_eq!(out.push(&event(2), &figures), Ok(false));
        let mut batch = Vec::new();
        assert_eq!(out.take(1, &mut batch), Taken::Frames(2));
        assert_eq!((batch[3], batch[7 + 1 + 3]), (4, 5), "lengths");
        assert_eq!(out.waiting(), (0, 0));
    }

    /// What is for the new connection does not go out on the old one.
    #[test]
    fn a_connection_that_was_replaced_takes_nothing() {
        let (out, figures) = open();
        out.open(2);
        assert_eq!(out.push(&event(1), &figures), Ok(true));
        let mut batch = Vec::new();
        assert_eq!(out.take(1, &mut batch), Taken::Replaced);
        assert_eq!(out.take(2, &mut batch), Taken::Frames(1));
        out.close();
        assert_eq!(out.take(2, &mut batch), Taken::Replaced);
    }

    #[test]
    fn a_connection_that_is_to_end_ends_with_its_last_word() {
        let (out, figures) = open();
        assert_eq!(out.push(&event(1), &figures), Ok(true));
        out.finish(&event(2));
        out.finish(&event(3));
        assert_eq!(out.push(&event(4), &figures), Err(SendError::NotConnected));
        let mut batch = Vec::new();
        assert_eq!(out.take(1, &mut batch), Taken::Frames(2));
        batch.clear();
        assert_eq!(out.take(1, &mut batch), Taken::Finished);
    }
}
