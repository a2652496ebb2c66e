//! Notifications about lists (RFC 4662): what is told of each member, in one body.

use std::fmt::Write;

use super::{DECLARATION, escaped};

const NAMESPACE: &str = "urn:ietf:params:xml:ns:rlmi";

/// The state of one member.
#[derive(Clone, Debug)]
pub(in crate::events) struct Member<'m> {
    pub(in crate::events) uri: &'m str,
    pub(in crate::events) content_type: &'static str,
    /// `None`: it is in the list without its state.
    pub(in crate::events) body: Option<String>,
}

/// Content-Type and body of the whole state of the list `uri`. `unlike`: a text that is in no
/// document, random.
pub(in crate::events) fn compose(
    uri: &str,
    version: u32,
    members: &[Member<'_>],
    unlike: &str,
) -> (String, String) {
    let content_id = |part: usize| format!("{part}.{unlike}@rlmi.invalid");
    let mut list = format!(
        "{DECLARATION}<list xmlns=\"{NAMESPACE}\" uri=\"{}\" version=\"{version}\" fullState=\"true\">",
        escaped(uri)
    );
    let mut parts = String::new();
    for (index, member) in members.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(list, "<resource uri=\"{}\">", escaped(member.uri));
        if let Some(body) = &member.body {
            let cid = content_id(index + 1);
            let _ = write!(list, "<instance id=\"1\" state=\"active\" cid=\"{cid}\"/>");
            push_part(&mut parts, unlike, &cid, member.content_type, body);
        }
        list.push_str("</resource>");
    }
    list.push_str("</list>\n");
    let start = content_id(0);
    let mut body = String::with_capacity(list.len() + parts.len() + 256);
    push_part(&mut body, unlike, &start, "application/rlmi+xml;charset=\"UTF-8\"", &list);
    body.push_str(&parts);
    let _ = write!(body, "--{unlike}--\r\n");
    let content_type = format!(
        "multipart/related;type=\"application/rlmi+xml\";start=\"<{start}>\";boundary=\"{unlike}\""
    );
    (content_type, body)
}

fn push_part(out: &mut String, boundary: &str, cid: &str, content_type: &str, body: &str) {
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "--{boundary}\r\nContent-Transfer-Encoding: binary\r\nContent-ID: <{cid}>\r\n\
         Content-Type: {content_type}\r\n\r\n{body}\r\n"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4662 5.2: the list is the root of the multipart, and names the part of each member.
    #[test]
    fn each_member_has_a_part_that_the_list_names() {
        let member = |uri: &'static str, body: &str| Member {
            uri,
            content_type: "application/pidf+xml",
            body: Some(body.to_owned()),
        };
        let members = [member("sip:a@x", "<a/>"), member("sip:b@x", "<b/>")];
        let (content_type, body) = compose("sip:team@x", 2, &members, "k3");
        assert!(content_type.contains("start=\"<0.k3@rlmi.invalid>\";boundary=\"k3\""));
        assert!(content_type.starts_with("multipart/related;type=\"application/rlmi+xml\";"));
        let parts: Vec<&str> = body.split("--k3").collect();
        assert_eq!(parts.len(), 5, "{body}");
        assert!(parts[1].contains("Content-ID: <0.k3@rlmi.invalid>"), "{body}");
        assert!(parts[1].contains("uri=\"sip:team@x\" version=\"2\" fullState=\"true\""), "{body}");
        assert!(parts[1].contains("<resource uri=\"sip:b@x\"><instance id=\"1\" state=\"active\" cid=\"2.k3@rlmi.invalid\"/>"), "{body}");
        assert!(parts[3].contains("Content-ID: <2.k3@rlmi.invalid>"), "{body}");
        assert!(parts[3].ends_with("\r\n\r\n<b/>\r\n"), "{body}");
        assert_eq!(parts[4], "--\r\n");
    }
}
