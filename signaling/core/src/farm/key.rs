//! What decides who takes a message that names no owner.

use sha2::{Digest, Sha256};

use super::token::Lasting;
use crate::wire::{Message, Method};

/// Hashes the keys of messages: the same on each member, in each version, on each machine, and not to be
/// foreseen by those who choose Call-IDs (SipHash-1-3 under a secret of the cluster).
#[derive(Clone, Copy)]
pub struct Spread {
    secret: [u64; 2],
}

impl std::fmt::Debug for Spread {
    /// Without the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spread")
    }
}

impl Spread {
    /// That of a cluster.
    #[must_use]
    pub fn new(lasting: &Lasting) -> Self {
        let mut hash = Sha256::new();
        hash.update(lasting.0);
        hash.update(b"ringfarm spread");
        let bytes = hash.finalize();
        let mut secret = [0; 2];
        for (half, bytes) in secret.iter_mut().zip(bytes.chunks_exact(8)) {
            *half = bytes.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        }
        Spread { secret }
    }

    /// The hash of a message's key.
    ///
    /// The key of a request outside of dialogs about an address of record (REGISTER, SUBSCRIBE, PUBLISH) is
    /// that address, so that one member writes it. Any other's is its Call-ID: an ACK, a CANCEL and each
    /// repetition have that of their INVITE, and so has the request that answers a challenge, which hence
    /// comes to who knows its nonce and which counts of it have been used.
    #[must_use]
    pub fn of(&self, message: &Message) -> u64 {
        match address_of_record(message) {
            Some(user) => self.of_user(&user),
            None => self.of_call(message.call_id()),
        }
    }

    /// The hash of a user, as the registrar names it.
    #[must_use]
    pub fn of_user(&self, user: &str) -> u64 {
        self.hash(1, user.as_bytes())
    }

    /// The hash of a Call-ID.
    #[must_use]
    pub fn of_call(&self, call_id: &str) -> u64 {
        self.hash(0, call_id.as_bytes())
    }

    /// The hash of what each repetition of a request has in common.
    #[must_use]
    pub(crate) fn of_transaction(&self, message: &Message) -> u64 {
        self.hash(1, message.top_via().as_bytes())
    }

    /// The hash of what a request and its responses have in common, besides CSeq and the way that they take: the
    /// branch (RFC 3261 17.1.3), without one the Call-ID.
    #[must_use]
    pub(crate) fn of_exchange(&self, message: &Message) -> u64 {
        let branch = message.top_via().unique_branch();
        self.hash(1, branch.unwrap_or(message.call_id()).as_bytes())
    }

    /// `kind` keeps keys of one kind apart from those of another.
    fn hash(&self, kind: u8, bytes: &[u8]) -> u64 {
        let mut state = Sip::new(self.secret);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            state.word(little_endian(chunk));
        }
        let rest = little_endian(chunks.remainder());
        // Seven bits of the length and one of the kind tell short keys apart.
        let end = (bytes.len() as u64 & 0x7f) << 1 | u64::from(kind & 1);
        state.word(rest | end << 56);
        state.finish()
    }
}

/// The user part of the address that a request is about, as the registrar names it.
fn address_of_record(message: &Message) -> Option<std::borrow::Cow<'_, str>> {
    if message.to().tag().is_some() {
        return None;
    }
    match message.method() {
        // RFC 3261 10.3: the To names it.
        Method::Register => message.to().uri().ok()?.user_unescaped(),
        Method::Subscribe | Method::Publish => message.uri()?.user_unescaped(),
        Method::Invite
        | Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Options
        | Method::Prack
        | Method::Update
        | Method::Info
        | Method::Message
        | Method::Notify
        | Method::Refer
        | Method::Other(_) => None,
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The state of SipHash (Aumasson and Bernstein), one round a word and three at the end.
struct Sip([u64; 4]);

impl Sip {
    fn new(secret: [u64; 2]) -> Self {
        let [a, b] = secret;
        Sip([
            a ^ 0x736f_6d65_7073_6575,
            b ^ 0x646f_7261_6e64_6f6d,
            a ^ 0x6c79_6765_6e65_7261,
            b ^ 0x7465_6462_7974_6573,
        ])
    }

    fn word(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    fn round(&mut self) {
        let [mut a, mut b, mut c, mut d] = self.0;
        a = a.wrapping_add(b);
        c = c.wrapping_add(d);
        b = b.rotate_left(13) ^ a;
        d = d.rotate_left(16) ^ c;
        a = a.rotate_left(32);
        c = c.wrapping_add(b);
        a = a.wrapping_add(d);
        b = b.rotate_left(17) ^ c;
        d = d.rotate_left(21) ^ a;
        c = c.rotate_left(32);
        self.0 = [a, b, c, d];
    }

    fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        for _ in 0..3 {
            self.round();
        }
        self.0.into_iter().fold(0, |all, part| all ^ part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(method: &str, uri: &str, to: &str, call: &str, cseq: u32) -> Message {
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK{cseq}\r\n\
             From: <sip:a@example.test>;tag=1\r\nTo: {to}\r\nCall-ID: {call}\r\n\
             CSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
        );
        Message::parse_datagram(Bytes::from(text)).unwrap()
    }

    fn spread(secret: u8) -> Spread {
        Spread::new(&Lasting([secret; 32]))
    }

    /// Another hash would send repetitions elsewhere during a roll-out (S31): the value is fixed.
    #[test]
    fn the_hash_of_a_key_is_the_same_in_each_version() {
        let invite = message("INVITE", "sip:b@example.test", "<sip:b@example.test>", "c1", 1);
        assert_eq!(spread(1).of(&invite), 9_803_135_964_371_702_037);
    }

    /// S29, S31, B3.
    #[test]
    fn ack_cancel_repetitions_and_the_answer_to_a_challenge_have_the_key_of_their_invite() {
        let of =
            |method, cseq, to| spread(1).of(&message(method, "sip:b@example.test", to, "c1", cseq));
        let invite = of("INVITE", 1, "<sip:b@example.test>");
        assert_eq!(of("CANCEL", 1, "<sip:b@example.test>"), invite);
        assert_eq!(of("ACK", 1, "<sip:b@example.test>;tag=x"), invite);
        assert_eq!(of("INVITE", 2, "<sip:b@example.test>"), invite);
        let other = message("INVITE", "sip:b@example.test", "<sip:b@example.test>", "c2", 1);
        assert_ne!(spread(1).of(&other), invite);
        assert_ne!(spread(2).of(&message("INVITE", "sip:b@x", "<sip:b@x>", "c1", 1)), invite);
    }

    /// S31: one member writes one address of record.
    #[test]
    fn what_is_about_an_address_of_record_has_its_key_whatever_the_call_id() {
        let to = "<sip:b%6Fb@example.test>";
        let register = spread(1).of(&message("REGISTER", "sip:example.test", to, "c1", 1));
        let again = spread(1).of(&message("REGISTER", "sip:example.test", to, "c2", 7));
        let bob = "sip:bob@example.test";
        let subscribe = spread(1).of(&message("SUBSCRIBE", bob, "<sip:bob@example.test>", "c3", 1));
        let publish = spread(1).of(&message("PUBLISH", bob, "<sip:bob@example.test>", "c4", 1));
        assert_eq!([again, subscribe, publish], [register; 3]);
        // Within a dialog the Request-URI is a device's.
        let within = message("SUBSCRIBE", bob, "<sip:bob@example.test>;tag=1", "c3", 2);
        assert_ne!(spread(1).of(&within), register);
        let call = message("INVITE", bob, "<sip:bob@example.test>", "bob", 1);
        assert_ne!(spread(1).of(&call), register);
    }

    /// The rounds are those of the library's hasher, whose choice of algorithm may change.
    #[test]
    fn the_rounds_are_those_of_siphash_1_3() {
        use std::hash::Hasher;
        let bytes: Vec<u8> = (0..64).collect();
        for len in 0..bytes.len() {
            let mut theirs = std::hash::DefaultHasher::new();
            theirs.write(&bytes[..len]);
            let mut own = Sip::new([0; 2]);
            let mut chunks = bytes[..len].chunks_exact(8);
            chunks.by_ref().for_each(|chunk| own.word(little_endian(chunk)));
            own.word(little_endian(chunks.remainder()) | (len as u64) << 56);
            assert_eq!(own.finish(), theirs.finish(), "{len}");
        }
    }
}
