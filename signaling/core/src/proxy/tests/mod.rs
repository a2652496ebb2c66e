//! The proxy core as its peers see it.

mod byes;
mod calls;
mod dialogs;
mod early;
mod edge;
mod endings;
mod events;
mod exchanges;
mod families;
mod farm;
mod forking;
mod guard;
mod harness;
mod identity;
mod large;
mod media;
mod moved;
mod orphans;
mod random;
mod reasons;
mod redirects;
mod refusals;
mod registrations;
mod routes;
mod secure;
mod servers;
mod session_timers;
mod shedding;
mod torture;
mod torture6;
mod trial;
mod within;

pub(super) use harness::tcp_arrival;
