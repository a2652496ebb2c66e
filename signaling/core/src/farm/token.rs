//! Owner tokens (B1): short texts in what this node writes into messages, by which every member of the
//! cluster tells whose a message is that comes back with one.
//!
//! A token names a life of a member and something of that member's own, and is bound to the Call-ID of
//! the message that it stands in and to its place there. It hides nothing; a MAC keeps others from making
//! one, and from putting one that they have seen into another dialog. What cannot be read is no token at
//! all: whoever forges one has his message handled as if there were none.
//!
//! Its letters are those that no part of SIP changes or escapes. Their case does not count (RFC 3261 7.3.1).

use std::fmt;

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{Identity, Incarnation, MemberId};

/// Letters of a token: 184 bits, five a letter.
pub const TOKEN_LEN: usize = (BYTES * 8).div_ceil(5);

/// Member (2), incarnation (4), key (1) and what is the member's own (8).
const BODY: usize = 15;

/// MACs are cut to 64 bits: a forger has one try a message, and gains that another member drops it.
const MAC: usize = 8;

const BYTES: usize = BODY + MAC;

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Where a token stands. One of one place is none in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The branch of our Via.
    Branch,
    /// The tag of our responses.
    Tag,
    /// The Record-Route that we give a call; what is our own is the call's number.
    Call,
    /// Our Contact, and the Record-Route of dialogs that nothing is remembered of.
    Place,
}

impl Purpose {
    /// Every place.
    pub const ALL: [Purpose; 4] = [Purpose::Branch, Purpose::Tag, Purpose::Call, Purpose::Place];

    const fn label(self) -> &'static [u8] {
        match self {
            Purpose::Branch => b"ringfarm owner branch",
            Purpose::Tag => b"ringfarm owner tag",
            Purpose::Call => b"ringfarm owner call",
            Purpose::Place => b"ringfarm owner place",
        }
    }

    const fn index(self) -> usize {
        match self {
            Purpose::Branch => 0,
            Purpose::Tag => 1,
            Purpose::Call => 2,
            Purpose::Place => 3,
        }
    }
}

/// A secret of the cluster and its number, which tokens carry.
#[derive(Clone, Copy)]
pub struct TokenKey {
    /// Tells the key from the one before and the one after.
    pub id: u8,
    /// As good as random.
    pub secret: [u8; 32],
}

impl fmt::Debug for TokenKey {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({})", self.id)
    }
}

/// What all members of a cluster know and nobody else.
#[derive(Clone, Copy, Debug)]
pub struct Secrets {
    /// What tokens are made with.
    pub current: TokenKey,
    /// What tokens were made with before, which are good still. One with the number of the current key is
    /// left out.
    pub previous: Option<TokenKey>,
    /// For what has to mean the same for longer than keys last: which member takes a new request, and
    /// temporary GRUUs.
    pub lasting: Lasting,
}

/// A secret that is not changed while the cluster lives.
#[derive(Clone, Copy)]
pub struct Lasting(pub [u8; 32]);

impl fmt::Debug for Lasting {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lasting")
    }
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Whose the message is.
    pub identity: Identity,
    /// What means something to that member alone.
    pub local: u64,
}

/// A token as it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenText([u8; TOKEN_LEN]);

impl TokenText {
    /// Its letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The alphabet is ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The MACs of one key, one for each place.
#[derive(Clone)]
struct Keyed {
    id: u8,
    macs: [Hmac<Sha256>; Purpose::ALL.len()],
}

impl Keyed {
    fn new(key: &TokenKey) -> Self {
        let mac = |purpose: Purpose| {
            let mut derived = hmac(&key.secret);
            derived.update(purpose.label());
            hmac(&derived.finalize().into_bytes())
        };
        Keyed { id: key.id, macs: Purpose::ALL.map(mac) }
    }

    fn mac(&self, purpose: Purpose, body: &[u8; BODY], call_id: &str) -> [u8; MAC] {
        let mut mac = self.macs[purpose.index()].clone();
        mac.update(body);
        mac.update(call_id.as_bytes());
        let whole = mac.finalize().into_bytes();
        let mut cut = [0; MAC];
        cut.copy_from_slice(&whole[..MAC]);
        cut
    }
}

fn hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

/// Makes and reads owner tokens.
#[derive(Clone)]
pub struct Tokens {
    current: Keyed,
    previous: Option<Keyed>,
}

impl fmt::Debug for Tokens {
    /// Without its keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// Those of a cluster.
    #[must_use]
    pub fn new(secrets: &Secrets) -> Self {
        let previous = secrets.previous.filter(|key| key.id != secrets.current.id);
        Tokens {
            current: Keyed::new(&secrets.current),
            previous: previous.as_ref().map(Keyed::new),
        }
    }

    /// The token of `owner` for messages with this Call-ID. The same of all make the same text, until the
    /// key changes.
    #[must_use]
    pub fn issue(&self, purpose: Purpose, owner: &Owner, call_id: &str) -> TokenText {
        let mut body = [0; BODY];
        let (member, rest) = body.split_at_mut(2);
        let (incarnation, rest) = rest.split_at_mut(4);
        let (key, local) = rest.split_at_mut(1);
        member.copy_from_slice(&owner.identity.member.get().to_be_bytes());
        incarnation.copy_from_slice(&owner.identity.incarnation.0.to_be_bytes());
        key.copy_from_slice(&[self.current.id]);
        local.copy_from_slice(&owner.local.to_be_bytes());
        encode(&body, &self.current.mac(purpose, &body, call_id))
    }

    /// Whose a message with this Call-ID is. `None`: the text is no token that a member has made for this
    /// place and Call-ID.
    #[must_use]
    pub fn read(&self, purpose: Purpose, text: &str, call_id: &str) -> Option<Owner> {
        let bytes = decode(text)?;
        let (body, mac) = bytes.split_first_chunk::<BODY>()?;
        let [m0, m1, i0, i1, i2, i3, key, local @ ..] = *body;
        let keys = [Some(&self.current), self.previous.as_ref()];
        let keyed = keys.into_iter().flatten().find(|keyed| keyed.id == key)?;
        if !bool::from(keyed.mac(purpose, body, call_id)[..].ct_eq(mac)) {
            return None;
        }
        let member = MemberId::new(u16::from_be_bytes([m0, m1]))?;
        let incarnation = Incarnation(u32::from_be_bytes([i0, i1, i2, i3]));
        let identity = Identity { member, incarnation };
        Some(Owner { identity, local: u64::from_be_bytes(local) })
    }
}

fn encode(body: &[u8; BODY], mac: &[u8; MAC]) -> TokenText {
    let mut text = [0; TOKEN_LEN];
    let mut letters = text.iter_mut();
    let (mut held, mut bits) = (0_u32, 0);
    for &byte in body.iter().chain(mac) {
        held = held << 8 | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            if let Some(letter) = letters.next() {
                *letter = ALPHABET[(held >> bits & 31) as usize];
            }
        }
    }
    // The last letter has one bit to spare, which is 0.
    if let Some(letter) = letters.next() {
        *letter = ALPHABET[(held << (5 - bits) & 31) as usize];
    }
    TokenText(text)
}

/// Reads back what [`encode`] wrote, in any case, and nothing that it would write otherwise.
fn decode(text: &str) -> Option<[u8; BYTES]> {
    let letters: &[u8; TOKEN_LEN] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; BYTES];
    let mut places = bytes.iter_mut();
    let (mut held, mut bits) = (0_u32, 0);
    for &letter in letters {
        held = held << 5 | u32::from(value(letter)?);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            // Takes eight bits off.
            *places.next()? = (held >> bits & 255) as u8;
        }
    }
    (held & ((1 << bits) - 1) == 0).then_some(bytes)
}

const fn value(letter: u8) -> Option<u8> {
    match letter {
        b'a'..=b'z' => Some(letter - b'a'),
        b'A'..=b'Z' => Some(letter - b'A'),
        b'2'..=b'7' => Some(letter - b'2' + 26),
        0..=u8::MAX => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "call-1@phone";

    fn secrets(current: (u8, u8), previous: Option<(u8, u8)>) -> Secrets {
        let key = |(id, fill): (u8, u8)| TokenKey { id, secret: [fill; 32] };
        Secrets { current: key(current), previous: previous.map(key), lasting: Lasting([9; 32]) }
    }

    fn tokens(current: (u8, u8), previous: Option<(u8, u8)>) -> Tokens {
        Tokens::new(&secrets(current, previous))
    }

    fn owners() -> Vec<Owner> {
        let mut owners = Vec::new();
        for member in [1, 7, u16::MAX] {
            for incarnation in [0, 1, u32::MAX] {
                for local in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
                    let member = MemberId::new(member).unwrap();
                    let identity = Identity { member, incarnation: Incarnation(incarnation) };
                    owners.push(Owner { identity, local });
                }
            }
        }
        owners
    }

    /// B1.
    #[test]
    fn a_token_says_whose_a_message_is_in_lower_case_letters_and_digits() {
        let tokens = tokens((1, 1), None);
        for owner in owners() {
            for purpose in Purpose::ALL {
                let text = tokens.issue(purpose, &owner, CALL).to_string();
                assert_eq!(text.len(), TOKEN_LEN);
                assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
                assert_eq!(tokens.read(purpose, &text, CALL), Some(owner));
                // RFC 3261 7.3.1: there are elements that change the case of what they copy.
                let upper = text.to_ascii_uppercase();
                assert_eq!(tokens.read(purpose, &upper, CALL), Some(owner));
            }
        }
    }

    /// B1: a forged token is as if absent, and so is one of another length.
    #[test]
    fn no_letter_of_a_token_can_be_changed_dropped_or_added() {
        let tokens = tokens((1, 1), None);
        for owner in owners() {
            let text = tokens.issue(Purpose::Branch, &owner, CALL).to_string();
            let read = |text: &str| tokens.read(Purpose::Branch, text, CALL);
            for at in 0..text.len() {
                for bit in 0..5 {
                    let old = value(text.as_bytes()[at]).unwrap();
                    let mut forged = text.clone().into_bytes();
                    forged[at] = ALPHABET[usize::from(old ^ 1 << bit)];
                    assert_eq!(read(&String::from_utf8(forged).unwrap()), None);
                }
                assert_eq!(read(&text[..at]), None);
            }
            for wrong in [format!("{text}a"), format!("a{text}"), text.repeat(2)] {
                assert_eq!(read(&wrong), None);
            }
            assert_eq!(read(&text.replace(char::is_alphabetic, "1")), None);
        }
    }

    /// B1: what somebody has seen of one dialog is of no use in another, nor elsewhere in a message.
    #[test]
    fn a_token_is_good_in_its_place_and_dialog_alone() {
        let tokens = tokens((1, 1), None);
        let owner = owners()[5];
        for purpose in Purpose::ALL {
            let text = tokens.issue(purpose, &owner, CALL).to_string();
            assert_eq!(tokens.read(purpose, &text, "call-2@phone"), None);
            for other in Purpose::ALL.into_iter().filter(|other| *other != purpose) {
                assert_eq!(tokens.read(other, &text, CALL), None, "{purpose:?} as {other:?}");
            }
        }
    }

    /// B1: keys are changed while calls go on.
    #[test]
    fn tokens_of_the_key_before_are_good_and_those_of_older_ones_are_not() {
        let (first, second, third) = ((1, 1), (2, 2), (3, 3));
        let owner = owners()[7];
        let text = tokens(first, None).issue(Purpose::Tag, &owner, CALL);
        let read = |tokens: Tokens| tokens.read(Purpose::Tag, text.as_str(), CALL);
        assert_eq!(read(tokens(second, Some(first))), Some(owner));
        assert_eq!(read(tokens(third, Some(second))), None);
        // The number alone opens nothing.
        assert_eq!(read(tokens((1, 7), None)), None);
        assert_eq!(read(tokens((1, 7), Some(first))), None);
        let made = tokens(second, Some(first)).issue(Purpose::Tag, &owner, CALL);
        assert_eq!(tokens(second, None).read(Purpose::Tag, made.as_str(), CALL), Some(owner));
    }
}
