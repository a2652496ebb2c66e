//! From the bytes of a header name to the header, sixteen bytes at a time: this runs once for each header
//! line of each message.

use super::name::HeaderName;
use super::scan;

/// Bytes that are looked at for a name and the colon after it.
const WINDOW: usize = 32;
/// Longest name in the table; a longer one is not looked up.
const NAME_MAX: usize = 24;
/// Four times the spellings, so that probes stay short.
const SLOTS_LEN: usize = 512;
/// Spellings by hash, from 1; 0 marks an empty slot.
static SLOTS: [u8; SLOTS_LEN] = build_slots();
static ENTRIES: [Entry; HeaderName::SPELLINGS] = build_entries();
/// What tells the cases of a letter apart.
const CASE: u8 = 0x20;

const _: () = assert!(HeaderName::SPELLINGS < 256, "slots are bytes");

/// A name in three words, and nothing behind its end.
type Words = [u64; NAME_MAX / 8];

/// A spelling, with all that a look-up needs side by side.
#[derive(Clone, Copy)]
struct Entry {
    /// The name in lower case.
    text: Words,
    /// The bits that have to be the same: all of a byte's, but for the case of a letter.
    mask: Words,
    len: usize,
    name: HeaderName,
}

/// The header that `name` spells.
pub(super) fn by_name(name: &[u8]) -> Option<HeaderName> {
    let mut window = [0; WINDOW];
    window.get_mut(..name.len()).filter(|_| name.len() <= NAME_MAX)?.copy_from_slice(name);
    find(&window, name.len())
}

/// The header whose name and colon stand at `start`, and where the colon is. `None` if the name is not known,
/// is not followed by the colon at once, or stands at the very end: to be looked at byte by byte then.
#[inline]
pub(super) fn at_line_start(raw: &[u8], start: usize) -> Option<(HeaderName, usize)> {
    let window: &[u8; WINDOW] = raw.get(start..)?.first_chunk()?;
    let len = scan::find_in_window(window, b':').filter(|len| *len <= NAME_MAX)?;
    Some((find(window, len)?, start + len))
}

#[inline]
fn find(window: &[u8; WINDOW], len: usize) -> Option<HeaderName> {
    let mut slot = hash(window, len)?;
    loop {
        let index = usize::from(SLOTS[slot]).checked_sub(1)?;
        let entry = &ENTRIES[index];
        if entry.len == len && entry.is_spelt_at(window) {
            return Some(entry.name);
        }
        slot = (slot + 1) % SLOTS_LEN;
    }
}

impl Entry {
    #[inline]
    fn is_spelt_at(&self, window: &[u8; WINDOW]) -> bool {
        let differs = |i: usize| (word(window, i) ^ self.text[i]) & self.mask[i];
        differs(0) | differs(1) == 0 && (self.len <= 16 || differs(2) == 0)
    }
}

#[inline]
const fn word(window: &[u8; WINDOW], i: usize) -> u64 {
    let at = i * 8;
    u64::from_le_bytes([
        window[at],
        window[at + 1],
        window[at + 2],
        window[at + 3],
        window[at + 4],
        window[at + 5],
        window[at + 6],
        window[at + 7],
    ])
}

/// Of the length and three letters, whatever their case; `None` for no name at all.
#[inline]
const fn hash(window: &[u8; WINDOW], len: usize) -> Option<usize> {
    if len == 0 || len > NAME_MAX {
        return None;
    }
    let letters = [window[0] | CASE, window[len / 2] | CASE, window[len - 1] | CASE, len as u8];
    // Any odd constant spreads the bits; this one is 2^32 divided by the golden ratio.
    Some((u32::from_le_bytes(letters).wrapping_mul(0x9E37_79B9) >> 23) as usize % SLOTS_LEN)
}

const fn spelling_window(index: usize) -> [u8; WINDOW] {
    let text = HeaderName::spelling(index).as_bytes();
    let mut window = [0; WINDOW];
    let mut i = 0;
    while i < text.len() {
        window[i] = text[i].to_ascii_lowercase();
        i += 1;
    }
    window
}

const fn entry(index: usize) -> Entry {
    let text = spelling_window(index);
    let len = HeaderName::spelling(index).len();
    let mut mask = [0; WINDOW];
    let mut i = 0;
    while i < len {
        mask[i] = if text[i].is_ascii_alphabetic() { !CASE } else { u8::MAX };
        i += 1;
    }
    Entry {
        text: [word(&text, 0), word(&text, 1), word(&text, 2)],
        mask: [word(&mask, 0), word(&mask, 1), word(&mask, 2)],
        len,
        name: HeaderName::ALL[index % HeaderName::ALL.len()],
    }
}

const fn build_entries() -> [Entry; HeaderName::SPELLINGS] {
    let mut entries = [entry(0); HeaderName::SPELLINGS];
    let mut i = 0;
    while i < HeaderName::SPELLINGS {
        entries[i] = entry(i);
        i += 1;
    }
    entries
}

const fn build_slots() -> [u8; SLOTS_LEN] {
    let mut slots = [0u8; SLOTS_LEN];
    let mut i = 0;
    while i < HeaderName::SPELLINGS {
        if let Some(home) = hash(&spelling_window(i), HeaderName::spelling(i).len()) {
            let mut slot = home;
            while slots[slot] != 0 {
                slot = (slot + 1) % SLOTS_LEN;
            }
            slots[slot] = (i + 1) as u8;
        }
        i += 1;
    }
    slots
}
