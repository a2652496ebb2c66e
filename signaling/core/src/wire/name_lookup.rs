//! From the bytes of a header name to the header, eight bytes at a time: this runs once for each header
//! line of each message.

use super::name::HeaderName;

/// Bytes that are looked at for a name and the colon after it.
const WINDOW: usize = 32;
/// Longest name in the table; a longer one is not looked up.
const NAME_MAX: usize = 24;
/// Four times the spellings, so that probes stay short.
const SLOTS_LEN: usize = 512;
/// Spellings by hash, from 1; 0 marks an empty slot.
static SLOTS: [u8; SLOTS_LEN] = build_slots();
static ENTRIES: [Entry; HeaderName::SPELLINGS] = build_entries();
/// A key holds all of a name up to this length, and the two ends of a longer one.
const KEY_COVERS: usize = 16;
const SPACES: u64 = 0x2020_2020_2020_2020;

// It also keeps the names below 128, so that the parser can note those it has seen in a u128.
const _: () = assert!(HeaderName::SPELLINGS < 256, "slots are bytes");

/// The first eight bytes of a name, padded with spaces, and the last eight of one that is longer (else 0), in
/// lower case.
type Key = (u64, u64);

/// A spelling, with all that a look-up needs side by side.
#[derive(Clone, Copy)]
struct Entry {
    key: Key,
    len: usize,
    name: HeaderName,
}

/// The header that `name` spells.
pub(super) fn by_name(name: &[u8]) -> Option<HeaderName> {
    let mut window = [b' '; WINDOW];
    window.get_mut(..name.len()).filter(|_| name.len() <= NAME_MAX)?.copy_from_slice(name);
    find(&window, name.len())
}

/// The header whose name and colon stand at `start`, and where the colon is. `None` if the name is not known,
/// is not followed by the colon at once, or stands at the very end: to be looked at byte by byte then.
#[inline]
pub(super) fn at_line_start(raw: &[u8], start: usize) -> Option<(HeaderName, usize)> {
    let window: &[u8; WINDOW] = raw.get(start..start + WINDOW)?.try_into().ok()?;
    let mut at = 0;
    let len = loop {
        let colons = zero_bytes(eight(window, at) ^ 0x3A3A_3A3A_3A3A_3A3A);
        if colons != 0 {
            break at + colons.trailing_zeros() as usize / 8;
        }
        at += 8;
        if at == NAME_MAX {
            return None;
        }
    };
    Some((find(window, len)?, start + len))
}

/// The high bit of each byte that is 0, exact up to the first of them.
const fn zero_bytes(bytes: u64) -> u64 {
    bytes.wrapping_sub(0x0101_0101_0101_0101) & !bytes & 0x8080_8080_8080_8080
}

#[inline]
fn find(window: &[u8; WINDOW], len: usize) -> Option<HeaderName> {
    let key = key(window, len)?;
    let mut slot = hash(key, len);
    loop {
        let index = usize::from(SLOTS[slot]).checked_sub(1)?;
        let entry = &ENTRIES[index];
        if entry.key == key && entry.len == len {
            let same = len <= KEY_COVERS || all_of_it_matches(&window[..len], entry.name);
            return if same { Some(entry.name) } else { None };
        }
        slot = (slot + 1) % SLOTS_LEN;
    }
}

/// For the dozen names that are longer than a key.
fn all_of_it_matches(name: &[u8], known: HeaderName) -> bool {
    name.eq_ignore_ascii_case(known.as_str().as_bytes())
}

/// The key of the name of `len` bytes at the start of `window`; `None` if it is empty or holds control
/// characters, which folding the case would make look like others.
#[inline]
const fn key(window: &[u8; WINDOW], len: usize) -> Option<Key> {
    if len == 0 {
        return None;
    }
    let mask = if len < 8 { (1 << (8 * len)) - 1 } else { u64::MAX };
    let first = eight(window, 0) & mask | SPACES & !mask;
    let last = if len > 8 { eight(window, len - 8) } else { SPACES };
    if has_control(first) || has_control(last) {
        return None;
    }
    Some((first | SPACES, last | SPACES))
}

/// Whether any of eight bytes is below 0x20: has neither bit 5 nor bit 6.
#[inline]
const fn has_control(bytes: u64) -> bool {
    (bytes | bytes << 1) & 0x4040_4040_4040_4040 != 0x4040_4040_4040_4040
}

#[inline]
const fn eight(window: &[u8; WINDOW], at: usize) -> u64 {
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

#[inline]
const fn hash(key: Key, len: usize) -> usize {
    // Any odd constant spreads the bits; this one is 2^64 divided by the golden ratio.
    let mixed = (key.0 ^ key.1.rotate_left(29) ^ len as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 55) as usize % SLOTS_LEN
}

const fn spelling_key(index: usize) -> Option<Key> {
    let text = HeaderName::spelling(index).as_bytes();
    let mut window = [b' '; WINDOW];
    let mut i = 0;
    while i < text.len() {
        window[i] = text[i];
        i += 1;
    }
    key(&window, text.len())
}

const fn build_entries() -> [Entry; HeaderName::SPELLINGS] {
    let mut entries = [Entry { key: (0, 0), len: 0, name: HeaderName::Via }; HeaderName::SPELLINGS];
    let mut i = 0;
    while i < HeaderName::SPELLINGS {
        if let Some(key) = spelling_key(i) {
            let name = HeaderName::ALL[i % HeaderName::ALL.len()];
            entries[i] = Entry { key, len: HeaderName::spelling(i).len(), name };
        }
        i += 1;
    }
    entries
}

const fn build_slots() -> [u8; SLOTS_LEN] {
    let mut slots = [0u8; SLOTS_LEN];
    let mut i = 0;
    while i < HeaderName::SPELLINGS {
        if let Some(key) = spelling_key(i) {
            let mut slot = hash(key, HeaderName::spelling(i).len());
            while slots[slot] != 0 {
                slot = (slot + 1) % SLOTS_LEN;
            }
            slots[slot] = (i + 1) as u8;
        }
        i += 1;
    }
    slots
}
