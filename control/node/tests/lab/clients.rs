//! Other people's clients behind each balancer: SIPp over UDP and TCP, also with requests that come in
//! fragments, baresip over TLS, and calls that Kamailio passes on.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use clap::Parser as _;
use lab::plan::{CLIENT, Family, Method, SIP, SIPS, VIP, outside};
use lab::{LabArgs, Standing};
use load::relaybench::stop::Stop;

use crate::baresip::Baresip;
use crate::harness::{
    CALLEE, CALLER, DOMAIN, Namespace, PROXY, Place, Transport, User, run, wait_for,
};
use crate::kamailio::Kamailio;
use crate::sipp::{CALLEE_ECHOES, CALLER_UNCHALLENGED, Sipp};

const LIMIT: Duration = Duration::from_secs(60);
const ANSWERED: Duration = Duration::from_secs(5);
/// Calls of each SIPp.
const COUNT: u32 = 10;
const LENGTH: Duration = Duration::from_millis(500);
/// What makes an INVITE larger than two packets.
const LARGE: usize = 3_500;
/// A second of recorded audio: 8,000 samples of 16 bits.
const SECOND_BYTES: u64 = 16_000;

/// The clients' hosts, on a segment behind the lab's own.
struct Phones<'s> {
    _bridge: Namespace,
    hosts: Vec<(Ipv4Addr, Namespace)>,
    folder: &'s Path,
}

impl<'s> Phones<'s> {
    fn connect(standing: Standing<'s>) -> Phones<'s> {
        let Standing { clients, gate, folder } = standing;
        let bridge = Namespace::create();
        bridge.ip("link add br0 type bridge");
        bridge.ip("link set br0 gso_max_segs 1 up");
        let mut hosts = Vec::new();
        for address in [CALLER, CALLEE, PROXY] {
            let (host, name) = (Namespace::create(), bridge.name());
            let port = format!("port{}", address.octets()[3]);
            host.ip(&format!("link add eth0 type veth peer name {port} netns {name}"));
            host.ip(&format!("address add {address}/24 dev eth0"));
            host.ip("link set eth0 up");
            bridge.ip(&format!("link set {port} master br0 up"));
            host.ip("route add default via 10.77.0.1");
            hosts.push((address, host));
        }
        let ip = |of: &str, words: &str| {
            run(Command::new("ip").args(["-n", of]).args(words.split(' ')));
        };
        let name = bridge.name();
        ip(clients, &format!("link add phones type veth peer name port1 netns {name}"));
        bridge.ip("link set port1 master br0 up");
        ip(clients, "address add 10.77.0.1/24 dev phones");
        ip(clients, "link set phones up");
        let forward = ["netns", "exec", clients, "sysctl", "-qw", "net.ipv4.ip_forward=1"];
        run(Command::new("ip").args(forward));
        ip(gate, &format!("route add 10.77.0.0/24 via {}", outside(CLIENT).v4));
        Phones { _bridge: bridge, hosts, folder }
    }
}

impl Phones<'_> {
    /// Says where the called SIPp is: it has no user agent of its own that would. What is for it comes over
    /// the transport that this went by.
    fn register(&self, name: &str, transport: Transport, port: u16) {
        let to = self.sip(CALLEE.into(), transport);
        let text = |own: SocketAddr| {
            format!(
                "REGISTER sip:{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/{} {own};branch=z9hG4bK{name};rport\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:{name}@{DOMAIN}>;tag=r\r\nTo: <sip:{name}@{DOMAIN}>\r\n\
                 Call-ID: register-{name}\r\nCSeq: 1 REGISTER\r\n\
                 Contact: <sip:{name}@{CALLEE}:{port};transport={}>\r\nContent-Length: 0\r\n\r\n",
                transport.name().to_uppercase(),
                transport.name()
            )
        };
        let mut answer = [0; 2_048];
        let length = self.host_of(CALLEE.into()).enter(|| {
            if transport == Transport::Tcp {
                let mut stream = TcpStream::connect_timeout(&to, ANSWERED).expect("a connection");
                stream.set_read_timeout(Some(ANSWERED)).expect("a timeout");
                let own = stream.local_addr().expect("its address");
                stream.write_all(text(own).as_bytes()).expect("sending");
                return stream.read(&mut answer).expect("an answer to a REGISTER");
            }
            let socket = UdpSocket::bind((CALLEE, 0)).expect("a socket");
            socket.set_read_timeout(Some(ANSWERED)).expect("a timeout");
            let own = socket.local_addr().expect("its address");
            socket.send_to(text(own).as_bytes(), to).expect("sending");
            let (length, from) = socket.recv_from(&mut answer).expect("an answer to a REGISTER");
            assert_eq!(from, to, "S38");
            length
        });
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    }
}

impl Place for Phones<'_> {
    fn host_of(&self, address: IpAddr) -> &Namespace {
        let found = self.hosts.iter().find(|(own, _)| IpAddr::V4(*own) == address);
        &found.unwrap_or_else(|| panic!("no host has {address}")).1
    }

    fn sip(&self, _: IpAddr, transport: Transport) -> SocketAddr {
        VIP.at(Family::Ipv4, if transport == Transport::Tls { SIPS } else { SIP })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Rows S34, S38, S51 to S54, S59: what phones and proxies of others see is one server.
fn all_call(method: Method) {
    let program = super::program();
    // SIPp wants what is sent one after the other to come so, which a random choice for each packet cannot keep.
    let words = ["lab", method.name(), "--spread", "source", "--ringfarm"].map(str::to_owned);
    let args = LabArgs::parse_from(words.into_iter().chain([program.display().to_string()]));
    let called = lab::with(&args, method, &Stop::default(), |standing| {
        let phones = Phones::connect(standing);
        for (name, transport, port) in CALLEES {
            phones.register(name, transport, port);
        }
        thread::scope(|scope| {
            for (number, (name, transport, port)) in (0..).zip(CALLEES) {
                let phones = &phones;
                scope.spawn(move || sipp_calls(phones, number, (name, transport, port)));
            }
            scope.spawn(|| baresip_calls(&phones));
        });
        Ok(())
    });
    called.unwrap_or_else(|error| panic!("{method}: {error:#}"));
}

/// The called SIPps: whom they are registered as, their transports and ports. The last ones are called with
/// large requests, and by way of Kamailio.
const CALLEES: [(&str, Transport, u16); 4] = [
    ("udp", Transport::Udp, 5080),
    ("tcp", Transport::Tcp, 5082),
    ("large", Transport::Udp, 5084),
    ("kamailio", Transport::Udp, 5086),
];

fn sipp_calls(phones: &Phones<'_>, number: u16, (name, transport, port): (&str, Transport, u16)) {
    let media = 17_000 + number * 200;
    let callee = Sipp::new(CALLEE_ECHOES, transport, CALLEE, port)
        .media_port(media)
        .calls(COUNT, COUNT)
        .echo()
        .start(phones, &format!("callee-{name}"));
    let kamailio = (name == "kamailio").then(|| Kamailio::start(phones, port));
    let mut caller = Sipp::new(CALLER_UNCHALLENGED, transport, CALLER, port)
        .media_port(media)
        .calls(COUNT, COUNT)
        .pause(LENGTH)
        .callee(&format!("{name}@{DOMAIN}"))
        .act_as(&User::new(&format!("caller-{name}")), "");
    if kamailio.is_some() {
        caller = caller.via(PROXY, SIP);
    }
    if name == "large" {
        caller = caller.padded(LARGE);
    }
    caller.start(phones, &format!("caller-{name}")).succeed(LIMIT);
    callee.succeed(LIMIT);
}

/// What a phone over TLS is sent goes over the connection that it has opened to some frontend.
fn baresip_calls(phones: &Phones<'_>) {
    let (alice, bob) = (User::new("alice"), User::new("bob"));
    let caller = Baresip::start(phones, &alice, CALLER, Transport::Tls, 440);
    let callee = Baresip::start(phones, &bob, CALLEE, Transport::Tls, 1000);
    caller.call(&bob);
    wait_for("both to hear a second of audio", LIMIT, || {
        caller.recorded_bytes() > SECOND_BYTES && callee.recorded_bytes() > SECOND_BYTES
    });
    caller.hang_up();
    callee.wait_call_end();
}

#[test]
fn other_peoples_clients_call_each_other_behind_a_single_address() {
    all_call(Method::SingleIpNat);
}

#[test]
fn other_peoples_clients_call_each_other_behind_a_balancer_of_sip_alone() {
    all_call(Method::MultiIp);
}

#[test]
fn other_peoples_clients_call_each_other_behind_mapped_addresses() {
    all_call(Method::MultiIpNat);
}

#[test]
fn other_peoples_clients_call_each_other_with_direct_server_return() {
    all_call(Method::Dsr);
}
