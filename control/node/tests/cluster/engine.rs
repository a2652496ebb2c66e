//! One server of the cluster's engine, as a process on loopback.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use crate::{PATIENCE, nats};

pub(crate) struct Engine {
    child: Child,
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Engine {
    /// Starts one that keeps its data below `folder`.
    pub(crate) fn start(folder: &Path) -> Engine {
        let port = free_port();
        let mut engine = Engine { child: spawn(folder, port), folder: folder.to_owned(), port };
        engine.await_open();
        engine
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it has ended");
    }

    /// Starts it again, with what it has kept.
    pub(crate) fn run_again(&mut self) {
        self.child = spawn(&self.folder, self.port);
        self.await_open();
    }

    fn await_open(&mut self) {
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(Instant::now() < end, "the engine's server does not listen");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of loopback that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    held.local_addr().expect("an address").port()
}

fn spawn(folder: &Path, port: u16) -> Child {
    let file = folder.join("server.conf");
    let store = folder.join("store");
    let text = format!(
        "server_name: n0\nlisten: \"127.0.0.1:{port}\"\n\
         jetstream {{ store_dir: {store:?}, max_mem: 64MB, max_file: 1GB, sync_interval: always }}\n"
    );
    let mut written = std::fs::File::create(&file).expect("a file");
    written.write_all(text.as_bytes()).expect("it is written");
    Command::new(nats::server())
        .arg("-c")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server runs")
}
