//! `ringfarm lb follow`: on a Linux balancer, pings the members as balancers do and gives what is new to those
//! that take it, by the rules of `ringfarm lb render --for nftables`.

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use clap::Args;
use control_core::balancer::{Health, Method, Pinged, Site, move_shares};

use super::{file, method};
use crate::exit::Stop;

pub(super) const EXAMPLES: &str = "\
Examples:
  ringfarm lb follow single-ip-nat --site site.toml     until it is told to stop; one line a change

Each member is sent the OPTIONS that it answers itself (row S56), to its own address, four times a second. One
that answers 503 (it drains), or leaves two unanswered, gives its shares of what is new to the others, in one
transaction of nftables; it has them back after three answers. What belongs to a call goes on by itself.";

/// A member is given up within three of these.
const INTERVAL_MS: u32 = 250;

/// The map is written again this often while members are out: who loads the rules anew puts all of them back.
const WRITTEN_AGAIN: Duration = Duration::from_secs(10);

/// Longest answer that is looked at; its first line is what counts.
const ANSWER_BYTES: usize = 4096;

/// Whom to follow.
#[derive(Args, Clone, Debug)]
pub(crate) struct FollowArgs {
    /// The method that the rules were made for.
    #[arg(value_name = "METHOD", value_parser = method)]
    method: Method,
    /// The site that they were made for.
    #[arg(long, value_name = "FILE")]
    site: PathBuf,
    /// Between two pings of a member, in milliseconds.
    #[arg(long, value_name = "N", default_value_t = INTERVAL_MS, value_parser = clap::value_parser!(u32).range(50..=60_000))]
    interval_ms: u32,
}

/// A member, and what is known of it.
struct Followed {
    name: String,
    at: SocketAddr,
    socket: UdpSocket,
    health: Health,
    /// What the last ping came to.
    last: Pinged,
}

/// Runs until it is told to stop.
pub(super) fn follow(args: &FollowArgs) -> Result<(), Stop> {
    let site = file::read(&args.site).map_err(Stop::Usage)?;
    let mut members = followed(&site)?;
    let interval = Duration::from_millis(args.interval_ms.into());
    println!("pinging {} members every {} ms", members.len(), interval.as_millis());
    let mut takes = vec![true; members.len()];
    let mut written = Instant::now();
    for number in 0_u64.. {
        let ends = Instant::now() + interval;
        members.iter_mut().for_each(|member| member.ask(number));
        members.iter_mut().for_each(|member| member.hear(number, ends));
        std::thread::sleep(ends.saturating_duration_since(Instant::now()));
        let now: Vec<bool> = members.iter().map(|member| member.health.takes()).collect();
        let is_due = now.contains(&false) && written.elapsed() > WRITTEN_AGAIN;
        if now == takes && !is_due {
            continue;
        }
        members.iter().zip(&takes).for_each(|(member, took)| member.tell(*took));
        match move_shares(args.method, &now) {
            Some(text) => write(&text)?,
            None => println!("no member takes anything new: everything stays as it is"),
        }
        (takes, written) = (now, Instant::now());
    }
    Ok(())
}

fn followed(site: &Site) -> Result<Vec<Followed>, Stop> {
    let port = site.udp_ports.first().copied().unwrap_or(5060);
    let one = |member: &control_core::balancer::SiteMember| {
        let name = member.name.to_string();
        let address = member.lan.addresses().first().copied();
        let address = address.with_context(|| format!("member {name} has no address"))?;
        let at = SocketAddr::new(address, port);
        let any: IpAddr = if at.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let socket = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect(at)?;
            Ok(socket)
        });
        let socket = socket.with_context(|| format!("member {name} at {at}"))?;
        Ok(Followed { name, at, socket, health: Health::default(), last: Pinged::Ready })
    };
    let members: anyhow::Result<Vec<Followed>> = site.members.iter().map(one).collect();
    let members = members.map_err(Stop::Usage)?;
    if members.is_empty() {
        return Err(Stop::Usage(anyhow!("the site has no member")));
    }
    Ok(members)
}

impl Followed {
    /// Sends a ping. What cannot be sent is heard of as silence, or as a closed port.
    fn ask(&self, number: u64) {
        let Ok(own) = self.socket.local_addr() else { return };
        let _unheard = self.socket.send(options(self.at, own, number).as_bytes());
    }

    /// Waits for the answer to a ping until `ends`; what has come meanwhile is found then, too.
    fn hear(&mut self, number: u64, ends: Instant) {
        self.last = self.heard(number, ends);
        self.health.handle(self.last);
    }

    fn heard(&self, number: u64, ends: Instant) -> Pinged {
        let mut answer = [0; ANSWER_BYTES];
        loop {
            // A timeout of zero would be none.
            let left = ends.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let received = self
                .socket
                .set_read_timeout(Some(left))
                .and_then(|()| self.socket.recv(&mut answer));
            match received {
                Ok(length) => {
                    if let Some(pinged) = answered(&answer[..length], number) {
                        return pinged;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    return Pinged::Closed;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Pinged::Silent,
            }
            if Instant::now() >= ends {
                return Pinged::Silent;
            }
        }
    }

    fn tell(&self, took: bool) {
        let Followed { name, at, .. } = self;
        match (took, self.health.takes()) {
            (true, false) => {
                let why = match self.last {
                    Pinged::Refused(status) => format!("answers {status}"),
                    Pinged::Silent => "is silent".to_owned(),
                    Pinged::Closed => "has closed its port".to_owned(),
                    Pinged::Ready => "comes and goes".to_owned(),
                };
                println!("{name} ({at}) {why}: what is new goes to the others");
            }
            (false, true) => println!("{name} ({at}) takes what is new again"),
            (true, true) | (false, false) => {}
        }
    }
}

/// What an answer to ping `number` says; `None`: it is none.
fn answered(bytes: &[u8], number: u64) -> Option<Pinged> {
    let text = String::from_utf8_lossy(bytes);
    let status: u16 = text.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
    let cseq = format!("CSeq: {} OPTIONS", cseq(number));
    let is_ours = text.lines().any(|line| line.eq_ignore_ascii_case(&cseq));
    match status {
        _ if !is_ours => None,
        100..=199 => None,
        200..=299 => Some(Pinged::Ready),
        other => Some(Pinged::Refused(other)),
    }
}

/// RFC 3261 8.1.1.5: less than 2^31.
const fn cseq(number: u64) -> u64 {
    number % (1 << 31) + 1
}

/// The ping of row S56: to the member by its own address, with a Route to the same.
fn options(to: SocketAddr, own: SocketAddr, number: u64) -> String {
    let cseq = cseq(number);
    let process = std::process::id();
    let port = own.port();
    format!(
        "OPTIONS sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKlb{process}x{port}x{number};rport\r\n\
         Route: <sip:{to};lr>\r\nMax-Forwards: 70\r\nFrom: <sip:balancer@{own}>;tag=lb{process}\r\nTo: <sip:{to}>\r\n\
         Call-ID: lb{process}x{port}\r\nCSeq: {cseq} OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

/// Has nft carry out a transaction.
fn write(text: &str) -> anyhow::Result<()> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut nft = command.spawn().context("cannot start nft; is nftables installed?")?;
    let mut input = nft.stdin.take().context("nft takes no input")?;
    input.write_all(text.as_bytes()).context("nft does not read")?;
    drop(input);
    let output = nft.wait_with_output().context("nft")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "nft: {}; are the rules of `ringfarm lb render` loaded, for this site and method?",
        said.trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S56: the Route and the address of the request are the member's own.
    #[test]
    fn a_ping_is_for_the_member_alone() {
        let text = options("10.0.0.1:5060".parse().unwrap(), "10.0.0.9:4000".parse().unwrap(), 0);
        assert!(text.starts_with("OPTIONS sip:10.0.0.1:5060 SIP/2.0\r\n"), "{text}");
        assert!(text.contains("\r\nRoute: <sip:10.0.0.1:5060;lr>\r\n"), "{text}");
        assert!(text.contains("\r\nCSeq: 1 OPTIONS\r\n"), "{text}");
    }

    #[test]
    fn the_answer_to_the_last_ping_counts_and_no_other() {
        let answer =
            |status: u16, cseq: u64| format!("SIP/2.0 {status} X\r\nCSeq: {cseq} OPTIONS\r\n\r\n");
        assert_eq!(answered(answer(200, 8).as_bytes(), 7), Some(Pinged::Ready));
        assert_eq!(answered(answer(503, 8).as_bytes(), 7), Some(Pinged::Refused(503)));
        assert_eq!(answered(answer(200, 7).as_bytes(), 7), None);
        assert_eq!(answered(b"OPTIONS sip:x SIP/2.0\r\n\r\n", 0), None);
    }
}
