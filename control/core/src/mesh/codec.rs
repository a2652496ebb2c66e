//! Frames in a stream of bytes.

use bytes::{Buf as _, Bytes, BytesMut};
use postcard::ser_flavors::Flavor;
use serde::Serialize;

use super::frame::Frame;

/// Longest frame, in bytes, without its length: the largest datagram (64 KiB) and the largest SIP message
/// of a connection fit, a view of a full cluster does, and nobody can have a member set aside much.
pub const FRAME_BYTES_MAX: usize = 256 << 10;
/// Longest head, in bytes: the largest, a grant to a joining member, holds two certificates.
pub const HEAD_BYTES_MAX: usize = 12 << 10;
/// What stands before a head, in bytes: length, kind, length of the head.
pub const PREFIX_BYTES: usize = LENGTH_BYTES + AFTER_LENGTH_BYTES;

const LENGTH_BYTES: usize = 4;
const AFTER_LENGTH_BYTES: usize = 3;

/// What was cut off a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Cut {
    /// A frame.
    Frame(Frame),
    /// One of a kind that only newer software knows; it is passed over.
    Unknown(u8),
}

/// Why bytes are not frames. The connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The frame has no room for its kind.
    #[error("a frame of {0} bytes, which is too short for one")]
    TooShort(usize),
    /// The frame is longer than frames are.
    #[error("a frame of {0} bytes, and {FRAME_BYTES_MAX} is the most")]
    TooLong(usize),
    /// The head does not fit into the frame, or is longer than heads are.
    #[error("a frame of {frame} bytes with a head of {head}")]
    Head {
        /// Length of the frame.
        frame: usize,
        /// Length of the head.
        head: usize,
    },
    /// The head, or the payload, is not what that kind has.
    #[error("a frame of kind {kind} that cannot be read: {why}")]
    Content {
        /// The kind.
        kind: u8,
        /// What is wrong with it.
        why: String,
    },
}

/// The frame has more bytes than a frame may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes, and {FRAME_BYTES_MAX} is the most")]
pub struct TooLong(pub usize);

/// Cuts the first frame off `buffer`. `None`: not all of it is there yet. No more than
/// [`PREFIX_BYTES`] and [`FRAME_BYTES_MAX`] ever have to be there for one.
///
/// # Errors
/// If the bytes are not frames.
pub fn cut(buffer: &mut BytesMut) -> Result<Option<Cut>, Malformed> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > FRAME_BYTES_MAX {
        return Err(Malformed::TooLong(length));
    }
    if length < AFTER_LENGTH_BYTES {
        return Err(Malformed::TooShort(length));
    }
    if buffer.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    open(buffer.split_to(length).freeze()).map(Some)
}

/// Reads a whole frame.
fn open(mut frame: Bytes) -> Result<Cut, Malformed> {
    let length = frame.len();
    let (kind, head) = (frame.get_u8(), usize::from(frame.get_u16()));
    if head > HEAD_BYTES_MAX || head > frame.len() {
        return Err(Malformed::Head { frame: length, head });
    }
    let head = frame.split_to(head);
    match Frame::read(kind, &head, frame) {
        Ok(Some(frame)) => Ok(Cut::Frame(frame)),
        Ok(None) => Ok(Cut::Unknown(kind)),
        Err(why) => Err(Malformed::Content { kind, why }),
    }
}

/// Puts a frame at the end of `out`.
///
/// # Errors
/// If it is too long; `out` is as it was then.
pub fn encode(frame: &Frame, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX_BYTES]);
    frame.write_head(out);
    let head = out.len() - start - PREFIX_BYTES;
    frame.write_payload(out);
    let length = out.len() - start - LENGTH_BYTES;
    let fits = (length <= FRAME_BYTES_MAX && head <= HEAD_BYTES_MAX)
        .then(|| Some((u32::try_from(length).ok()?, u16::try_from(head).ok()?)))
        .flatten();
    let Some((length, head)) = fits else {
        out.truncate(start);
        return Err(TooLong(length));
    };
    let prefix = &mut out[start..start + PREFIX_BYTES];
    prefix[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    prefix[LENGTH_BYTES] = frame.kind();
    prefix[LENGTH_BYTES + 1..].copy_from_slice(&head.to_be_bytes());
    Ok(())
}

/// Writes a head at the end of `out`.
pub(super) fn write(head: &impl Serialize, out: &mut Vec<u8>) {
    // Of postcard's reasons to fail, the one of a full buffer is not this one's, and those of types
    // that it cannot encode (lists of unknown length) are not ours.
    let _ = postcard::serialize_with_flavor::<_, Onto<'_>, ()>(head, Onto(out));
}

/// The end of a list of bytes, as postcard writes to it.
struct Onto<'a>(&'a mut Vec<u8>);

impl Flavor for Onto<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
