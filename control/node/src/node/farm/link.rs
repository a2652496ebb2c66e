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
}

/// The latest [`Stand`]. Costs who looks one atomic load while there is nothing new.
pub(crate) struct Link {
    stand: Mutex<Stand>,
    is_new: AtomicBool,
    wake: Wake,
}

impl Link {
    /// `wake` wakes the signaling thread.
    pub(crate) fn new(wake: Wake) -> Link {
        Link { stand: Mutex::default(), is_new: AtomicBool::new(false), wake }
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
