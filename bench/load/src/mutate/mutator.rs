//! Mutations that know what a SIP message is made of: its lines, its numbers, its ends.

use crate::mutate::rng::Rng;

/// Longest message that comes out, in bytes: what a UDP datagram carries (65,507), rounded down.
pub(super) const MESSAGE_BYTES_MAX: usize = 65_000;

/// Most changes to one message: more leave nothing that a parser reads far into.
const CHANGES_MAX: usize = 6;

/// Longest value that is put in, in bytes; one in 16 huge values is of that size.
const HUGE_BYTES: [usize; 4] = [300, 3_000, 9_000, 40_000];

/// Numbers at which programs miscount.
const NUMBERS: [&[u8]; 14] = [
    b"0",
    b"-1",
    b"1",
    b"255",
    b"256",
    b"65535",
    b"65536",
    b"2147483647",
    b"2147483648",
    b"4294967295",
    b"4294967296",
    b"18446744073709551616",
    b"99999999999999999999999999",
    b"0x10",
];

/// What does not belong where it is put.
const PIECES: [&[u8]; 24] = [
    b"\0",
    b"\xff\xfe",
    b"\xc3\x28",
    b"\xf0\x9f\x98\x80",
    b"\r\n",
    b"\r",
    b"\n",
    b"\r\n ",
    b"\r\n\t",
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
    b"%",
    b"[::1]",
    b"=",
    b"?",
    b";lr;lr;lr",
];

/// Lines that say what others deny.
const LINES: [&[u8]; 12] = [
    b"Content-Length: 4294967296",
    b"Content-Length: -1",
    b"l: 5",
    b"Max-Forwards: 0",
    b"Content-Encoding: gzip",
    b"Require: nothing-known",
    b"Via: SIP/2.0/UDP [::ffff:127.0.0.1]:0",
    b"Route: <sip:127.0.0.1:1;lr>",
    b"Contact: *",
    b"Transfer-Encoding: chunked",
    b": no name",
    b"Expires: 4294967295",
];

/// Changes `message` as `rng` decides; `other` is a message to splice with. The outcome is no longer
/// than [`MESSAGE_BYTES_MAX`].
pub(super) fn mutate(rng: &mut Rng, message: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=rng.below(CHANGES_MAX) {
        change(rng, message, other);
        message.truncate(MESSAGE_BYTES_MAX);
    }
}

fn change(rng: &mut Rng, message: &mut Vec<u8>, other: &[u8]) {
    match rng.below(16) {
        0 | 1 => flip_bits(rng, message),
        2 => message.truncate(rng.below(message.len() + 1)),
        3..=8 => change_lines(rng, message),
        9 | 10 => change_number(rng, message),
        11 => huge(rng, message),
        12 => splice(rng, message, other),
        _ => {
            let piece = rng.pick(&PIECES);
            put_in(rng, message, piece);
        }
    }
}

fn flip_bits(rng: &mut Rng, message: &mut [u8]) {
    for _ in 0..=rng.below(8) {
        let at = rng.below(message.len());
        if let Some(byte) = message.get_mut(at) {
            *byte ^= 1 << rng.below(8);
        }
    }
}

fn put_in(rng: &mut Rng, message: &mut Vec<u8>, piece: &[u8]) {
    let at = rng.below(message.len() + 1);
    message.splice(at..at, piece.iter().copied());
}

/// A run of one byte, in place of nothing: a name, a value or a body that does not end.
fn huge(rng: &mut Rng, message: &mut Vec<u8>) {
    let size = if rng.below(16) == 0 { HUGE_BYTES[3] } else { HUGE_BYTES[rng.below(3)] };
    let byte = b"a9, ;\x01"[rng.below(6)];
    put_in(rng, message, &vec![byte; size]);
}

/// One of the message's numbers becomes another.
fn change_number(rng: &mut Rng, message: &mut Vec<u8>) {
    let starts =
        |at: usize| message[at].is_ascii_digit() && (at == 0 || !message[at - 1].is_ascii_digit());
    let places: Vec<usize> = (0..message.len()).filter(|&at| starts(at)).collect();
    let Some(&at) = places.get(rng.below(places.len())) else { return };
    let digits = message[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    message.splice(at..at + digits, rng.pick(&NUMBERS).iter().copied());
}

/// Beginning of this one, end of the other.
fn splice(rng: &mut Rng, message: &mut Vec<u8>, other: &[u8]) {
    message.truncate(rng.below(message.len() + 1));
    message.extend_from_slice(&other[rng.below(other.len() + 1)..]);
}

/// Repeats, drops, exchanges, folds, renames or adds whole lines.
fn change_lines(rng: &mut Rng, message: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> =
        message.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return;
    }
    let at = rng.below(lines.len());
    let to = rng.below(lines.len());
    match rng.below(7) {
        0 => lines.insert(to, lines[at].clone()),
        // Many of one kind, as a list that does not end.
        1 => {
            let copies = vec![lines[at].clone(); 1 << rng.below(9)];
            lines.splice(to..to, copies);
        }
        2 => drop(lines.remove(at)),
        3 => lines.swap(at, to),
        4 => fold(&mut lines[at]),
        5 => lines[at].retain(|byte| !byte.is_ascii_whitespace()),
        _ => lines.insert(at, [rng.pick(&LINES), b"\r\n"].concat()),
    }
    *message = lines.concat();
}

/// Breaks a line at its first space or colon (RFC 3261 7.3.1).
fn fold(line: &mut Vec<u8>) {
    if let Some(at) = line.iter().position(|byte| b" :".contains(byte)) {
        line.splice(at + 1..at + 1, *b"\r\n \t ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutate::corpus::{DOMAIN, corpus, fill};

    fn of_seed(seed: u64, count: usize) -> Vec<Vec<u8>> {
        let corpus = corpus(DOMAIN);
        let mut rng = Rng::new(seed);
        let mut next = || {
            let texts = [rng.below(corpus.len()), rng.below(corpus.len())];
            let [mut message, other] =
                texts.map(|at| fill(&corpus[at], "127.0.0.1:9", "127.0.0.1:5060", "UDP", "u"));
            mutate(&mut rng, &mut message, &other);
            message
        };
        (0..count).map(|_| next()).collect()
    }

    /// What broke a node is to be had again.
    #[test]
    fn the_same_seed_gives_the_same_messages_and_another_one_others() {
        assert_eq!(of_seed(7, 300), of_seed(7, 300));
        assert_ne!(of_seed(7, 300), of_seed(8, 300));
    }

    #[test]
    fn no_message_is_longer_than_a_datagram() {
        let longest = of_seed(1, 30_000).iter().map(Vec::len).max();
        assert!(longest <= Some(MESSAGE_BYTES_MAX), "{longest:?}");
        assert!(longest > Some(20_000), "there are huge ones: {longest:?}");
    }

    /// Each kind of change is seen: otherwise it would not be tried.
    #[test]
    fn the_changes_are_of_every_kind() {
        let messages = of_seed(2, 5_000);
        let has = |what: &[u8]| {
            messages.iter().any(|text| text.windows(what.len()).any(|window| window == what))
        };
        let pieces: [&[u8]; 5] =
            [b"\0", b"\xff\xfe", b"\r\n \t ", b"18446744073709551616", b"l: 5"];
        for what in pieces {
            assert!(has(what), "{:?}", String::from_utf8_lossy(what));
        }
        assert!(messages.iter().any(|text| text.len() < 40), "truncated");
        let invites = |text: &[u8]| text.windows(10).filter(|at| at == b"CSeq: 1 IN").count() > 4;
        assert!(messages.iter().any(|text| invites(text)), "repeated lines");
    }

    #[test]
    fn an_empty_message_stays_in_bounds() {
        let mut rng = Rng::new(3);
        for _ in 0..2_000 {
            mutate(&mut rng, &mut Vec::new(), b"");
        }
    }
}
