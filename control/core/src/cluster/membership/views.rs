//! Which view this member goes by.

use std::sync::Arc;

use super::Membership;
use super::api::{Fence, Notice, Output, ViewVerdict};
use crate::cluster::{Epoch, MemberName, View};

/// Whether `name` has published `view`.
pub(super) fn is_by(view: &View, name: &MemberName) -> bool {
    view.controller == *name
}

impl Membership {
    /// Takes the view that stands in the engine, if it is newer.
    pub(super) fn take_engine_view(&mut self) {
        let here = self.epoch();
        let stored = self.store.view.get();
        let engine = stored.map(|view| view.epoch).unwrap_or_default();
        if let Some(newer) = stored.filter(|_| engine > here).cloned() {
            self.consider(newer);
        }
        if engine < self.engine_epoch {
            self.outputs.notice(Notice::EngineWentBack { engine, here });
        }
        self.engine_epoch = engine;
    }

    /// Takes `view` if nothing is against it.
    pub(super) fn consider(&mut self, view: View) -> ViewVerdict {
        let verdict = self.verdict(&view);
        if verdict == ViewVerdict::Accepted {
            self.take(Arc::new(view));
        }
        verdict
    }

    fn verdict(&self, view: &View) -> ViewVerdict {
        let Some(current) = &self.view else {
            return if view.is_sound() { ViewVerdict::Accepted } else { ViewVerdict::Unsound };
        };
        let lease = self.store.controller.get().map(|lease| lease.term);
        if view.epoch <= current.epoch {
            ViewVerdict::Old
        } else if view.term < current.term.max(lease.unwrap_or_default()) {
            ViewVerdict::OldTerm
        } else if view.is_sound() {
            ViewVerdict::Accepted
        } else {
            ViewVerdict::Unsound
        }
    }

    fn take(&mut self, view: Arc<View>) {
        self.view = Some(Arc::clone(&view));
        self.outputs.put(Output::ViewChanged(Arc::clone(&view)));
        if self.is_publisher(&view) {
            self.outputs.put(Output::Push { to: None, view: Arc::clone(&view) });
        }
        self.peers.retain(|name, _| view.member(name).is_some());
        let Some(own) = self.own.announced else { return };
        let found = view.by_id(own.id);
        if found.is_some_and(|member| member.incarnate() == own) {
            self.own.admitted = true;
        } else if found.is_some_and(|member| member.incarnation > own.incarnation) {
            self.fence(own, Fence::Replaced);
        } else if self.own.admitted {
            self.fence(own, Fence::NotInView);
        }
    }

    /// The epoch of the view that this member goes by; 0: none.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.view.as_ref().map(|view| view.epoch).unwrap_or_default()
    }
}
