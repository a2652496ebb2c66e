//! SDP (RFC 8866) as a Media Proxy needs it: what each m= line says, and a copy with other addresses and
//! ports (RFC 3264).
//!
//! A session description stays the bytes that were received. [`Sdp`] notes where its lines are, and
//! [`Sdp::rewrite`] replaces single fields in them, so that unknown lines, their order, their spacing
//! and their line ends are those of the sender. A document model that is written out anew, such as that
//! of the `sdp-types` crate, sorts lines by kind and ends each with CRLF; tests use it as a second opinion.

mod error;
mod lines;
mod media;
mod multipart;
mod parse;
mod rewrite;

pub use error::SdpError;
pub use media::{Connection, Direction, Media, Rtcp};
pub use multipart::{SdpPart, find_sdp};
pub use parse::{LINES_MAX, MEDIA_MAX, Sdp};
pub use rewrite::{MediaTarget, Rewrite};
