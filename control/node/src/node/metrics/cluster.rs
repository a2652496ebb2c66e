//! Figures of the cluster and the farm.

use std::time::Duration;

use control_core::cluster::membership::Standing;
use control_core::mesh::Health;
use signaling_core::farm::{Counters, Why};

use super::{Kind, Page, label};
use crate::cluster::engine::EngineState;
use crate::cluster::membership::Present;
use crate::cluster::mesh::{self, MeshFigures, PeerFigures};
use crate::node::farm::FarmFigures;

/// What the signaling thread counts of the farm.
pub(super) fn farm(page: &mut Page, farm: &FarmFigures) {
    let whys = || Why::ALL.iter().map(|why| label("why", why.name()));
    let help = "Messages given to other members, by why.";
    let name = "ringfarm_farm_relayed_out_total";
    page.family(Kind::Counter, name, help, whys().zip(farm.relayed_out));
    let help = "Messages that other members have given to this one, by why.";
    let name = "ringfarm_farm_relayed_in_total";
    page.family(Kind::Counter, name, help, whys().zip(farm.relayed_in));
    let decided = Counters::KINDS.iter().map(|kind| label("decision", kind));
    let help = "Messages by what the farm's router has decided.";
    let name = "ringfarm_farm_decisions_total";
    page.family(Kind::Counter, name, help, decided.zip(farm.counters.decided));
    for (name, help, value) in [
        ("no_exit_refused", "Requests refused for want of a sender.", farm.counters.no_exit),
        ("relay_failed", "Messages that another member could not be given.", farm.relay_failed),
        ("written_out", "Messages written to connections of other members.", farm.written_out),
        ("written_in", "Messages of others written to connections here.", farm.written_in),
        ("sent_out", "Messages that farm members send for this one.", farm.sent_out),
        ("sent_for", "Messages sent for members that are no farm members.", farm.sent_for),
        ("undelivered", "Messages that other members could not write.", farm.undelivered),
        ("replicas_out", "Changes of registrations told to the others.", farm.replicas_out),
        ("replicas_in", "Users whose registrations were taken over.", farm.replicas_in),
        ("copies", "Full copies of registrations taken from others.", farm.copies),
    ] {
        page.one(Kind::Counter, &format!("ringfarm_farm_{name}_total"), help, value);
    }
    for (name, help, is_so) in [
        ("draining", "1 while this member takes nothing new.", farm.draining),
        ("joining", "1 while this member has just come and takes nothing new yet.", farm.joining),
        ("no_exit", "1 while no farm member sends for this one, as it is set to.", farm.no_exit),
        ("minority", "1 while it sees fewer than half of the farm.", farm.minority),
    ] {
        page.one(Kind::Gauge, &format!("ringfarm_farm_{name}"), help, u8::from(is_so));
    }
}

/// Where this member stands in its cluster, and how the others do.
pub(super) fn members(page: &mut Page, present: &Present, figures: &MeshFigures) {
    let lost = match present.engine {
        EngineState::Connected => Duration::ZERO,
        EngineState::Lost { since } => since.elapsed(),
    };
    let epoch = present.view.as_ref().map_or(0, |view| view.epoch.0);
    let members = present.view.as_ref().map_or(0, |view| view.members.len());
    let is_part = matches!(present.standing, Standing::Part(_));
    page.one(Kind::Gauge, "ringfarm_cluster_epoch", "Number of the list of members.", epoch);
    page.one(Kind::Gauge, "ringfarm_cluster_members", "Members on that list.", members);
    for (name, help, is_so) in [
        ("member", "1 while this node takes part in its cluster.", is_part),
        ("controller", "1 while it is the Controller.", present.is_controller.is_some()),
    ] {
        page.one(Kind::Gauge, &format!("ringfarm_cluster_{name}"), help, u8::from(is_so));
    }
    let help = "How long the cluster's engine has not answered, in seconds; 0: it does.";
    page.one(Kind::Gauge, "ringfarm_cluster_engine_lost_seconds", help, lost.as_secs_f64());
    let help = "News of the cluster that were dropped because nobody took them.";
    page.one(Kind::Counter, "ringfarm_cluster_news_dropped_total", help, present.news_dropped);
    let count = |health: Health| {
        let is = |peer: &&PeerFigures| peer.health.unwrap_or(Health::Down) == health;
        figures.peers.iter().filter(is).count()
    };
    let states = [
        (label("state", "up"), count(Health::Up)),
        (label("state", "suspect"), count(Health::Suspect)),
        (label("state", "down"), count(Health::Down)),
    ];
    page.family(Kind::Gauge, "ringfarm_cluster_peers", "Other members, by state.", states);
    mesh::metrics::add(page, figures);
}
