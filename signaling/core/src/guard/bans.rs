//! The list of bans, and what the operator does to it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{Guard, Offence, Source, key_of, nanos, source_of};

/// A source that is banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The address, or the first of an IPv6 /64.
    pub source: IpAddr,
    /// For what it did last.
    pub reason: Offence,
    /// What the operator has written to it.
    pub note: Option<Box<str>>,
    /// How long ago the ban began.
    pub age: Duration,
    /// For how long yet.
    pub left: Duration,
}

/// Why a source cannot be banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BanRefused {
    /// Nobody is.
    #[error("there is no defence: set [defence] enabled = true")]
    Off,
    /// It is exempt.
    #[error("it is exempt: by [defence] exempt, as a trusted peer, a route's server or this host")]
    Exempt,
    /// There are as many of the operator's bans as are kept.
    #[error("{NOTES_MAX} sources are banned by hand already: remove some, or use a firewall")]
    Full,
}

/// Bans by hand: more are a firewall's business.
const NOTES_MAX: usize = 4_096;

impl Guard {
    /// Who is banned, in no order.
    #[must_use]
    pub fn bans(&self, now: Instant) -> Vec<Ban> {
        let at = self.at(now);
        let banned = self.sources.iter().filter(|(_, entry)| entry.banned_until > at);
        let ban = |(key, entry): (u64, &Source)| Ban {
            source: source_of(key),
            reason: entry.reason,
            note: self.notes.get(&key).filter(|_| entry.reason == Offence::Operator).cloned(),
            age: Duration::from_nanos(at.saturating_sub(entry.banned_at)),
            left: Duration::from_nanos(entry.banned_until - at),
        };
        banned.map(ban).collect()
    }

    /// Bans a source for `time`, whatever it has done.
    ///
    /// # Errors
    /// [`BanRefused`].
    pub fn ban(
        &mut self,
        now: Instant,
        source: IpAddr,
        time: Duration,
        note: &str,
    ) -> Result<(), BanRefused> {
        if !self.config.enabled {
            return Err(BanRefused::Off);
        }
        if self.passes(source) {
            return Err(BanRefused::Exempt);
        }
        let (at, key) = (self.at(now), key_of(source));
        self.forget_old_notes(at);
        if self.notes.len() >= NOTES_MAX && !self.notes.contains_key(&key) {
            return Err(BanRefused::Full);
        }
        self.notes.insert(key, note.into());
        let entry = self.sources.entry(at, key);
        entry.used = at;
        entry.banned_at = at;
        entry.banned_until = at.saturating_add(nanos(time));
        entry.reason = Offence::Operator;
        Ok(())
    }

    /// Ends a ban; `false` if there is none.
    pub fn unban(&mut self, now: Instant, source: IpAddr) -> bool {
        let (at, key) = (self.at(now), key_of(source));
        self.notes.remove(&key);
        let Some(entry) = self.sources.get(key).filter(|entry| entry.banned_until > at) else {
            return false;
        };
        entry.banned_until = 0;
        entry.failures = 0;
        true
    }

    fn forget_old_notes(&mut self, at: u64) {
        let sources = &mut self.sources;
        self.notes.retain(|key, _| sources.get(*key).is_some_and(|entry| entry.banned_until > at));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock")]
    fn guard(config: Config) -> (Instant, Guard) {
        let now = Instant::now();
        (now, Guard::new(now, config, [6; 32]))
    }

    #[test]
    fn the_operator_bans_and_lifts_bans_and_both_hold_at_once() {
        let (now, mut guard) = guard(Config::default());
        let (bad, hour) = (ip("203.0.113.66"), Duration::from_secs(3_600));
        assert_eq!(guard.ban(now, bad, hour, "toll fraud"), Ok(()));
        assert!(!guard.admit(now, bad));
        let later = now + Duration::from_secs(60);
        let bans = guard.bans(later);
        let [ban] = bans.as_slice() else { panic!("{bans:?}") };
        assert_eq!(
            (ban.source, ban.reason, ban.note.as_deref()),
            (bad, Offence::Operator, Some("toll fraud"))
        );
        assert_eq!((ban.age, ban.left), (Duration::from_secs(60), hour - Duration::from_secs(60)));
        assert!(guard.unban(later, bad));
        assert!(guard.admit(later, bad));
        assert!(!guard.unban(later, bad), "there is none any more");
        assert!(guard.bans(later).is_empty());
    }

    /// A ban that the guard has made is lifted alike, and an IPv6 source is its /64.
    #[test]
    fn a_ban_for_guessing_can_be_lifted() {
        let (now, mut guard) = guard(Config { ban_failures: 1, ..Config::default() });
        let source = ip("2001:db8:1:2::9");
        guard.failed(now, source, None, Offence::UnknownUser);
        assert_eq!(guard.bans(now)[0].source, ip("2001:db8:1:2::"));
        assert!(guard.unban(now, ip("2001:db8:1:2:ffff::1")));
        assert!(guard.admit(now, source));
    }

    #[test]
    fn who_is_exempt_cannot_be_banned_and_bans_by_hand_have_a_bound() {
        let (now, mut off) = guard(Config::off());
        let minute = Duration::from_secs(60);
        assert_eq!(off.ban(now, ip("203.0.113.1"), minute, ""), Err(BanRefused::Off));
        let (now, mut guard) = guard(Config { sources: 65_536, ..Config::default() });
        assert_eq!(guard.ban(now, ip("127.0.0.1"), minute, ""), Err(BanRefused::Exempt));
        let mut refused = 0;
        for n in 0..=NOTES_MAX as u32 {
            let source = IpAddr::V4((0xcb00_0000 + n).into());
            refused += usize::from(guard.ban(now, source, minute, "").is_err());
        }
        assert_eq!(refused, 1);
        let later = now + Duration::from_secs(61);
        assert_eq!(guard.ban(later, ip("198.51.100.1"), minute, ""), Ok(()), "old ones are gone");
    }
}
