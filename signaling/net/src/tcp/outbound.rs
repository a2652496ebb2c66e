//! The bounded queue of messages between the core and one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signaling_core::transport::Transmit;
use tokio::sync::mpsc;

use crate::config::Limits;

/// What became of a message that was offered to a queue.
pub(super) enum Offer {
    Taken,
    /// The queue is at its bound: the peer does not read.
    Full(Transmit),
    /// The connection has ended or is ending.
    Closed(Transmit),
}

/// The end that the core's messages go into.
pub(super) struct Outbound {
    queue: mpsc::Sender<Transmit>,
    queued_bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// The end that the connection's writer takes them from.
pub(super) struct Outgoing {
    pub(super) queue: mpsc::Receiver<Transmit>,
    queued_bytes: Arc<AtomicUsize>,
}

/// A queue with the bounds that `limits` gives.
pub(super) fn queue(limits: &Limits) -> (Outbound, Outgoing) {
    let (sender, receiver) = mpsc::channel(limits.write_queue_messages_max.max(1));
    let queued_bytes = Arc::new(AtomicUsize::new(0));
    let bytes_max = limits.write_queue_bytes_max;
    let outbound = Outbound { queue: sender, queued_bytes: queued_bytes.clone(), bytes_max };
    (outbound, Outgoing { queue: receiver, queued_bytes })
}

impl Outbound {
    /// Queues a message. An empty queue takes one of any size.
    pub(super) fn offer(&self, transmit: Transmit) -> Offer {
        let size = transmit.bytes.len();
        let queued = self.queued_bytes.fetch_add(size, Ordering::Relaxed);
        let offer = if queued > 0 && queued + size > self.bytes_max {
            Offer::Full(transmit)
        } else {
            match self.queue.try_send(transmit) {
                Ok(()) => return Offer::Taken,
                Err(mpsc::error::TrySendError::Full(transmit)) => Offer::Full(transmit),
                Err(mpsc::error::TrySendError::Closed(transmit)) => Offer::Closed(transmit),
            }
        };
        self.queued_bytes.fetch_sub(size, Ordering::Relaxed);
        offer
    }
}

impl Outgoing {
    /// Says that a message has been written.
    pub(super) fn written(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
