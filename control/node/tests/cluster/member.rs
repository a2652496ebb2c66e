//! Members of a cluster, as processes with addresses of their own on loopback.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::PATIENCE;
use crate::engine::{Engine, free_port};

/// A cluster of frontends `n1`, `n2`, ..., each at 127.0.0.(10 + number).
pub(crate) struct Cluster {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) engine: Engine,
    pub(crate) members: Vec<Member>,
}

pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) sip: SocketAddr,
    metrics: SocketAddr,
    folder: PathBuf,
    process: Option<Child>,
    /// Its other end: who writes to a pipe without one fails.
    stdout: Option<BufReader<ChildStdout>>,
}

fn ringfarm() -> Command {
    Command::new(env!("CARGO_BIN_EXE_ringfarm"))
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Cluster {
    /// Starts `count` members and waits until each sees all.
    pub(crate) fn start(count: u8) -> Cluster {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = Engine::start(folder.path());
        let mut cluster = Cluster { folder, engine, members: Vec::new() };
        (0..count).for_each(|_| cluster.add());
        cluster.await_all_up();
        cluster
    }

    /// Lets another member in, and starts it.
    pub(crate) fn add(&mut self) {
        let number = self.members.len() + 1;
        let name = format!("n{number}");
        let folder = self.folder.path().join(&name);
        std::fs::create_dir(&folder).expect("a folder");
        let keys = folder.join("keys");
        let host = Ipv4Addr::new(127, 0, 0, 10 + u8::try_from(number).expect("few members"));
        let (sip, mesh, metrics) = (free_port(), free_port(), free_port());
        match self.members.first() {
            None => {
                let mut init = ringfarm();
                init.args(["cluster", "init", "--name", &name, "--state"]).arg(&keys);
                said(&init.output().expect("it runs"));
            }
            Some(first) => {
                let mut token = ringfarm();
                token.args(["cluster", "token", "--state"]).arg(first.folder.join("keys"));
                token.args(["--address", &first.mesh()]);
                let token = said(&token.output().expect("it runs"));
                let mut join = ringfarm();
                join.args(["cluster", "join", token.trim(), "--name", &name, "--state"]).arg(&keys);
                said(&join.output().expect("it runs"));
            }
        }
        let first_port = 20_000 + 1_000 * number;
        let settings = format!(
            "[sip]\ndomains = [\"farm.test\"]\n\
             [[sip.listen]]\ntransport = \"udp\"\naddress = \"{host}:{sip}\"\n\
             [[sip.listen]]\ntransport = \"tcp\"\naddress = \"{host}:{sip}\"\n\
             [events]\npackages = [\"presence\", \"dialog\"]\n\
             [media]\nports = \"{first_port}-{}\"\naddresses = [\"{host}\"]\n\
             [cluster]\nstate = \"{}\"\nlisten = \"{host}:{mesh}\"\ndrain_s = 5\n\
             [cluster.engine]\nservers = [\"127.0.0.1:{}\"]\n\
             [metrics]\nlisten = \"{host}:{metrics}\"\n\
             [control]\nsocket = \"{}\"\n",
            first_port + 999,
            keys.display(),
            self.engine.port,
            folder.join("control.sock").display(),
        );
        std::fs::write(folder.join("settings.toml"), settings).expect("settings");
        let [sip, metrics] = [sip, metrics].map(|port| SocketAddr::from((host, port)));
        let mut member = Member { name, sip, metrics, folder, process: None, stdout: None };
        member.run();
        self.members.push(member);
    }

    /// Waits until each member that runs sees each other one that does.
    pub(crate) fn await_all_up(&self) {
        let running: Vec<&Member> =
            self.members.iter().filter(|member| member.process.is_some()).collect();
        for member in &running {
            member.until("all are up", |list| {
                running.iter().all(|other| {
                    let seen = &of(list, &other.name);
                    seen["in_view"] == true && (seen["state"] == "up" || seen["state"] == "self")
                })
            });
        }
    }
}

/// What a list of members says of one.
pub(crate) fn of(list: &Value, name: &str) -> Value {
    let mut members = list["members"].as_array().into_iter().flatten();
    members.find(|member| member["name"] == name).cloned().unwrap_or_default()
}

impl Member {
    fn mesh(&self) -> String {
        let text = std::fs::read_to_string(self.folder.join("settings.toml")).expect("settings");
        let settings: toml::Table = text.parse().expect("TOML");
        settings["cluster"]["listen"].as_str().expect("an address").to_owned()
    }

    /// Gets another certificate from the member `by`, which lets others in.
    pub(crate) fn renew_keys(&self, by: &Member) {
        let mut token = ringfarm();
        token.args(["cluster", "token", "--replace", &self.name, "--address", &by.mesh()]);
        token.arg("--state").arg(by.folder.join("keys"));
        let token = said(&token.output().expect("it runs"));
        let mut renew = ringfarm();
        renew.args(["cluster", "renew", token.trim(), "--state"]).arg(self.folder.join("keys"));
        said(&renew.output().expect("it runs"));
    }

    /// Starts it and waits until it takes calls.
    pub(crate) fn run(&mut self) {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.folder.join("log"))
            .expect("a file for the log");
        let mut child = ringfarm()
            .arg("run")
            .arg("--config")
            .arg(self.folder.join("settings.toml"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        let stdout = child.stdout.take().expect("a pipe");
        let mut first = String::new();
        let mut stdout = BufReader::new(stdout);
        stdout.read_line(&mut first).expect("a line");
        assert!(first.starts_with("ringfarm: ready"), "{first:?}\n{}", self.log());
        self.process = Some(child);
        self.stdout = Some(stdout);
    }

    /// Starts it where it cannot; its exit code, and what it says.
    pub(crate) fn refused_start(&self) -> (Option<i32>, String) {
        outcome(&["run", "--config"], &self.folder.join("settings.toml"))
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.process.as_ref().expect("it runs");
        let pid = i32::try_from(child.id()).expect("a pid");
        kill(Pid::from_raw(pid), signal).expect("the member lives");
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.process.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it has ended");
    }

    /// Its exit code, once it has ended by itself.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let mut child = self.process.take().expect("it runs");
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                return status.code();
            }
            if Instant::now() >= end {
                let _ = child.kill();
                panic!("{} does not end:\n{}", self.name, self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `ringfarm ARGS --socket ITS SOCKET --json`.
    pub(crate) fn ask(&self, args: &[&str]) -> Value {
        let mut command = ringfarm();
        command.args(args).arg("--socket").arg(self.socket()).arg("--json");
        let output = command.output().expect("it runs");
        serde_json::from_str(&said(&output)).expect("JSON")
    }

    /// What `/readyz` answers.
    pub(crate) fn ready(&self) -> u16 {
        let text = self.get("/readyz");
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("no status: {text}"))
    }

    /// How many calls it has, as `/metrics` says.
    pub(crate) fn calls(&self) -> u64 {
        let text = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix("ringfarm_sip_calls "));
        let number = line.and_then(|number| number.trim().parse().ok());
        number.unwrap_or_else(|| panic!("no calls: {text}"))
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.metrics).expect("its metrics listen");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is written");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    pub(crate) fn list(&self) -> Value {
        self.ask(&["members"])
    }

    /// Waits until the list of members is as wanted.
    pub(crate) fn until(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let list = self.list();
            if is(&list) {
                return list;
            }
            assert!(
                Instant::now() < end,
                "{what}: not as {} sees it: {list:#}\n{}",
                self.name,
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What a folder of the cluster is told to be for, in the message of a failure.
pub(crate) fn logs(cluster: &Cluster) -> String {
    let log = |member: &Member| format!("--- {}\n{}\n", member.name, member.log());
    cluster.members.iter().map(log).collect()
}

/// Of `ringfarm` with these arguments: exit code, standard error.
pub(crate) fn outcome(args: &[&str], config: &Path) -> (Option<i32>, String) {
    let output = ringfarm().args(args).arg(config).output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}
