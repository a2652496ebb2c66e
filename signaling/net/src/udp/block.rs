//! Memory for received datagrams.

use bytes::{Bytes, BytesMut};

/// Datagrams share blocks of this size, so that a burst costs one allocation in some twenty messages;
/// and a message that is kept for long (a transaction keeps its request for 32 s) keeps no more than
/// this from being freed.
const BLOCK_BYTES: usize = 16 * 1_024;

/// Where the next datagram is copied to.
#[derive(Default)]
pub(crate) struct Block {
    rest: BytesMut,
}

impl Block {
    /// Copies a datagram out of the receive buffer.
    pub(super) fn copy(&mut self, datagram: &[u8]) -> Bytes {
        if self.rest.capacity() < datagram.len() {
            // Takes the old block again if nobody holds a part of it any more.
            self.rest.reserve(datagram.len().max(BLOCK_BYTES));
        }
        self.rest.extend_from_slice(datagram);
        self.rest.split().freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Datagrams of every size come out as they went in while blocks are shared and replaced.
    #[test]
    fn datagrams_of_every_size_survive_shared_blocks() {
        let mut block = Block::default();
        let sizes = [1, 800, 16_384, 65_507, 3, 9_000, 9_000, 0, 1];
        let copies: Vec<(u8, usize, Bytes)> = (0..200u8)
            .map(|fill| {
                let size = sizes[usize::from(fill) % sizes.len()];
                (fill, size, block.copy(&vec![fill; size]))
            })
            .collect();
        for (fill, size, copy) in copies {
            assert_eq!(copy.len(), size);
            assert!(copy.iter().all(|byte| *byte == fill));
        }
    }
}
