//! What must hold for any bytes: functions of a byte string that panic if it does not.
//!
//! `tests/fuzz.rs` gives each the committed corpus and some mutations of it; the binary's `fuzz` goes on
//! for as long as wanted, guided by coverage if it was built for that.

mod cluster;
mod frame;
mod mutate;
mod node;
mod targets;

pub use mutate::mutate;

/// A function to be given bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its folder in the corpus.
    pub name: &'static str,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: [Target; 16] = [
    Target { name: "message", run: targets::message },
    Target { name: "edit", run: targets::edit },
    Target { name: "stream", run: targets::stream },
    Target { name: "websocket", run: targets::websocket },
    Target { name: "stun", run: targets::stun },
    Target { name: "uri", run: targets::uri },
    Target { name: "address", run: targets::address },
    Target { name: "sdp", run: targets::sdp },
    Target { name: "digest", run: targets::digest },
    Target { name: "bencode", run: targets::bencode },
    Target { name: "document", run: targets::document },
    Target { name: "frame", run: frame::frame },
    Target { name: "token", run: cluster::token },
    Target { name: "member", run: cluster::member },
    Target { name: "membership", run: cluster::membership },
    Target { name: "node", run: node::node },
];

/// Longest input, in bytes: past it a run finds the same again, more slowly.
pub const INPUT_BYTES_MAX: usize = 16 << 10;
