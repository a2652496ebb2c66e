//! The node against real peers: SIPp, baresip, Kamailio, with tshark as judge.
//!
//! Each test has a network of its own (see [`harness::Lab`]): the node and each peer run in a
//! network namespace, so that ports never collide and tests run side by side. `deploy/test`
//! installs the peers; a peer that is missing, or a lack of rights to make namespaces, fails the
//! test and says so.

mod addresses;
mod balancer_files;
mod baresip;
mod baresip_calls;
mod capture;
mod dns;
mod doctor;
mod events;
mod features;
mod flows;
mod hard_networks;
mod harness;
mod kamailio;
mod kamailio_calls;
mod kamailio_ng;
mod kernel_ports;
mod large;
mod linphone;
mod marking;
mod networks;
mod next_hops;
mod overload;
mod raw;
mod raw_answers;
mod scenario;
mod secure;
mod sessions;
mod siege;
mod sipp;
mod sipp_answers;
mod sipp_calls;
mod tone;
mod unrelayed;
mod websocket;
