//! A bounded table whose keys are never mistaken for one another.

use std::fmt;
use std::str::FromStr;

use slab::Slab;

/// A place in a [`Table`] and the generation of what stands there: a late message or timer for
/// something that has gone never meets what came after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The key as the number that its sixteen digits spell.
    #[must_use]
    pub(crate) const fn number(self) -> u64 {
        (self.index as u64) << 32 | self.generation as u64
    }

    /// From [`Key::number`].
    #[must_use]
    pub(crate) const fn from_number(number: u64) -> Key {
        Key { index: (number >> 32) as u32, generation: number as u32 }
    }
}

impl fmt::Display for Key {
    /// Sixteen hexadecimal digits, as our Via and Record-Route carry it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:08x}", self.index, self.generation)
    }
}

/// The text is not a [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAKey;

impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NotAKey);
        }
        let half = |part: &str| u32::from_str_radix(part, 16).map_err(|_| NotAKey);
        Ok(Key { index: half(&text[..8])?, generation: half(&text[8..])? })
    }
}

/// At most `limit` values, each under a [`Key`] of its own.
#[derive(Debug)]
pub struct Table<T> {
    slab: Slab<(u32, T)>,
    generation: u32,
    limit: usize,
}

impl<T> Table<T> {
    /// An empty table for at most `limit` values.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Table { slab: Slab::new(), generation: 0, limit }
    }

    /// How many values fit.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// Puts a value in; gives it back when the table is full.
    pub fn insert(&mut self, value: T) -> Result<Key, T> {
        let Ok(index) = u32::try_from(self.slab.vacant_key()) else { return Err(value) };
        if self.slab.len() >= self.limit {
            return Err(value);
        }
        self.generation = self.generation.wrapping_add(1);
        self.slab.insert((self.generation, value));
        Ok(Key { index, generation: self.generation })
    }

    /// The value, if it is still there.
    #[must_use]
    pub fn get(&self, key: Key) -> Option<&T> {
        let (generation, value) = self.slab.get(key.index as usize)?;
        (*generation == key.generation).then_some(value)
    }

    /// The value, if it is still there.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let (generation, value) = self.slab.get_mut(key.index as usize)?;
        (*generation == key.generation).then_some(value)
    }

    /// Takes the value out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        Some(self.slab.remove(key.index as usize).1)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Every key, in no particular order. Walks the whole table: not for a message's path.
    #[must_use]
    pub fn keys(&self) -> Vec<Key> {
        self.slab
            .iter()
            .filter_map(|(index, (generation, _))| {
                Some(Key { index: u32::try_from(index).ok()?, generation: *generation })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_something_removed_never_finds_what_took_its_place() {
        let mut table = Table::new(4);
        let old = table.insert("old").unwrap();
        table.remove(old);
        let new = table.insert("new").unwrap();
        assert_eq!(table.get(old), None);
        assert_eq!(table.get(new), Some(&"new"));
    }

    #[test]
    fn a_full_table_gives_the_value_back() {
        let mut table = Table::new(1);
        table.insert(1).unwrap();
        assert_eq!(table.insert(2), Err(2));
    }

    #[test]
    fn a_key_survives_its_text_form_and_nothing_else_parses() {
        let mut table = Table::new(1);
        let key = table.insert(()).unwrap();
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!("+000000000000001".parse::<Key>(), Err(NotAKey));
        assert_eq!("0".parse::<Key>(), Err(NotAKey));
    }
}
