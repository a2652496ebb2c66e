//! Flow tokens (RFC 5626 5.2): the user part of a Record-Route or Path URI of ours that names the way
//! to one peer, so that what comes back with it can be sent there without any memory of it.
//!
//! A token is sealed, because it tells where a user is, and good for one use alone: whoever has seen
//! that of one dialog cannot put it into another.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::farm::{Identity, Secrets, TokenKey};
use crate::token::{Body, Tokens};
use crate::transport::{ConnectionId, ListenerId, PeerName, Target, Transport};

/// Longest flow token, in letters: 59 bytes of two IPv6 addresses, a connection and a name, and their MAC.
#[cfg(test)]
const TEXT_BYTES_MAX: usize = 100;

/// Bits of the first byte, beside the transport.
const HAS_CONNECTION: u8 = 0x10;
const HAS_NAME: u8 = 0x20;
const TRANSPORT: u8 = 0x0f;

/// Makes and reads flow tokens.
#[derive(Clone, Debug)]
pub(super) struct FlowTokens {
    tokens: Tokens,
    /// Those of the key before.
    previous: Option<Tokens>,
    /// Of this life of the process: numbers of connections and names mean nothing in another.
    life: [u8; 4],
    /// Other members of a farm make them, too.
    is_shared: bool,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use<'a> {
    /// Requests within the dialogs of this Call-ID.
    Dialog(&'a str),
    /// Whatever a registrar sends along a Path.
    Path,
}

/// A token that this node has made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It leads there.
    To(Target),
    /// It has been made in an earlier life of the node, which alone knew the connection.
    Gone,
    /// Another member of the farm has made it, or an earlier life of this one: listener, local address
    /// and name are that one's. The connection says itself whose it is.
    Elsewhere(Target),
}

/// What flow tokens are for.
const PURPOSE: &str = "flow";

impl Use<'_> {
    fn context(&self) -> Vec<u8> {
        match self {
            Use::Dialog(call_id) => [b"dialog ", call_id.as_bytes()].concat(),
            Use::Path => b"path".to_vec(),
        }
    }
}

impl FlowTokens {
    /// Under `secret`, which has to be as good as random and is good for other purposes as well. `life`
    /// tells one run of the process from all others that have had the secret.
    pub(super) fn new(secret: &[u8; 32], life: [u8; 4]) -> Self {
        FlowTokens { tokens: Tokens::new(secret, PURPOSE), previous: None, life, is_shared: false }
    }

    /// Those of a member of a farm.
    pub(super) fn of_farm(own: Identity, secrets: &Secrets) -> Self {
        let [m0, m1] = own.member.get().to_be_bytes();
        let [.., i0, i1] = own.incarnation.0.to_be_bytes();
        let tokens = |key: &TokenKey| Tokens::new(&key.secret, PURPOSE);
        FlowTokens {
            tokens: tokens(&secrets.current),
            previous: secrets.previous.as_ref().map(tokens),
            life: [m0, m1, i0, i1],
            is_shared: true,
        }
    }

    /// The token of a flow: at most 100 letters, digits, `-` and `_`. The same flow has the same token
    /// for the same use as long as the process lasts.
    pub(super) fn issue(&self, purpose: Use<'_>, flow: &Target) -> String {
        let mut body = Body::new();
        let transport = Transport::ALL.iter().position(|t| *t == flow.transport);
        let mut kind = transport.and_then(|at| u8::try_from(at).ok()).unwrap_or(TRANSPORT);
        kind |= if flow.connection.is_some() { HAS_CONNECTION } else { 0 };
        kind |= if flow.name.is_some() { HAS_NAME } else { 0 };
        body.push(kind);
        body.extend_from_slice(&self.life);
        body.extend_from_slice(&flow.listener.0.to_be_bytes());
        let numbers = [flow.connection.map(|c| c.0), flow.name.map(|n| n.0)];
        for number in numbers.into_iter().flatten() {
            body.extend_from_slice(&number.to_be_bytes());
        }
        for address in [flow.local, flow.remote] {
            match address.ip() {
                IpAddr::V4(ip) => body.extend_from_slice(&ip.to_bits().to_be_bytes()),
                IpAddr::V6(ip) => body.extend_from_slice(&ip.to_bits().to_be_bytes()),
            }
            body.extend_from_slice(&address.port().to_be_bytes());
        }
        self.tokens.seal(&purpose.context(), &body).unwrap_or_default()
    }

    /// The flow that a token names; `None` for a text that this node has not made for this use.
    pub(super) fn read(&self, purpose: Use<'_>, text: &str) -> Option<Flow> {
        let context = purpose.context();
        let before = || self.previous.as_ref()?.open(&context, text);
        let body = self.tokens.open(&context, text).or_else(before)?;
        let (&kind, rest) = body.split_first()?;
        let (life, rest) = rest.split_first_chunk::<4>()?;
        let (listener, rest) = rest.split_first_chunk()?;
        let (connection, rest) = number(rest, kind & HAS_CONNECTION != 0)?;
        let (name, addresses) = number(rest, kind & HAS_NAME != 0)?;
        // Both are of one family.
        let (local, remote) = addresses.split_at(addresses.len() / 2);
        let flow = Target {
            transport: *Transport::ALL.get(usize::from(kind & TRANSPORT))?,
            listener: ListenerId(u16::from_be_bytes(*listener)),
            local: address(local)?,
            remote: address(remote)?,
            connection: connection.map(ConnectionId),
            name: name.map(PeerName),
        };
        let is_of_this_life = *life == self.life;
        let is_bound_to_it = flow.connection.is_some() || flow.name.is_some();
        Some(match (is_of_this_life, self.is_shared) {
            (true, _) => Flow::To(flow),
            (false, true) => Flow::Elsewhere(flow),
            (false, false) if is_bound_to_it => Flow::Gone,
            (false, false) => Flow::To(flow),
        })
    }
}

/// Takes eight bytes off the front if they are there.
fn number(bytes: &[u8], is_there: bool) -> Option<(Option<u64>, &[u8])> {
    if !is_there {
        return Some((None, bytes));
    }
    let (number, rest) = bytes.split_first_chunk()?;
    Some((Some(u64::from_be_bytes(*number)), rest))
}

fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk()?;
    let ip = match ip.len() {
        4 => IpAddr::V4(Ipv4Addr::from_bits(u32::from_be_bytes(*ip.first_chunk()?))),
        16 => IpAddr::V6(Ipv6Addr::from_bits(u128::from_be_bytes(*ip.first_chunk()?))),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALOG: Use<'_> = Use::Dialog("call@example");

    fn tokens(secret: u8, life: u8) -> FlowTokens {
        FlowTokens::new(&[secret; 32], [life; 4])
    }

    fn flows() -> Vec<Target> {
        let mut flows = Vec::new();
        for (local, remote) in
            [("192.0.2.1:5060", "198.51.100.7:40000"), ("[2001:db8::1]:5060", "[2001:db8::7]:4")]
        {
            for transport in Transport::ALL {
                for connection in [None, Some(ConnectionId(u64::MAX))] {
                    for name in [None, Some(PeerName(7))] {
                        flows.push(Target {
                            transport,
                            listener: ListenerId(3),
                            local: local.parse().unwrap(),
                            remote: remote.parse().unwrap(),
                            connection,
                            name,
                        });
                    }
                }
            }
        }
        flows
    }

    /// RFC 5626 5.2. The name that a server has to prove (RFC 5922) is part of the flow: without it a
    /// connection would be opened to whoever is at the address.
    #[test]
    fn a_token_names_its_flow_and_fits_into_a_user_part() {
        let tokens = tokens(1, 1);
        for flow in flows() {
            for purpose in [DIALOG, Use::Path] {
                let token = tokens.issue(purpose, &flow);
                assert!(token.len() <= TEXT_BYTES_MAX, "{}", token.len());
                assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
                assert_eq!(tokens.read(purpose, &token), Some(Flow::To(flow)));
            }
        }
    }

    /// RFC 5626 5.2: a token must not be made by anybody else, nor changed, nor be put to another use.
    #[test]
    fn a_forged_or_cut_token_and_that_of_another_node_or_dialog_are_refused() {
        let (tokens, other) = (tokens(1, 1), tokens(2, 1));
        for flow in flows() {
            let token = tokens.issue(DIALOG, &flow);
            assert_eq!(other.read(DIALOG, &token), None);
            assert_eq!(tokens.read(Use::Dialog("call2@example"), &token), None);
            assert_eq!(tokens.read(Use::Path, &token), None);
            for at in 0..token.len() {
                assert_eq!(tokens.read(DIALOG, &token[..at]), None);
                let letter = if token[at..].starts_with('A') { "B" } else { "A" };
                let forged = [&token[..at], letter, &token[at + 1..]].concat();
                assert_eq!(tokens.read(DIALOG, &forged), None, "{forged}");
            }
        }
        assert_eq!(tokens.read(DIALOG, ""), None);
        assert_eq!(tokens.read(DIALOG, "alice"), None);
    }

    /// The numbers of connections and names begin anew with each life of the process: those of an earlier
    /// one would lead to strangers.
    #[test]
    fn a_token_of_an_earlier_life_leads_by_address_alone() {
        let (before, now) = (tokens(1, 1), tokens(1, 2));
        for flow in flows() {
            let is_bound = flow.connection.is_some() || flow.name.is_some();
            let expected = if is_bound { Flow::Gone } else { Flow::To(flow) };
            assert_eq!(now.read(DIALOG, &before.issue(DIALOG, &flow)), Some(expected));
        }
    }
}
