//! How documents of the engine are written and read.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest document, in bytes: half of the 1 MiB that the engine takes.
pub const DOCUMENT_BYTES_MAX: usize = 512 << 10;

/// Something that stands in the engine as JSON.
pub trait Document: Serialize + DeserializeOwned {
    /// What it is called in messages.
    const WHAT: &'static str;

    /// The document's version that this software writes. A version is raised only by a change that
    /// older software must not pass over; added fields are not one.
    const VERSION: u16;

    /// The version that this document says it has.
    fn version(&self) -> u16;

    /// As the engine stores it.
    #[must_use]
    fn to_bytes(&self) -> Vec<u8> {
        // Structs, strings, numbers and maps with string keys: JSON has all of them.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Reads what the engine has stored. Unknown fields are passed over.
    ///
    /// # Errors
    /// The document is too long, is not one, or is of a version that this software does not know.
    fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let told = |why: String| Unreadable { what: Self::WHAT, why };
        if bytes.len() > DOCUMENT_BYTES_MAX {
            return Err(told(format!("it is longer than {DOCUMENT_BYTES_MAX} bytes")));
        }
        let document: Self =
            serde_json::from_slice(bytes).map_err(|error| told(error.to_string()))?;
        match document.version() {
            version if version <= Self::VERSION => Ok(document),
            newer => Err(told(format!(
                "it is of version {newer}, and this software knows {}: upgrade this member",
                Self::VERSION
            ))),
        }
    }
}

/// A document that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which.
    pub what: &'static str,
    /// Why.
    pub why: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be read: {}", self.what, self.why)
    }
}

impl std::error::Error for Unreadable {}

/// Makes structs with a field `version` documents.
macro_rules! documents {
    ($($Type:ty: $what:literal, $version:literal;)+) => {$(
        impl $crate::cluster::document::Document for $Type {
            const WHAT: &'static str = $what;
            const VERSION: u16 = $version;

            fn version(&self) -> u16 {
                self.version
            }
        }
    )+};
}

pub(crate) use documents;
