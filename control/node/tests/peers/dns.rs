//! Other domains by DNS (RFC 3263), with dnsmasq as their name server.

use std::time::{Duration, Instant};

use crate::harness::{
    CALLEE, CALLER, CALLER_HUNG_UP, DOMAIN, Direction, Lab, Meter, PROXY, Process, Settings,
    Transport, User, run, v6, wait_for,
};
use crate::scenario::{Scenario, scenario};
use crate::sipp::{CALLEE_ECHOES, CALLER_UNCHALLENGED, MEDIA_PORT, SIPP, Sipp, SippRun, register};

const DNSMASQ: &str = "dnsmasq";
const LIMIT: Duration = Duration::from_secs(10);
/// Ports of the domain's servers.
const NOBODY: u16 = 5090;
const BUSY: u16 = 5080;
const GOOD: u16 = 5082;

/// A name server on the host [`CALLER`].
struct Dns {
    _process: Process,
}

impl Dns {
    /// `records`: lines of dnsmasq's settings. Returns once it listens.
    fn start(lab: &Lab, records: &str) -> Dns {
        let config = lab.write("dnsmasq.conf", records);
        let mut command = lab.host(CALLER).command(DNSMASQ);
        command.args(["--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root"]);
        command.args(["--log-facility=-", "--log-queries", "--pid-file=", "--bind-interfaces"]);
        command.arg(format!("--listen-address={CALLER}")).arg(conf(&config.display().to_string()));
        let process = Process::spawn("dnsmasq", &mut command);
        wait_for("dnsmasq to listen", LIMIT, || !lab.host(CALLER).udp_sockets(53..=53).is_empty());
        Dns { _process: process }
    }
}

fn conf(file: &str) -> String {
    format!("--conf-file={file}")
}

/// A node that asks that name server.
fn lab() -> Lab {
    let more = format!("\n[dns]\nservers = [\"{CALLER}:53\"]\n");
    let settings = Settings { more, ..Settings::with_users(&["alice", "bob"]).with_outside() };
    Lab::start(&settings, &[SIPP, DNSMASQ])
}

fn caller(scenario: Scenario, callee: &str, port: u16) -> Sipp {
    Sipp::new(scenario, Transport::Udp, PROXY, port)
        .media_port(MEDIA_PORT + 2 * (port - 5070))
        .callee(callee)
        .act_as(&User::new("alice"), "")
        .pause(Duration::from_millis(200))
}

fn server(scenario: Scenario, transport: Transport, port: u16) -> Sipp {
    Sipp::new(scenario, transport, CALLEE, port).media_port(MEDIA_PORT + 2 * (port - 5070))
}

fn refuses<'a>(lab: &'a Lab, name: &str, status: u16, port: u16) -> SippRun<'a> {
    server(scenario!("features/callee_refuses").expecting(status), Transport::Udp, port)
        .start(lab, name)
}

/// RFC 3263 4.1 to 4.3: NAPTR leads to SRV, SRV to servers by priority. One that is not there (ICMP) and one
/// that is overloaded (503) make way for the third, which has an IPv6 address alone.
#[test]
fn the_servers_of_a_domain_are_tried_by_priority() {
    let lab = lab();
    let _dns = Dns::start(
        &lab,
        &format!(
            "naptr-record=far.test,10,10,s,SIP+D2U,,_sip._udp.far.test\n\
             srv-host=_sip._udp.far.test,third.far.test,{GOOD},30,10\n\
             srv-host=_sip._udp.far.test,first.far.test,{NOBODY},10,10\n\
             srv-host=_sip._udp.far.test,second.far.test,{BUSY},20,10\n\
             host-record=first.far.test,{CALLEE}\nhost-record=second.far.test,{CALLEE}\n\
             host-record=third.far.test,{}\n",
            v6(CALLEE)
        ),
    );
    let busy = refuses(&lab, "callee-busy", 503, BUSY);
    let good =
        Sipp::new(CALLEE_ECHOES, Transport::Udp, v6(CALLEE), GOOD).start(&lab, "callee-good");
    caller(CALLER_UNCHALLENGED, "friend@far.test", 5070).start(&lab, "caller").succeed(LIMIT);
    busy.succeed(LIMIT);
    good.succeed(LIMIT);
    lab.finish(&[CALLER_HUNG_UP]);
}

/// RFC 3263 4.1: the domain's wish for TCP is heard, though it takes UDP as well.
#[test]
fn the_transport_is_the_one_that_naptr_prefers() {
    let lab = lab();
    let _dns = Dns::start(
        &lab,
        &format!(
            "naptr-record=far.test,20,10,s,SIP+D2U,,_sip._udp.far.test\n\
             naptr-record=far.test,10,10,s,SIP+D2T,,_sip._tcp.far.test\n\
             srv-host=_sip._udp.far.test,host.far.test,{NOBODY},10,10\n\
             srv-host=_sip._tcp.far.test,host.far.test,{GOOD},10,10\n\
             host-record=host.far.test,{CALLEE}\n"
        ),
    );
    let good = server(CALLEE_ECHOES, Transport::Tcp, GOOD).start(&lab, "callee");
    caller(CALLER_UNCHALLENGED, "friend@far.test", 5070).start(&lab, "caller").succeed(LIMIT);
    good.succeed(LIMIT);
    lab.finish(&[CALLER_HUNG_UP]);
}

/// RFC 2782: servers of one priority share the calls by weight: three in four here. Of 60 calls that are 45,
/// and fewer than 28 or more than 58 once in a million runs.
#[test]
fn servers_of_one_priority_share_the_calls_by_weight() {
    const CALLS: u32 = 60;
    let lab = lab();
    let _dns = Dns::start(
        &lab,
        &format!(
            "srv-host=_sip._udp.far.test,host.far.test,{BUSY},10,75\n\
             srv-host=_sip._udp.far.test,host.far.test,{GOOD},10,25\n\
             host-record=host.far.test,{CALLEE}\n"
        ),
    );
    let direction = |name, port| Direction {
        name,
        from: crate::harness::NODE.into(),
        to: CALLEE.into(),
        ports: port..=port,
        swallow: false,
    };
    let meter = Meter::start(&lab, &[direction("heavy", BUSY), direction("light", GOOD)]);
    let servers = [BUSY, GOOD].map(|port| {
        server(scenario!("features/callee_refuses").expecting(486), Transport::Udp, port)
            .calls(CALLS, CALLS)
            .start(&lab, &format!("callee-{port}"))
    });
    caller(
        scenario!("features/caller_refused_unchallenged").expecting(486),
        "friend@far.test",
        5070,
    )
    .calls(CALLS, CALLS)
    .start(&lab, "caller")
    .succeed(LIMIT);
    // Each call is an INVITE and an ACK.
    let (heavy, light) = (meter.packets("heavy"), meter.packets("light"));
    assert_eq!(heavy + light, u64::from(2 * CALLS));
    assert!((56..=116).contains(&heavy), "the heavy server has got {heavy} of {}", 2 * CALLS);
    drop(servers);
    lab.finish(&["refused 486"; CALLS as usize]);
}

/// What DNS has said holds for the time it gives (RFC 1035 3.2.1), and not beyond.
#[test]
fn a_domain_that_moves_is_followed() {
    let lab = lab();
    let records = |port| {
        format!(
            "local-ttl=1\nsrv-host=_sip._udp.far.test,host.far.test,{port},10,10\n\
             host-record=host.far.test,{CALLEE}\n"
        )
    };
    let dns = Dns::start(&lab, &records(BUSY));
    let _before = server(scenario!("features/callee_refuses").expecting(486), Transport::Udp, BUSY)
        .calls(1000, 10)
        .start(&lab, "callee-before");
    let call = |status, name: &str| {
        let scenario = scenario!("features/caller_refused_unchallenged").expecting(status);
        caller(scenario, "friend@far.test", 5070).start(&lab, name).succeed(LIMIT);
    };
    call(486, "caller-before");
    drop(dns);
    let _dns = Dns::start(&lab, &records(GOOD));
    let moved = Instant::now();
    let after = refuses(&lab, "callee-after", 480, GOOD);
    // It is not known before it is asked for again, which is a second after the first call.
    wait_for("the old record to expire", LIMIT, || moved.elapsed() > Duration::from_millis(1100));
    call(480, "caller-after");
    after.succeed(LIMIT);
    lab.finish(&["refused 486", "refused 480"]);
}

/// While one call waits for a name server that is silent, others go on, and the one that waits is told in the end.
#[test]
fn a_silent_name_server_holds_up_nobody_else() {
    let lab = lab();
    let silent = "table ip silent {\nchain input {\ntype filter hook input priority 0\n\
                  udp dport 53 drop\ntcp dport 53 drop\n}\n}";
    run(lab.host(CALLER).command("nft").arg(silent));
    let waits = scenario!("features/caller_refused_unchallenged").expecting(504);
    let waits = caller(waits, "friend@far.test", 5072).start(&lab, "waits");
    register(&lab, &User::new("bob"), Transport::Udp, (CALLEE, GOOD).into());
    let good = server(CALLEE_ECHOES, Transport::Udp, GOOD).start(&lab, "callee");
    let started = Instant::now();
    let bob = format!("bob@{DOMAIN}");
    caller(CALLER_UNCHALLENGED, &bob, 5070).start(&lab, "caller").succeed(LIMIT);
    good.succeed(LIMIT);
    assert!(started.elapsed() < Duration::from_secs(3), "it took {:?}", started.elapsed());
    waits.succeed(LIMIT);
    lab.finish(&[CALLER_HUNG_UP, "refused 504"]);
}
