//! Who took what is new before, as members tell one that has just come.

use std::time::Duration;

use super::membership::PAST_MAX;
use super::{Identity, Incarnation, MemberId};

/// Most takers of one list: as many as a cluster has members.
const TAKERS_MAX: usize = 256;

/// Earlier lists of those that take what is new, the latest first; [`PAST_MAX`] at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History(pub Vec<Took>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Took {
    /// How long ago it was replaced: clocks differ. Milliseconds are written.
    pub ago: Duration,
    /// Those that took, with their weights.
    pub takers: Vec<(Identity, u32)>,
}

impl History {
    /// Writes it behind what is there: for each list the milliseconds, the number of takers, and of each taker
    /// member, incarnation and weight.
    pub fn write(&self, out: &mut Vec<u8>) {
        for Took { ago, takers } in self.0.iter().take(PAST_MAX) {
            let millis = u32::try_from(ago.as_millis()).unwrap_or(u32::MAX);
            out.extend_from_slice(&millis.to_be_bytes());
            let count = takers.len().min(TAKERS_MAX);
            out.extend_from_slice(&u16::try_from(count).unwrap_or_default().to_be_bytes());
            for (identity, weight) in &takers[..count] {
                out.extend_from_slice(&identity.member.get().to_be_bytes());
                out.extend_from_slice(&identity.incarnation.0.to_be_bytes());
                out.extend_from_slice(&weight.to_be_bytes());
            }
        }
    }

    /// `None`: it cannot be read.
    #[must_use]
    pub fn read(mut bytes: &[u8]) -> Option<History> {
        let mut lists = Vec::new();
        while !bytes.is_empty() && lists.len() < PAST_MAX {
            let ago = Duration::from_millis(u32::from_be_bytes(take(&mut bytes)?).into());
            let count = usize::from(u16::from_be_bytes(take(&mut bytes)?));
            if count > TAKERS_MAX {
                return None;
            }
            let takers = (0..count).map(|_| taker(&mut bytes)).collect::<Option<_>>()?;
            lists.push(Took { ago, takers });
        }
        Some(History(lists))
    }
}

fn taker(bytes: &mut &[u8]) -> Option<(Identity, u32)> {
    let member = MemberId::new(u16::from_be_bytes(take(bytes)?))?;
    let incarnation = Incarnation(u32::from_be_bytes(take(bytes)?));
    Some((Identity { member, incarnation }, u32::from_be_bytes(take(bytes)?)))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_is_written_is_read_back_and_a_cut_one_is_not() {
        let identity =
            |n| Identity { member: MemberId::new(n).unwrap(), incarnation: Incarnation(9) };
        let list = |ago, count| Took {
            ago: Duration::from_millis(ago),
            takers: (1..=count).map(|n| (identity(n), u32::from(n) * 10)).collect(),
        };
        let history = History(vec![list(7, 3), list(31_999, 1), list(200_000, 0)]);
        let mut bytes = Vec::new();
        history.write(&mut bytes);
        assert_eq!(History::read(&bytes), Some(history));
        for at in 0..bytes.len() {
            assert_ne!(History::read(&bytes[..at]).map(|it| it.0.len()), Some(3), "{at}");
        }
        // Nobody has a member 0, and no list has more than a cluster has members.
        assert_eq!(History::read(&[0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]), None);
        assert_eq!(History::read(&[0, 0, 0, 1, 255, 255]), None);
    }
}
