//! What a frame begins with (RFC 6455 5.2).

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continue,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    const fn read(bits: u8) -> Option<Opcode> {
        match bits {
            0x0 => Some(Opcode::Continue),
            0x1 => Some(Opcode::Text),
            0x2 => Some(Opcode::Binary),
            0x8 => Some(Opcode::Close),
            0x9 => Some(Opcode::Ping),
            0xa => Some(Opcode::Pong),
            _ => None,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Opcode::Continue => 0x0,
            Opcode::Text => 0x1,
            Opcode::Binary => 0x2,
            Opcode::Close => 0x8,
            Opcode::Ping => 0x9,
            Opcode::Pong => 0xa,
        }
    }

    pub(super) const fn is_control(self) -> bool {
        match self {
            Opcode::Continue | Opcode::Text | Opcode::Binary => false,
            Opcode::Close | Opcode::Ping | Opcode::Pong => true,
        }
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// `None`: one that RFC 6455 leaves for later.
    pub(super) opcode: Option<Opcode>,
    pub(super) is_final: bool,
    /// RSV1 to RSV3, which only extensions use.
    pub(super) reserved: u8,
    pub(super) mask: Option<[u8; 4]>,
    /// Of what follows.
    pub(super) length: u64,
    /// Of itself.
    pub(super) size: usize,
}

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
/// The length is in the two bytes that follow.
const LENGTH_16: u8 = 126;
/// The length is in the eight bytes that follow.
const LENGTH_64: u8 = 127;

impl Header {
    /// The header at the start of `bytes`; `None` until it is there wholly.
    pub(super) fn read(bytes: &[u8]) -> Option<Header> {
        let [first, second, rest @ ..] = bytes else { return None };
        let (length, rest) = match second & !MASKED {
            LENGTH_16 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from(u16::from_be_bytes(*length)), rest)
            }
            LENGTH_64 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length), rest)
            }
            length => (u64::from(length), rest),
        };
        let (mask, rest) = match second & MASKED {
            0 => (None, rest),
            _ => rest.split_first_chunk().map(|(mask, rest)| (Some(*mask), rest))?,
        };
        Some(Header {
            opcode: Opcode::read(first & 0xf),
            is_final: first & FINAL != 0,
            reserved: first >> 4 & 0x7,
            mask,
            length,
            size: bytes.len() - rest.len(),
        })
    }
}

/// The header of a whole frame as a server sends it: not masked (RFC 6455 5.1).
pub(super) fn write(opcode: Opcode, length: usize, out: &mut Vec<u8>) {
    out.push(FINAL | opcode.bits());
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < LENGTH_16 => out.push(short),
        (_, Ok(middle)) => {
            out.push(LENGTH_16);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(LENGTH_64);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455 5.2: the shortest of the three forms.
    #[test]
    fn what_is_written_is_read_back() {
        for (length, size) in
            [(0, 2), (1, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10), (1 << 40, 10)]
        {
            let mut bytes = Vec::new();
            write(Opcode::Text, length, &mut bytes);
            assert_eq!(bytes.len(), size);
            let header = Header::read(&bytes).unwrap();
            assert_eq!((header.length, header.size), (length as u64, size));
            assert_eq!((header.opcode, header.is_final), (Some(Opcode::Text), true));
            assert_eq!((header.mask, header.reserved), (None, 0));
            assert!((0..size).all(|cut| Header::read(&bytes[..cut]).is_none()));
        }
    }
}
