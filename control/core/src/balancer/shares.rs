//! Which member has which share of what is new, as members come and go (S55).

use super::Method;
use super::render::{buckets, mark};

/// Pings that a member may leave unanswered before it counts as gone: one that is late is no death.
pub const MISSES_MAX: u32 = 2;

/// Answers in a row after which a member that was gone gets its shares back: one that comes and goes would
/// move them each time.
pub const ANSWERS_MIN: u32 = 3;

/// What became of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pinged {
    /// It was answered 2xx.
    Ready,
    /// It was answered otherwise: the member takes nothing new (503: it drains, or has just come).
    Refused(u16),
    /// It was not answered before the next one.
    Silent,
    /// The member's host says that nobody listens there.
    Closed,
}

/// How a member looks to whoever pings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    takes: bool,
    /// Pings in a row that speak against that.
    against: u32,
}

impl Default for Health {
    /// It takes what is new until something speaks against it.
    fn default() -> Health {
        Health { takes: true, against: 0 }
    }
}

impl Health {
    /// Whether it takes what is new.
    #[must_use]
    pub const fn takes(self) -> bool {
        self.takes
    }

    /// A ping has come to its end.
    pub const fn handle(&mut self, pinged: Pinged) {
        let (takes, enough) = match pinged {
            Pinged::Ready => (true, ANSWERS_MIN),
            Pinged::Refused(_) | Pinged::Closed => (false, 1),
            Pinged::Silent => (false, MISSES_MAX),
        };
        if takes == self.takes {
            self.against = 0;
            return;
        }
        self.against += 1;
        if self.against >= enough {
            *self = Health { takes, against: 0 };
        }
    }
}

/// The member that has each share, by its place in the list: its own, or one of those that take what is new. A
/// member's shares move when it goes or comes, and nobody else's. `None`: nobody takes anything, so nothing is
/// better than what is.
#[must_use]
pub fn shares(takes: &[bool]) -> Option<Vec<usize>> {
    let members = takes.len();
    let takers: Vec<usize> = (0..members).filter(|place| takes[*place]).collect();
    if takers.is_empty() {
        return None;
    }
    let of = |share: usize| match share % members {
        home if takes[home] => home,
        // Its rounds go to one after the other, so that nobody gets all of it.
        home => takers[(share / members + home) % takers.len()],
    };
    Some((0..buckets(members)).map(of).collect())
}

/// What `nft -f` is given to have these members take what is new, in one transaction; see [`shares`].
#[must_use]
pub fn move_shares(method: Method, takes: &[bool]) -> Option<String> {
    let family = if method == Method::Dsr { "netdev" } else { "inet" };
    let shares = shares(takes)?;
    let element = |(share, member): (usize, &usize)| format!("{share} : {}", mark(*member));
    let elements: Vec<String> = shares.iter().enumerate().map(element).collect();
    let elements = elements.join(", ");
    Some(format!(
        "flush map {family} ringfarm bucket\nadd element {family} ringfarm bucket {{ {elements} }}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shares_of_a_member_that_is_gone_move_and_to_all_others() {
        let all = shares(&[true, true, true]).unwrap();
        assert_eq!(all.len(), 16);
        assert_eq!(all[..4], [0, 1, 2, 0]);
        let without = shares(&[true, false, true]).unwrap();
        for (before, after) in all.iter().zip(&without) {
            assert!(before == after || *before == 1, "{all:?} {without:?}");
        }
        let of = |member: usize| without.iter().filter(|one| **one == member).count();
        assert_eq!(of(1), 0);
        assert!(of(0).abs_diff(of(2)) <= 2, "{without:?}");
    }

    #[test]
    fn where_nobody_takes_anything_nothing_moves() {
        assert_eq!(shares(&[false, false]), None);
        assert_eq!(move_shares(Method::Dsr, &[]), None);
        assert_eq!(shares(&[false, true]).unwrap(), [1; 16]);
    }

    #[test]
    fn shares_move_in_one_transaction_in_the_table_of_the_method() {
        let text = move_shares(Method::Dsr, &[false, true]).unwrap();
        assert!(text.starts_with("flush map netdev ringfarm bucket\nadd element netdev ringfarm bucket { 0 : 0x52460002, 1 : 0x52460002,"), "{text}");
        assert!(
            move_shares(Method::MultiIp, &[true]).unwrap().contains("map inet ringfarm bucket")
        );
    }

    /// B4: a member that drains says so and is believed at once; one that is late is not gone.
    #[test]
    fn a_refusal_counts_at_once_and_silence_when_it_lasts() {
        let mut health = Health::default();
        health.handle(Pinged::Silent);
        health.handle(Pinged::Ready);
        health.handle(Pinged::Silent);
        assert!(health.takes());
        health.handle(Pinged::Silent);
        assert!(!health.takes());
        for _ in 1..ANSWERS_MIN {
            health.handle(Pinged::Ready);
            assert!(!health.takes());
        }
        health.handle(Pinged::Ready);
        assert!(health.takes());
        for pinged in [Pinged::Refused(503), Pinged::Closed] {
            let mut health = Health::default();
            health.handle(pinged);
            assert!(!health.takes(), "{pinged:?}");
        }
    }
}
