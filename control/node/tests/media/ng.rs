//! A controller that asks for media over ng (bencode over UDP).

use std::net::{SocketAddr, UdpSocket};

use crate::node::Node;
use crate::packet::{Media, pass, rtp, socket};
use crate::phone::{Message, sdp};

/// A SIP server, as far as ng goes.
pub(crate) struct Controller {
    socket: UdpSocket,
    node: SocketAddr,
    asked: u32,
}

fn text(text: &str) -> String {
    format!("{}:{text}", text.len())
}

impl Controller {
    pub(crate) fn new(node: &Node) -> Controller {
        Controller { socket: socket(), node: node.ng, asked: 0 }
    }

    /// Sends a command of these keys, in the order of the alphabet, and values, which are bencoded.
    fn send(&mut self, pairs: &[(&str, String)]) -> String {
        self.asked += 1;
        let pairs: String = pairs.iter().map(|(key, value)| text(key) + value).collect();
        let command = format!("{} d{pairs}e", self.asked);
        self.socket.send_to(command.as_bytes(), self.node).expect("it is sent");
        let mut reply = [0; 65_536];
        let length = self.socket.recv(&mut reply).expect("a reply");
        String::from_utf8_lossy(&reply[..length]).into_owned()
    }

    /// A command about a call whose caller has the tag `a` and describes its media so.
    pub(crate) fn ask(&mut self, command: &str, call: &str, sdp: &str) -> String {
        let [call, command, tag, sdp] = [call, command, "a", sdp].map(text);
        self.send(&[("call-id", call), ("command", command), ("from-tag", tag), ("sdp", sdp)])
    }

    /// An offer or an answer, with a wish for rtcp-mux; the description in the reply.
    fn describe(&mut self, command: &str, mux: Option<&str>, sdp: &str) -> Message {
        let mut pairs = vec![("call-id", text("call")), ("command", text(command))];
        pairs.push(("from-tag", text("a")));
        pairs.extend(mux.map(|mux| ("rtcp-mux", format!("l{}e", text(mux)))));
        pairs.push(("sdp", text(sdp)));
        if command == "answer" {
            pairs.push(("to-tag", text("b")));
        }
        let reply = self.send(&pairs);
        let start = reply.find("v=0").unwrap_or_else(|| panic!("no description in {reply}"));
        let end = reply.rfind("\r\n").map_or(reply.len(), |at| at + 2);
        Message::of_body(&reply[start..end])
    }
}

/// RFC 5761: one side muxes and the other does not, whichever of them it is: the relay takes RTCP
/// apart on one way and puts it together on the other.
#[test]
fn one_side_muxes_rtcp_and_the_other_has_a_port_for_it() {
    for caller_muxes in [true, false] {
        let node = Node::start("");
        let mut controller = Controller::new(&node);
        let [caller, callee] = [(); 2].map(|()| Media::new());
        let describe = |media: &Media, muxes: bool| {
            let line = media.line("audio", "RTP/AVP 0");
            sdp(&(line + if muxes { "a=rtcp-mux\r\n" } else { "" }))
        };
        let wish = if caller_muxes { "demux" } else { "offer" };
        let offer = describe(&caller, caller_muxes);
        let offered = controller.describe("offer", Some(wish), &offer);
        assert_eq!(offered.body().contains("a=rtcp-mux"), !caller_muxes, "{offered:?}");
        let answer = describe(&callee, !caller_muxes);
        let answered = controller.describe("answer", None, &answer);
        assert_eq!(answered.body().contains("a=rtcp-mux"), caller_muxes, "{answered:?}");

        let (near, far) = (answered.door(0), offered.door(0));
        pass(&caller.rtp, near, &callee.rtp, far, &rtp(0, 1, 1));
        pass(&callee.rtp, far, &caller.rtp, near, &rtp(0, 2, 1));
        let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
        let (near, caller) =
            if caller_muxes { (near, &caller.rtp) } else { (answered.rtcp_door(0), &caller.rtcp) };
        let (far, callee) =
            if caller_muxes { (offered.rtcp_door(0), &callee.rtcp) } else { (far, &callee.rtp) };
        pass(caller, near, callee, far, &report);
        pass(callee, far, caller, near, &report);
    }
}
