//! The independent judge: what was captured at the clients, read by tshark.
//!
//! A SIP answer has to come from the address and port that its request went to, and whatever comes to a
//! client's SIP port over UDP from one that the client has sent SIP to: phones, and the firewalls before
//! them, drop everything else (S38, S39, S53). A media packet has to come from an address and port that a
//! description has told this side. What clients say over TLS nobody else can read, so their media is judged by
//! themselves: they have an address of their own.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use load::relaybench::stop::Stop;
use nix::sys::signal::Signal;

use crate::plan::{CLIENT, SIP, SIPS, outside};
use crate::process::{self, Process};
use crate::segment::{DEVICE, Segment};

/// A capture begins within this.
const LISTENS: Duration = Duration::from_secs(15);
const ENDS: Duration = Duration::from_secs(30);
/// How much of a media packet is kept: the heads of Ethernet, IPv6, UDP and RTP.
const HEAD_BYTES: &str = "96";
/// What the kernel may hold for a capture, in KiB.
const HELD_KIB: &str = "65536";

/// What clients get is being captured.
#[derive(Debug)]
pub(crate) struct Capture {
    sip: (Process, PathBuf),
    media: (Process, PathBuf),
}

impl Capture {
    /// Begins; packets are captured once this returns.
    ///
    /// # Errors
    /// tcpdump does not run.
    pub(crate) fn start(segment: &Segment, folder: &Path, stop: &Stop) -> Result<Capture> {
        // Later fragments of IPv4 have no ports; those of IPv6 have a header of their own.
        let sip = format!("port {SIP} or port {SIPS} or ip[6:2] & 0x1fff != 0 or ip6 proto 44");
        let media = format!("udp and not port {SIP} and not port {SIPS}");
        let begin = |name: &str, keep: &str, what: &str| -> Result<(Process, PathBuf)> {
            let file = folder.join(format!("{name}.pcap"));
            let mut command = segment.clients.command("tcpdump");
            command.args(["--immediate-mode", "-Z", "root", "-n", "-i", DEVICE]);
            command.args(["-s", keep, "-B", HELD_KIB, "-w"]).arg(&file).arg(what);
            let mut process = Process::spawn(&format!("tcpdump-{name}"), &mut command, folder)?;
            process
                .wait("tcpdump to listen", LISTENS, stop, |said| said.contains("listening on"))?;
            Ok((process, file))
        };
        Ok(Capture { sip: begin("sip", "0", &sip)?, media: begin("media", HEAD_BYTES, &media)? })
    }

    /// Ends, and judges.
    ///
    /// # Errors
    /// The kernel has dropped packets, so that nothing can be said, or tshark does not run.
    pub(crate) fn judge(self, stop: &Stop) -> Result<Verdict> {
        let mut files = Vec::new();
        for (mut process, file) in [self.sip, self.media] {
            process.signal(Signal::SIGINT);
            process.wait_end(ENDS, stop)?;
            let said = process.said();
            let whole = said.lines().any(|line| line.starts_with("0 packets dropped by kernel"));
            ensure!(whole, "the capture has holes: {}", process.last_words());
            files.push(file);
        }
        Ok(judge(&sip_of(&files[0])?, &media_of(&files[1])?))
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Answers whose request was seen.
    pub answers: u64,
    /// Answers from elsewhere than where their request went, and packets to SIP ports from elsewhere than
    /// where those have sent to.
    pub wrong_answers: u64,
    /// Media packets.
    pub media: u64,
    /// Those from an address and port that nobody was told.
    pub wrong_media: u64,
}

/// A SIP message as tshark has read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sip {
    /// Where it came from.
    pub source: SocketAddr,
    /// Where it went.
    pub destination: SocketAddr,
    /// Whether it travelled by a connection.
    pub is_stream: bool,
    /// The code, of an answer.
    pub code: Option<u16>,
    /// The transaction: topmost branch and method of CSeq.
    pub transaction: (String, String),
    /// Where its description wants media: the addresses and ports of its streams.
    pub media: Vec<SocketAddr>,
}

/// A packet of media: from where to where.
pub type Media = (SocketAddr, SocketAddr);

/// Judges what one host of clients has got.
#[must_use]
pub fn judge(sip: &[Sip], media: &[Media]) -> Verdict {
    let clients = outside(CLIENT).both();
    let is_client = |at: &SocketAddr| clients.contains(&at.ip());
    let mut verdict = Verdict::default();
    let mut asked: HashMap<&(String, String), BTreeSet<SocketAddr>> = HashMap::new();
    let mut partners: HashMap<SocketAddr, BTreeSet<SocketAddr>> = HashMap::new();
    let mut told: HashSet<SocketAddr> = HashSet::new();
    for message in sip {
        if !is_client(&message.source) && !is_client(&message.destination) {
            continue;
        }
        if is_client(&message.source) {
            partners.entry(message.source).or_default().insert(message.destination);
            if message.code.is_none() {
                asked.entry(&message.transaction).or_default().insert(message.destination);
            }
            continue;
        }
        // RTCP is one port above (RFC 3550 11).
        for at in &message.media {
            told.insert(*at);
            told.insert(SocketAddr::new(at.ip(), at.port().wrapping_add(1)));
        }
        let is_known = |of: Option<&BTreeSet<SocketAddr>>| {
            of.is_some_and(|known| known.contains(&message.source))
        };
        verdict.answers += u64::from(message.code.is_some());
        let is_right = match message.code {
            // Several messages in one packet are told apart by nobody here, and whoever answers on a connection
            // answers from where it was opened to.
            Some(_) if message.is_stream => is_known(partners.get(&message.destination)),
            Some(_) => is_known(asked.get(&message.transaction)),
            // Requests on connections that the node has opened come from any port.
            None => message.is_stream || is_known(partners.get(&message.destination)),
        };
        verdict.wrong_answers += u64::from(!is_right);
    }
    for (source, destination) in media.iter().filter(|(_, destination)| is_client(destination)) {
        if partners.contains_key(destination) {
            // SIP from a port that is none of SIP.
            verdict.wrong_answers += 1;
            continue;
        }
        verdict.media += 1;
        verdict.wrong_media += u64::from(!told.contains(source));
    }
    verdict
}

/// Runs tshark over a capture: a line for each packet, columns divided by tabs.
fn tshark(file: &Path, filter: &str, fields: &[&str]) -> Result<String> {
    let mut command = std::process::Command::new("tshark");
    command.arg("-n").arg("-r").arg(file).args(["-Y", filter, "-T", "fields"]);
    command.args(["-E", "separator=/t", "-E", "aggregator=,"]);
    for field in fields {
        command.args(["-e", field]);
    }
    process::run(&mut command)
}

const ENDPOINTS: [&str; 8] = [
    "ip.src",
    "ipv6.src",
    "udp.srcport",
    "tcp.srcport",
    "ip.dst",
    "ipv6.dst",
    "udp.dstport",
    "tcp.dstport",
];

fn sip_of(file: &Path) -> Result<Vec<Sip>> {
    let own = [
        "sip.Status-Code",
        "sip.Via.branch",
        "sip.CSeq.method",
        "sdp.connection_info.address",
        "sdp.media.port",
    ];
    let fields: Vec<&str> = ENDPOINTS.into_iter().chain(own).collect();
    let mut messages = Vec::new();
    for line in tshark(file, "sip", &fields)?.lines() {
        messages.extend(sip_line(line).with_context(|| format!("tshark said {line:?}"))?);
    }
    Ok(messages)
}

/// Several messages in one packet of a connection come as lists in one line.
fn sip_line(line: &str) -> Option<Vec<Sip>> {
    let columns: Vec<&str> = line.split('\t').collect();
    let (source, destination) = endpoints(&columns)?;
    let list = |at: usize| columns.get(at).copied().unwrap_or_default().split(',');
    let is_stream = !columns[3].is_empty();
    let address = list(11).next().and_then(|text| text.parse::<IpAddr>().ok());
    let ports = list(12).filter_map(|port| port.parse::<u16>().ok());
    let media: Vec<SocketAddr> = address
        .into_iter()
        .flat_map(|ip| ports.clone().map(move |port| (ip, port).into()))
        .collect();
    // Which part of such a line belongs to which message is not told: all that matters of them is what
    // media they tell of.
    let branch = list(9).next().unwrap_or_default().to_owned();
    let method = list(10).next().unwrap_or_default().to_owned();
    let code = list(8).next().and_then(|code| code.parse().ok());
    let transaction = (branch, method);
    Some(vec![Sip { source, destination, is_stream, code, transaction, media }])
}

fn media_of(file: &Path) -> Result<Vec<Media>> {
    let mut packets = Vec::new();
    for line in tshark(file, "udp", &ENDPOINTS)?.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        packets.push(endpoints(&columns).with_context(|| format!("tshark said {line:?}"))?);
    }
    Ok(packets)
}

/// Columns in the order of [`ENDPOINTS`].
fn endpoints(columns: &[&str]) -> Option<(SocketAddr, SocketAddr)> {
    let end = |at: usize| {
        let either = |a: usize, b: usize| {
            let (a, b) = (*columns.get(a)?, *columns.get(b)?);
            Some(if a.is_empty() { b } else { a })
        };
        let ip: IpAddr = either(at, at + 1)?.parse().ok()?;
        Some(SocketAddr::new(ip, either(at + 2, at + 3)?.parse().ok()?))
    };
    Some((end(0)?, end(4)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn sip(source: &str, destination: &str, code: Option<u16>, media: &[&str]) -> Sip {
        Sip {
            source: at(source),
            destination: at(destination),
            is_stream: false,
            code,
            transaction: ("z9hG4bK1".into(), "INVITE".into()),
            media: media.iter().map(|text| at(text)).collect(),
        }
    }

    const PHONE: &str = "198.51.100.10:4000";
    const VIP: &str = "203.0.113.100:5060";

    /// S38, S39: the port is part of where an answer has to come from.
    #[test]
    fn an_answer_from_another_port_than_was_asked_is_wrong() {
        let invite = sip(PHONE, VIP, None, &[]);
        let right = judge(&[invite.clone(), sip(VIP, PHONE, Some(200), &[])], &[]);
        assert_eq!((right.answers, right.wrong_answers), (1, 0));
        let wrong = judge(&[invite.clone(), sip("203.0.113.100:1025", PHONE, Some(200), &[])], &[]);
        assert_eq!((wrong.answers, wrong.wrong_answers), (1, 1));
        // Where tshark does not take the port for one of SIP.
        let wrong = judge(&[invite], &[(at("203.0.113.100:1025"), at(PHONE))]);
        assert_eq!(wrong.wrong_answers, 1);
    }

    #[test]
    fn media_from_where_nobody_was_told_of_is_wrong() {
        let told = [
            sip(PHONE, VIP, None, &["198.51.100.10:6000"]),
            sip(VIP, PHONE, Some(200), &["203.0.113.11:10000"]),
        ];
        let phone = at("198.51.100.10:6000");
        let media = ["203.0.113.11:10000", "203.0.113.11:10001", "203.0.113.12:10000"];
        let media: Vec<Media> = media.iter().map(|from| (at(from), phone)).collect();
        let verdict = judge(&told, &media);
        assert_eq!((verdict.media, verdict.wrong_media, verdict.wrong_answers), (3, 1, 0));
    }

    #[test]
    fn a_line_of_tshark_is_read_in_both_families() {
        let line = "203.0.113.100\t\t5060\t\t198.51.100.10\t\t4000\t\t200\tz9hG4bK1\tINVITE\t203.0.113.11\t10000";
        let read = sip_line(line).unwrap();
        assert_eq!(read, [sip(VIP, PHONE, Some(200), &["203.0.113.11:10000"])]);
        let line =
            "\t2001:db8:a::100\t\t5060\t\t2001:db8:c::10\t\t4000\t\tz9hG4bK1,z9hG4bK0\tBYE\t\t";
        let read = sip_line(line).unwrap().remove(0);
        assert!(read.is_stream && read.code.is_none() && read.media.is_empty());
        assert_eq!(read.source, at("[2001:db8:a::100]:5060"));
    }
}
