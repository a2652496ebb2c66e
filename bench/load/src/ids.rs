//! Names for the things that the generator counts.

use std::fmt;

/// One call between a caller and a callee; 0-based.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionId(pub(crate) u32);

/// Which of the two groups of users an end belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Sends the INVITE.
    Caller,
    /// Answers it.
    Callee,
}

impl Side {
    /// Both sides, in the order of [`Side::index`].
    pub(crate) const BOTH: [Side; 2] = [Side::Caller, Side::Callee];

    /// 0 for the caller, 1 for the callee.
    pub(crate) const fn index(self) -> usize {
        match self {
            Side::Caller => 0,
            Side::Callee => 1,
        }
    }

    /// The end that this one talks to.
    pub(crate) const fn other(self) -> Side {
        match self {
            Side::Caller => Side::Callee,
            Side::Callee => Side::Caller,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Caller => "caller",
            Side::Callee => "callee",
        })
    }
}

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// PCMU, one packet each 20 ms.
    Audio,
    /// Frames of several packets each.
    Video,
}

impl Kind {
    /// Both kinds, in the order of [`Kind::index`].
    pub(crate) const BOTH: [Kind; 2] = [Kind::Audio, Kind::Video];

    /// 0 for audio, 1 for video.
    pub(crate) const fn index(self) -> usize {
        match self {
            Kind::Audio => 0,
            Kind::Video => 1,
        }
    }
}

/// One direction of one medium of one session: what `side` sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StreamId {
    pub(crate) session: SessionId,
    pub(crate) side: Side,
    pub(crate) kind: Kind,
}

impl StreamId {
    /// Packs the name into the number that travels in the packets.
    pub(crate) const fn number(self) -> u32 {
        self.session.0 * 4 + self.side.index() as u32 * 2 + self.kind.index() as u32
    }

    /// The inverse of [`StreamId::number`]; every number names some stream, though perhaps not one
    /// of this run.
    pub(crate) const fn from_number(number: u32) -> StreamId {
        StreamId {
            session: SessionId(number / 4),
            side: if number & 2 == 0 { Side::Caller } else { Side::Callee },
            kind: if number & 1 == 0 { Kind::Audio } else { Kind::Video },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_number_names_exactly_one_stream() {
        for number in 0..64 {
            assert_eq!(StreamId::from_number(number).number(), number);
        }
    }
}
