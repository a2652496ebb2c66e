//! Which sessions share sockets, and which thread owns them.

use crate::ids::SessionId;

/// Most sessions that may share a socket: a group's sessions are a bit mask.
pub(crate) const SESSIONS_PER_SOCKET_MAX: u32 = 64;

/// Sessions in groups of `per_group` that share their sockets; groups dealt out over the threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) sessions: u32,
    /// 1..=[`SESSIONS_PER_SOCKET_MAX`].
    pub(crate) per_group: u32,
    pub(crate) threads: u32,
}

impl Layout {
    pub(crate) const fn groups(self) -> u32 {
        self.sessions.div_ceil(self.per_group)
    }

    pub(crate) const fn group(self, session: SessionId) -> u32 {
        session.0 / self.per_group
    }

    /// The session's place among those that share its sockets.
    pub(crate) const fn slot(self, session: SessionId) -> usize {
        (session.0 % self.per_group) as usize
    }

    /// The thread that owns both ends of every session of `group`.
    pub(crate) const fn thread(self, group: u32) -> u32 {
        group % self.threads
    }

    /// `group`'s place among the groups of its thread.
    pub(crate) const fn local_group(self, group: u32) -> usize {
        (group / self.threads) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_session_has_one_place() {
        let layout = Layout { sessions: 50, per_group: 8, threads: 3 };
        let mut places = std::collections::HashSet::new();
        for session in (0..50).map(SessionId) {
            let group = layout.group(session);
            let slot = layout.slot(session);
            assert!(group < layout.groups());
            assert!(places.insert((layout.thread(group), layout.local_group(group), slot)));
        }
    }
}
