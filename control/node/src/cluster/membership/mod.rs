//! This node's membership: a task that runs the pure [`Membership`] on the cluster's engine.
//!
//! The task owns the membership. It hands in what the engine's watch shows, the outcomes of the
//! engine's calls, what others send over [`Handle`] and the passing of time, and does what comes out.
//! Where the member stands is published as one [`Present`], which readers look at without waiting
//! for anything; what has happened, in its order, comes as [`News`].
//!
//! [`Membership`]: control_core::cluster::membership::Membership

mod driver;
pub(crate) mod mesh;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use control_core::cluster::membership::{
    ChangeError, Fence, Identity, JoinError, MemberStatus, Notice, PeerState, Standing, Timing,
    UsedMedia, ViewVerdict,
};
use control_core::cluster::{
    Change, Incarnate, Instance, Load, LocalSettings, MemberName, Profile, Scope, SettingsDocument,
    Term, TokenKeys, UnixMillis, UnixSeconds, View,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::engine::{Coord, EngineState};
use driver::Driver;

/// Inputs that wait for the task: a change of every peer's state at once, and half as much again.
/// Past this the sender waits, or is told.
const INPUTS_MAX: usize = 512;
/// News that wait for the node. What is dropped past this is counted; where the member stands is
/// not lost with it, for [`Present`] says that.
const NEWS_MAX: usize = 256;

/// Where this process stands in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Present {
    /// No member, one that waits for a view, or one that takes part.
    pub(crate) standing: Standing,
    /// The view that it goes by; it stays while Controller or engine are away.
    pub(crate) view: Option<Arc<View>>,
    /// The term in which this member is the Controller.
    pub(crate) is_controller: Option<Term>,
    /// Who is the Controller, as far as the engine was heard.
    pub(crate) controller: Option<(MemberName, Incarnate, Term)>,
    /// Whether the engine answers, and since when it does not.
    pub(crate) engine: EngineState,
    /// What this member says of itself, its media ports claimed.
    pub(crate) profile: Profile,
    /// Whose certificates are no good any more, and until when they were issued.
    pub(crate) barred: BTreeMap<MemberName, UnixSeconds>,
    /// What the farm's tokens are made and read with.
    pub(crate) token_keys: TokenKeys,
    /// Whether it is over.
    pub(crate) end: Option<End>,
    /// News that were dropped because nobody took them.
    pub(crate) news_dropped: u64,
}

/// Why a membership is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It has left.
    Left,
    /// It cannot be a member; the process should end.
    Refused(JoinError),
}

/// What has happened, for the node to act on in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// This process now is that start of that member; it takes part once a view holds it.
    Joined(Incarnate),
    /// The view is now this one.
    View(Arc<View>),
    /// Send this view over the mesh: to that member, or to all.
    Push {
        /// To whom; `None`: to all.
        to: Option<MemberName>,
        /// Which.
        view: Arc<View>,
    },
    /// What this member says of itself is now this.
    Profile(Box<Profile>),
    /// It no longer is that start of the member; it joins again by itself.
    Fenced {
        /// Who it was.
        was: Incarnate,
        /// Why it is no longer.
        why: Fence,
    },
    /// It is over.
    End(End),
    /// Operators should know.
    Notice(Notice),
}

/// What the task is told and asked.
enum Input {
    Peer(MemberName, Incarnate, PeerState),
    View(MemberName, Box<View>, oneshot::Sender<ViewVerdict>),
    Load(Load),
    Drain(bool),
    Copied,
    TokenKey(u32),
    Local(Box<LocalSettings>),
    MediaUsed(UsedMedia, Vec<UsedMedia>),
    Leave,
    Change(Scope, Change, oneshot::Sender<Result<(), ChangeError>>),
    Members(oneshot::Sender<Vec<MemberStatus>>),
    Settings(Scope, oneshot::Sender<Option<SettingsDocument>>),
}

/// The task has ended, or has too much to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the membership of this node has too much to do, or has ended")
    }
}

impl std::error::Error for Busy {}

/// Speaks to the task. Cheap to clone; the task ends with the last one.
#[derive(Clone)]
pub(crate) struct Handle {
    inputs: mpsc::Sender<Input>,
    present: watch::Receiver<Arc<Present>>,
    _task: Arc<Task>,
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins to join the cluster of `engine` as the member `name`, whose certificate was issued then; on a tokio
/// runtime.
///
/// # Errors
/// The system has no random numbers.
pub(crate) fn start(
    engine: Coord,
    name: MemberName,
    certified: UnixSeconds,
    local: LocalSettings,
    timing: Timing,
) -> Result<(Handle, mpsc::Receiver<News>), getrandom::Error> {
    let identity = Identity { name, certified, instance: Instance(getrandom::u64()?) };
    let (input_sender, inputs) = mpsc::channel(INPUTS_MAX);
    let (news_sender, news) = mpsc::channel(NEWS_MAX);
    let (driver, present) = Driver::new(engine, identity, local, timing, news_sender);
    let task = Task(tokio::spawn(driver.run(inputs)));
    Ok((Handle { inputs: input_sender, present, _task: Arc::new(task) }, news))
}

/// Tells without waiting. Everything that goes this way is told again later, or by somebody else, so
/// a caller that is refused may go on.
impl Handle {
    /// Where this member stands. Never waits.
    pub(crate) fn present(&self) -> Arc<Present> {
        self.present.borrow().clone()
    }

    /// To wait for changes of where this member stands.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Present>> {
        self.present.clone()
    }

    /// The mesh sees another member, in that start of it, differently.
    pub(crate) fn peer(
        &self,
        name: MemberName,
        incarnate: Incarnate,
        state: PeerState,
    ) -> Result<(), Busy> {
        self.tell(Input::Peer(name, incarnate, state))
    }

    /// A view that `from` has sent over the mesh. What became of it can be waited for.
    pub(crate) fn view(
        &self,
        from: MemberName,
        view: Box<View>,
    ) -> Result<oneshot::Receiver<ViewVerdict>, Busy> {
        let (answer, verdict) = oneshot::channel();
        self.tell(Input::View(from, view, answer)).map(|()| verdict)
    }

    /// How busy this member is.
    pub(crate) fn load(&self, load: Load) -> Result<(), Busy> {
        self.tell(Input::Load(load))
    }

    /// This member takes no new work any more, or takes it again (B4).
    pub(crate) fn drain(&self, draining: bool) -> Result<(), Busy> {
        self.tell(Input::Drain(draining))
    }

    /// This member knows what the others know, and takes new work from now on.
    pub(crate) fn copied(&self) -> Result<(), Busy> {
        self.tell(Input::Copied)
    }

    /// This member's signaling reads tokens made with that key.
    pub(crate) fn token_key(&self, number: u32) -> Result<(), Busy> {
        self.tell(Input::TokenKey(number))
    }

    /// This member's own settings have changed.
    pub(crate) fn local(&self, local: LocalSettings) -> Result<(), Busy> {
        self.tell(Input::Local(Box::new(local)))
    }

    /// New calls have this media; of what they had before, calls still use `earlier`.
    pub(crate) fn media_used(
        &self,
        latest: UsedMedia,
        earlier: Vec<UsedMedia>,
    ) -> Result<(), Busy> {
        self.tell(Input::MediaUsed(latest, earlier))
    }

    /// This member leaves: `Present::end` becomes `Left` once it has given back what it holds. Without
    /// the engine it does not; do not wait for it for long.
    pub(crate) fn leave(&self) -> Result<(), Busy> {
        self.tell(Input::Leave)
    }

    fn tell(&self, input: Input) -> Result<(), Busy> {
        self.inputs.try_send(input).map_err(|_| Busy)
    }
}

/// Asks, and waits for the answer.
impl Handle {
    /// Changes a setting that stands in the engine.
    ///
    /// # Errors
    /// What [`ChangeError`] says.
    pub(crate) async fn change(&self, scope: Scope, change: Change) -> Result<(), ChangeError> {
        self.ask(|answer| Input::Change(scope, change, answer))
            .await
            .unwrap_or(Err(ChangeError::Busy))
    }

    /// Every member that has a record, by name.
    pub(crate) async fn members(&self) -> Result<Vec<MemberStatus>, Busy> {
        self.ask(Input::Members).await
    }

    /// Settings in the engine, as far as it was heard; `None`: there are none, or they cannot be read.
    pub(crate) async fn settings(&self, scope: Scope) -> Result<Option<SettingsDocument>, Busy> {
        self.ask(|answer| Input::Settings(scope, answer)).await
    }

    async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, Busy> {
        let (answer, answered) = oneshot::channel();
        self.tell(input(answer))?;
        answered.await.map_err(|_| Busy)
    }
}

/// Now by the calendar, for people to read.
fn unix_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
