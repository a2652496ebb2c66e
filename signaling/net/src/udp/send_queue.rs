//! What a UDP socket has still to send.

use std::collections::VecDeque;
use std::io;

use signaling_core::transport::Transmit;

/// Most messages that wait for a UDP socket. A socket's buffer is full only while the interface
/// is slower than we are: 4,096 messages of 800 bytes are some 25 ms at 1 Gbit/s, and a message that
/// waits much longer than that is retransmitted anyhow (T1 is 500 ms).
const QUEUE_MESSAGES_MAX: usize = 4_096;

/// Most bytes that wait for a UDP socket: the messages above at 1 KiB each.
const QUEUE_BYTES_MAX: usize = QUEUE_MESSAGES_MAX * 1_024;

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    /// Nothing waits any more.
    All,
    /// The socket's buffer is full.
    Blocked,
}

/// Messages in the order in which they leave. At its bound the newest message is dropped, as a full
/// interface queue would do: UDP is lossy and the transaction retransmits.
#[derive(Default)]
pub(super) struct SendQueue {
    messages: VecDeque<Transmit>,
    bytes: usize,
}

impl SendQueue {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// Appends a message; `false` if it was dropped because the queue is at its bound.
    pub(super) fn push(&mut self, transmit: Transmit) -> bool {
        let bytes = self.bytes + transmit.bytes.len();
        if self.messages.len() >= QUEUE_MESSAGES_MAX || bytes > QUEUE_BYTES_MAX {
            return false;
        }
        self.bytes = bytes;
        self.messages.push_back(transmit);
        true
    }

    /// Sends as much as the socket takes. `send` is given what waits, in order, and returns how many
    /// of the first it sent or the error of the first. Each message is handed to `outcome` with the
    /// error if there was one; a failing one does not hold up the others.
    pub(super) fn flush(
        &mut self,
        mut send: impl FnMut(&VecDeque<Transmit>) -> io::Result<usize>,
        mut outcome: impl FnMut(Transmit, Result<(), io::Error>),
    ) -> Flushed {
        while !self.messages.is_empty() {
            match send(&self.messages) {
                Ok(count) => {
                    for _ in 0..count.max(1) {
                        self.pop().into_iter().for_each(|transmit| outcome(transmit, Ok(())));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Flushed::Blocked,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if let Some(transmit) = self.pop() {
                        outcome(transmit, Err(error));
                    }
                }
            }
        }
        Flushed::All
    }

    fn pop(&mut self) -> Option<Transmit> {
        let transmit = self.messages.pop_front()?;
        self.bytes -= transmit.bytes.len();
        Some(transmit)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use signaling_core::transport::{ListenerId, Target, Transport};

    use super::*;

    fn message(size: usize) -> Transmit {
        let address = "127.0.0.1:5060".parse().unwrap();
        let target = Target {
            transport: Transport::Udp,
            listener: ListenerId(0),
            local: address,
            remote: address,
            connection: None,
            name: None,
        };
        Transmit { target, bytes: Bytes::from(vec![b'x'; size]), server_name: None }
    }

    /// While the socket's buffer is full messages wait, in order, and leave once there is room.
    #[test]
    fn messages_wait_for_a_full_socket_and_leave_in_order() {
        let mut queue = SendQueue::default();
        for size in 1..=5 {
            assert!(queue.push(message(size)));
        }
        let mut room = 2;
        let mut sent = Vec::new();
        let mut step = |queue: &mut SendQueue, room: &mut usize| {
            queue.flush(
                |waiting| {
                    if *room == 0 {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    *room -= 1;
                    sent.push(waiting[0].bytes.len());
                    Ok(1)
                },
                |_, outcome| outcome.unwrap(),
            )
        };
        assert_eq!(step(&mut queue, &mut room), Flushed::Blocked);
        assert_eq!(queue.len(), 3);
        room = 10;
        assert_eq!(step(&mut queue, &mut room), Flushed::All);
        assert_eq!(sent, [1, 2, 3, 4, 5]);
        assert_eq!(queue.len(), 0);
    }

    /// At the bound, in messages or in bytes, the newest message is dropped and said to be.
    #[test]
    fn a_full_queue_drops_the_newest_message() {
        let mut queue = SendQueue::default();
        for _ in 0..QUEUE_MESSAGES_MAX {
            assert!(queue.push(message(1)));
        }
        assert!(!queue.push(message(1)));
        assert_eq!(queue.len(), QUEUE_MESSAGES_MAX);

        let mut queue = SendQueue::default();
        let size = 60_000;
        for _ in 0..QUEUE_BYTES_MAX / size {
            assert!(queue.push(message(size)));
        }
        assert!(!queue.push(message(size)));
        assert_eq!(
            queue.flush(|waiting| Ok(waiting.len()), |_, outcome| outcome.unwrap()),
            Flushed::All
        );
        assert!(queue.push(message(size)), "room again after a flush");
    }

    /// One message that cannot be sent is reported; those behind it leave all the same.
    #[test]
    fn a_failing_message_does_not_hold_up_those_behind_it() {
        let mut queue = SendQueue::default();
        for size in 1..=3 {
            assert!(queue.push(message(size)));
        }
        let mut sent = Vec::new();
        let mut failed = Vec::new();
        let flushed = queue.flush(
            |waiting| match waiting[0].bytes.len() {
                2 => Err(io::ErrorKind::NetworkUnreachable.into()),
                size => {
                    sent.push(size);
                    Ok(1)
                }
            },
            |transmit, outcome| {
                if let Err(error) = outcome {
                    failed.push((transmit.bytes.len(), error.kind()));
                }
            },
        );
        assert_eq!(flushed, Flushed::All);
        assert_eq!(sent, [1, 3]);
        assert_eq!(failed, [(2, io::ErrorKind::NetworkUnreachable)]);
    }
}
