//! Looking at sixteen bytes at a time: where a byte stands, how far a class of characters goes. Each header line
//! of each message is looked at this way, where a byte at a time would cost several times as much.

use wide::u8x16;

use super::chars;

/// Bytes that are looked at together.
const BLOCK_LEN: usize = 16;
/// Bytes that [`line_breaks`] looks at: four blocks.
pub(super) const STRETCH_LEN: usize = 64;

#[derive(Clone, Copy)]
struct Block(u8x16);

impl Block {
    #[inline]
    fn load(bytes: &[u8; BLOCK_LEN]) -> Block {
        Block(u8x16::new(*bytes))
    }

    /// All ones where the byte is `byte`, else zeros.
    #[inline]
    fn equal(self, byte: u8) -> Block {
        Block(self.0.simd_eq(u8x16::splat(byte)))
    }

    /// All ones where the byte is above `byte` and below 128.
    #[inline]
    fn above(self, byte: u8) -> Block {
        let is_above = self.0.cast_signed().simd_gt(u8x16::splat(byte).cast_signed());
        Block(is_above.cast_unsigned())
    }

    /// Each byte with the bits of `byte` set.
    #[inline]
    fn with(self, byte: u8) -> Block {
        Block(self.0 | u8x16::splat(byte))
    }

    #[inline]
    fn or(self, other: Block) -> Block {
        Block(self.0 | other.0)
    }

    #[inline]
    fn and_not(self, other: Block) -> Block {
        Block(self.0 & !other.0)
    }

    /// The high bit of each byte, that of the first one lowest.
    #[inline]
    fn bits(self) -> u32 {
        self.0.to_bitmask()
    }
}

/// Where the bytes of `block` are in `class`: the high bit of each. Each formula says what the table of [`chars`]
/// says; `None` for a class that has none.
#[inline]
fn members(block: Block, class: u8) -> Option<Block> {
    Some(match class {
        chars::URI => {
            let others = block.equal(b'"').or(block.with(2).equal(b'>'));
            printable(block).and_not(others)
        }
        chars::HOST => {
            let letters = block.with(0x20);
            let letters = letters.above(b'a' - 1).and_not(letters.above(b'z'));
            let digits =
                block.above(b'-' - 1).and_not(block.above(b'9')).and_not(block.equal(b'/'));
            letters.or(digits).or(block.equal(b'_'))
        }
        chars::WORD => {
            let others = block.with(2).equal(b'&').or(block.equal(b'#')).or(block.equal(b','));
            let others = others.or(block.equal(b';')).or(block.equal(b'=')).or(block.equal(b'^'));
            printable(block).and_not(others.or(block.equal(b'|')))
        }
        // `or(block)`: bytes from 128 on have their high bit.
        chars::PARAM_VALUE => printable(block).or(block).and_not(delimiters(block)),
        chars::BARE_URI => printable(block).and_not(delimiters(block)),
        _ => return None,
    })
}

/// 0x21 to 0x7e.
#[inline]
fn printable(block: Block) -> Block {
    block.above(b' ').and_not(block.equal(0x7f))
}

/// `"`, `,`, `;`, `<`, `>` and `?`, and a byte that is not printable.
#[inline]
fn delimiters(block: Block) -> Block {
    let pairs = block.with(2).equal(b'>').or(block.with(4).equal(b'?'));
    pairs.or(block.equal(b'"')).or(block.equal(b','))
}

/// The block at `at`; `None` if it does not fit any more.
#[inline]
fn block_at(text: &[u8], at: usize) -> Option<Block> {
    text.get(at..)?.first_chunk().map(Block::load)
}

/// The last block of `text`, with bits for what is before `at` in it taken away; `None` if `text` is shorter
/// than a block.
#[inline]
fn last_block(text: &[u8], at: usize) -> Option<(Block, usize, u32)> {
    let block = text.last_chunk().map(Block::load)?;
    let start = text.len() - BLOCK_LEN;
    // `at` is behind `start`: a whole block would have fitted else.
    Some((block, start, u32::MAX << (at - start).min(BLOCK_LEN)))
}

/// The end of the run of `class` that starts at `at`, as [`chars::run`]; better for runs of eight and more.
#[inline]
pub(super) fn run(text: &[u8], mut at: usize, class: u8) -> usize {
    while let Some(inside) = block_at(text, at).and_then(|block| members(block, class)) {
        let outside = !inside.bits();
        let len = outside.trailing_zeros() as usize;
        if len < BLOCK_LEN {
            return at + len;
        }
        at += BLOCK_LEN;
    }
    let last = last_block(text, at);
    match last.and_then(|(block, start, rest)| Some((members(block, class)?, start, rest))) {
        Some((inside, start, rest)) => {
            let outside = !inside.bits() & rest;
            start + (outside.trailing_zeros() as usize).min(BLOCK_LEN)
        }
        None => chars::run(text, at, class),
    }
}

/// Whether `text` is a non-empty run of `class`.
#[inline]
pub(super) fn all(text: &[u8], class: u8) -> bool {
    !text.is_empty() && run(text, 0, class) == text.len()
}

/// The first position from `at` on where `wanted` has bits for a block, or `is_wanted` says so of a byte.
#[inline]
fn first(
    text: &[u8],
    mut at: usize,
    wanted: impl Fn(Block) -> Block,
    is_wanted: impl Fn(u8) -> bool,
) -> Option<usize> {
    while let Some(block) = block_at(text, at) {
        let bits = wanted(block).bits();
        if bits != 0 {
            return Some(at + bits.trailing_zeros() as usize);
        }
        at += BLOCK_LEN;
    }
    let Some((block, start, rest)) = last_block(text, at) else {
        return (at..text.len()).find(|i| is_wanted(text[*i]));
    };
    let bits = wanted(block).bits() & rest;
    (bits != 0).then(|| start + bits.trailing_zeros() as usize)
}

/// Where `byte` is first from `at` on. For texts of a line's length; others are for `memchr`.
#[inline]
pub(super) fn find(text: &[u8], at: usize, byte: u8) -> Option<usize> {
    first(text, at, |block| block.equal(byte), |b| b == byte)
}

/// Whether there is a CR or LF.
#[inline]
pub(super) fn has_line_break(text: &[u8]) -> bool {
    first(text, 0, line_breaks_of, |b| matches!(b, b'\r' | b'\n')).is_some()
}

#[inline]
fn line_breaks_of(block: Block) -> Block {
    block.equal(b'\r').or(block.equal(b'\n'))
}

/// Where `byte` is first in two blocks.
#[inline]
pub(super) fn find_in_window(window: &[u8; 2 * BLOCK_LEN], byte: u8) -> Option<usize> {
    for at in [0, BLOCK_LEN] {
        let bits = block_at(window, at)?.equal(byte).bits();
        if bits != 0 {
            return Some(at + bits.trailing_zeros() as usize);
        }
    }
    None
}

/// A bit for each CR and LF in the stretch that starts at `at`, that of the first byte lowest; `None` at the end.
#[inline]
pub(super) fn line_breaks(text: &[u8], at: usize) -> Option<u64> {
    let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
    let Some(stretch) = rest.first_chunk() else {
        let mut padded = [0; STRETCH_LEN];
        padded[..rest.len()].copy_from_slice(rest);
        return Some(breaks_in(&padded));
    };
    Some(breaks_in(stretch))
}

#[inline]
fn breaks_in(stretch: &[u8; STRETCH_LEN]) -> u64 {
    let (blocks, _) = stretch.as_chunks();
    blocks.iter().rev().fold(0, |bits, block| {
        bits << BLOCK_LEN | u64::from(line_breaks_of(Block::load(block)).bits())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLASSES: [u8; 5] =
        [chars::URI, chars::HOST, chars::WORD, chars::PARAM_VALUE, chars::BARE_URI];

    #[test]
    fn each_formula_tells_what_the_table_tells_of_each_byte() {
        for class in CLASSES {
            for byte in 0..=u8::MAX {
                let block = Block::load(&[byte; BLOCK_LEN]);
                let bits = members(block, class).expect("a formula").bits();
                let wanted = if chars::is(byte, class) { 0xffff } else { 0 };
                assert_eq!(bits, wanted, "class {class}, byte {byte:#x}");
            }
        }
    }

    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let bytes = prop_oneof![8 => 0x61..0x7bu8, 1 => 0x20..0x7fu8, 1 => any::<u8>()];
        prop::collection::vec(bytes, 0..70)
    }

    proptest! {
        #[test]
        fn a_run_ends_where_it_ends_byte_by_byte(text in texts(), at in 0..72usize) {
            for class in CLASSES {
                let at = at.min(text.len());
                prop_assert_eq!(run(&text, at, class), chars::run(&text, at, class));
            }
        }

        #[test]
        fn a_byte_is_found_where_it_is_first(text in texts(), at in 0..72usize, byte in 0x60..0x64u8) {
            let found = text.iter().skip(at).position(|b| *b == byte).map(|i| at + i);
            prop_assert_eq!(find(&text, at, byte), found);
        }

        #[test]
        fn a_line_break_is_a_cr_or_an_lf(text in "[a-f\\r\\n]{0,130}", at in 0..140usize) {
            let rest = text.as_bytes().iter().skip(at).take(STRETCH_LEN).enumerate();
            let bits = rest.filter(|(_, b)| matches!(b, b'\r' | b'\n')).fold(0, |bits, (i, _)| bits | 1 << i);
            prop_assert_eq!(line_breaks(text.as_bytes(), at), (at < text.len()).then_some(bits));
            let rest = text.as_bytes().get(at..).unwrap_or_default();
            prop_assert_eq!(has_line_break(rest), rest.iter().any(|b| matches!(b, b'\r' | b'\n')));
        }
    }
}
