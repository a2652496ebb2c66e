//! The cluster's engine: three NATS servers on one host of the segment.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Process, wait_for};
use crate::lab::{ENGINE, Segment};
use crate::nats;

/// Where clients connect.
pub(crate) const PORT: u16 = 4222;
const ROUTES: u16 = 6222;
const MONITOR: u16 = 8222;

/// They find each other and elect within this, also on a busy machine.
const ELECTED: Duration = Duration::from_secs(40);
const SAID: Duration = Duration::from_secs(5);

/// Servers that run; killed with this value.
pub(crate) struct Engine<'s> {
    segment: &'s Segment,
    servers: Vec<Option<Process>>,
}

impl<'s> Engine<'s> {
    /// Starts three; returns once they have elected who leads.
    pub(crate) fn start(segment: &'s Segment) -> Engine<'s> {
        let mut engine = Engine { segment, servers: vec![None, None, None] };
        for number in 0..ENGINE.len() {
            engine.run(number);
        }
        wait_for("the engine's servers to elect their leader", ELECTED, || {
            engine.has_meta_leader()
        });
        engine
    }

    /// Starts a server that does not run.
    pub(crate) fn run(&mut self, number: usize) {
        let folder = self.segment.dir().join(format!("nats{number}"));
        let config = folder.join("server.conf");
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(&config, configuration(number, &folder)))
            .unwrap_or_else(|e| panic!("cannot write {}: {e}", config.display()));
        let mut command: Command = self.segment.host(ENGINE[number]).command(nats::server());
        command.arg("-c").arg(&config);
        let process = Process::spawn(&format!("nats{number}"), &mut command);
        self.servers[number] = Some(process.with_evidence([folder.join("log")]));
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(mut server) = self.servers[number].take() {
            server.signal(Signal::SIGKILL);
            server.wait_end(SAID);
        }
    }

    /// Waits until one of those that run leads the bucket of the cluster.
    pub(crate) fn wait_bucket_led(&self) -> usize {
        let led = || self.bucket_leader().filter(|number| self.servers[*number].is_some());
        wait_for("a leader of the cluster's bucket", ELECTED, || led().is_some());
        led().expect("it leads still")
    }

    fn bucket_leader(&self) -> Option<usize> {
        let accounts = self.ask("/jsz?accounts=true&streams=true")?;
        let accounts = accounts["account_details"].as_array()?.clone();
        let streams = accounts.iter().filter_map(|account| account["stream_detail"].as_array());
        let is_bucket = |one: &&serde_json::Value| {
            one["name"].as_str().is_some_and(|name| name.starts_with("KV_ringfarm-"))
        };
        let bucket = streams.flatten().find(is_bucket)?;
        number(bucket["cluster"]["leader"].as_str()?)
    }

    fn has_meta_leader(&self) -> bool {
        let said = self.ask("/jsz").unwrap_or_default();
        said["meta_cluster"]["leader"].as_str().and_then(number).is_some()
    }

    /// What the first server that answers says of itself.
    fn ask(&self, path: &str) -> Option<serde_json::Value> {
        let running = self.servers.iter().zip(ENGINE).filter(|(server, _)| server.is_some());
        let host = self.segment.host(ENGINE[0]);
        running.into_iter().find_map(|(_, address)| {
            let text = host.enter(|| get(address, MONITOR, path))?;
            serde_json::from_str(text.split("\r\n\r\n").nth(1)?).ok()
        })
    }
}

/// The answer to a GET with its head; `None` if there is none.
pub(crate) fn get(address: Ipv4Addr, port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&(address, port).into(), SAID).ok()?;
    stream.set_read_timeout(Some(SAID)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn number(name: &str) -> Option<usize> {
    name.strip_prefix("nats")?.parse().ok()
}

fn configuration(number: usize, folder: &Path) -> String {
    let at = ENGINE[number];
    let routes = ENGINE.map(|server| format!("nats://{server}:{ROUTES}")).join(", ");
    let (store, log) = (folder.join("store"), folder.join("log"));
    format!(
        "server_name: nats{number}\nlisten: \"{at}:{PORT}\"\nhttp: \"{at}:{MONITOR}\"\nlog_file: {log:?}\n\
         jetstream {{ store_dir: {store:?}, max_mem: 64MB, max_file: 1GB, sync_interval: always }}\n\
         cluster {{ name: farm, listen: \"{at}:{ROUTES}\", routes: [{routes}] }}\n"
    )
}
