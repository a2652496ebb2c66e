//! Phones over TLS. This baresip is given the authority of the node's certificate, but takes any
//! certificate; who is believed is tested where TLS is made (signaling/net).

use crate::baresip::BARESIP;
use crate::baresip_calls::Call;
use crate::harness::{CALLEE, CALLER, Settings, Transport};

fn settings() -> Settings {
    Settings { tls: true, ..Settings::with_users(&["alice", "bob"]) }
}

/// RFC 3261 26.2: both phones have registered over TLS, and each hears the other; the caller hangs up,
/// and so does, in another call, the callee.
#[test]
fn each_phone_hears_the_other_over_tls() {
    for by_caller in [true, false] {
        let call = Call::with(&settings(), &[BARESIP]);
        call.hang_up([(CALLER, Transport::Tls), (CALLEE, Transport::Tls)], by_caller);
    }
}

/// A phone with TLS and one without it hear each other, whoever calls; the BYE crosses, too (RFC 5658).
#[test]
fn a_phone_with_tls_and_one_without_hear_each_other() {
    for (from, to) in [(Transport::Tls, Transport::Udp), (Transport::Udp, Transport::Tls)] {
        let call = Call::with(&settings(), &[BARESIP]);
        call.hang_up([(CALLER, from), (CALLEE, to)], false);
    }
}
