//! Any sequence of inputs: nothing panics, every transaction ends, every table empties.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const METHODS: [&str; 5] = ["INVITE", "ACK", "CANCEL", "OPTIONS", "BYE"];
const STATUSES: [u16; 6] = [100, 180, 200, 302, 486, 603];

/// One input. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    Request { method: usize, branch: u8 },
    Response { method: usize, branch: u8, status: usize },
    Respond { which: usize, status: usize },
    Send { method: usize, branch: u8 },
    Cancel { which: usize },
    TransportError,
    ConnectionClosed,
    Pass { ms: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (method, status) = (0..METHODS.len(), 0..STATUSES.len());
    // Branches 0 to 2 are of RFC 2543.
    let branch = 0u8..9;
    prop_oneof![
        4 => (method.clone(), branch.clone())
            .prop_map(|(method, branch)| Step::Request { method, branch }),
        4 => (method.clone(), branch.clone(), status.clone())
            .prop_map(|(method, branch, status)| Step::Response { method, branch, status }),
        4 => (any::<usize>(), status).prop_map(|(which, status)| Step::Respond { which, status }),
        3 => (method, branch).prop_map(|(method, branch)| Step::Send { method, branch }),
        1 => any::<usize>().prop_map(|which| Step::Cancel { which }),
        1 => Just(Step::TransportError),
        1 => Just(Step::ConnectionClosed),
        4 => prop_oneof![0u64..1_000, 0u64..40_000].prop_map(|ms| Step::Pass { ms }),
    ]
}

fn branch_of(branch: u8) -> String {
    if branch < 3 { format!("old{branch}") } else { format!("z9hG4bK{branch}") }
}

/// The transactions that were handed out and have not been said to be over.
#[derive(Default)]
struct Ledger {
    servers: Vec<(ServerTx, Message)>,
    clients: Vec<ClientTx>,
    ended_servers: HashSet<ServerTx>,
    ended_clients: HashSet<ClientTx>,
}

impl Ledger {
    fn note(&mut self, event: Event) {
        match event {
            Event::Request { tx, request, .. } | Event::Cancel { cancel: tx, request, .. } => {
                self.servers.push((tx, request));
            }
            Event::ServerEnded { tx } => {
                assert!(self.ended_servers.insert(tx), "a server transaction ended twice");
                self.servers.retain(|(own, _)| *own != tx);
            }
            Event::ClientEnded { tx } => {
                assert!(self.ended_clients.insert(tx), "a client transaction ended twice");
                self.clients.retain(|own| *own != tx);
            }
            Event::Response { tx, .. } => assert!(!self.ended_clients.contains(&tx)),
            Event::Ack { .. }
            | Event::Refused { .. }
            | Event::StrayResponse { .. }
            | Event::ClientFailed { .. }
            | Event::ServerFailed { .. } => {}
        }
    }
}

struct World {
    bench: Bench,
    ledger: Ledger,
}

impl World {
    fn step(&mut self, step: &Step) {
        let bench = &mut self.bench;
        match *step {
            Step::Request { method, branch } => {
                bench.receive(&request(METHODS[method], &branch_of(branch)));
            }
            Step::Response { method, branch, status } => {
                let request = request(METHODS[method], &branch_of(branch));
                bench.receive(&response(&request, STATUSES[status]));
            }
            Step::Respond { which, status } if !self.ledger.servers.is_empty() => {
                let which = which % self.ledger.servers.len();
                let (tx, request) = self.ledger.servers[which].clone();
                bench.respond(tx, &request, STATUSES[status]);
            }
            Step::Send { method, branch } if METHODS[method] != "ACK" => {
                let request = request(METHODS[method], &branch_of(branch));
                let target = bench.target();
                self.ledger.clients.extend(bench.layer.send(bench.now, request, target));
                bench.take();
            }
            Step::Cancel { which } if !self.ledger.clients.is_empty() => {
                let which = which % self.ledger.clients.len();
                bench.cancel(self.ledger.clients[which], None);
            }
            Step::Respond { .. } | Step::Send { .. } | Step::Cancel { .. } => {}
            Step::TransportError => bench.transport_error(),
            Step::ConnectionClosed => {
                bench.layer.handle_connection_closed(bench.now, ConnectionId(4));
                bench.take();
            }
            Step::Pass { ms: by } => bench.pass(ms(by)),
        }
        self.settle();
    }

    fn settle(&mut self) {
        self.bench.wire.clear();
        for event in std::mem::take(&mut self.bench.events) {
            self.ledger.note(event);
        }
        assert_eq!(self.bench.layer.servers(), self.ledger.servers.len());
        assert!(self.bench.layer.clients() >= self.ledger.clients.len());
        for (tx, _) in &self.ledger.servers {
            assert!(self.bench.layer.server_state(*tx).is_some());
        }
    }

    /// Answers what is open, as a transaction user does in the end, and gives up the rest.
    fn finish(&mut self) {
        for (tx, request) in self.ledger.servers.clone() {
            self.bench.respond(tx, &request, 500);
        }
        for tx in self.ledger.clients.clone() {
            self.bench.cancel(tx, None);
        }
        self.settle();
    }
}

fn run(transport: Transport, steps: &[Step]) {
    let config = Config { servers_max: 6, clients_max: 6, ..Config::new([3; 32]) };
    let bench = Bench::with(transport, config);
    let mut world = World { bench, ledger: Ledger::default() };
    for step in steps {
        world.step(step);
    }
    world.finish();
    // 64*T1 for servers and for INVITEs that have been cancelled, and a margin.
    world.bench.pass(ms(33_000));
    world.settle();
    assert_eq!(world.bench.layer.servers(), 0);
    // An INVITE that had no provisional response when it was cancelled ran into timer B.
    assert_eq!(world.bench.layer.clients(), 0);
    assert!(world.bench.is_empty());
}

proptest! {
    #[test]
    fn any_sequence_over_udp_ends_and_leaves_nothing(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        run(Transport::Udp, &steps);
    }

    #[test]
    fn any_sequence_over_tcp_ends_and_leaves_nothing(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        run(Transport::Tcp, &steps);
    }
}
