//! Blind mutations of bytes and lines.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::INPUT_BYTES_MAX;

/// What does not belong where it is put.
const PIECES: [&[u8]; 26] = [
    b"\0",
    b"\xff",
    b"\xc3\x28",
    b"\r\n",
    b"\r\n ",
    b"\r\n\r\n",
    b",",
    b";",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"@",
    b":",
    b"%00",
    b"[::1]",
    b"-1",
    b"65536",
    b"4294967296",
    b"18446744073709551616",
    b"&b;",
    b"]]>",
    b"<!--",
    b"<?",
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    b" xmlns='a' ",
];

/// Most changes at a time.
const CHANGES_MAX: u32 = 5;

/// Most copies of a line.
const COPIES_MAX: usize = 64;

/// Changes `input`, perhaps with parts of `other`; it is no longer than [`INPUT_BYTES_MAX`] then.
pub fn mutate(rng: &mut ChaCha8Rng, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..rng.random_range(1..=CHANGES_MAX) {
        let at = rng.random_range(0..=input.len());
        match rng.random_range(0..8) {
            0 | 1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << rng.random_range(0..8);
                }
            }
            2 => input.truncate(at),
            3 => {
                let end = rng.random_range(at..=input.len()).min(at + 32);
                input.drain(at..end);
            }
            4 => {
                let from = rng.random_range(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            5 => lines(rng, input),
            _ => {
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                input.splice(at..at, piece.iter().copied());
            }
        }
        input.truncate(INPUT_BYTES_MAX);
    }
}

/// Repeats, drops or exchanges lines.
fn lines(rng: &mut ChaCha8Rng, input: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> =
        input.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return;
    }
    let [at, to] = [(); 2].map(|()| rng.random_range(0..lines.len()));
    match rng.random_range(0..3) {
        0 => {
            let copies = vec![lines[at].clone(); rng.random_range(1..=COPIES_MAX)];
            lines.splice(to..to, copies);
        }
        1 => drop(lines.remove(at)),
        _ => lines.swap(at, to),
    }
    *input = lines.concat();
}
