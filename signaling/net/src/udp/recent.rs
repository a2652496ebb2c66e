//! The datagrams that were sent last, for matching what ICMP reports.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use signaling_core::transport::Transmit;

/// Most datagrams remembered. A report comes within a round trip; this is 100 ms at 10,000 messages a
/// second, and searching it takes some 2 us.
const RECENT_MAX: usize = 1_024;

/// Most bytes remembered: those datagrams at 1 KiB each.
const RECENT_BYTES_MAX: usize = RECENT_MAX * 1_024;

/// A quote must be this long (or the whole message) to count. An ICMP message is easily forged; what
/// makes it credible is that it quotes something that only the way there has seen: the branch in the
/// top Via, which stands within the first 200 bytes of what we write.
const QUOTE_MIN: usize = 256;

/// The datagrams that were sent last.
#[derive(Default)]
pub(super) struct Recent {
    sent: VecDeque<Transmit>,
    bytes: usize,
}

impl Recent {
    /// Remembers a datagram; the oldest make way.
    pub(super) fn note(&mut self, transmit: Transmit) {
        self.bytes += transmit.bytes.len();
        self.sent.push_back(transmit);
        while self.sent.len() > RECENT_MAX || self.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.sent.pop_front() else { return };
            self.bytes -= oldest.bytes.len();
        }
    }

    /// Takes out the newest datagram to `remote` that starts with `quote`; `None` if there is none, or
    /// the quote is too short to tell.
    pub(super) fn take(&mut self, remote: SocketAddr, quote: &[u8]) -> Option<Transmit> {
        let place = self.sent.iter().rposition(|transmit| {
            transmit.target.remote == remote
                && quote.len() >= QUOTE_MIN.min(transmit.bytes.len())
                && transmit.bytes.starts_with(quote)
        })?;
        let transmit = self.sent.remove(place)?;
        self.bytes -= transmit.bytes.len();
        Some(transmit)
    }
}

/// Whether an error of a socket call may stem from an ICMP report on an earlier datagram rather than
/// from the call itself (udp(7): with `IP_RECVERR` they are passed to whatever call comes next).
pub(super) fn may_be_of_earlier(error: &io::Error) -> bool {
    !matches!(
        error.raw_os_error(),
        Some(
            libc::EAGAIN
                | libc::EINTR
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EMSGSIZE
                | libc::EINVAL
        )
    )
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use signaling_core::transport::{ListenerId, Target, Transport};

    use super::*;

    fn message(remote: &str, bytes: &[u8]) -> Transmit {
        let target = Target {
            transport: Transport::Udp,
            listener: ListenerId(0),
            local: "127.0.0.1:5060".parse().unwrap(),
            remote: remote.parse().unwrap(),
            connection: None,
            name: None,
        };
        Transmit { target, bytes: Bytes::copy_from_slice(bytes), server_name: None }
    }

    /// A report counts only if it quotes enough of a datagram that went just there, and once.
    #[test]
    fn a_report_must_quote_what_was_sent_there() {
        let mut recent = Recent::default();
        let long: Vec<u8> = (0..600_u16).map(|n| (n % 251) as u8).collect();
        let sent = message("127.0.0.1:1", &long);
        let remote = sent.target.remote;
        recent.note(sent.clone());
        recent.note(message("127.0.0.1:2", b"short"));
        assert_eq!(recent.take(remote, &long[..QUOTE_MIN - 1]), None, "too short to tell");
        assert_eq!(recent.take(remote, &[0; QUOTE_MIN]), None, "not what was sent");
        assert_eq!(recent.take("127.0.0.1:2".parse().unwrap(), &long[..QUOTE_MIN]), None);
        assert_eq!(recent.take(remote, &long[..QUOTE_MIN]), Some(sent));
        assert_eq!(recent.take(remote, &long[..QUOTE_MIN]), None, "once");
        assert!(recent.take("127.0.0.1:2".parse().unwrap(), b"short").is_some(), "all of it");
    }

    /// The memory is bounded in datagrams and in bytes; the oldest make way.
    #[test]
    fn the_oldest_datagrams_are_forgotten() {
        let mut recent = Recent::default();
        let name = |number: usize| format!("message {number:5}");
        for number in 0..=RECENT_MAX {
            recent.note(message("127.0.0.1:1", name(number).as_bytes()));
        }
        let remote = "127.0.0.1:1".parse().unwrap();
        assert_eq!(recent.sent.len(), RECENT_MAX);
        assert_eq!(recent.take(remote, name(0).as_bytes()), None);
        assert!(recent.take(remote, name(1).as_bytes()).is_some());
        for _ in 0..100 {
            recent.note(message("127.0.0.1:1", &[b'x'; 60_000]));
        }
        assert!(recent.bytes <= RECENT_BYTES_MAX);
        assert_eq!(recent.bytes, recent.sent.iter().map(|sent| sent.bytes.len()).sum::<usize>());
    }
}
