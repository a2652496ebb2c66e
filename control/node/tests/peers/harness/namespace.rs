//! A network namespace that lives as long as a value of [`Namespace`].

use std::fs::{self, File};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

use super::run;

/// All our namespaces are called `PREFIX PID - NUMBER`, with the pid of the test process that made
/// them.
const PREFIX: &str = "ringfarm-test-";
/// What `ip netns` shows in place of files of /etc.
const FILES: &str = "/etc/netns";
/// Where `ip netns` keeps the names.
const FOLDER: &str = "/run/netns";

/// A network namespace.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace whose loopback device is up. Panics if this process may not.
    pub(crate) fn create() -> Namespace {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        assert!(
            geteuid().is_root(),
            "the peer tests make network namespaces, which needs root: run `deploy/test`"
        );
        super::require("ip");
        SWEEP.call_once(sweep);

        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = Namespace { name: format!("{PREFIX}{}-{number}", std::process::id()) };
        let made = Command::new("ip").args(["netns", "add", &namespace.name]).output();
        let made = made.unwrap_or_else(|e| panic!("cannot start ip: {e}"));
        assert!(
            made.status.success(),
            "cannot make a network namespace (in a container this needs CAP_SYS_ADMIN and CAP_NET_ADMIN): {}",
            String::from_utf8_lossy(&made.stderr)
        );
        namespace.ip("link set lo up");
        namespace
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` with these arguments, which a space divides, on the devices inside.
    pub(crate) fn ip(&self, arguments: &str) {
        run(Command::new("ip").args(["-n", &self.name]).args(arguments.split(' ')));
    }

    /// Has the programs inside find `name` at `address`, as /etc/hosts does.
    pub(crate) fn knows(&self, name: &str, address: IpAddr) {
        let folder = Path::new(FILES).join(&self.name);
        let hosts = format!("127.0.0.1 localhost\n{address} {name}\n");
        fs::create_dir_all(&folder)
            .and_then(|()| fs::write(folder.join("hosts"), hosts))
            .unwrap_or_else(|e| panic!("cannot write {}/hosts: {e}", folder.display()));
    }

    /// A command that will run `program` inside.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `work` on a thread inside: a socket that it opens belongs to the namespace for good.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let path = Path::new(FOLDER).join(&self.name);
                let file = File::open(&path)
                    .unwrap_or_else(|e| panic!("cannot open {}: {e}", path.display()));
                setns(file, CloneFlags::CLONE_NEWNET)
                    .unwrap_or_else(|e| panic!("cannot enter namespace {}: {e}", self.name));
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The local addresses of the UDP sockets bound to one of these ports.
    pub(crate) fn udp_sockets(&self, ports: RangeInclusive<u16>) -> Vec<String> {
        let listing = run(self.command("ss").args(["-H", "-n", "-u", "-a"]));
        listing
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3))
            .filter(|local| {
                local
                    .rsplit(':')
                    .next()
                    .and_then(|port| port.parse().ok())
                    .is_some_and(|port| ports.contains(&port))
            })
            .map(str::to_owned)
            .collect()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Removes what test processes that were killed have left behind.
fn sweep() {
    let Ok(entries) = fs::read_dir(FOLDER) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if !Path::new("/proc").join(owner.to_string()).exists() {
            remove(&name);
        }
    }
}

/// Kills whatever still runs inside (a peer's own children, such as Kamailio's workers) and removes
/// the name.
fn remove(name: &str) {
    if let Ok(pids) = Command::new("ip").args(["netns", "pids", name]).output() {
        for pid in String::from_utf8_lossy(&pids.stdout)
            .lines()
            .filter_map(|line| line.trim().parse().ok())
        {
            // It may end by itself between the listing and here: that is as good.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    let _ = Command::new("ip").args(["netns", "delete", name]).output();
    // Most have none.
    let _ = fs::remove_dir_all(Path::new(FILES).join(name));
}
