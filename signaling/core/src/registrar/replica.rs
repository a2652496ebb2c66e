//! A user's bindings as members tell each other, and how that is written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::binding::Binding;
use super::process::{AOR_BYTES_MAX, CONTACT_BYTES_MAX, is_instance};
use crate::transport::{Arrival, ConnectionId, ListenerId, Transport};
use crate::wire::Uri;

/// Tells which of two lists of one user is the later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Grows with each change.
    pub count: u64,
    /// Who has changed it; decides where two have done so at once.
    pub member: u16,
}

/// All bindings of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The user, as the registrar names it.
    pub aor: Arc<str>,
    /// Which list it is.
    pub version: Version,
    /// The bindings, the one refreshed last at the end.
    pub bindings: Vec<Copied>,
}

/// One binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub(super) uri: Box<str>,
    pub(super) arrival: Arrival,
    /// Not written: where it came to, once `arrival` is a way of this node.
    pub(super) came_to: Option<Box<SocketAddr>>,
    pub(super) flow_lost: bool,
    pub(super) path: Option<Box<str>>,
    pub(super) q_thousandths: u16,
    /// How long it lasts from when it was written: clocks differ.
    pub(super) lasts: Duration,
    pub(super) instance: Option<Box<str>>,
    pub(super) reg_id: Option<u32>,
    pub(super) call_id: u64,
    pub(super) cseq: u32,
}

impl Copied {
    pub(super) fn of(binding: &Binding, now: Instant) -> Copied {
        Copied {
            uri: binding.uri.clone(),
            arrival: Arrival {
                local: binding.came_to.as_deref().copied().unwrap_or(binding.arrival.local),
                ..binding.arrival
            },
            came_to: None,
            flow_lost: binding.flow_lost,
            path: binding.path.clone(),
            q_thousandths: binding.q_thousandths,
            lasts: binding.expires.saturating_duration_since(now),
            instance: binding.instance.clone(),
            reg_id: binding.reg_id,
            call_id: binding.call_id,
            cseq: binding.cseq,
        }
    }

    pub(super) fn into_binding(self, expires: Instant, serial: u64) -> Binding {
        Binding {
            uri: self.uri,
            arrival: self.arrival,
            came_to: self.came_to,
            flow_lost: self.flow_lost,
            path: self.path,
            q_thousandths: self.q_thousandths.min(1000),
            expires,
            instance: self.instance,
            reg_id: self.reg_id,
            call_id: self.call_id,
            cseq: self.cseq,
            serial,
            timer: None,
        }
    }
}

/// The version of what is written. Another one is not read.
const FORMAT: u8 = 1;

const FLOW_LOST: u8 = 1;
const HAS_PATH: u8 = 2;
const HAS_INSTANCE: u8 = 4;
const HAS_REG_ID: u8 = 8;
const HAS_CONNECTION: u8 = 16;
const IS_V6: u8 = 32;

impl Replica {
    /// Writes it behind what is there.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        out.push(FORMAT);
        text(out, &self.aor);
        out.extend_from_slice(&self.version.count.to_be_bytes());
        out.extend_from_slice(&self.version.member.to_be_bytes());
        out.extend_from_slice(
            &u16::try_from(self.bindings.len()).unwrap_or(u16::MAX).to_be_bytes(),
        );
        self.bindings.iter().take(u16::MAX.into()).for_each(|binding| binding.write(out));
        // Some ten bindings of some 3 kB each at most.
        let length = u32::try_from(out.len() - start - 4).unwrap_or_default();
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// Makes the ways that its bindings came ways of this node.
    pub fn adopt(&mut self, mut adopt: impl FnMut(Arrival) -> Arrival) {
        for binding in &mut self.bindings {
            let told = binding.arrival.local;
            binding.arrival = adopt(binding.arrival);
            binding.came_to = (told != binding.arrival.local).then(|| Box::new(told));
        }
    }

    /// Whether it is what a registrar could have taken from a device: texts that are as long and as they may
    /// be. A member of another version, or one that has been taken over, may send anything.
    pub(super) fn is_sound(&self) -> bool {
        self.aor.len() <= AOR_BYTES_MAX && self.bindings.iter().all(Copied::is_sound)
    }

    /// Takes the first one off the front. `None`: there is none, or it cannot be read, and nothing of
    /// what follows it can.
    pub fn read(from: &mut &[u8]) -> Option<Replica> {
        let (length, rest) = from.split_first_chunk::<4>()?;
        let (body, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let mut reader = Reader(body);
        let replica = reader.replica()?;
        *from = rest;
        reader.0.is_empty().then_some(replica)
    }
}

impl Copied {
    fn is_sound(&self) -> bool {
        let texts = [Some(&*self.uri), self.path.as_deref(), self.instance.as_deref()];
        let is_line = |text: &str| {
            text.len() <= CONTACT_BYTES_MAX && !text.bytes().any(|byte| byte.is_ascii_control())
        };
        texts.into_iter().flatten().all(is_line)
            && self.instance.as_deref().is_none_or(is_instance)
            && Uri::parse(&self.uri).is_ok()
    }

    fn write(&self, out: &mut Vec<u8>) {
        let Arrival { transport, listener, local, remote, connection } = self.arrival;
        let flag = |is: bool, bit| if is { bit } else { 0 };
        out.push(
            flag(self.flow_lost, FLOW_LOST)
                | flag(self.path.is_some(), HAS_PATH)
                | flag(self.instance.is_some(), HAS_INSTANCE)
                | flag(self.reg_id.is_some(), HAS_REG_ID)
                | flag(connection.is_some(), HAS_CONNECTION)
                | flag(remote.is_ipv6(), IS_V6),
        );
        text(out, &self.uri);
        let number = Transport::ALL.iter().position(|own| *own == transport).unwrap_or_default();
        out.push(number as u8);
        out.extend_from_slice(&listener.0.to_be_bytes());
        for address in [local, remote] {
            match address.ip() {
                IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
                IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
            }
            out.extend_from_slice(&address.port().to_be_bytes());
        }
        if let Some(connection) = connection {
            out.extend_from_slice(&connection.0.to_be_bytes());
        }
        self.path.iter().chain(&self.instance).for_each(|value| text(out, value));
        if let Some(reg_id) = self.reg_id {
            out.extend_from_slice(&reg_id.to_be_bytes());
        }
        out.extend_from_slice(&self.q_thousandths.to_be_bytes());
        let millis = u64::try_from(self.lasts.as_millis()).unwrap_or(u64::MAX);
        out.extend_from_slice(&millis.to_be_bytes());
        out.extend_from_slice(&self.call_id.to_be_bytes());
        out.extend_from_slice(&self.cseq.to_be_bytes());
    }
}

/// Texts are far shorter: the registrar bounds them.
fn text(out: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or_default();
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&text.as_bytes()[..length.into()]);
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn short(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'b str> {
        let length = usize::from(self.short()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn address(&mut self, v6: bool) -> Option<SocketAddr> {
        let ip = if v6 {
            IpAddr::V6(Ipv6Addr::from(self.take::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.take::<4>()?))
        };
        Some(SocketAddr::new(ip, self.short()?))
    }

    fn replica(&mut self) -> Option<Replica> {
        if self.byte()? != FORMAT {
            return None;
        }
        let aor = self.text()?.into();
        let version = Version { count: self.long()?, member: self.short()? };
        let count = self.short()?;
        let bindings = (0..count).map(|_| self.copied()).collect::<Option<_>>()?;
        Some(Replica { aor, version, bindings })
    }

    fn copied(&mut self) -> Option<Copied> {
        let flags = self.byte()?;
        let has = |bit| flags & bit != 0;
        let uri = self.text()?.into();
        let transport = *Transport::ALL.get(usize::from(self.byte()?))?;
        let listener = ListenerId(self.short()?);
        let (local, remote) = (self.address(has(IS_V6))?, self.address(has(IS_V6))?);
        let connection = if has(HAS_CONNECTION) { Some(self.long()?) } else { None };
        let connection = connection.map(ConnectionId);
        let path = if has(HAS_PATH) { Some(self.text()?.into()) } else { None };
        let instance = if has(HAS_INSTANCE) { Some(self.text()?.into()) } else { None };
        let reg_id = if has(HAS_REG_ID) { Some(u32::from_be_bytes(self.take()?)) } else { None };
        Some(Copied {
            uri,
            arrival: Arrival { transport, listener, local, remote, connection },
            came_to: None,
            flow_lost: has(FLOW_LOST),
            path,
            instance,
            reg_id,
            q_thousandths: self.short()?,
            lasts: Duration::from_millis(self.long()?),
            call_id: self.long()?,
            cseq: u32::from_be_bytes(self.take()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas() -> Vec<Replica> {
        let mut bindings = Vec::new();
        for (n, remote) in ["198.51.100.7:5060", "[2001:db8::7]:40000"].into_iter().enumerate() {
            let remote: SocketAddr = remote.parse().unwrap();
            for is_there in [true, false] {
                bindings.push(Copied {
                    uri: "sip:bob@10.0.0.1".into(),
                    came_to: None,
                    arrival: Arrival {
                        transport: Transport::ALL[n * 2],
                        listener: ListenerId(3),
                        local: remote,
                        remote,
                        connection: is_there.then_some(ConnectionId(u64::MAX - 1)),
                    },
                    flow_lost: is_there,
                    path: is_there.then(|| "<sip:edge;lr>".into()),
                    q_thousandths: 500,
                    lasts: Duration::from_millis(3_599_999),
                    instance: (!is_there).then(|| "urn:uuid:1".into()),
                    reg_id: is_there.then_some(7),
                    call_id: 0x0123_4567_89ab_cdef,
                    cseq: u32::MAX,
                });
            }
        }
        let version = Version { count: 9, member: 2 };
        let full = Replica { aor: "bob".into(), version, bindings };
        let empty = Replica { aor: "é".into(), version, bindings: Vec::new() };
        vec![full, empty]
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut bytes = Vec::new();
        replicas().iter().for_each(|replica| replica.write(&mut bytes));
        let mut rest = bytes.as_slice();
        for replica in replicas() {
            assert_eq!(Replica::read(&mut rest), Some(replica));
        }
        assert_eq!(Replica::read(&mut rest), None);
    }

    /// What a member of another version or a broken one sends does no harm.
    #[test]
    fn what_is_cut_or_changed_is_not_read_as_something_else_or_at_all() {
        let mut bytes = Vec::new();
        replicas()[0].write(&mut bytes);
        for at in 0..bytes.len() {
            assert_eq!(Replica::read(&mut &bytes[..at]), None);
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                let _ = Replica::read(&mut changed.as_slice());
            }
        }
        bytes[4] = FORMAT + 1;
        assert_eq!(Replica::read(&mut bytes.as_slice()), None);
    }
}
