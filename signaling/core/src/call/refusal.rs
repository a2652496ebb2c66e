//! Why the relay has refused a session's media, in words for the operator and for the caller.

use std::fmt::Write as _;

use relay_core::api::{Refusal, SessionId};

/// What a caller is told with a 503: ports may be free again soon.
pub(crate) const NO_PORT: &str = "No Media Port Available";
/// What a caller is told with a 503 that has another reason.
pub(crate) const NO_MEDIA: &str = "Media Relay Not Available";

/// The reason phrase of the 503 that a caller gets.
pub(crate) const fn phrase(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::PortsExhausted { .. } => NO_PORT,
        Refusal::AddressNotLocal(_)
        | Refusal::TableFull { .. }
        | Refusal::WorkerLost
        | Refusal::BadSpec(_)
        | Refusal::Os { .. } => NO_MEDIA,
    }
}

/// What the operator reads: the relay's words, and what can be done. `name_of` says which call a
/// session belongs to, by its name in logs.
pub(crate) fn explain(
    refusal: &Refusal,
    name_of: impl FnOnce(SessionId) -> Option<String>,
) -> String {
    match refusal {
        Refusal::PortsExhausted { address, first, last, used, resting, oldest } => {
            let mut text = format!(
                "no free media port in {first}-{last} on {address}: {used} used, {resting} resting"
            );
            if let Some((owner, age)) = oldest {
                let owner = match name_of(*owner) {
                    Some(call) => format!("call {call}"),
                    None => format!("session {}", owner.0),
                };
                // Writing to a String does not fail.
                let _ = write!(text, ", oldest in use by {owner} for {} s", age.as_secs());
            }
            text + "; widen media.ports, add an address to media.addresses, or add a member"
        }
        Refusal::AddressNotLocal(_) => format!("{refusal}; correct media.addresses"),
        Refusal::TableFull { .. }
        | Refusal::WorkerLost
        | Refusal::BadSpec(_)
        | Refusal::Os { .. } => refusal.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn exhausted(oldest: Option<(SessionId, Duration)>) -> Refusal {
        let (first, last, used, resting) = (20_000, 20_015, 12, 4);
        Refusal::PortsExhausted { address: HERE, first, last, used, resting, oldest }
    }

    #[test]
    fn a_lack_of_ports_names_range_figures_the_oldest_call_and_what_to_do() {
        let refusal = exhausted(Some((SessionId(7), Duration::from_secs(312))));
        let named = explain(&refusal, |session| Some(format!("c{}", session.0)));
        assert_eq!(
            named,
            "no free media port in 20000-20015 on 127.0.0.1: 12 used, 4 resting, \
             oldest in use by call c7 for 312 s; \
             widen media.ports, add an address to media.addresses, or add a member"
        );
        assert!(explain(&refusal, |_| None).contains("in use by session 7 for 312 s"));
        assert!(!explain(&exhausted(None), |_| None).contains("oldest"));
        assert_eq!(phrase(&refusal), NO_PORT);
    }

    /// An address that cannot be bound is never told as a lack of ports.
    #[test]
    fn an_address_of_another_host_is_named_and_is_no_lack_of_ports() {
        let refusal = Refusal::AddressNotLocal(HERE);
        assert_eq!(
            explain(&refusal, |_| None),
            "media address 127.0.0.1 is not an address of this host; correct media.addresses"
        );
        assert_eq!(phrase(&refusal), NO_MEDIA);
    }
}
