//! Requests that no packet holds: their fragments have to reach one frontend, whichever.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::members::Site;
use crate::plan::{CLIENT, Family, SIP, VIP, outside};

/// How large they are.
const BYTES: usize = 4_096;
/// So many, each from a port of its own.
const COUNT: u32 = 20;
/// An answer comes within this, or never.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends INVITEs of 4 kB to a user that is not there: how many were sent, and how many were refused by the
/// address and port that they went to.
///
/// # Errors
/// There is no socket.
pub(crate) fn ask(site: Site<'_>, family: Family) -> Result<(u32, u32)> {
    let mut answered = 0;
    for number in 0..COUNT {
        let is_answered = site.segment.clients.enter(|| {
            let socket = UdpSocket::bind(outside(CLIENT).at(family, 0)).context("a socket")?;
            let own = socket.local_addr().context("its address")?;
            let vip = VIP.at(family, SIP);
            socket.send_to(invite(vip, own, number).as_bytes(), vip).context("sending")?;
            Ok(hears(&socket, vip))
        })?;
        answered += u32::from(is_answered);
    }
    Ok((COUNT, answered))
}

/// Whether a final answer comes from there, and nothing from elsewhere.
fn hears(socket: &UdpSocket, vip: SocketAddr) -> bool {
    let ends = Instant::now() + PATIENCE;
    let mut answer = [0; 2_048];
    while let Some(left) =
        ends.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    {
        let heard =
            socket.set_read_timeout(Some(left)).and_then(|()| socket.recv_from(&mut answer));
        let Ok((length, from)) = heard else { return false };
        if from != vip {
            return false;
        }
        if !answer[..length].starts_with(b"SIP/2.0 1") {
            return true;
        }
    }
    false
}

fn invite(vip: SocketAddr, own: SocketAddr, number: u32) -> String {
    let mut text = format!(
        "INVITE sip:nobody{number}@{vip} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKlarge{number};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:large@{vip}>;tag=l{number}\r\nTo: <sip:nobody{number}@{vip}>\r\n\
         Call-ID: large-{number}-{}\r\nCSeq: 1 INVITE\r\nContact: <sip:large@{own}>\r\n",
        own.port()
    );
    while text.len() < BYTES {
        text += &format!("X-Filler: {}\r\n", "x".repeat(200));
    }
    text + "Content-Length: 0\r\n\r\n"
}
