//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cluster;
use crate::control::SOCKET;
use crate::doctor;
use crate::exit::EXIT_CODES;
use crate::lb;

const EXAMPLES: &str = "\
Examples:
  ringfarm demo                                 see it relay calls between its own phones
  ringfarm                                      an open test domain on port 5060, udp and tcp
  ringfarm run --config /etc/ringfarm.toml      a node with users
  ringfarm config default > ringfarm.toml       every setting, explained
  ringfarm check ringfarm.toml                  what is wrong with a settings file";

/// SIP proxy, registrar and media relay in one process.
///
/// Without a command: `run`.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}")
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) run: RunArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node until it is told to stop (SIGINT or SIGTERM).
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Start a node and phones, set up calls with audio and video, and measure them.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(DemoArgs),
    /// Make calls with audio and video through a SIP node and measure what becomes of them.
    #[command(after_help = LOAD_EXAMPLES)]
    Load(Box<load::cli::LoadArgs>),
    /// Compare this program with others, side by side, on this machine.
    Bench {
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Have a running node read again what may have changed: certificates, the host's addresses.
    #[command(after_help = REFRESH_EXAMPLES)]
    Refresh(RefreshArgs),
    /// Show whom a running node does not listen to, ban somebody, or lift a ban.
    #[command(after_help = BANS_EXAMPLES, args_conflicts_with_subcommands = true)]
    Bans(BansArgs),
    /// Make a cluster of nodes, let others in, or join one.
    #[command(after_help = cluster::commands::EXAMPLES)]
    Cluster {
        #[command(subcommand)]
        command: cluster::commands::ClusterCommand,
    },
    /// Have a running node take nothing new and go on with the calls that it has.
    #[command(after_help = DRAIN_EXAMPLES)]
    Drain(DrainArgs),
    /// Show the members of the cluster that a running node is in.
    #[command(after_help = MEMBERS_EXAMPLES)]
    Members(MembersArgs),
    /// Show or change settings that the members of a cluster share.
    #[command(after_help = SETTINGS_EXAMPLES)]
    Settings {
        #[command(subcommand)]
        command: SettingsCommand,
    },
    /// Say what is wrong with this host, or with the balancer before a cluster, and what mends it.
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::DoctorArgs),
    /// Print configurations of the balancer in front of a cluster.
    Lb {
        #[command(subcommand)]
        command: lb::LbCommand,
    },
    /// Say what is wrong with a settings file, without starting anything.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Show what settings there are.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

const RUN_EXAMPLES: &str = "\
Examples:
  ringfarm run                                  an open test domain on port 5060, udp and tcp
  ringfarm run --listen 127.0.0.1:5070          the same, seen by this machine alone
  ringfarm run --config /etc/ringfarm.toml      with the settings of a file

Without --config, every setting has its default (`ringfarm config default` shows them).";

/// What a node is run with.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RunArgs {
    /// Settings file (TOML); `ringfarm config default` prints one with every key.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Listen here, on UDP and TCP, in place of what the settings say. May be repeated.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
}

const DEMO_EXAMPLES: &str = "\
Examples:
  ringfarm demo                                 50 calls for 8 seconds
  ringfarm demo --sessions 500 --seconds 20     more calls for longer
  ringfarm demo --json                          one JSON object, for programs

It needs no settings, no privileges and no network beyond this machine's own 127.0.0.0/8.";

/// The size of a demonstration.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct DemoArgs {
    /// Calls at once, each with audio and video: 1 to 5000.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub(crate) sessions: u32,
    /// How long media flows once all calls are answered, in seconds: 1 to 3600.
    #[arg(long, value_name = "T", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) seconds: u32,
    /// Print the result as one JSON object and nothing else.
    #[arg(long)]
    pub(crate) json: bool,
}

const LOAD_EXAMPLES: &str = "\
Examples:
  ringfarm load 127.0.0.1:5060                        50 calls for 10 s through the node there
  ringfarm load 127.0.0.1:5060 --sessions 500 --json  500 calls, the report as one JSON object
  ringfarm load --direct --sessions 500               without a node: the generator's own limit

It loads this machine only, unless --allow-target names another address.";

const RELAY_EXAMPLES: &str = "\
Examples:
  ringfarm bench relay --html relay.html              everything, about an hour; plots in relay.html
  ringfarm bench relay --quick                        whether it works here
  ringfarm bench relay --parts audio --streams 1000   one load
  ringfarm bench relay --systems ringfarm,epoll       without rtpengine

As root it makes network namespaces of its own, and removes them; otherwise it measures over loopback.
Progress goes to standard error, the report to standard output.";

const SIP_EXAMPLES: &str = "\
Examples:
  ringfarm bench sip --html sip.html                  everything, over an hour; plots in sip.html
  ringfarm bench sip --quick                          the main loads within 12 minutes
  ringfarm bench sip --smoke                          whether it works here
  ringfarm bench sip --parts calls --transports udp   one load
  ringfarm bench sip --systems ringfarm               without Kamailio

As root it makes network namespaces of its own, and removes them; otherwise it measures over loopback.
Progress goes to standard error, the report to standard output. Exit code 1: something was left out, or
a call failed through this program.";

const FARM_EXAMPLES: &str = "\
Examples:
  ringfarm bench farm --html farm.html    six rounds at 400 calls/s, then the highest rates: over an hour
  ringfarm bench farm --quick             six short rounds within some 13 minutes
  ringfarm bench farm --smoke             whether it works here

As root it makes network namespaces of its own, and removes them; otherwise it measures over loopback.
Farms of several members need nats-server (--nats-server FILE). Progress goes to standard error, the report
to standard output. Exit code 1: something was left out, or a call failed.";

const STRANGER_EXAMPLES: &str = "\
Examples:
  ringfarm bench stranger                                 every mode of learning, every attack
  ringfarm bench stranger --systems ringfarm,rtpengine    the same attacks on both
  ringfarm bench stranger --json                          one JSON object, for programs

It starts the relay and makes the calls that it attacks, in network namespaces of its own (as root) or on
loopback, and sends to nobody else. Exit code 1: more came of an attack than the documentation states.";

const MUTATE_EXAMPLES: &str = "\
Examples:
  ringfarm bench mutate                             100,000 messages in some 10 s
  ringfarm bench mutate --count 10000000 --seed 7   15 minutes; memory is judged from 80 s on
  ringfarm bench mutate --target 127.0.0.1:5060     to a node that runs already

It starts a node in a network namespace from which nobody can be reached (needs root). Exit code 1: the
node died, its memory grew on, or one of the undisturbed calls failed.";

/// What can be compared.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Compare media relays: what a packet costs, latency, loss, set-up, memory.
    #[command(after_help = RELAY_EXAMPLES)]
    Relay(Box<load::relaybench::RelayArgs>),
    /// Compare SIP servers: what a call and a registration cost, highest rate, latency, memory.
    #[command(after_help = SIP_EXAMPLES)]
    Sip(Box<load::sipbench::SipArgs>),
    /// Compare farms of one, two and three members with a single node: what a call costs, latency, highest rate.
    #[command(after_help = FARM_EXAMPLES)]
    Farm(Box<load::farmbench::FarmArgs>),
    /// Play the stranger: send to the media ports of other people's calls, and count what comes of it.
    #[command(after_help = STRANGER_EXAMPLES)]
    Stranger(Box<load::relaybench::StrangerArgs>),
    /// Send mutated SIP messages to a node, with undisturbed calls beside them.
    #[command(after_help = MUTATE_EXAMPLES)]
    Mutate(Box<load::mutate::MutateArgs>),
    /// Measure what the way between two members costs: latency, messages a second, processor time.
    #[command(after_help = cluster::bench::EXAMPLES)]
    Mesh(cluster::bench::MeshArgs),
    /// The floor that relays are compared with: epoll, recvfrom and sendto, and nothing else.
    #[command(hide = true)]
    EpollRelay {
        /// The address for the sockets of one side.
        a: std::net::Ipv4Addr,
        /// The address for those of the other.
        b: std::net::Ipv4Addr,
    },
}

const REFRESH_EXAMPLES: &str = "\
Examples:
  ringfarm refresh                              the node that systemd runs
  ringfarm refresh --socket /run/b.sock         the node with this control.socket
  ringfarm refresh --json                       what came of it as one JSON object

SIGHUP does the same; what comes of it is then in the log.";

/// A running node, and how its answer is shown.
#[derive(Args, Clone, Debug)]
pub(crate) struct RefreshArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

const BANS_EXAMPLES: &str = "\
Examples:
  ringfarm bans                                 who is banned, since when, for how long, why
  ringfarm bans --json                          the same as one JSON object, with times
  ringfarm bans remove 203.0.113.66             listen to it again
  ringfarm bans add 203.0.113.66 --minutes 60 --reason \"calls to premium numbers\"

A banned source gets no answer at all. What else is dropped in silence is counted by rule at the end
of the list: banned, rate (too many messages), scanner (by User-Agent), account (wrong passwords),
answers and answer_size (too many or too large answers to strangers). Bans end with the process.";

/// A running node, and what is to be done about its bans.
#[derive(Args, Clone, Debug)]
pub(crate) struct BansArgs {
    #[command(subcommand)]
    pub(crate) command: Option<BansCommand>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Print the result as one JSON object.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What is to be done.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum BansCommand {
    /// Listen to a source again.
    Remove {
        /// Its address; any of an IPv6 /64.
        #[arg(value_name = "ADDRESS")]
        source: std::net::IpAddr,
    },
    /// Listen to a source no more.
    Add {
        /// Its address; of IPv6 the /64 that it is in.
        #[arg(value_name = "ADDRESS")]
        source: std::net::IpAddr,
        /// How long.
        #[arg(long, value_name = "N", default_value_t = 60)]
        minutes: u32,
        /// Why, for whoever reads the list.
        #[arg(long, value_name = "TEXT", default_value = "no reason given")]
        reason: String,
    },
}

/// A running node.
#[derive(Args, Clone, Debug)]
pub(crate) struct NodeArgs {
    /// The node's control socket (control.socket in its settings).
    #[arg(long, value_name = "PATH", default_value = SOCKET, global = true)]
    pub(crate) socket: PathBuf,
}

const DRAIN_EXAMPLES: &str = "\
Examples:
  ringfarm drain                                others take what is new from now on
  ringfarm drain --wait && systemctl stop ringfarm
                                                stop it once its last call has ended
  ringfarm drain --wait --limit 600             wait for ten minutes at most

Calls, and what belongs to them, go on. /readyz and the OPTIONS of balancers say 503 from the first moment.
A node does not take new work again before it is started anew. Exit code 1: --limit was over, and there
were calls still.";

/// A running node that is to drain.
#[derive(Args, Clone, Debug)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Wait until it has nothing left to do.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait no longer than this, in seconds.
    #[arg(long, value_name = "S", requires = "wait")]
    pub(crate) limit: Option<u32>,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

const MEMBERS_EXAMPLES: &str = "\
Examples:
  ringfarm members                              a line for each member, and how the cluster does
  ringfarm members --json                       everything, as one JSON object";

/// A running member.
#[derive(Args, Clone, Debug)]
pub(crate) struct MembersArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

const SETTINGS_EXAMPLES: &str = "\
Examples:
  ringfarm settings get                         what is set for the whole cluster, and by whom
  ringfarm settings get --member fe-1           for one member
  ringfarm settings set cluster.wan_ip 203.0.113.5
  ringfarm settings set member.farm relay --member be-1
  ringfarm settings set member.media_ports 30000-39999 --member fe-1
                                                new calls get these ports; those that stand keep theirs
  ringfarm settings unset member.farm --member be-1
  ringfarm settings log                         who has changed what, on all members
  ringfarm settings keys                        every setting that there is, and when it acts

They stand in the cluster's engine. A member's setting comes from what is set for that member, else from its
own file, else from what is set for the cluster, else it has its default.";

/// What is to be done about settings.
#[derive(Subcommand, Clone, Debug)]
pub(crate) enum SettingsCommand {
    /// Show them, and the last changes.
    Get {
        /// This one alone.
        #[arg(value_name = "KEY")]
        key: Option<String>,
        #[command(flatten)]
        of: SettingsArgs,
    },
    /// Show who has changed what, the last changes last.
    Log {
        /// So many changes at most.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        of: SettingsArgs,
    },
    /// Show every setting that there is, whose it is and when a change acts. Asks no node.
    Keys {
        /// Print the result as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Change one.
    Set {
        /// Which.
        #[arg(value_name = "KEY")]
        key: String,
        /// To what.
        #[arg(value_name = "VALUE")]
        value: String,
        #[command(flatten)]
        of: SettingsArgs,
    },
    /// Take one out, so that the next in the order of precedence holds.
    Unset {
        /// Which.
        #[arg(value_name = "KEY")]
        key: String,
        #[command(flatten)]
        of: SettingsArgs,
    },
}

/// Whose settings, and of which node to ask.
#[derive(Args, Clone, Debug)]
pub(crate) struct SettingsArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Those of this member; without it, those of the cluster.
    #[arg(long, value_name = "NAME")]
    pub(crate) member: Option<String>,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

const CHECK_EXAMPLES: &str = "\
Examples:
  ringfarm check ringfarm.toml                  FILE:LINE:COLUMN: key: what is wrong; what to do
  ringfarm check --json ringfarm.toml           the same as one JSON object
  ringfarm check --elsewhere ringfarm.toml      for another machine: its cores are not known here

Exit codes: 0 the file is good, 1 it has problems, 2 it cannot be read. Nothing is bound or started.";

/// A settings file to look at.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckArgs {
    /// Settings file (TOML).
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print the result as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// The file is for another machine: do not compare it with this one.
    #[arg(long)]
    pub(crate) elsewhere: bool,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a settings file with every key, explained, and its default.
    #[command(after_help = "Example:\n  ringfarm config default > ringfarm.toml")]
    Default,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, error::ErrorKind};

    use super::*;

    fn parse(line: &str) -> Result<Cli, ErrorKind> {
        let words = std::iter::once("ringfarm").chain(line.split_whitespace());
        Cli::try_parse_from(words).map_err(|error| error.kind())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_runs_with_the_same_options() {
        let cli = parse("--listen 127.0.0.1:5070 --listen [::1]:5070").unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.run.listen.len(), 2);
        let cli = parse("run --config x.toml").unwrap();
        assert!(
            matches!(cli.command, Some(Command::Run(run)) if run.config == Some("x.toml".into()))
        );
    }

    #[test]
    fn options_of_run_do_not_go_before_another_command() {
        assert!(parse("--config x.toml demo").is_err());
    }

    #[test]
    fn the_demo_is_of_a_size_that_a_machine_can_be_asked_for() {
        let size = |line: &str| match parse(line)?.command {
            Some(Command::Demo(DemoArgs { sessions, seconds, .. })) => Ok((sessions, seconds)),
            other => panic!("{other:?}"),
        };
        assert_eq!(size("demo"), Ok((50, 8)));
        assert_eq!(size("demo --sessions 5000 --seconds 3600"), Ok((5000, 3600)));
        for line in ["--sessions 0", "--sessions 5001", "--seconds 0", "--seconds 3601"] {
            assert_eq!(size(&format!("demo {line}")), Err(ErrorKind::ValueValidation), "{line}");
        }
    }

    #[test]
    fn help_shows_examples_and_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        assert!(
            help.contains("ringfarm check ringfarm.toml") && help.contains("Exit codes:"),
            "{help}"
        );
    }
}
