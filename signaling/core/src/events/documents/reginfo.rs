//! Registrations of a user (RFC 3680).

use std::fmt::Write;

use super::{DECLARATION, escaped};

const NAMESPACE: &str = "urn:ietf:params:xml:ns:reginfo";

/// Why a contact is in the state that it is in (RFC 3680 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::events) enum Why {
    Registered,
    Expired,
    Unregistered,
}

impl Why {
    pub(in crate::events) const fn is_active(self) -> bool {
        match self {
            Why::Registered => true,
            Why::Expired | Why::Unregistered => false,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Why::Registered => "registered",
            Why::Expired => "expired",
            Why::Unregistered => "unregistered",
        }
    }
}

/// A device of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::events) struct Contact {
    /// Names it for as long as it is registered.
    pub(in crate::events) id: u64,
    pub(in crate::events) uri: Box<str>,
    pub(in crate::events) why: Why,
    /// What is left of its time, in seconds.
    pub(in crate::events) expires_secs: u64,
    /// Preference, 0 to 1000.
    pub(in crate::events) q_thousandths: u16,
}

/// The whole state of `aor`, as the `version`th document that its reader is sent.
pub(in crate::events) fn compose(aor: &str, version: u32, contacts: &[Contact]) -> String {
    let is_active = contacts.iter().any(|contact| contact.why.is_active());
    let state = match (is_active, contacts.is_empty()) {
        (true, _) => "active",
        (false, true) => "init",
        (false, false) => "terminated",
    };
    let aor = escaped(aor);
    let mut out = String::with_capacity(512);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{DECLARATION}<reginfo xmlns=\"{NAMESPACE}\" version=\"{version}\" state=\"full\">\
         <registration aor=\"{aor}\" id=\"r\" state=\"{state}\">",
    );
    for contact in contacts {
        let state = if contact.why.is_active() { "active" } else { "terminated" };
        let _ = write!(
            out,
            "<contact id=\"c{}\" state=\"{state}\" event=\"{}\" expires=\"{}\" q=\"{}.{:03}\">\
             <uri>{}</uri></contact>",
            contact.id,
            contact.why.word(),
            contact.expires_secs,
            contact.q_thousandths / 1000,
            contact.q_thousandths % 1000,
            escaped(&contact.uri),
        );
    }
    out.push_str("</registration></reginfo>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_listed_with_what_became_of_them() {
        let contact = |id, why| Contact {
            id,
            uri: "sip:a@192.0.2.9;x=<&>".into(),
            why,
            expires_secs: 30,
            q_thousandths: 500,
        };
        let text = compose("sip:a@x", 4, &[contact(1, Why::Registered), contact(2, Why::Expired)]);
        assert!(text.contains("version=\"4\" state=\"full\""), "{text}");
        assert!(
            text.contains("<registration aor=\"sip:a@x\" id=\"r\" state=\"active\">"),
            "{text}"
        );
        let first = "<contact id=\"c1\" state=\"active\" event=\"registered\" expires=\"30\" \
                     q=\"0.500\"><uri>sip:a@192.0.2.9;x=&lt;&amp;&gt;</uri></contact>";
        assert!(text.contains(first), "{text}");
        assert!(
            text.contains("<contact id=\"c2\" state=\"terminated\" event=\"expired\""),
            "{text}"
        );
        assert!(compose("a", 0, &[]).contains("state=\"init\""));
        let gone = compose("a", 0, &[contact(1, Why::Unregistered)]);
        assert!(gone.contains("id=\"r\" state=\"terminated\""), "{gone}");
    }
}
