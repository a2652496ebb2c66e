//! Filling in where a request really came from (RFC 3261 18.2.1, RFC 3581 4).

use std::net::SocketAddr;

use super::carry;
use super::chars;
use super::digits::push_ip;
use super::edit::Edit;
use super::message::Message;
use super::name::HeaderName;
use super::params::next_param;
use super::via::{Rport, Via};
use super::write::push_number;

/// The top Via of `request` with `received` and `rport` filled in for the source that it came from;
/// `None` if it is right as it stands. What a peer wrote there itself is overwritten, so that it
/// cannot steer the response elsewhere.
#[must_use]
pub fn stamp_source(request: &Message, source: SocketAddr) -> Option<Edit<'_>> {
    let value = stamped(&request.top_via(), source)?;
    let mut edit = request.edit();
    edit.replace_value(HeaderName::Via, 0, value);
    Some(edit)
}

/// The request as [`stamp_source`] changes it; `None` if it is right as it stands. Each request that is answered
/// or passed on goes through here, so that what is known of it moves along with the few bytes that are new.
#[must_use]
pub fn stamped_message(request: &Message, source: SocketAddr) -> Option<Message> {
    let value = stamped(&request.top_via(), source)?;
    if let Some(stamped) = carry::with_top_via(request, &value) {
        return Some(stamped);
    }
    let mut edit = request.edit();
    edit.replace_value(HeaderName::Via, 0, value);
    // The Via that was written is one that can be read; were it not, the old one would do.
    edit.finish_message().ok()
}

/// The Via value with `received` and `rport` filled in; `None` if nothing changes.
pub(super) fn stamped(via: &Via<'_>, source: SocketAddr) -> Option<Vec<u8>> {
    let ip = source.ip().to_canonical();
    let asked = via.rport() != Rport::Absent;
    // RFC 3581 4: with rport, received is added even if it equals sent-by.
    let needs_received = asked || via.has_received() || !via.host().is_ip(ip);
    if !needs_received {
        return None;
    }
    if via.received() == Some(ip) && (!asked || via.rport() == Rport::Port(source.port())) {
        return None;
    }
    let params = via.params().as_bytes();
    let mut value = Vec::with_capacity(via.as_bytes().len() + 48);
    value.extend_from_slice(chars::trim(via.before_params()));
    let mut at = 0;
    while let Some(param) = next_param(params, at) {
        at = param.end;
        if param.name.eq_ignore_ascii_case(b"received") {
            continue;
        }
        value.push(b';');
        value.extend_from_slice(param.name);
        if param.name.eq_ignore_ascii_case(b"rport") {
            value.push(b'=');
            push_number(&mut value, u32::from(source.port()));
        } else if param.has_value {
            value.push(b'=');
            value.extend_from_slice(param.value);
        }
    }
    value.extend_from_slice(b";received=");
    push_ip(&mut value, ip);
    Some(value)
}
