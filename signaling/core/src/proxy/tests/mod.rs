//! The proxy core as its peers see it.

mod byes;
mod calls;
mod dialogs;
mod endings;
mod events;
mod exchanges;
mod families;
mod forking;
mod guard;
mod harness;
mod identity;
mod large;
mod media;
mod moved;
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
