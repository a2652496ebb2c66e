//! `cluster.token_keys`: what the farm's tokens are made and read with (B1), and how that is changed.
//!
//! A member makes a key from the cluster's secret and a salt that stands here: whoever has but one of both
//! can make no token. A change has two steps. First the next key is announced, which every member then reads
//! and none writes; once all of them have said that they do ([`super::MemberRecord::token_key`]), it is the
//! one that is written, and the one before is read still. The next announcement retires that. So there are
//! two keys at any time, and no member sees a token that it cannot read unless that is older than both.

use std::fmt;
use std::str::FromStr;

use super::ids::UnixSeconds;

/// The salt of a key, drawn at random. The first key of a cluster has none: zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Salt(pub [u8; 16]);

impl fmt::Debug for Salt {
    /// Without the salt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt")
    }
}

/// A key of the farm's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenSalt {
    /// Which one since the cluster was made; the first is 0.
    pub number: u32,
    /// What it is made of beside the cluster's secret.
    pub salt: Salt,
}

/// The two keys that there are at any time; of a cluster whose key was never changed, one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenKeys {
    /// What tokens are made with.
    writes: TokenSalt,
    /// What they can be made with besides: the one before, or the next, announced.
    also: Option<TokenSalt>,
    /// Since when [`TokenKeys::writes`] is what it is, by the calendar; 0: since the cluster was made.
    since: UnixSeconds,
}

impl Default for TokenKeys {
    /// Those of a cluster that has been made just now.
    fn default() -> TokenKeys {
        let writes = TokenSalt { number: 0, salt: Salt([0; 16]) };
        TokenKeys { writes, also: None, since: UnixSeconds(0) }
    }
}

impl TokenKeys {
    /// What tokens are made with.
    #[must_use]
    pub const fn writes(&self) -> TokenSalt {
        self.writes
    }

    /// What tokens that are good may have been made with besides.
    #[must_use]
    pub const fn also(&self) -> Option<TokenSalt> {
        self.also
    }

    /// Since when tokens are made with that key, by the calendar; 0: since the cluster was made.
    #[must_use]
    pub const fn since(&self) -> UnixSeconds {
        self.since
    }

    /// The key that is announced, and that nobody makes tokens with yet.
    #[must_use]
    pub fn announced(&self) -> Option<TokenSalt> {
        self.also.filter(|also| also.number > self.writes.number)
    }

    /// The newest key that tokens are read with.
    #[must_use]
    pub fn newest(&self) -> u32 {
        self.announced().unwrap_or(self.writes).number
    }

    /// The first step: the next key is read from now on, and the one before the present one no more.
    /// `None`: one is announced already, or there have been as many as there can be.
    #[must_use]
    pub fn announce(&self, salt: Salt) -> Option<TokenKeys> {
        let number = self.writes.number.checked_add(1).filter(|_| self.announced().is_none())?;
        Some(TokenKeys { also: Some(TokenSalt { number, salt }), ..*self })
    }

    /// The second step: tokens are made with the key that is announced. `None`: none is.
    #[must_use]
    pub fn switch(&self, now: UnixSeconds) -> Option<TokenKeys> {
        let next = self.announced()?;
        Some(TokenKeys { writes: next, also: Some(self.writes), since: now })
    }

    /// Whether these are one step behind `before`. Nothing else is ever written: two that change the keys at
    /// once cannot give one number to two of them.
    #[must_use]
    pub fn follow(&self, before: &TokenKeys) -> bool {
        let announced = self.announced().and_then(|next| before.announce(next.salt));
        announced == Some(*self) || before.switch(self.since) == Some(*self)
    }

    /// Whether these are further on than `other`.
    #[must_use]
    pub fn is_after(&self, other: &TokenKeys) -> bool {
        let stage = |keys: &TokenKeys| (keys.writes.number, keys.announced().is_some());
        stage(self) > stage(other)
    }

    /// The numbers alone, for logs.
    #[must_use]
    pub fn shown(&self) -> String {
        match (self.also, self.announced()) {
            (None, _) => format!("{}", self.writes.number),
            (Some(next), Some(_)) => format!("{}, {} announced", self.writes.number, next.number),
            (Some(before), None) => format!("{}, {} read still", self.writes.number, before.number),
        }
    }
}

impl fmt::Display for TokenKeys {
    /// `SINCE NUMBER:SALT [NUMBER:SALT]`, as it stands in the engine; the first is what tokens are made with.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.since.0)?;
        std::iter::once(self.writes).chain(self.also).try_for_each(|key| {
            write!(f, " {}:{:032x}", key.number, u128::from_be_bytes(key.salt.0))
        })
    }
}

impl FromStr for TokenKeys {
    type Err = ();

    fn from_str(text: &str) -> Result<TokenKeys, ()> {
        let mut words = text.split(' ');
        let since = words.next().and_then(|word| word.parse().ok()).map(UnixSeconds).ok_or(())?;
        let writes = words.next().and_then(key).ok_or(())?;
        let also = words.next().map(|word| key(word).ok_or(())).transpose()?;
        // Neighbours, so that their numbers stay apart in tokens, which have a byte for them.
        let is_sound = also.is_none_or(|also| also.number.abs_diff(writes.number) == 1);
        (is_sound && words.next().is_none()).then_some(TokenKeys { writes, also, since }).ok_or(())
    }
}

fn key(word: &str) -> Option<TokenSalt> {
    let (number, salt) = word.split_once(':')?;
    let digits = salt.len() == 32 && salt.bytes().all(|byte| byte.is_ascii_hexdigit());
    let salt = u128::from_str_radix(salt, 16).ok().filter(|_| digits)?;
    Some(TokenSalt { number: number.parse().ok()?, salt: Salt(salt.to_be_bytes()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn salt(fill: u8) -> Salt {
        Salt([fill; 16])
    }

    fn announced() -> TokenKeys {
        TokenKeys::default().announce(salt(1)).unwrap()
    }

    fn switched() -> TokenKeys {
        announced().switch(UnixSeconds(7)).unwrap()
    }

    /// B1: a key is read everywhere before anybody writes it, and for one more change after it.
    #[test]
    fn a_key_is_announced_then_written_then_read_still_then_retired() {
        let numbers = |keys: TokenKeys| (keys.writes().number, keys.also().map(|key| key.number));
        let first = TokenKeys::default();
        assert_eq!(numbers(first), (0, None));
        assert_eq!((numbers(announced()), announced().newest()), ((0, Some(1)), 1));
        assert_eq!((numbers(switched()), switched().newest()), ((1, Some(0)), 1));
        assert_eq!(switched().since(), UnixSeconds(7));
        let next = switched().announce(salt(2)).unwrap();
        assert_eq!((numbers(next), next.newest()), ((1, Some(2)), 2));
        assert_eq!(numbers(next.switch(UnixSeconds(9)).unwrap()), (2, Some(1)));
        assert_eq!(announced().announce(salt(3)), None);
        assert_eq!(switched().switch(UnixSeconds(9)), None);
        let chain = [first, announced(), switched(), next];
        for (at, keys) in chain.iter().enumerate() {
            for (other, earlier) in chain.iter().enumerate() {
                assert_eq!(keys.is_after(earlier), at > other, "{at} after {other}");
                assert_eq!(keys.follow(earlier), at == other + 1, "{at} follows {other}");
            }
        }
    }

    /// Two commands at once, or a slip of the hand, give no number to two keys and leave none out.
    #[test]
    fn nothing_but_the_next_step_follows() {
        let other = TokenKeys::default().announce(salt(9)).unwrap();
        assert!(!other.follow(&announced()) && !announced().follow(&other));
        assert!(!other.switch(UnixSeconds(7)).unwrap().follow(&announced()));
        assert!(!switched().follow(&TokenKeys::default()));
        assert!(!announced().follow(&switched()));
    }

    #[test]
    fn keys_are_read_as_they_are_written_and_as_nothing_else() {
        for keys in [TokenKeys::default(), announced(), switched()] {
            assert_eq!(keys.to_string().parse(), Ok(keys));
            assert!(!keys.shown().contains("0101"), "{}", keys.shown());
        }
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            "0".to_owned(),
            format!("x 0:{zeros}"),
            format!("0 0:{}", "0".repeat(31)),
            format!("0 0:+{}", "0".repeat(31)),
            format!("0 0:{zeros} 2:{zeros}"),
            format!("0 0:{zeros} 0:{zeros}"),
            format!("0 0:{zeros} 1:{zeros} 2:{zeros}"),
            format!("0  0:{zeros}"),
        ] {
            assert_eq!(text.parse::<TokenKeys>(), Err(()), "{text:?}");
        }
        assert!(!format!("{:?}", announced()).contains("[1, 1"));
    }
}
