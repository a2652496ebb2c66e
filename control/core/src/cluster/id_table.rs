//! `ids`: which number each name has.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::document::{Document, documents};
use super::ids::{MemberId, MemberName};

/// Most names that a cluster ever gives numbers to: at 90 bytes each, far below the bound of a
/// document. Further names are refused.
pub const NAMES_MAX: usize = 4_096;

/// The numbers that have been allotted. Entries stay when their members go: a number that stands in
/// tokens and handles out there must not come to mean another member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdTable {
    /// The document's version.
    pub version: u16,
    /// The largest number that was ever allotted; 0: none yet. It holds even if somebody removes
    /// entries by hand.
    #[serde(default)]
    pub last: u16,
    /// The numbers.
    pub ids: BTreeMap<MemberName, MemberId>,
}

documents! {
    IdTable: "the table of member numbers", 1;
}

impl Default for IdTable {
    fn default() -> IdTable {
        IdTable { version: IdTable::VERSION, last: 0, ids: BTreeMap::new() }
    }
}

/// No number is left for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoIdLeft;

impl fmt::Display for NoIdLeft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the cluster has given numbers to {NAMES_MAX} names, and has no more; \
             use the name of a member that is gone for good"
        )
    }
}

impl std::error::Error for NoIdLeft {}

impl IdTable {
    /// Gives `name` a number that no other name has had, above `floor` (the largest that is known to
    /// be in use, whatever this table says). The same as before if it has one.
    ///
    /// # Errors
    /// There are too many names, or no numbers left.
    pub fn allot(
        &mut self,
        name: &MemberName,
        floor: Option<MemberId>,
    ) -> Result<MemberId, NoIdLeft> {
        if let Some(id) = self.ids.get(name) {
            return Ok(*id);
        }
        let given = self.ids.values().max().copied();
        let last = given.max(MemberId::new(self.last)).max(floor);
        let id = last.map_or(Some(MemberId::FIRST), MemberId::next);
        let id = id.filter(|_| self.ids.len() < NAMES_MAX).ok_or(NoIdLeft)?;
        self.last = id.get();
        self.ids.insert(name.clone(), id);
        Ok(id)
    }

    /// Gives `name` back the number that it has, where the table has lost it. `false`: another name
    /// has the number.
    pub fn restore(&mut self, name: &MemberName, id: MemberId) -> bool {
        if self.ids.iter().any(|(other, taken)| *taken == id && other != name) {
            return false;
        }
        self.last = self.last.max(id.get());
        self.ids.insert(name.clone(), id);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MemberName {
        MemberName::new(text).unwrap()
    }

    fn allotted(table: &mut IdTable, text: &str) -> u16 {
        table.allot(&name(text), None).unwrap().get()
    }

    #[test]
    fn a_name_keeps_its_number_and_no_other_gets_it() {
        let mut table = IdTable::default();
        assert_eq!(allotted(&mut table, "a"), 1);
        assert_eq!(allotted(&mut table, "b"), 2);
        assert_eq!(allotted(&mut table, "a"), 1);
        table.ids.remove(&name("b"));
        assert_eq!(allotted(&mut table, "c"), 3, "the number of one that was taken out by hand");
    }

    #[test]
    fn numbers_that_are_in_use_are_not_given_again_by_a_table_that_has_lost_them() {
        let mut table = IdTable::default();
        assert_eq!(table.allot(&name("new"), MemberId::new(7)).unwrap().get(), 8);
        assert!(table.restore(&name("old"), MemberId::new(3).unwrap()));
        assert!(!table.restore(&name("other"), MemberId::new(3).unwrap()));
    }

    #[test]
    fn names_beyond_the_bound_are_refused_and_known_ones_are_not() {
        let mut table = IdTable::default();
        for number in 0..NAMES_MAX {
            table.allot(&name(&format!("m{number}")), None).unwrap();
        }
        assert_eq!(table.allot(&name("late"), None), Err(NoIdLeft));
        assert_eq!(allotted(&mut table, "m5"), 6);
        let mut at_the_end = IdTable { last: u16::MAX, ..IdTable::default() };
        assert_eq!(at_the_end.allot(&name("late"), None), Err(NoIdLeft));
    }
}
