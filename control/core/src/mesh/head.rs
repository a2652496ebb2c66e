//! Parts of heads whose length the peer says: looked at before anything is set aside for them.

use serde::de::{Deserialize, Deserializer, Error};

/// A text of at most `MAX` bytes.
pub(super) fn text<'de, D: Deserializer<'de>, const MAX: usize>(
    from: D,
) -> Result<String, D::Error> {
    let text = <&str>::deserialize(from)?;
    if text.len() <= MAX {
        return Ok(text.to_owned());
    }
    Err(D::Error::custom("a text that is too long"))
}

/// At most `MAX` bytes.
pub(super) fn bytes<'de, D: Deserializer<'de>, const MAX: usize>(
    from: D,
) -> Result<Vec<u8>, D::Error> {
    let bytes = <&[u8]>::deserialize(from)?;
    if bytes.len() <= MAX {
        return Ok(bytes.to_vec());
    }
    Err(D::Error::custom("too many bytes"))
}
