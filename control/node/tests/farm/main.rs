//! Several nodes that act as one, as real processes between real clients.
//!
//! Each test has a network segment of its own (see [`lab::Farm`]): frontends that share an address, backends,
//! the engine's servers, clients, and a balancer that sends every datagram and every connection to a random
//! frontend. The counts are small, so that a test ends within a minute; `RINGFARM_FARM_CALLS=2000` asks for
//! large ones, and `RINGFARM_FARM_RATE=5` for fewer calls a second where the machine is slow.

#[expect(dead_code, reason = "what only tests of a single node need of it")]
#[path = "../peers/baresip.rs"]
mod baresip;
mod changes;
mod clients;
mod engine;
mod floods;
#[expect(dead_code, unused_imports, reason = "what only tests of a single node need of it")]
#[path = "../peers/harness/mod.rs"]
mod harness;
mod impostor;
mod intruders;
#[expect(dead_code, reason = "what only tests of a single node need of it")]
#[path = "../peers/kamailio.rs"]
mod kamailio;
mod lab;
mod load;
mod member;
#[path = "../nats/mod.rs"]
mod nats;
mod partition;
mod phones;
mod relay;
#[path = "../peers/scenario.rs"]
mod scenario;
#[expect(dead_code, reason = "what only tests of a single node need of it")]
#[path = "../peers/sipp.rs"]
mod sipp;
mod spread;
mod spreader;
mod strange;
#[expect(dead_code, reason = "what only tests of a single node need of it")]
#[path = "../peers/tone.rs"]
mod tone;
