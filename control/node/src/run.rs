//! `ringfarm run`: a node until it is told to stop.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use control_core::settings::Settings;
use signaling_core::transport::Transport;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::exit::Stop;
use crate::logging;
use crate::memory;
use crate::node::{LOOK_EVERY, Node};

/// How often the node is asked whether its parts still work.
const HEALTH_EVERY: Duration = Duration::from_millis(500);

/// How often a node that drains is asked whether anything is left.
const DRAINED_EVERY: Duration = Duration::from_millis(100);

/// Runs a node with these settings, which have been checked and fit this machine.
pub(crate) fn run(settings: Settings) -> Result<(), Stop> {
    logging::start(&settings.node.log)?;
    memory::set_up();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .map_err(Stop::CannotStart)?;
    // Before anybody can read that the node is ready, and send one.
    let mut signals = {
        let _inside = runtime.enter();
        StopSignals::listen().context("cannot listen for signals").map_err(Stop::CannotStart)?
    };
    let node = match runtime.block_on(start(&settings, &mut signals))? {
        Started::Node(node) => node,
        Started::Told(signal) => {
            tracing::info!(signal, "told to stop before the node had started");
            return Ok(());
        }
    };
    print!("{}", welcome(&settings, node.bound(), node.ng(), local_address()));
    let mut ended = runtime.block_on(until_told(&node, &mut signals));
    let refused = node.refused();
    if ended.is_ok() && node.is_member() {
        let limit = settings.cluster.drain_s.duration();
        ended = runtime.block_on(drain(&node, limit, &mut signals));
    }
    // Whoever watches over the process starts it again: the reason may be gone by then.
    ended = ended.and_then(|()| refused.map_or(Ok(()), |why| Err(anyhow!(why))));
    tracing::info!(calls = node.load().calls, "stopping");
    std::thread::spawn(move || {
        let again = runtime.block_on(signals.next());
        end_at_once(again);
    });
    let stopped = node.stop();
    println!("ringfarm: stopped");
    Ok(ended.and(stopped)?)
}

/// What came first.
enum Started {
    Node(Box<Node>),
    /// This signal.
    Told(&'static str),
}

/// Starts the node. A member of a cluster waits there for its place, and may be told not to.
async fn start(settings: &Settings, signals: &mut StopSignals) -> Result<Started, Stop> {
    if settings.cluster.state.is_none() {
        return Node::start(settings).map(|node| Started::Node(Box::new(node)));
    }
    let (sender, started) = oneshot::channel();
    let settings = settings.clone();
    std::thread::Builder::new()
        .name("start".to_owned())
        // Nobody waits for it any more if the node was told to stop; the process ends then.
        .spawn(move || drop(sender.send(Node::start(&settings))))
        .context("cannot start a thread")
        .map_err(Stop::CannotStart)?;
    tokio::select! {
        node = started => {
            let ended = || Stop::CannotStart(anyhow!("the node's start has panicked"));
            node.map_err(|_| ended())?.map(|node| Started::Node(Box::new(node)))
        }
        signal = signals.next() => Ok(Started::Told(signal)),
    }
}

/// Has the others take what is new, and waits until nothing is left here, or for `limit` (B4).
async fn drain(node: &Node, limit: Duration, signals: &mut StopSignals) -> anyhow::Result<()> {
    if let Err(error) = node.drain() {
        tracing::error!("cannot drain: {error}");
        return Ok(());
    }
    tracing::info!(calls = node.load().calls, limit_s = limit.as_secs(), "draining");
    let end = tokio::time::Instant::now() + limit;
    let mut look = tokio::time::interval(DRAINED_EVERY);
    loop {
        tokio::select! {
            signal = signals.next() => end_at_once(signal),
            () = tokio::time::sleep_until(end) => return Ok(()),
            _ = look.tick() => {
                if let Some(failure) = node.failure() {
                    return Err(anyhow!(failure));
                }
                if node.is_drained() {
                    return Ok(());
                }
            }
        }
    }
}

fn end_at_once(signal: &str) -> ! {
    eprintln!("ringfarm: {signal} again: ending at once");
    std::process::exit(1);
}

/// Waits for SIGINT or SIGTERM, or until the cluster does not have the node any more; an error says which part of the node has failed.
async fn until_told(node: &Node, signals: &mut StopSignals) -> anyhow::Result<()> {
    let mut health = tokio::time::interval(HEALTH_EVERY);
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            told = signals.told() => match told {
                Told::Stop(signal) => {
                    tracing::info!(signal, "told to stop");
                    return Ok(());
                }
                Told::Refresh => node.refresh(),
            },
            _ = look.tick() => node.look(),
            _ = health.tick() => {
                if let Some(failure) = node.failure() {
                    return Err(anyhow!(failure));
                }
                if let Some(why) = node.refused() {
                    tracing::error!("no longer a member, and cannot be one again: {why}; stopping");
                    return Ok(());
                }
            }
        }
    }
}

/// The signals that stop a node (the first lets it end its calls, the second ends it at once) and
/// SIGHUP, which has it refresh.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

/// What a signal says.
enum Told {
    /// By the signal of this name.
    Stop(&'static str),
    Refresh,
}

impl StopSignals {
    fn listen() -> std::io::Result<StopSignals> {
        Ok(StopSignals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn told(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.hang_up.recv() => Told::Refresh,
        }
    }

    /// The next one that stops.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// What a user needs to know to point a phone at the node. The first line is for programs, too: once
/// it is there, the node takes calls.
fn welcome(
    settings: &Settings,
    bound: &[(Transport, SocketAddr)],
    ng: Option<SocketAddr>,
    local: IpAddr,
) -> String {
    let mut text = String::from("ringfarm: ready, listening on");
    for (transport, address) in bound {
        // Writing to a String does not fail.
        let _ = write!(text, " {}:{address}", transport.lower_name());
    }
    let spoken = Transport::ALL.into_iter().filter(|t| bound.iter().any(|(bound, _)| bound == t));
    let transports = spoken.map(Transport::lower_name).collect::<Vec<_>>().join(" or ");
    let media = &settings.media;
    let server = bound.first().map(|(_, address)| reachable(*address, local));
    let server = server.map_or_else(|| "this host".to_owned(), |s| s.to_string());
    let _ = write!(
        text,
        "\n  media ports  {}-{} (udp)\n  phone        server {server}, transport {transports}, ",
        media.ports.first(),
        media.ports.last(),
    );
    text += if settings.users.is_open() {
        "any user name, no password (open test domain)\n"
    } else {
        "user and password as in the settings file\n"
    };
    if let Some(ng) = ng {
        let _ = writeln!(
            text,
            "  ng           {ng} (udp), for the rtpengine modules of other SIP servers"
        );
    }
    let domain = settings.sip.domains.first().map(ToString::to_string);
    let _ = writeln!(
        text,
        "  to call      sip:USER@{}\n  to stop      Ctrl-C or SIGTERM",
        domain.unwrap_or(server)
    );
    text
}

/// An address that a phone can be given: of a wildcard, that of this host's way out.
fn reachable(bound: SocketAddr, local: IpAddr) -> SocketAddr {
    if bound.ip().is_unspecified() { SocketAddr::new(local, bound.port()) } else { bound }
}

/// The address of this host's way to the outside, by its routing table (nothing is sent); loopback
/// where there is none.
fn local_address() -> IpAddr {
    // An address of documentation (RFC 5737): whatever the default route leads to.
    let outside = SocketAddr::from(([203, 0, 113, 1], 9));
    signaling_net::route::local_address_for(outside).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

#[cfg(test)]
mod tests {
    use control_core::settings::check;

    use super::*;

    #[test]
    fn the_welcome_says_where_to_point_a_phone() {
        let bound = [(Transport::Udp, "0.0.0.0:5060".parse().unwrap())];
        let text = welcome(&Settings::default(), &bound, None, "192.0.2.9".parse().unwrap());
        assert!(text.starts_with("ringfarm: ready, listening on udp:0.0.0.0:5060\n"), "{text}");
        assert!(text.contains("server 192.0.2.9:5060, transport udp, "), "{text}");
        assert!(text.contains("open test domain"), "{text}");
    }

    #[test]
    fn the_welcome_says_where_ng_commands_are_received() {
        let ng = Some("127.0.0.1:2223".parse().unwrap());
        let text = welcome(&Settings::default(), &[], ng, "192.0.2.9".parse().unwrap());
        assert!(text.contains("ng           127.0.0.1:2223 (udp)"), "{text}");
    }

    #[test]
    fn the_welcome_names_the_domain_to_call() {
        let settings = check(
            "sip.domains = [\"example.test\"]\n[[users.list]]\nname = \"a\"\npassword = \"b\"",
        )
        .unwrap();
        let bound = [(Transport::Tcp, "127.0.0.1:5070".parse().unwrap())];
        let text = welcome(&settings, &bound, None, "192.0.2.9".parse().unwrap());
        assert!(text.contains("sip:USER@example.test"), "{text}");
        assert!(text.contains("server 127.0.0.1:5070"), "{text}");
        assert!(!text.contains("open test domain"), "{text}");
    }
}
