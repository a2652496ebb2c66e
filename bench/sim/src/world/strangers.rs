//! Those who have no part in a call and send all the same.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;
use rand::Rng;
use rand::seq::IndexedRandom;
use signaling_core::transport::{Arrival, Transport};

use super::{Event, World};
use crate::agent::rtp::Mark;
use crate::node;
use crate::scenario::{SIP_PORT, node_ip};
use crate::{AgentId, NodeId};

const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 66));

/// What strangers say to a SIP port.
const NOISE: [&[u8]; 6] = [
    b"\r\n\r\n",
    b"hello",
    b"OPTIONS sip:198.19.0.1 SIP/2.0\r\n\r\n",
    b"INVITE sip:900@198.19.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66;branch=z9hG4bKn\r\n\
      From: <sip:1@203.0.113.66>;tag=n\r\nTo: <sip:900@198.19.0.1>\r\nCall-ID: n\r\nCSeq: 1 INVITE\r\n\
      Content-Length: 0\r\n\r\n",
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 198.19.0.1;branch=z9hG4bKn\r\nFrom: <sip:1@a>;tag=n\r\n\
      To: <sip:2@a>;tag=m\r\nCall-ID: n\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
    b"BYE sip:user0@198.19.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66;branch=z9hG4bKb\r\n\
      From: <sip:1@a>;tag=n\r\nTo: <sip:2@a>;tag=m\r\nCall-ID: call-0@sim\r\nCSeq: 9 BYE\r\n\
      Content-Length: 0\r\n\r\n",
];

impl World<'_> {
    pub(super) fn stranger(&mut self) {
        self.ledger.counts.packets_strange += 1;
        match self.net_rng.random_range(0..4) {
            0 => self.sip_noise(),
            1 => self.misdirected_media(),
            _ => self.strange_media(),
        }
    }

    fn a_node(&mut self) -> NodeId {
        NodeId(self.net_rng.random_range(0..self.nodes.len()))
    }

    fn sip_noise(&mut self) {
        let node = self.a_node();
        let arrival = Arrival {
            transport: Transport::Udp,
            listener: node::UDP,
            local: SocketAddr::new(node_ip(node), SIP_PORT),
            remote: SocketAddr::new(STRANGER, SIP_PORT),
            connection: None,
        };
        let noise = NOISE.choose(&mut self.net_rng).copied().unwrap_or_default();
        let bytes = Bytes::from_static(noise);
        self.clock.at(self.clock.now(), Event::ToNode { node, arrival, bytes });
    }

    /// Good RTP from nobody's address to a port in use.
    fn strange_media(&mut self) {
        let node = self.a_node();
        let draw = self.net_rng.random::<u32>() as usize;
        let Some(to) = self.nodes[node.0].a_socket(draw) else { return };
        let from = SocketAddr::new(STRANGER, self.net_rng.random_range(1024..=65_535));
        let mut bytes = vec![0x80, 0, 0, 1, 0, 0, 0, 160, 1, 2, 3, 4];
        bytes.resize(60, 0x55);
        self.clock.at(self.clock.now(), Event::Media { from, to, bytes });
    }

    /// A packet of one call, from where that call's packets come, to the port of another.
    fn misdirected_media(&mut self) {
        let node = self.a_node();
        let (draw, first) = (
            self.net_rng.random::<u32>() as usize,
            self.net_rng.random_range(0..self.agents.len()),
        );
        let Some(to) = self.nodes[node.0].a_socket(draw) else { return };
        let found = (0..self.agents.len())
            .map(|i| AgentId((first + i) % self.agents.len()))
            .find_map(|id| Some((id, self.agents[id.0].a_stream()?)));
        let Some((id, (call, port, right))) = found else { return };
        if right == to {
            return;
        }
        let mark = Mark { call, from: id, stream: 0, number: Mark::ASTRAY };
        let from = self.scenario.device(id).mapped(port);
        let bytes = mark.packet(1);
        self.clock.at(self.clock.now(), Event::Media { from, to, bytes });
    }
}
