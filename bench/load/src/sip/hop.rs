//! Where messages go, and what a user says of where he is.

use std::net::SocketAddr;

use crate::sip::hosts;
use crate::sipbench::Transport;

/// Where a message goes or has come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// The other end.
    pub(crate) address: SocketAddr,
    /// The connection, by its number among those of its side; `None` over UDP. The number stays when the
    /// connection is opened anew.
    pub(crate) connection: Option<u32>,
}

impl Hop {
    /// Whether nothing has to be sent twice because of the transport (RFC 3261 17).
    pub(crate) const fn is_reliable(self) -> bool {
        self.connection.is_some()
    }
}

/// Where a user is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Local {
    pub(crate) address: SocketAddr,
    pub(crate) transport: Transport,
}

impl Local {
    /// The value of a Via. RFC 3581: rport asks for the answer at the port that the request came from.
    pub(crate) fn via(self, branch: &str) -> String {
        let Local { address, transport } = self;
        let address = hosts::socket(address);
        format!("SIP/2.0/{} {address};rport;branch={branch}", transport.via())
    }

    /// The URI at which the user `name` is.
    pub(crate) fn uri(self, name: &str) -> String {
        let address = hosts::socket(self.address);
        match self.transport {
            Transport::Udp => format!("sip:{name}@{address}"),
            Transport::Tcp | Transport::Tls => {
                format!("sip:{name}@{address};transport={}", self.transport.name())
            }
        }
    }

    /// The value of a Contact in a dialog; over connections, the one by which the message goes is the way
    /// back (RFC 5626 4.3).
    pub(crate) fn contact(self, name: &str) -> String {
        let uri = self.uri(name);
        match self.transport {
            Transport::Udp => format!("<{uri}>"),
            Transport::Tcp | Transport::Tls => format!("<{uri};ob>"),
        }
    }
}
