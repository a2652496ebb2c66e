//! SIPp scenarios, and the pieces of messages that they share.

/// A scenario file, compiled in so that a run depends on no working directory.
macro_rules! scenario {
    ($name:literal) => {
        $crate::scenario::Scenario::new($name, include_str!(concat!("scenarios/", $name, ".xml")))
    };
}
pub(crate) use scenario;

/// A SIPp scenario.
#[derive(Clone, Copy)]
pub(crate) struct Scenario {
    name: &'static str,
    xml: &'static str,
    status: Option<u16>,
}

impl Scenario {
    pub(crate) const fn new(name: &'static str, xml: &'static str) -> Scenario {
        Scenario { name, xml, status: None }
    }

    /// With `@STATUS@` as the final answer that it expects.
    pub(crate) const fn expecting(self, status: u16) -> Scenario {
        Scenario { status: Some(status), ..self }
    }

    /// Whether it waits for what comes, and so has to be there first.
    pub(crate) fn listens(&self) -> bool {
        self.name.rsplit('/').next().is_some_and(|name| name.starts_with("callee"))
    }

    /// What SIPp reads.
    pub(crate) fn text(&self) -> String {
        let mut text = self.xml.to_owned();
        for (name, piece) in PIECES {
            text = text.replace(name, piece.trim_end());
        }
        match self.status {
            Some(status) => text.replace("@STATUS@", &status.to_string()),
            None => text,
        }
    }
}

/// What stands for what in a scenario. Whoever gives the direction of media with an SDP writes it behind
/// the piece.
const PIECES: [(&str, &str); 5] = [
    // Of a request that belongs to no dialog.
    (
        "@HEAD@",
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
      From: <sip:[field0]@[domain]>;tag=[pid]c[call_number]
      To: <sip:[callee]>
      Call-ID: [call_id]
      Contact: <sip:[field0]@[local_ip]:[local_port];transport=[transport]>",
    ),
    // Of a request in a dialog that this side has begun.
    (
        "@DIALOG@",
        "Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch];rport
      [routes]
      From: <sip:[field0]@[domain]>;tag=[pid]c[call_number]
      To: <sip:[callee]>[peer_tag_param]
      Call-ID: [call_id]
      Contact: <sip:[field0]@[local_ip]:[local_port];transport=[transport]>
      Max-Forwards: 70",
    ),
    // Of an answer that makes a dialog.
    (
        "@ACCEPTS@",
        "[last_Via:]
      [last_Record-Route:]
      [last_From:]
      [last_To:];tag=[pid]u[call_number]
      [last_Call-ID:]
      [last_CSeq:]
      Contact: <sip:[local_ip]:[local_port];transport=[transport]>",
    ),
    // Of an answer in a dialog.
    (
        "@REPLY@",
        "[last_Via:]
      [last_From:]
      [last_To:]
      [last_Call-ID:]
      [last_CSeq:]",
    ),
    (
        "@SDP@",
        "Content-Type: application/sdp
      Content-Length: [len]

      v=0
      o=- 1 1 IN IP[local_ip_type] [local_ip]
      s=-
      c=IN IP[media_ip_type] [media_ip]
      t=0 0
      m=audio [media_port] RTP/AVP 8 101
      a=rtpmap:8 PCMA/8000
      a=rtpmap:101 telephone-event/8000
      a=fmtp:101 0-15",
    ),
];
