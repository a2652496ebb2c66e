//! The stream of bytes between two members.

use bytes::BytesMut;
use control_core::mesh::{Cut, FRAME_BYTES_MAX, PREFIX_BYTES, cut, encode};

/// However a stream is cut into reads, the same frames come out of it, no more of it waits than one frame
/// may have, and each frame is read as it is written again. The first byte says how it is cut.
pub(super) fn frame(input: &[u8]) {
    let Some((&size, rest)) = input.split_first() else { return };
    let whole = cuts(rest, rest.len().max(1));
    let pieces = cuts(rest, usize::from(size).max(1));
    assert_eq!(whole, pieces, "in reads of {size}");
    for one in whole.0 {
        match one {
            Cut::Frame(frame) => {
                let mut out = Vec::new();
                encode(&frame, &mut out).expect("what was a frame has the length of one");
                assert_eq!(cut(&mut BytesMut::from(out.as_slice())), Ok(Some(Cut::Frame(frame))));
            }
            Cut::Unknown(_) => {}
        }
    }
}

fn cuts(input: &[u8], size: usize) -> (Vec<Cut>, bool) {
    let (mut buffer, mut cuts) = (BytesMut::new(), Vec::new());
    for piece in input.chunks(size) {
        buffer.extend_from_slice(piece);
        loop {
            match cut(&mut buffer) {
                Ok(Some(one)) => cuts.push(one),
                Ok(None) => break,
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    return (cuts, false);
                }
            }
        }
        assert!(buffer.len() <= PREFIX_BYTES + FRAME_BYTES_MAX);
    }
    (cuts, true)
}
