//! What the signaling thread is told of the cluster.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use control_core::cluster::{Incarnate, TokenKeys, View};

use crate::cluster::mesh::Wake;

/// Where this member stands, as the signaling thread is to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stand {
    /// Which start of which member this node is; `None`: of none now, as it was taken for dead.
    pub(crate) own: Option<Incarnate>,
    /// The members.
    pub(crate) view: Option<Arc<View>>,
    /// It has just come, and takes nothing new yet.
    pub(crate) joining: bool,
    /// What tokens are made and read with.
    pub(crate) token_keys: TokenKeys,
}

/// The latest [`Stand`]. Costs who looks one atomic load while there is nothing new.
pub(crate) struct Link {
    stand: Mutex<Stand>,
    is_new: AtomicBool,
    wake: Wake,
    has_copy: AtomicBool,
    token_key: AtomicU32,
    wake_member: Wake,
}

impl Link {
    /// `wake` wakes the signaling thread, `wake_member` the member's.
    pub(crate) fn new(wake: Wake, wake_member: Wake) -> Link {
        let (is_new, has_copy) = (AtomicBool::new(false), AtomicBool::new(false));
        let token_key = AtomicU32::new(0);
        Link { stand: Mutex::default(), is_new, wake, has_copy, token_key, wake_member }
    }

    /// The signaling thread knows what the other members know.
    pub(crate) fn copied(&self) {
        if !self.has_copy.swap(true, Ordering::Release) {
            (self.wake_member)();
        }
    }

    /// Whether that was said since the last time.
    pub(crate) fn take_copied(&self) -> bool {
        self.has_copy.swap(false, Ordering::Acquire)
    }

    /// The signaling thread reads tokens made with that key.
    pub(crate) fn reads(&self, token_key: u32) {
        if self.token_key.swap(token_key, Ordering::Release) != token_key {
            (self.wake_member)();
        }
    }

    /// The newest key of tokens that the signaling thread reads.
    pub(crate) fn token_key(&self) -> u32 {
        self.token_key.load(Ordering::Acquire)
    }

    /// This is so from now on.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Stand)) {
        change(&mut self.stand.lock().unwrap_or_else(PoisonError::into_inner));
        self.is_new.store(true, Ordering::Release);
        (self.wake)();
    }

    /// What is so, if that has changed since it was taken last.
    pub(crate) fn take(&self) -> Option<Stand> {
        let is_new =
            self.is_new.load(Ordering::Relaxed) && self.is_new.swap(false, Ordering::Acquire);
        is_new.then(|| self.stand.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
