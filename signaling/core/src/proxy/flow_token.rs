//! Flow tokens (RFC 5626 5.2): the user part of a Record-Route or Path URI of ours that names the way
//! to one peer, so that what comes back with it can be sent there without any memory of it.
//!
//! Whoever routes by one has to see that a request with it comes from somebody who may use it: the
//! MAC says only that this node has made it, for whomever it showed it to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::token::{Body, Tokens};
use crate::transport::{ConnectionId, ListenerId, Target, Transport};

/// Longest flow token, in bytes: two IPv6 addresses and a connection.
#[cfg(test)]
const TEXT_BYTES_MAX: usize = 86;

/// Makes and reads flow tokens.
#[derive(Clone, Debug)]
pub struct FlowTokens(Tokens);

impl FlowTokens {
    /// Under `secret`, which has to be as good as random and is good for other purposes as well.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        FlowTokens(Tokens::new(secret, "flow"))
    }

    /// The token of a flow: at most 86 letters, digits, `-` and `_`. The same flow has the same token
    /// as long as the secret lasts.
    #[must_use]
    pub fn issue(&self, flow: &Target) -> String {
        let mut body = Body::new();
        let transport = Transport::ALL.iter().position(|t| *t == flow.transport);
        body.push(transport.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX));
        body.extend_from_slice(&flow.listener.0.to_be_bytes());
        for address in [flow.local, flow.remote] {
            match address.ip() {
                IpAddr::V4(ip) => body.extend_from_slice(&ip.to_bits().to_be_bytes()),
                IpAddr::V6(ip) => body.extend_from_slice(&ip.to_bits().to_be_bytes()),
            }
            body.extend_from_slice(&address.port().to_be_bytes());
        }
        if let Some(connection) = flow.connection {
            body.extend_from_slice(&connection.0.to_be_bytes());
        }
        self.0.sign(&body).unwrap_or_default()
    }

    /// The flow that a token of this node's names; `None` for any other text.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<Target> {
        let body = self.0.verify(text)?;
        let (&transport, rest) = body.split_first()?;
        let (listener, rest) = rest.split_first_chunk()?;
        // Both addresses are of one family, and the connection is eight bytes or none: the length
        // tells what is there.
        let has_connection = match rest.len() {
            12 | 36 => false,
            20 | 44 => true,
            _ => return None,
        };
        let (addresses, connection) = rest.split_at(rest.len() - 8 * usize::from(has_connection));
        let (local, remote) = addresses.split_at(addresses.len() / 2);
        Some(Target {
            transport: *Transport::ALL.get(usize::from(transport))?,
            listener: ListenerId(u16::from_be_bytes(*listener)),
            local: address(local)?,
            remote: address(remote)?,
            connection: connection.first_chunk().map(|id| ConnectionId(u64::from_be_bytes(*id))),
            name: None,
        })
    }
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

    fn flows() -> Vec<Target> {
        let mut flows = Vec::new();
        for (local, remote) in
            [("192.0.2.1:5060", "198.51.100.7:40000"), ("[2001:db8::1]:5060", "[2001:db8::7]:4")]
        {
            for transport in Transport::ALL {
                for connection in [None, Some(ConnectionId(u64::MAX))] {
                    flows.push(Target {
                        transport,
                        listener: ListenerId(3),
                        local: local.parse().unwrap(),
                        remote: remote.parse().unwrap(),
                        connection,
                        name: None,
                    });
                }
            }
        }
        flows
    }

    /// RFC 5626 5.2.
    #[test]
    fn a_token_names_its_flow_and_fits_into_a_user_part() {
        let tokens = FlowTokens::new(&[1; 32]);
        for flow in flows() {
            let token = tokens.issue(&flow);
            assert!(token.len() <= TEXT_BYTES_MAX, "{}", token.len());
            assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')));
            assert_eq!(tokens.read(&token), Some(flow));
        }
    }

    /// RFC 5626 5.2: a token must not be made by anybody else, nor changed.
    #[test]
    fn a_forged_or_cut_token_and_that_of_another_node_are_refused() {
        let (tokens, other) = (FlowTokens::new(&[1; 32]), FlowTokens::new(&[2; 32]));
        for flow in flows() {
            let token = tokens.issue(&flow);
            assert_eq!(other.read(&token), None);
            for at in 0..token.len() {
                assert_eq!(tokens.read(&token[..at]), None);
                let letter = if token[at..].starts_with('A') { "B" } else { "A" };
                let forged = [&token[..at], letter, &token[at + 1..]].concat();
                assert_eq!(tokens.read(&forged), None, "{forged}");
            }
        }
        assert_eq!(tokens.read(""), None);
        assert_eq!(tokens.read("alice"), None);
    }
}
