//! NATS servers for tests: processes on loopback, each with its own store, killed and frozen by
//! their process ids.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Access, Coord, EngineState, Nats, NatsSetup};

#[path = "../../../tests/nats/mod.rs"]
mod nats;

/// Three servers elect a leader of the bucket within this, also on a busy machine.
pub(crate) const ELECTED_WITHIN: Duration = Duration::from_secs(40);

/// Starts a server, says its process id, and kills it once its own input ends: with this test
/// process, however that ends.
const KEEPER: &str = r#"exec 3<&0; "$@" </dev/null & echo $!; cat <&3 >/dev/null; kill -KILL $!"#;

/// A cluster of servers. What it started is killed when it is dropped.
pub(crate) struct Servers {
    folder: tempfile::TempDir,
    ports: Vec<Ports>,
    running: Mutex<Vec<Option<Running>>>,
    /// Lines for every server's configuration.
    extra: String,
}

#[derive(Clone, Copy)]
struct Ports {
    clients: u16,
    routes: u16,
}

struct Running {
    keeper: Child,
    server: Pid,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The keeper goes first, so that it kills nobody by the id of a server that is gone.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        let _ = kill(self.server, Signal::SIGKILL);
    }
}

impl Servers {
    /// Starts `count` servers that form one cluster.
    pub(crate) fn start(count: usize) -> Self {
        Self::start_with(count, "")
    }

    /// The same, with lines of configuration for each.
    pub(crate) fn start_with(count: usize, extra: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the servers");
        let running = Mutex::new((0..count).map(|_| None).collect());
        let servers = Self { folder, ports: free_ports(count), running, extra: extra.to_owned() };
        (0..count).for_each(|server| servers.run(server));
        servers
    }

    /// Three servers that several tests use at once, each with a bucket of its own.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Servers>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(servers) = shared.upgrade() {
            return servers;
        }
        let servers = Arc::new(Self::start(3));
        *shared = Arc::downgrade(&servers);
        servers
    }

    /// How many servers there are.
    pub(crate) fn count(&self) -> usize {
        self.ports.len()
    }

    /// How to reach them.
    pub(crate) fn setup(&self, cluster: &str) -> NatsSetup {
        NatsSetup {
            cluster: cluster.to_owned(),
            servers: self
                .ports
                .iter()
                .map(|ports| format!("127.0.0.1:{}", ports.clients))
                .collect(),
            access: Access::Open,
            ca_file: None,
        }
    }

    /// A connection; the engine answers.
    pub(crate) async fn coord(&self, cluster: &str) -> Coord {
        let coord = Coord::Nats(Nats::connect(&self.setup(cluster)).await.expect("a fit setup"));
        until(&coord, ELECTED_WITHIN, |state| state == EngineState::Connected).await;
        coord
    }

    /// Starts a server that does not run.
    pub(crate) fn run(&self, server: usize) {
        let folder = self.folder(server);
        std::fs::create_dir_all(&folder).expect("a folder for a server");
        let file = folder.join("server.conf");
        std::fs::write(&file, self.configuration(server)).expect("a configuration");
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(nats::server())
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let said = keeper.stdout.take().expect("a pipe");
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line).expect("the keeper says the server's id");
        let server_id = Pid::from_raw(line.trim().parse().expect("a process id"));
        self.running()[server] = Some(Running { keeper, server: server_id });
    }

    /// SIGKILL.
    pub(crate) fn kill(&self, server: usize) {
        drop(self.running()[server].take());
    }

    /// SIGSTOP: the server's sockets stay open and say nothing.
    pub(crate) fn freeze(&self, server: usize) {
        self.signal(server, Signal::SIGSTOP);
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self, server: usize) {
        self.signal(server, Signal::SIGCONT);
    }

    /// Removes what a server that does not run has stored.
    pub(crate) fn wipe(&self, server: usize) {
        assert!(self.running()[server].is_none(), "the server runs");
        std::fs::remove_dir_all(self.folder(server)).expect("a folder can be removed");
    }

    /// Which server leads the bucket of `cluster`.
    pub(crate) async fn leader(&self, cluster: &str) -> usize {
        let urls = self.setup(cluster).servers;
        let client = async_nats::connect(urls).await.expect("a server lets us in");
        let context = async_nats::jetstream::new(client);
        for _ in 0..200 {
            if let Ok(stream) = context.get_stream(format!("KV_ringfarm-{cluster}")).await
                && let Some(group) = &stream.cached_info().cluster
                && let Some(leader) = &group.leader
            {
                return leader.trim_start_matches('n').parse().expect("our own name");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the bucket has no leader");
    }

    fn signal(&self, server: usize, signal: Signal) {
        let running = self.running();
        let server = running[server].as_ref().expect("the server runs");
        kill(server.server, signal).expect("a process of ours can be signalled");
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Vec<Option<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, server: usize) -> PathBuf {
        self.folder.path().join(format!("n{server}"))
    }

    fn configuration(&self, server: usize) -> String {
        let Ports { clients, routes } = self.ports[server];
        let folder = self.folder(server);
        let store = folder.join("store");
        let log = folder.join("log");
        let peers: Vec<_> =
            self.ports.iter().map(|ports| format!("nats://127.0.0.1:{}", ports.routes)).collect();
        let cluster = if self.ports.len() > 1 {
            format!(
                "cluster {{ name: test, listen: \"127.0.0.1:{routes}\", routes: [{}] }}",
                peers.join(", ")
            )
        } else {
            String::new()
        };
        format!(
            "server_name: n{server}\nlisten: \"127.0.0.1:{clients}\"\nlog_file: {log:?}\n\
             jetstream {{ store_dir: {store:?}, max_mem: 64MB, max_file: 4GB, sync_interval: always }}\n\
             {cluster}\n{}\n",
            self.extra
        )
    }
}

/// Waits until the state of `coord`'s engine is as wanted.
pub(crate) async fn until(coord: &Coord, within: Duration, is: impl Fn(EngineState) -> bool) {
    let mut state = coord.state();
    let wait = state.wait_for(|state| is(*state));
    let met = tokio::time::timeout(within, wait).await.map(|met| met.map(|_| ()));
    assert!(met.is_ok(), "after {within:?} the engine is {:?}", *coord.state().borrow());
}

/// Bound all at once, so that no two are the same, and given back.
fn free_ports(count: usize) -> Vec<Ports> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let held: Vec<_> = (0..count).map(|_| (bind(), bind())).collect();
    let port = |held: &TcpListener| held.local_addr().expect("an address").port();
    held.iter().map(|(a, b)| Ports { clients: port(a), routes: port(b) }).collect()
}
