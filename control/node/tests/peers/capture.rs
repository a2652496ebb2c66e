//! An independent judge of the media: tcpdump captures what passes the node's host, tshark makes
//! sense of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{BRIDGE, Lab, NODE, Process, run};
use crate::tone::Recording;

/// What a test that uses this needs installed.
pub(crate) const TOOLS: [&str; 2] = ["tcpdump", "tshark"];

/// A capture that is going on.
pub(crate) struct Capture<'a> {
    process: Process,
    lab: &'a Lab,
    file: PathBuf,
}

/// What tshark says of one RTP stream.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stream {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) ssrc: u32,
    pub(crate) packets: u64,
    /// By gaps in the sequence numbers.
    pub(crate) lost: i64,
    /// RFC 3550 6.4.1, the highest value in the stream's life, in milliseconds.
    pub(crate) jitter_ms_max: f64,
}

impl Stream {
    pub(crate) fn is_from(&self, address: impl Into<IpAddr>) -> bool {
        self.from.ip() == address.into()
    }

    pub(crate) fn is_to(&self, address: impl Into<IpAddr>) -> bool {
        self.to.ip() == address.into()
    }
}

impl<'a> Capture<'a> {
    /// Returns once tcpdump captures.
    pub(crate) fn start(lab: &'a Lab) -> Capture<'a> {
        let file = lab.path("capture.pcap");
        let mut command = lab.host(NODE).command("tcpdump");
        // -B: KiB of kernel buffer, so that a busy machine does not make the judge see losses that
        // were not there. -Z: it would otherwise give up root, and with it the scratch folder.
        command
            .args(["-i", BRIDGE, "--immediate-mode", "-U", "-n", "-B", "16384", "-Z", "root", "-w"])
            .arg(&file);
        let mut process = Process::spawn("tcpdump", &mut command);
        process.wait_line("its capture", Duration::from_secs(10), |line| {
            line.contains("listening on")
        });
        Capture { process, lab, file }
    }

    /// Ends the capture.
    pub(crate) fn stop(mut self) -> Evidence<'a> {
        self.process.signal(Signal::SIGINT);
        self.process.wait_end(Duration::from_secs(10));
        let complete =
            self.process.lines().iter().any(|line| line.starts_with("0 packets dropped by kernel"));
        assert!(
            complete,
            "tcpdump dropped packets, so it cannot judge: {:#?}",
            self.process.lines()
        );
        Evidence { lab: self.lab, file: self.file }
    }
}

/// A finished capture.
pub(crate) struct Evidence<'a> {
    lab: &'a Lab,
    file: PathBuf,
}

impl Evidence<'_> {
    /// The RTP streams that tshark finds.
    pub(crate) fn streams(&self) -> Vec<Stream> {
        run(self.tshark().args(["-q", "-z", "rtp,streams"])).lines().filter_map(parse).collect()
    }

    /// The last `packets` packets of G.711 A-law that one host sent to another, decoded.
    pub(crate) fn last_audio(&self, from: Ipv4Addr, to: Ipv4Addr, packets: usize) -> Recording {
        let filter = format!("rtp.p_type == 8 && ip.src == {from} && ip.dst == {to}");
        let listing = run(self.tshark().args(["-Y", &filter, "-T", "fields", "-e", "rtp.payload"]));
        let payloads: Vec<&str> = listing.lines().collect();
        assert!(payloads.len() >= packets, "only {} packets from {from} to {to}", payloads.len());
        let hex = payloads[payloads.len() - packets..].concat().replace(':', "");
        let bytes = (0..hex.len() / 2)
            .filter_map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok());
        Recording { samples_per_second: 8000, samples: bytes.map(decode_a_law).collect() }
    }

    fn tshark(&self) -> Command {
        let mut tshark = self.lab.host(NODE).command("tshark");
        // SDP tells it which ports carry RTP; the heuristics find what an SDP in TCP segments did
        // not tell.
        tshark.args(["-n", "-o", "rtp.heuristic_rtp:TRUE", "-r"]).arg(&self.file);
        tshark
    }
}

/// ITU-T G.711 A-law to linear, with 16 bits of range.
fn decode_a_law(byte: u8) -> f64 {
    // Every other bit is inverted on the wire.
    let code = byte ^ 0x55;
    let (segment, mantissa) = (code >> 4 & 7, i32::from(code & 15));
    let magnitude = match segment {
        0 => (mantissa << 4) + 8,
        _ => ((mantissa << 4) + 0x108) << (segment - 1),
    };
    f64::from(if code & 0x80 == 0 { -magnitude } else { magnitude })
}

/// Parses a line of tshark's table: start, end, source, port, destination, port, SSRC, payload,
/// packets, lost, (percent), min/mean/max delta, min/mean/max jitter, problems.
fn parse(line: &str) -> Option<Stream> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let address = |at: usize| {
        Some(SocketAddr::new(fields.get(at)?.parse().ok()?, fields.get(at + 1)?.parse().ok()?))
    };
    Some(Stream {
        from: address(2)?,
        to: address(4)?,
        ssrc: u32::from_str_radix(fields.get(6)?.strip_prefix("0x")?, 16).ok()?,
        packets: fields.get(8)?.parse().ok()?,
        lost: fields.get(9)?.parse().ok()?,
        jitter_ms_max: fields.get(16)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ends of the A-law scale and its middle (G.711 table 1a, in 16 bits).
    #[test]
    fn a_law_is_decoded() {
        let decoded = [0xAA, 0x2A, 0xD5, 0x55].map(decode_a_law);
        assert_eq!(decoded, [32256.0, -32256.0, 8.0, -8.0]);
    }

    /// A line of tshark 4.0 is understood, and a head line is none.
    #[test]
    fn table_of_tshark_is_understood() {
        let line = "     3.64  10.87  10.77.0.1 20000  10.77.0.3 16028 0x223294B5  g711A   242     -1 (-0.4%)   \
                    16.431          29.967        2419.138           0.057           1.233           1.481 X";
        let stream = Stream {
            from: "10.77.0.1:20000".parse().unwrap(),
            to: "10.77.0.3:16028".parse().unwrap(),
            ssrc: 0x2232_94B5,
            packets: 242,
            lost: -1,
            jitter_ms_max: 1.481,
        };
        assert_eq!(parse(line), Some(stream));
        assert_eq!(
            parse("   Start time      End time     Src IP addr  Port    Dest IP addr  Port"),
            None
        );
    }
}
