//! Where responses go (RFC 3261 18.2.2, RFC 3581 4).

use crate::transport::{Arrival, Target};
use crate::wire::{Message, Rport, stamped_message};

/// The request with `received` and `rport` put into its top Via where they are due.
pub(super) fn stamped(arrival: &Arrival, request: Message) -> Message {
    stamped_message(&request, arrival.remote).unwrap_or(request)
}

/// Where responses to `request` go: always to the address that it came from, whatever maddr says,
/// since anybody can write one. With rport (over UDP) to the port it came from, else to that of
/// sent-by; a stream's own connection is used while it lasts.
pub(crate) fn reply_target(arrival: &Arrival, request: &Message) -> Target {
    let via = request.top_via();
    let mut target = arrival.reply();
    if arrival.transport.is_reliable() || via.rport() == Rport::Absent {
        target.remote.set_port(via.port().unwrap_or(arrival.transport.default_port()));
    }
    target
}
