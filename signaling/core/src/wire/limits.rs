//! What a message may measure.

/// Most bytes from the start line to the end of the empty line. A UDP datagram holds no more than
/// 65,507, so that only streams can meet this bound; it keeps positions within 16 bits of slack.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Most header lines. The longest of RFC 4475 has 46; 70 hops (Max-Forwards) that each add a Via and a
/// Record-Route line, and 100 lines of everything else, come to 240.
pub const HEADERS_MAX: usize = 240;

/// Most bytes of a body on a stream: four times what a datagram could hold.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// Bounds for one stream; [`Limits::default`] gives the constants of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a head.
    pub head_bytes_max: usize,
    /// Most bytes of a body.
    pub body_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { head_bytes_max: HEAD_BYTES_MAX, body_bytes_max: BODY_BYTES_MAX }
    }
}
