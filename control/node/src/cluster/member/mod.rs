//! This node as a member of its cluster: engine, membership and mesh, kept together on a thread of their own.
//!
//! Nothing that a call needs waits for this thread. It tells the signaling thread by a [`Link`] who the
//! members are; what members send each other of calls goes past it.

mod keeper;
mod local;
mod media;
mod start;

use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

use control_core::cluster::membership::{MemberStatus, UsedMedia};
use control_core::cluster::{Change, Load, MemberName, Scope, SettingsDocument};
use control_core::settings::Settings;
use signaling_net::tls::Certificate;
use tokio::sync::oneshot;

use super::membership::{self, End, Present};
use super::mesh::{MeshFigures, MeshHandle, Wake};
use crate::node::farm::FarmParts;
#[cfg(doc)]
use crate::node::farm::Link;
use crate::node::media::MediaSide;

/// How long the member's thread may take to end: its goodbyes to the engine and to the others.
const STOP_WITHIN: Duration = Duration::from_secs(4);

/// How busy this node is.
pub(crate) type ReadLoad = Arc<dyn Fn() -> Load + Send + Sync>;

/// This node as a member. Dropped without [`Running::stop`], it goes without a word, as a process does that
/// is killed.
pub(crate) struct Running {
    /// For the signaling thread.
    pub(crate) farm: Option<FarmParts>,
    /// For everybody else.
    pub(crate) handle: MemberHandle,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

/// What can be asked of the member.
#[derive(Clone)]
pub(crate) struct MemberHandle {
    name: MemberName,
    membership: membership::Handle,
    mesh: MeshHandle,
    earlier: media::Earlier,
    certificates: Arc<[Certificate]>,
    runtime: tokio::runtime::Handle,
}

/// Makes this node the member that its settings say, and waits until it takes part: until a view of the
/// cluster holds it and those members that can be reached are connected. `Ok(None)`: it is to be none.
///
/// # Errors
/// Without keys, with settings that can never work, or if the cluster refuses it.
pub(crate) fn start(
    settings: &Settings,
    wake_signaling: Wake,
    load: ReadLoad,
    media: MediaSide,
) -> anyhow::Result<Option<Running>> {
    start::start(settings, wake_signaling, load, media)
}

impl Running {
    /// Gives back what it holds, says goodbye and ends; without an engine that answers, the others take it
    /// for dead when its lease has run out.
    pub(crate) fn stop(self) {
        // If it has ended by itself, nobody is there to be told.
        let _ = self.stop.send(());
        let end = std::time::Instant::now() + STOP_WITHIN;
        while !self.thread.is_finished() && std::time::Instant::now() < end {
            thread::sleep(Duration::from_millis(1));
        }
        if self.thread.is_finished() && self.thread.join().is_err() {
            tracing::error!("the cluster's thread has panicked");
        }
    }
}

impl MemberHandle {
    /// This member's name.
    pub(crate) fn name(&self) -> &MemberName {
        &self.name
    }

    /// Where it stands. Never waits.
    pub(crate) fn present(&self) -> Arc<Present> {
        self.membership.present()
    }

    /// Those by which this member and its cluster's authority are known, as they were at the start.
    pub(crate) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Media that calls use and new ones do not get any more.
    pub(crate) fn earlier_media(&self) -> Vec<UsedMedia> {
        self.earlier.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the mesh does.
    pub(crate) fn mesh(&self) -> MeshFigures {
        self.mesh.figures()
    }

    /// Why the cluster does not have this node as a member any more.
    pub(crate) fn refused(&self) -> Option<String> {
        match &self.present().end {
            Some(End::Refused(why)) => Some(why.to_string()),
            Some(End::Left) | None => None,
        }
    }

    /// The host has other addresses, which the others may be told as those of wildcard listeners (S50).
    pub(crate) fn look_at_addresses(&self, settings: &Settings) {
        let told = local::local(settings).map(|local| self.membership.local(local));
        if let Err(error) = told.and_then(|told| told.map_err(Into::into)) {
            tracing::warn!("the cluster is not told of the host's addresses: {error:#}");
        }
    }

    /// This member takes no new work any more (B4).
    ///
    /// # Errors
    /// In words.
    pub(crate) fn drain(&self) -> Result<(), String> {
        self.membership.drain(true).map_err(|busy| busy.to_string())
    }

    /// Every member that has a record.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn members(&self) -> Result<Vec<MemberStatus>, String> {
        self.runtime.block_on(self.membership.members()).map_err(|busy| busy.to_string())
    }

    /// Settings that stand in the engine.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn settings(&self, scope: Scope) -> Result<Option<SettingsDocument>, String> {
        self.runtime.block_on(self.membership.settings(scope)).map_err(|busy| busy.to_string())
    }

    /// Changes a setting that stands in the engine.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn change(&self, scope: Scope, change: Change) -> Result<(), String> {
        let changed = self.runtime.block_on(self.membership.change(scope, change));
        changed.map_err(|error| error.to_string())
    }
}
