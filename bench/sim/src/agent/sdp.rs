//! Descriptions as the agents write and read them, without help from the core's own parser.

use std::net::{IpAddr, SocketAddr};

/// Which way media may go, as the sender of a description sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    Both,
    /// The sender sends.
    Send,
    /// The sender receives.
    Receive,
    /// Neither.
    Neither,
}

impl Direction {
    const fn name(self) -> &'static str {
        match self {
            Direction::Both => "sendrecv",
            Direction::Send => "sendonly",
            Direction::Receive => "recvonly",
            Direction::Neither => "inactive",
        }
    }

    /// What the other side answers to it (RFC 3264 6.1).
    #[must_use]
    pub const fn answered(self) -> Direction {
        match self {
            Direction::Both => Direction::Both,
            Direction::Send => Direction::Receive,
            Direction::Receive => Direction::Send,
            Direction::Neither => Direction::Neither,
        }
    }

    /// Whether the one who wrote it sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Direction::Both | Direction::Send)
    }
}

/// RTP payload type of a stream by its place: audio, video.
pub const PAYLOAD_TYPES: [u8; 2] = [0, 96];

/// A description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its c= line.
    pub ip: IpAddr,
    /// The port of each m= line: audio, then video.
    pub ports: Vec<u16>,
    /// The direction of all of them.
    pub direction: Direction,
}

impl Description {
    /// As text.
    #[must_use]
    pub fn write(&self, version: u32) -> String {
        let Description { ip, ports, direction } = self;
        let mut text =
            format!("v=0\r\no=- 1 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n");
        for (place, port) in ports.iter().enumerate() {
            let media = if place == 0 { "audio" } else { "video" };
            let format = PAYLOAD_TYPES[place.min(1)];
            text += &format!("m={media} {port} RTP/AVP {format}\r\na={}\r\n", direction.name());
        }
        text
    }

    /// From text; `None` if it is not one that agents write.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Description> {
        let text = std::str::from_utf8(text).ok()?;
        let ip = text.lines().find_map(|l| l.strip_prefix("c=IN IP4 "))?.trim().parse().ok()?;
        let media = text.lines().filter_map(|l| l.strip_prefix("m="));
        let ports: Option<Vec<u16>> = media.map(|m| m.split(' ').nth(1)?.parse().ok()).collect();
        let direction = [Direction::Send, Direction::Receive, Direction::Neither]
            .into_iter()
            .find(|d| text.contains(&format!("a={}", d.name())))
            .unwrap_or(Direction::Both);
        Some(Description { ip, ports: ports?, direction })
    }

    /// Whether it is a hold of the old kind (RFC 3264 8.4).
    #[must_use]
    pub fn is_old_hold(&self) -> bool {
        self.ip.is_unspecified()
    }

    /// Where the stream's packets go; `None`: nowhere.
    #[must_use]
    pub fn remote(&self, stream: usize) -> Option<SocketAddr> {
        let port = *self.ports.get(stream).filter(|port| **port != 0)?;
        (!self.is_old_hold()).then(|| SocketAddr::new(self.ip, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read_as_it_was_written() {
        let ip = IpAddr::from([192, 0, 2, 1]);
        for direction in [Direction::Both, Direction::Send, Direction::Receive, Direction::Neither]
        {
            let description = Description { ip, ports: vec![4000, 4002], direction };
            let text = description.write(3);
            assert_eq!(Description::read(text.as_bytes()), Some(description));
        }
    }
}
