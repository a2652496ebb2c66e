//! Who a member is, and what it says of itself.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::PROTOCOL;
use super::codec::write;
use super::frame::of;
use crate::cluster::{Load, Member, Versions};

/// Longest text of what a member says of itself, in bytes: [`SIP_ADDRESSES_MAX`] addresses of a hundred
/// bytes each, and as much again for what newer versions add.
pub const HELLO_BYTES_MAX: usize = 16 << 10;
/// Most addresses at which a member takes SIP.
pub const SIP_ADDRESSES_MAX: usize = 64;

/// A cluster, for ever: drawn at random when it was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub [u8; 16]);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

impl FromStr for ClusterId {
    type Err = String;

    /// 32 hexadecimal digits.
    fn from_str(text: &str) -> Result<ClusterId, String> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number
            .map(|number| ClusterId(number.to_be_bytes()))
            .ok_or_else(|| format!("{text:?} is not a cluster's id: that is 32 hexadecimal digits"))
    }
}

/// A member's introduction. What may grow with versions is JSON, whose unknown fields are passed over.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// What its software speaks.
    pub versions: Versions,
    /// Which cluster it is a member of.
    pub cluster: ClusterId,
    /// How busy it is.
    pub load: Load,
    /// Who it is.
    pub member: Member,
}

#[derive(Serialize, Deserialize)]
struct Head {
    oldest: u16,
    newest: u16,
    cluster: ClusterId,
    calls: u32,
    cpu_permille: u16,
}

impl Hello {
    /// Of a member that runs this software.
    #[must_use]
    pub const fn new(cluster: ClusterId, member: Member, load: Load) -> Hello {
        Hello { versions: PROTOCOL, cluster, load, member }
    }

    pub(super) fn write_head(&self, out: &mut Vec<u8>) {
        let Versions { oldest, newest } = self.versions;
        let Load { calls, cpu_permille } = self.load;
        write(&Head { oldest, newest, cluster: self.cluster, calls, cpu_permille }, out);
    }

    pub(super) fn write_payload(&self, out: &mut Vec<u8>) {
        // Structs, strings and numbers: JSON has all of them.
        out.extend(serde_json::to_vec(&self.member).unwrap_or_default());
    }

    pub(super) fn read(head: &[u8], payload: &[u8]) -> Result<Hello, String> {
        let Head { oldest, newest, cluster, calls, cpu_permille } = of(head)?;
        if payload.len() > HELLO_BYTES_MAX {
            return Err(format!("{} bytes where {HELLO_BYTES_MAX} is the most", payload.len()));
        }
        let member: Member = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
        let addresses = member.profile.sip.len();
        if addresses > SIP_ADDRESSES_MAX {
            return Err(format!("{addresses} SIP addresses where {SIP_ADDRESSES_MAX} is the most"));
        }
        let versions = Versions { oldest, newest };
        Ok(Hello { versions, cluster, load: Load { calls, cpu_permille }, member })
    }
}
