//! How the packets of a call are marked for the network (DSCP, RFC 2474).

use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt::IpRecvTos,
};

use crate::node::Node;
use crate::packet::{Media, rtp};
use crate::phone::{Call, Phone, sdp};

/// The TOS byte of the next packet.
fn traffic_class(socket: &UdpSocket) -> u8 {
    let (mut data, mut control) = ([0; 2048], nix::cmsg_space!(u8));
    let mut vectors = [IoSliceMut::new(&mut data)];
    let (fd, none) = (socket.as_raw_fd(), MsgFlags::empty());
    let message = recvmsg::<SockaddrIn>(fd, &mut vectors, Some(&mut control), none);
    let message = message.expect("no packet came");
    match message.cmsgs().expect("whole control messages").next() {
        Some(ControlMessageOwned::Ipv4Tos(class)) => class,
        other => panic!("no traffic class but {other:?}"),
    }
}

/// RFC 4594 4.1, 4.3: audio is marked EF and video AF41 unless the settings say otherwise.
#[test]
fn audio_video_and_the_rest_are_marked_apart() {
    let kinds = [("audio", "RTP/AVP 0"), ("video", "RTP/AVP 96"), ("application", "UDP/BFCP *")];
    let own = "dscp = 40\ndscp_video = 26\ndscp_other = 10";
    for (settings, classes) in [("", [46, 34, 0]), (own, [40, 26, 10])] {
        let node = Node::start(settings);
        let phones = ["alice", "bob"].map(|name| Phone::new(&node, name));
        let media = [(); 2].map(|()| [(); 3].map(|()| Media::new()));
        let described = media.each_ref().map(|media| {
            let lines = media.iter().zip(kinds);
            sdp(&lines.map(|(media, (kind, types))| media.line(kind, types)).collect::<String>())
        });
        let (_call, exchange) = Call::new(&phones[0], &phones[1], &described[0], &described[1]);
        for (line, (payload_type, class)) in [0, 96, 0].into_iter().zip(classes).enumerate() {
            let [near, far] = media.each_ref().map(|media| &media[line].rtp);
            for (from, door, to) in [
                (near, exchange.answered.door(line), far),
                (far, exchange.offered.door(line), near),
            ] {
                setsockopt(to, IpRecvTos, &true).expect("the option is known");
                from.send_to(&rtp(payload_type, 1, 1), door).expect("it is sent");
                assert_eq!(traffic_class(to) >> 2, class, "{}", kinds[line].0);
            }
        }
    }
}
