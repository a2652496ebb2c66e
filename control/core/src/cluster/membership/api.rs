//! What goes into a membership and what comes out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::cluster::{
    Epoch, Incarnate, Instance, Key, MemberName, NoIdLeft, Overlap, Profile, Revision, Term,
    UnixSeconds, View,
};
use crate::settings::{AddressPair, PortRange};

/// Who a process is before the cluster knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The member that it wants to be.
    pub name: MemberName,
    /// Drawn at random for this process.
    pub instance: Instance,
    /// When its certificate was issued.
    pub certified: UnixSeconds,
}

/// How fast things go. Every member of a cluster has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Leases are renewed this often.
    pub beat: Duration,
    /// A lease that has stood still for this long, by the watcher's own monotonic clock, is void. The
    /// death of an engine's leader stops its writes for 5 to 10 s (measured), which must not void any.
    pub lease: Duration,
    /// What has failed in the engine is tried again after this.
    pub retry: Duration,
    /// An operation of the engine whose outcome has not come by then is of unknown outcome.
    pub outcome: Duration,
    /// A change of a setting that has not got through by then is given up.
    pub change: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            beat: Duration::from_secs(2),
            lease: Duration::from_secs(10),
            retry: Duration::from_millis(500),
            outcome: Duration::from_secs(5),
            change: Duration::from_secs(10),
        }
    }
}

impl Timing {
    /// A lease that has missed a beat: where most members are refused by its holder's host, too, that
    /// is enough.
    #[must_use]
    pub fn missed(&self) -> Duration {
        self.beat * 3 / 2
    }

    /// Inputs come at least once a beat; where none has come for this long, this process has slept,
    /// and what it has not seen move may have moved.
    #[must_use]
    pub fn slept(&self) -> Duration {
        self.beat * 3 / 2
    }

    /// An engine that has taken no write of ours for this long takes those of others no more.
    #[must_use]
    pub fn stalled(&self) -> Duration {
        self.beat * 2
    }
}

/// Names an operation of the engine, so that its outcome finds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nonce(pub u64);

/// Names a wanted change of a setting, as the caller likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// An operation that the engine is to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOp {
    /// To be handed back with the outcome.
    pub nonce: Nonce,
    /// On which key.
    pub key: Key,
    /// What.
    pub ask: Ask,
}

/// What the engine is to do with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Read it: [`Outcome::Value`].
    Read,
    /// Write it if its revision is `expected` (`None`: if it is not there): [`Outcome::Done`] or
    /// [`Outcome::Conflict`].
    Write {
        /// The revision that it must have.
        expected: Option<Revision>,
        /// The new value.
        bytes: Vec<u8>,
    },
}

/// What has become of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Written; the key now has this revision.
    Done(Revision),
    /// Read; `None`: it is not there.
    Value(Option<(Revision, Vec<u8>)>),
    /// Not written: the revision is another.
    Conflict,
    /// Not carried out.
    Unavailable,
    /// Perhaps carried out, perhaps yet to be. The membership reads the key again.
    Unknown,
}

/// Whether the engine can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineLink {
    /// It cannot.
    Lost,
    /// It can, and the present value of every key has been handed to
    /// [`super::Membership::handle_value`] since it was lost or since the start. What has not been
    /// handed in is not there.
    Back,
}

/// Media ports of calls, and what their peers are told of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedMedia {
    /// The range.
    pub ports: PortRange,
    /// The WAN IP; none of a family: the local address.
    pub wan_ip: AddressPair,
}

/// How the mesh sees another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerState {
    /// It sends its heartbeats.
    Up,
    /// It has been silent for a moment.
    Suspect,
    /// It has been silent for longer, or cannot be reached.
    Down,
    /// Its host refuses connections: nobody listens there.
    Refused,
}

/// What a membership wants done, or told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Carry this out and hand in the outcome.
    Engine(EngineOp),
    /// Send this view over the mesh: to that member or (`None`) to all.
    Push {
        /// To whom.
        to: Option<MemberName>,
        /// Which.
        view: Arc<View>,
    },
    /// This process now is that start of that member. It takes part once a view holds it.
    Joined(Incarnate),
    /// The view is now this one.
    ViewChanged(Arc<View>),
    /// What this member says of itself, its media ports claimed, is now this.
    ProfileChanged(Box<Profile>),
    /// This process no longer is that start of the member: it processes nothing new, sends no media
    /// and gives away no token as that one. It joins again by itself, unless refused.
    Fenced {
        /// Who it was.
        was: Incarnate,
        /// Why it is no longer.
        why: Fence,
    },
    /// This process cannot be a member. It should end.
    Refused(JoinError),
    /// The member has left.
    Left,
    /// A change of a setting has been made, or why not.
    SettingChanged {
        /// Which.
        ticket: Ticket,
        /// What became of it.
        result: Result<(), ChangeError>,
    },
    /// Operators should know.
    Notice(Notice),
}

/// Why a process no longer is a start of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// The Controller took it for dead.
    Removed,
    /// Another process has its name.
    Replaced,
    /// A view came that does not hold it.
    NotInView,
    /// Its number belongs to another name.
    NumberTaken,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fence::Removed => "the Controller took this member for dead",
            Fence::Replaced => "another process has taken this member's name",
            Fence::NotInView => "the cluster goes on without this member",
            Fence::NumberTaken => "this member's number belongs to another name",
        })
    }
}

/// Why a process cannot be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// A process of that name is alive.
    NameTaken {
        /// The name.
        name: MemberName,
        /// Where the other one is.
        mesh: SocketAddr,
    },
    /// Another member has some of its media ports.
    Overlap(Overlap),
    /// No number is left for its name.
    NoIdLeft(NoIdLeft),
    /// It was taken out of the cluster after its certificate was issued.
    Barred(MemberName),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::NameTaken { name, mesh } => write!(
                f,
                "a member {name} is alive at {mesh}; stop that one, or give this one another name"
            ),
            JoinError::Overlap(overlap) => overlap.fmt(f),
            JoinError::NoIdLeft(none) => none.fmt(f),
            JoinError::Barred(name) => write!(
                f,
                "{name} was taken out of the cluster after its certificate was issued; if it is to come \
                 back, get it another one (`ringfarm cluster token --replace {name}`, then \
                 `ringfarm cluster renew TOKEN`)"
            ),
        }
    }
}

impl std::error::Error for JoinError {}

/// Why a setting was not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// In words: the value is wrong.
    Wrong(String),
    /// It would give two members the same media ports.
    Overlap(Overlap),
    /// Too many changes wait already.
    Busy,
    /// The engine has not said in time that it was made. It may have been; ask for the value.
    Unanswered,
    /// The document that it belongs to cannot be read.
    Unreadable(String),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeError::Wrong(why) => f.write_str(why),
            ChangeError::Overlap(overlap) => overlap.fmt(f),
            ChangeError::Busy => f.write_str("too many changes wait for the engine; try again"),
            ChangeError::Unanswered => f.write_str(
                "the engine has not answered in time, and the change may or may not have been made; \
                 look at the setting before trying again",
            ),
            ChangeError::Unreadable(why) => write!(f, "{why}; nothing was changed"),
        }
    }
}

impl std::error::Error for ChangeError {}

/// What operators should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This member now is the Controller.
    BecameController(Term),
    /// This member no longer is.
    LostController(Term),
    /// As Controller it has removed a member.
    Removed {
        /// Which.
        name: MemberName,
        /// Which start of it.
        incarnate: Incarnate,
        /// By the word of most members, whom its host refuses; else its lease ran out.
        refused: bool,
    },
    /// As Controller it keeps out a member whose media ports another one has.
    KeptOut(Overlap),
    /// As Controller it keeps out a member because the cluster is full.
    Full(MemberName),
    /// New media ports or a new WAN IP of this member are not used: another one has them.
    RangeRefused(Overlap),
    /// A document in the engine cannot be read, and is left alone.
    Unreadable {
        /// Its key.
        key: Key,
        /// Why.
        why: String,
    },
    /// The engine cannot be reached: nothing changes until it can.
    EngineLost,
    /// It can again.
    EngineBack,
    /// The engine has an older view than this member: it has lost data.
    EngineWentBack {
        /// The engine's.
        engine: Epoch,
        /// This member's.
        here: Epoch,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::BecameController(term) => {
                write!(f, "this member is the Controller from now on (term {term})")
            }
            Notice::LostController(term) => {
                write!(f, "this member is no longer the Controller (term {term})")
            }
            Notice::Removed { name, incarnate, refused } => {
                let why = match refused {
                    true => "its host refuses connections",
                    false => "it has given no sign of life",
                };
                write!(f, "{name} (start {}) is no longer a member: {why}", incarnate.incarnation)
            }
            Notice::KeptOut(overlap) => write!(f, "{} is kept out: {overlap}", overlap.other.0),
            Notice::Full(name) => {
                write!(f, "{name} is kept out: the cluster has as many members as it can")
            }
            Notice::RangeRefused(overlap) => {
                write!(f, "the new media ports or WAN IP are not used: {overlap}")
            }
            Notice::Unreadable { key, why } => {
                write!(f, "{key} in the cluster's engine is left alone: {why}")
            }
            Notice::EngineLost => f.write_str(
                "the cluster's engine cannot be reached: calls go on, members and settings stay as \
                 they are until it is back",
            ),
            Notice::EngineBack => f.write_str("the cluster's engine is back"),
            Notice::EngineWentBack { engine, here } => write!(
                f,
                "the cluster's engine has view {engine}, and view {here} was there before: it has \
                 lost data; its settings may need to be made again"
            ),
        }
    }
}

/// What has become of a view that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewVerdict {
    /// It is the view now.
    Accepted,
    /// It is that already, or a newer one is.
    Old,
    /// It was published under an older term than the Controller that this member knows of.
    OldTerm,
    /// It was not sent by the Controller that it names.
    NotTheController,
    /// It contradicts itself.
    Unsound,
}

/// Where a process stands in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is no member: not yet, or no longer.
    Outside,
    /// It is, and waits for a view that holds it.
    Waiting(Incarnate),
    /// It takes part.
    Part(Incarnate),
}
