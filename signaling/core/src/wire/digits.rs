//! Writing numbers and addresses into messages. Each message that is passed on has a dozen of them, and
//! formatting machinery costs ten times as much.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::write::push_number;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends the `N` last hexadecimal digits of `number`, of which there are 16.
pub(crate) fn push_hex<const N: usize>(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; N];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = HEX[(rest & 0xf) as usize];
        rest >>= 4;
    }
    out.extend_from_slice(&digits);
}

/// Appends an address; an IPv6 address has no brackets.
pub(crate) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            push_number(out, u32::from(a));
            for octet in [b, c, d] {
                out.push(b'.');
                push_number(out, u32::from(octet));
            }
        }
        // Writing to a Vec does not fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// Appends an address and port, an IPv6 address in brackets.
pub(crate) fn push_socket(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(v4) => {
            push_ip(out, IpAddr::V4(*v4.ip()));
            out.push(b':');
            push_number(out, u32::from(v4.port()));
        }
        SocketAddr::V6(v6) => drop(write!(out, "{v6}")),
    }
}

/// Text that was put together here, of ASCII alone.
pub(crate) fn into_text(ascii: Vec<u8>) -> String {
    String::from_utf8(ascii).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        into_text(out)
    }

    #[test]
    fn numbers_are_written_as_formatting_writes_them() {
        for number in [0, 7, 10, 99, 4_294_967_295] {
            assert_eq!(text(|out| push_number(out, number)), number.to_string());
            let number = u64::from(number) << 17 | 5;
            assert_eq!(text(|out| push_hex::<16>(out, number)), format!("{number:016x}"));
            assert_eq!(text(|out| push_hex::<3>(out, number)), format!("{:03x}", number & 0xfff));
        }
    }

    #[test]
    fn addresses_are_written_as_formatting_writes_them() {
        for address in ["192.0.2.1:5060", "0.255.10.9:1", "[2001:db8::1]:5061", "[::]:0"] {
            let socket: SocketAddr = address.parse().expect("an address");
            assert_eq!(text(|out| push_socket(out, socket)), address);
            assert_eq!(text(|out| push_ip(out, socket.ip())), socket.ip().to_string());
        }
    }
}
