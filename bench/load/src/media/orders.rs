//! Commands on their way to a media thread.
//!
//! A media thread outranks whoever commands it, and they may share a core. It must not wait for a
//! command that is half in the channel: the other would never get to put in the rest.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::media::worker::Command;

/// Gives commands.
#[derive(Debug)]
pub(crate) struct Commander {
    /// Locked while a command is put in, so that they become ready in their order.
    channel: Mutex<SyncSender<Command>>,
    ready: Arc<AtomicUsize>,
}

/// Takes commands.
#[derive(Debug)]
pub(crate) struct Orders {
    channel: Receiver<Command>,
    /// Commands that are in the channel completely; the commander has the other reference.
    ready: Arc<AtomicUsize>,
}

/// A channel for at most `capacity` commands.
pub(crate) fn orders(capacity: usize) -> (Commander, Orders) {
    let (sender, receiver) = sync_channel(capacity);
    let ready = Arc::new(AtomicUsize::new(0));
    let commander = Commander { channel: Mutex::new(sender), ready: Arc::clone(&ready) };
    (commander, Orders { channel: receiver, ready })
}

impl Commander {
    /// Gives a command; a thread that has ended needs none.
    pub(crate) fn send(&self, command: Command) {
        let channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if channel.send(command).is_ok() {
            self.ready.fetch_add(1, Ordering::Release);
        }
    }
}

impl Orders {
    /// The next command that is there completely.
    ///
    /// # Errors
    /// There is none now, or there will be none any more.
    pub(crate) fn try_next(&self) -> Result<Command, TryRecvError> {
        if self.ready.load(Ordering::Acquire) == 0 {
            let alone = Arc::strong_count(&self.ready) == 1;
            return Err(if alone { TryRecvError::Disconnected } else { TryRecvError::Empty });
        }
        self.ready.fetch_sub(1, Ordering::AcqRel);
        self.channel.try_recv()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_half_in_is_not_waited_for() {
        let (commander, orders) = orders(2);
        commander.channel.lock().unwrap().send(Command::Finish).unwrap();
        assert_eq!(orders.try_next().unwrap_err(), TryRecvError::Empty);
        commander.send(Command::ForgetTimes);
        assert!(matches!(orders.try_next(), Ok(Command::Finish)));
    }

    #[test]
    fn what_was_commanded_last_is_heard_and_then_the_end() {
        let (commander, orders) = orders(1);
        commander.send(Command::Finish);
        drop(commander);
        assert!(matches!(orders.try_next(), Ok(Command::Finish)));
        assert_eq!(orders.try_next().unwrap_err(), TryRecvError::Disconnected);
    }
}
