//! What is wrong with a session description.

/// A session description that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("SDP line {line}: {what}")]
pub struct SdpError {
    /// The line, from 1; the number of lines plus one where something is missing at the end.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}
