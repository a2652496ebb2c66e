//! What a connection tracker's table says of our ports.

use crate::settings::PortRange;

/// Entries of our ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tracked {
    /// Of SIP over UDP.
    pub sip: u64,
    /// Of media.
    pub media: u64,
    /// How many entries the table has, and how many it may have.
    pub table: Option<(u64, u64)>,
}

impl Tracked {
    /// Counts a line as `/proc/net/nf_conntrack` and `conntrack -L` write it:
    /// `ipv4 2 udp 17 29 src=192.0.2.1 dst=192.0.2.2 sport=5060 dport=5060 ...`. An entry is ours if a port of either
    /// direction is; of other lines nothing is counted.
    pub fn count(&mut self, line: &str, sip: &[u16], media: PortRange) {
        if !line.split_ascii_whitespace().take(4).any(|word| word == "udp") {
            return;
        }
        let port = |word: &str| {
            let digits = word.strip_prefix("sport=").or_else(|| word.strip_prefix("dport="))?;
            digits.parse::<u16>().ok()
        };
        let mut ports = line.split_ascii_whitespace().filter_map(port);
        let mut is_media = false;
        if ports.any(|port| {
            is_media |= (media.first()..=media.last()).contains(&port);
            sip.contains(&port)
        }) {
            self.sip += 1;
        } else if is_media {
            self.media += 1;
        }
    }
}
