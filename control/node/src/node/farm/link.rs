//! What the signaling thread is told of the cluster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use control_core::cluster::{Incarnate, View};

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
}

/// The latest [`Stand`]. Costs who looks one atomic load while there is nothing new.
pub(crate) struct Link {
    stand: Mutex<Stand>,
    is_new: AtomicBool,
    wake: Wake,
    has_copy: AtomicBool,
    wake_member: Wake,
}

impl Link {
    /// `wake` wakes the signaling thread, `wake_member` the member's.
    pub(crate) fn new(wake: Wake, wake_member: Wake) -> Link {
        let (is_new, has_copy) = (AtomicBool::new(false), AtomicBool::new(false));
        Link { stand: Mutex::default(), is_new, wake, has_copy, wake_member }
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
