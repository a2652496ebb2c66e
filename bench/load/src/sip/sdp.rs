//! Session descriptions: one audio and perhaps one video stream (RFC 8866, RFC 3264).

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};

use crate::ids::Kind;
use crate::media::flow::Remote;
use crate::media::packet::{AUDIO_PAYLOAD_TYPE, VIDEO_PAYLOAD_TYPE};

/// Longest accepted description; it came in one datagram.
const LINES_MAX: usize = 400;

/// Writes an offer, or the answer to one of ours, which has the same lines.
pub(crate) fn write(session: u32, media: [Option<SocketAddr>; 2]) -> String {
    let first = media.iter().flatten().next();
    let address = first.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), SocketAddr::ip);
    let kind = if address.is_ipv4() { "IP4" } else { "IP6" };
    let mut sdp = format!(
        "v=0\r\no=- {session} 1 IN {kind} {address}\r\ns=-\r\nc=IN {kind} {address}\r\nt=0 0\r\n"
    );
    if let Some(audio) = media[Kind::Audio.index()] {
        let _infallible = write!(
            sdp,
            "m=audio {} RTP/AVP {AUDIO_PAYLOAD_TYPE}\r\na=rtpmap:{AUDIO_PAYLOAD_TYPE} PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n",
            audio.port()
        );
    }
    if let Some(video) = media[Kind::Video.index()] {
        let _infallible = write!(
            sdp,
            "m=video {} RTP/AVP {VIDEO_PAYLOAD_TYPE}\r\na=rtpmap:{VIDEO_PAYLOAD_TYPE} H264/90000\r\na=fmtp:{VIDEO_PAYLOAD_TYPE} packetization-mode=1\r\na=sendrecv\r\n",
            video.port()
        );
    }
    sdp
}

/// One m= section as far as it matters here.
#[derive(Debug, Default)]
struct Section {
    name: String,
    port: u16,
    payload_types: Vec<u8>,
    address: Option<IpAddr>,
    rtcp: Option<(u16, Option<IpAddr>)>,
}

/// Where the other side wants its media, by kind; the description must have the sections that were
/// offered, in that order, with our payload types.
///
/// # Errors
/// Says what is wrong with the description; a stream with port 0 was refused.
pub(crate) fn read(body: &[u8], video: bool) -> Result<[Option<Remote>; 2]> {
    read_kinds(body, [true, video])
}

/// The same for any choice of kinds.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_kinds(body: &[u8], wanted: [bool; 2]) -> Result<[Option<Remote>; 2]> {
    let text = std::str::from_utf8(body).context("the description is not text")?;
    ensure!(!text.is_empty(), "there is no description");
    ensure!(text.starts_with("v=0"), "the description does not start with v=0");
    let sections = sections(text)?;
    let known =
        [(Kind::Audio, "audio", AUDIO_PAYLOAD_TYPE), (Kind::Video, "video", VIDEO_PAYLOAD_TYPE)];
    let wanted: Vec<_> = known.into_iter().filter(|(kind, ..)| wanted[kind.index()]).collect();
    // RFC 3264 6: as many m= lines as the offer, in its order.
    ensure!(
        sections.len() == wanted.len(),
        "{} streams instead of {}",
        sections.len(),
        wanted.len()
    );
    let mut remotes = [None, None];
    for (section, (kind, name, payload_type)) in sections.iter().zip(wanted) {
        ensure!(section.name == name, "m={} where m={name} was offered", section.name);
        ensure!(section.port != 0, "{name} was refused");
        ensure!(section.payload_types.contains(&payload_type), "{name} without {payload_type}");
        remotes[kind.index()] = Some(remote_of(section)?);
    }
    Ok(remotes)
}

fn remote_of(section: &Section) -> Result<Remote> {
    let address = section.address.with_context(|| format!("no c= for {}", section.name))?;
    let (rtcp_port, rtcp_address) = section.rtcp.unwrap_or((section.port.saturating_add(1), None));
    Ok(Remote {
        rtp: SocketAddr::new(address, section.port),
        rtcp: SocketAddr::new(rtcp_address.unwrap_or(address), rtcp_port),
    })
}

fn sections(text: &str) -> Result<Vec<Section>> {
    let mut common = None;
    let mut sections: Vec<Section> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        ensure!(at < LINES_MAX, "more than {LINES_MAX} lines");
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        let Some((kind, value)) = line.split_once('=') else { bail!("line {line:?}") };
        match kind {
            "m" => sections.push(Section { address: common, ..media_line(value)? }),
            "c" => {
                let address = Some(connection(value)?);
                match sections.last_mut() {
                    Some(section) => section.address = address,
                    None => common = address,
                }
            }
            "a" => {
                let rtcp = value.strip_prefix("rtcp:");
                if let (Some(rtcp), Some(section)) = (rtcp, sections.last_mut()) {
                    section.rtcp = Some(rtcp_attribute(rtcp)?);
                }
            }
            _ => {}
        }
    }
    Ok(sections)
}

fn media_line(value: &str) -> Result<Section> {
    let mut words = value.split_ascii_whitespace();
    let (name, port, profile) = (words.next(), words.next(), words.next());
    let (Some(name), Some(port), Some(profile)) = (name, port, profile) else {
        bail!("m={value}");
    };
    ensure!(profile == "RTP/AVP", "profile {profile} instead of RTP/AVP");
    let payload_types = words.map(str::parse).collect::<Result<_, _>>();
    Ok(Section {
        name: name.to_owned(),
        port: port.parse().with_context(|| format!("m={value}"))?,
        payload_types: payload_types.with_context(|| format!("m={value}"))?,
        ..Section::default()
    })
}

fn connection(value: &str) -> Result<IpAddr> {
    let v4 = value.strip_prefix("IN IP4 ");
    let address = v4.or_else(|| value.strip_prefix("IN IP6 "));
    address.with_context(|| format!("c={value}"))?.parse().with_context(|| format!("c={value}"))
}

/// RFC 3605: a port, perhaps with an address.
fn rtcp_attribute(value: &str) -> Result<(u16, Option<IpAddr>)> {
    let (port, address) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    let port = port.parse().with_context(|| format!("a=rtcp:{value}"))?;
    let address = if address.is_empty() { None } else { Some(connection(address)?) };
    Ok((port, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_read_back_with_rtcp_one_port_above() {
        let audio: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let video: SocketAddr = "127.0.0.1:4002".parse().unwrap();
        let sdp = write(1, [Some(audio), Some(video)]);
        let remotes = read(sdp.as_bytes(), true).unwrap();
        assert_eq!(remotes[0].unwrap().rtp, audio);
        assert_eq!(remotes[1].unwrap().rtcp.port(), 4003);
    }

    #[test]
    fn video_alone_is_found_in_its_place() {
        let video: SocketAddr = "127.0.0.1:4002".parse().unwrap();
        let sdp = write(1, [None, Some(video)]);
        let remotes = read_kinds(sdp.as_bytes(), [false, true]).unwrap();
        assert_eq!((remotes[0], remotes[1].unwrap().rtp), (None, video));
    }

    /// RFC 3605.
    #[test]
    fn an_rtcp_attribute_moves_rtcp() {
        let sdp =
            "v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 10 RTP/AVP 0\r\na=rtcp:53 IN IP4 127.0.0.2\r\n";
        let remote = read(sdp.as_bytes(), false).unwrap()[0].unwrap();
        assert_eq!(remote.rtcp, "127.0.0.2:53".parse().unwrap());
    }

    /// RFC 3264 6.
    #[test]
    fn a_description_that_is_no_answer_to_the_offer_is_refused() {
        let head = "v=0\r\nc=IN IP4 127.0.0.1\r\n";
        for (rest, why) in [
            ("m=audio 10 RTP/AVP 0\r\n", "1 streams instead of 2"),
            ("m=audio 10 RTP/AVP 0\r\nm=video 0 RTP/AVP 96\r\n", "video was refused"),
            ("m=video 10 RTP/AVP 96\r\nm=audio 12 RTP/AVP 0\r\n", "m=video where m=audio"),
            ("m=audio 10 RTP/AVP 8\r\nm=video 12 RTP/AVP 96\r\n", "audio without 0"),
            ("m=audio 10 RTP/SAVP 0\r\nm=video 12 RTP/AVP 96\r\n", "profile RTP/SAVP"),
        ] {
            let refused = read(format!("{head}{rest}").as_bytes(), true).unwrap_err().to_string();
            assert!(refused.contains(why), "{refused}");
        }
        assert!(read(b"", true).is_err());
    }
}
