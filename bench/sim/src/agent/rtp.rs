//! Packets of media that say what they are, so that whoever receives one knows whether it should.

use std::time::Duration;

use super::sdp::PAYLOAD_TYPES;
use crate::{AgentId, CallNo};

/// From one packet of a stream to the next: rarer than speech, for the sake of the run.
pub(super) const INTERVAL: Duration = Duration::from_millis(200);

const MAGIC: &[u8; 4] = b"sim!";

/// Which packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// Its call.
    pub call: CallNo,
    /// Who sent it.
    pub from: AgentId,
    /// On which stream, by place.
    pub stream: u8,
    /// The how manieth of this stream.
    pub number: u32,
}

impl Mark {
    /// The number of a packet that was sent to another call's port.
    pub const ASTRAY: u32 = u32::MAX;

    /// The packet with this mark.
    #[must_use]
    pub fn packet(&self, sequence: u16) -> Vec<u8> {
        let payload_type = PAYLOAD_TYPES[usize::from(self.stream).min(1)];
        let ssrc = self.call.0 << 12 ^ (self.from.0 as u32) << 1 ^ u32::from(self.stream);
        let mut packet = vec![0x80, payload_type];
        packet.extend(sequence.to_be_bytes());
        packet.extend((u32::from(sequence) * 160).to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend(MAGIC);
        packet.extend(self.call.0.to_be_bytes());
        packet.extend((self.from.0 as u32).to_be_bytes());
        packet.push(self.stream);
        packet.extend(self.number.to_be_bytes());
        packet
    }

    /// The mark of a packet; `None` for a stranger's.
    #[must_use]
    pub fn of(packet: &[u8]) -> Option<Mark> {
        let payload = packet.get(12..)?.strip_prefix(MAGIC)?;
        let number = |at: usize| {
            let bytes: [u8; 4] = payload.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_be_bytes(bytes))
        };
        Some(Mark {
            call: CallNo(number(0)?),
            from: AgentId(number(4)? as usize),
            stream: *payload.get(8)?,
            number: number(9)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_says_what_it_is() {
        let mark = Mark { call: CallNo(7), from: AgentId(3), stream: 1, number: 70_000 };
        assert_eq!(Mark::of(&mark.packet(5)), Some(mark));
        assert_eq!(Mark::of(&[0x80; 40]), None);
    }
}
