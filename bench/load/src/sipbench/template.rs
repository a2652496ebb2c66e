//! Messages whose text is made once: a copy and a few bytes to change is all that sending one takes.

/// Identifies one call or registration: the run and a number, in hexadecimal digits.
pub(crate) type Id = [u8; ID_BYTES];

/// Digits of an [`Id`].
pub(crate) const ID_BYTES: usize = 16;

/// Digits of a user's number.
pub(crate) const USER_BYTES: usize = 6;

/// Where an [`Id`] goes in a template's text.
pub(crate) const ID_MARK: &str = "{id-of-the-call}";

/// Where the number of a user goes.
pub(crate) const USER_MARK: &str = "{user}";

/// The digits of `number` in the run `run`.
pub(crate) fn id(run: u32, number: u32) -> Id {
    let mut digits = [0; ID_BYTES];
    hex(&mut digits[..8], run);
    hex(&mut digits[8..], number);
    digits
}

/// The number in an [`Id`] of the run `run`; `None` if it is none of that run.
pub(crate) fn number(run: u32, digits: &[u8]) -> Option<u32> {
    let of = |digits: &[u8]| u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok();
    let (theirs, number) = digits.get(..ID_BYTES)?.split_at(8);
    (of(theirs)? == run).then(|| of(number))?
}

/// The digits of a user's number.
pub(crate) fn user(number: u32) -> [u8; USER_BYTES] {
    let (mut digits, mut rest) = ([0; USER_BYTES], number);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

fn hex(into: &mut [u8], mut value: u32) {
    for digit in into.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
    }
}

/// A text with places for an [`Id`] and for a user.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    ids: Vec<usize>,
    users: Vec<usize>,
}

impl Template {
    /// A template of `text`, in which [`ID_MARK`] and [`USER_MARK`] stand for what changes.
    pub(crate) fn new(text: &str) -> Template {
        let places = |mark: &str| text.match_indices(mark).map(|(at, _)| at).collect();
        // Both marks are as long as what takes their place.
        Template { bytes: text.into(), ids: places(ID_MARK), users: places(USER_MARK) }
    }

    /// Adds the text with `id` and `user` in it.
    pub(crate) fn write(&self, into: &mut Vec<u8>, id: &Id, user: u32) {
        let start = into.len();
        into.extend_from_slice(&self.bytes);
        for at in &self.ids {
            into[start + at..][..ID_BYTES].copy_from_slice(id);
        }
        if !self.users.is_empty() {
            let digits = self::user(user);
            for at in &self.users {
                into[start + at..][..USER_BYTES].copy_from_slice(&digits);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_as_long_as_what_takes_their_place() {
        assert_eq!((ID_MARK.len(), USER_MARK.len()), (ID_BYTES, USER_BYTES));
    }

    #[test]
    fn ids_and_users_go_where_their_marks_are() {
        let template = Template::new("a={id-of-the-call};b={user};c={id-of-the-call}");
        let mut text = b"before ".to_vec();
        template.write(&mut text, &id(0xab, 0xcd), 42);
        assert_eq!(text, *b"before a=000000ab000000cd;b=000042;c=000000ab000000cd");
    }

    #[test]
    fn a_number_is_read_back_from_an_id_of_the_same_run() {
        let digits = id(7, 0xdead_beef);
        assert_eq!(number(7, &digits), Some(0xdead_beef));
        assert_eq!(number(8, &digits), None);
        assert_eq!(number(7, b"short"), None);
        assert_eq!(number(7, b"0000000g00000000"), None);
    }
}
