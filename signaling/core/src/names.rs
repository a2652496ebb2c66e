//! The names that servers have to prove (RFC 5922), each by a small number that a
//! [`Target`](crate::transport::Target) can carry.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::transport::PeerName;

/// Most names that are known at once, of at most 253 characters each: some 6 MB. At the bound the oldest
/// makes way. Connections that were opened by it stay; one more can only be opened once the name has
/// been looked up again, and until then it fails rather than go unverified.
const NAMES_MAX: usize = 16_384;

/// Names by number, and the other way round.
#[derive(Debug)]
pub(crate) struct Names {
    limit: usize,
    numbers: HashMap<Arc<str>, u64>,
    /// In order of their numbers, without gaps.
    names: VecDeque<Arc<str>>,
    /// The number of the first.
    first: u64,
}

impl Default for Names {
    fn default() -> Names {
        Names::with_limit(NAMES_MAX)
    }
}

impl Names {
    fn with_limit(limit: usize) -> Names {
        Names { limit, numbers: HashMap::new(), names: VecDeque::new(), first: 0 }
    }

    /// The number of a name (in lower case), new or known.
    pub(crate) fn number(&mut self, name: &Arc<str>) -> PeerName {
        if let Some(number) = self.numbers.get(name) {
            return PeerName(*number);
        }
        if self.names.len() >= self.limit
            && let Some(oldest) = self.names.pop_front()
        {
            self.numbers.remove(&oldest);
            self.first += 1;
        }
        let number = self.first + self.names.len() as u64;
        self.names.push_back(name.clone());
        self.numbers.insert(name.clone(), number);
        PeerName(number)
    }

    /// The name; `None` if it has made way for others.
    pub(crate) fn name(&self, number: PeerName) -> Option<Arc<str>> {
        let place = usize::try_from(number.0.checked_sub(self.first)?).ok()?;
        self.names.get(place).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At the bound the oldest name is forgotten, and no number ever means another name.
    #[test]
    fn a_number_means_one_name_or_none() {
        let mut names = Names::with_limit(2);
        let [a, b, c] = ["a.test", "b.test", "c.test"].map(Arc::<str>::from);
        let first = names.number(&a);
        let second = names.number(&b);
        assert_eq!(names.number(&a), first);
        let third = names.number(&c);
        assert_eq!([first, second, third].map(|n| names.name(n)), [None, Some(b), Some(c)]);
        let again = names.number(&a);
        assert_ne!(again, first);
        assert_eq!((names.name(first), names.name(again)), (None, Some(a)));
    }
}
