//! The mesh as Prometheus sees it.

use control_core::mesh::Health;

use super::{MeshFigures, PeerFigures};
use crate::node::metrics::{Kind, Page, label};

/// Adds what there is to say of the mesh.
pub(crate) fn add(page: &mut Page, figures: &MeshFigures) {
    for (name, help, value) in [
        ("accepted", "Connections accepted from members and strangers.", figures.accepted),
        ("turned_away", "Connections closed because too many were not ready.", figures.turned_away),
        ("handshakes_failed", "Connections that came to nothing.", figures.handshakes_failed),
        ("malformed", "Connections ended because of what was sent.", figures.malformed),
        ("joined", "Nodes let into the cluster by this member.", figures.joined),
        ("join_refused", "Nodes not let in.", figures.join_refused),
    ] {
        page.one(Kind::Counter, &format!("ringfarm_mesh_{name}_total"), help, value);
    }
    now(page, &figures.peers);
    counted(page, &figures.peers);
}

fn of<T>(
    peers: &[PeerFigures],
    read: impl Fn(&PeerFigures) -> T,
) -> impl Iterator<Item = (String, T)> {
    peers.iter().map(move |peer| (label("member", &peer.name), read(peer)))
}

fn now(page: &mut Page, peers: &[PeerFigures]) {
    let gauge = Kind::Gauge;
    let help = "1 while the member is heard, 0.5 while it is suspected, 0 while it is down.";
    let health = |peer: &PeerFigures| match peer.health {
        Some(Health::Up) => 1.0,
        Some(Health::Suspect) => 0.5,
        Some(Health::Down) | None => 0.0,
    };
    page.family(gauge, "ringfarm_mesh_member_up", help, of(peers, health));
    let help = "The usual round trip to the member, in seconds; 0: not measured yet.";
    let rtt = of(peers, |peer| peer.rtt.as_secs_f64());
    page.family(gauge, "ringfarm_mesh_rtt_seconds", help, rtt);
    let help = "Frames that wait to be written to the member.";
    page.family(gauge, "ringfarm_mesh_queued_frames", help, of(peers, |peer| peer.queued.0));
    let help = "Bytes that wait to be written to the member.";
    page.family(gauge, "ringfarm_mesh_queued_bytes", help, of(peers, |peer| peer.queued.1));
    let help = "Requests that wait for the member's replies.";
    page.family(gauge, "ringfarm_mesh_requests", help, of(peers, |peer| peer.requests));
    let help = "The epoch of the view that the member goes by.";
    page.family(gauge, "ringfarm_mesh_epoch", help, of(peers, |peer| peer.epoch));
}

fn counted(page: &mut Page, peers: &[PeerFigures]) {
    type Read = fn(&PeerFigures) -> u64;
    let totals: [(&str, &str, Read); 7] = [
        ("frames_received", "Frames received from the member.", |peer| peer.frames_in),
        ("bytes_received", "Bytes received from the member.", |peer| peer.bytes_in),
        ("frames_sent", "Frames written to the member.", |peer| peer.frames_out),
        ("bytes_sent", "Bytes written to the member.", |peer| peer.bytes_out),
        ("writes", "Writes to the member, each of all frames that waited.", |peer| peer.writes),
        ("connections", "Connections to the member that came up.", |peer| peer.connections),
        ("unknown", "Frames of newer versions, passed over.", |peer| peer.unknown),
    ];
    for (name, help, read) in totals {
        let name = format!("ringfarm_mesh_{name}_total");
        page.family(Kind::Counter, &name, help, of(peers, read));
    }
    let dropped = peers.iter().flat_map(|peer| {
        let why = |why| label("member", &peer.name) + "," + &label("why", why);
        [
            (why("received"), peer.dropped_in),
            (why("queue_full"), peer.dropped_out),
            (why("not_connected"), peer.not_connected),
        ]
    });
    let help =
        "Frames dropped: received and not taken here, or not sent for want of room or connection.";
    page.family(Kind::Counter, "ringfarm_mesh_dropped_total", help, dropped);
}
