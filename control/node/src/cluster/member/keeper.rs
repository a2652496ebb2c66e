//! Keeps engine, membership, mesh and signaling thread told of each other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use control_core::cluster::membership::Standing;
use control_core::cluster::{Incarnate, MemberName, Profile, TokenKeys, UnixSeconds, View};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::ReadLoad;
use super::media::{self, MediaChange};
use super::start::{member, own};
use crate::cluster::membership::mesh::{MeshNews, peers_of, view_frame};
use crate::cluster::membership::{End, Handle, News, Present};
use crate::cluster::mesh::{Mesh, MeshEvent};
use crate::node::farm::Link;
use crate::node::media::MediaSide;

/// How often the others are told how busy this member is.
const LOAD_EVERY: Duration = Duration::from_secs(1);

/// How long a member that has joined waits for connections to the others before it takes calls: a round
/// trip and two handshakes, many times over. Who is not there by then is down.
const CONNECTED_WITHIN: Duration = Duration::from_millis(1_500);

/// How often it looks meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a member that leaves waits for the engine.
const LEFT_WITHIN: Duration = Duration::from_secs(2);

pub(super) struct Keeper {
    name: MemberName,
    membership: Handle,
    news: mpsc::Receiver<News>,
    changes: watch::Receiver<Arc<Present>>,
    mesh: Mesh,
    mesh_news: MeshNews,
    woken: Arc<Notify>,
    link: Arc<Link>,
    load: ReadLoad,
    media: MediaChange<MediaSide>,
    /// What mesh and signaling thread have been told last.
    own: Option<Incarnate>,
    view: Option<Arc<View>>,
    joining: bool,
    token_keys: TokenKeys,
    /// What the membership has been told of them.
    token_key: u32,
    profile: Option<Profile>,
    barred: BTreeMap<MemberName, UnixSeconds>,
    events: Vec<MeshEvent>,
}

impl Keeper {
    #[expect(clippy::too_many_arguments, reason = "all that it keeps together")]
    pub(super) fn new(
        name: MemberName,
        own: Incarnate,
        membership: Handle,
        news: mpsc::Receiver<News>,
        mesh: Mesh,
        woken: Arc<Notify>,
        link: Arc<Link>,
        load: ReadLoad,
        media: MediaChange<MediaSide>,
    ) -> Keeper {
        let token_keys = membership.present().token_keys;
        link.set(|stand| {
            stand.own = Some(own);
            stand.joining = true;
            stand.token_keys = token_keys;
        });
        Keeper {
            name,
            changes: membership.changes(),
            membership,
            news,
            mesh,
            mesh_news: MeshNews::default(),
            woken,
            link,
            load,
            media,
            own: Some(own),
            view: None,
            joining: true,
            token_keys,
            token_key: 0,
            profile: None,
            barred: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// Waits until a view holds this member and the others that can be reached are connected.
    ///
    /// # Errors
    /// If the cluster refuses it.
    pub(super) async fn until_connected(&mut self) -> anyhow::Result<()> {
        let mut until: Option<Instant> = None;
        loop {
            let present = self.membership.present();
            if let Some(End::Refused(why)) = &present.end {
                bail!("{why}");
            }
            if let (Standing::Part(_), Some(view)) = (&present.standing, &present.view) {
                let until = *until.get_or_insert_with(|| Instant::now() + CONNECTED_WITHIN);
                let figures = self.mesh.handle.figures();
                let is_up = |name: &MemberName| {
                    figures.peers.iter().any(|peer| peer.name == *name && peer.is_connected)
                };
                let wanted = peers_of(view, &self.name);
                if wanted.iter().all(|(name, _)| is_up(name)) || Instant::now() >= until {
                    return Ok(());
                }
            }
            let pause = tokio::time::sleep(LOOK_EVERY);
            tokio::select! {
                () = self.turn() => {}
                () = pause => {}
            }
        }
    }

    /// Goes on until it is told to stop, then leaves.
    pub(super) async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut tick = tokio::time::interval(LOAD_EVERY);
        loop {
            tokio::select! {
                // An error is a node that was dropped without a word, and goes without one.
                told = &mut stopped => match told {
                    Ok(()) => break,
                    Err(_) => return,
                },
                _ = tick.tick() => {
                    self.tell_load();
                    self.look_at_media();
                    self.tell_token_key();
                }
                () = self.turn() => {}
            }
        }
        self.leave().await;
        self.mesh.stop();
    }

    async fn leave(&mut self) {
        if self.membership.leave().is_err() {
            return;
        }
        let mut changes = self.membership.changes();
        let left = changes.wait_for(|present| present.end.is_some());
        if tokio::time::timeout(LEFT_WITHIN, left).await.is_err() {
            tracing::warn!("the cluster's engine does not take this member's leave");
        }
        // The last word of a Controller is a view without itself.
        while let Ok(news) = self.news.try_recv() {
            self.take_news(news);
        }
    }

    /// Waits for something to pass on, and does. Cancel-safe: nothing is taken before the wait is over.
    async fn turn(&mut self) {
        tokio::select! {
            changed = self.changes.changed() => {
                if changed.is_err() {
                    // The membership is over; the node finds out by its state.
                    std::future::pending::<()>().await;
                }
            }
            Some(news) = self.news.recv() => self.take_news(news),
            () = self.woken.notified() => {}
        }
        self.take_copied();
        self.tell_token_key();
        self.pass_on();
        self.take_mesh();
    }

    /// The signaling thread knows the registrations of the others.
    fn take_copied(&self) {
        if self.link.take_copied() {
            // Without it the member takes new work a few seconds later.
            let _ = self.membership.copied();
        }
    }

    /// Says so once the signaling thread reads another key of tokens.
    fn tell_token_key(&mut self) {
        let number = self.link.token_key();
        // Where there is too much to do, it is said with the next tick.
        if number != self.token_key && self.membership.token_key(number).is_ok() {
            self.token_key = number;
        }
    }

    /// Tells mesh and signaling thread where this member stands, if that is new.
    fn pass_on(&mut self) {
        let present = self.membership.present();
        if present.barred != self.barred {
            self.barred.clone_from(&present.barred);
            self.mesh.handle.set_barred(present.barred.clone());
        }
        let own = own(present.standing);
        let is_other = own != self.own;
        if let Some(own) = own
            && (is_other || self.profile.as_ref() != Some(&present.profile))
        {
            self.profile = Some(present.profile.clone());
            self.mesh.handle.set_member(member(&self.membership, &self.name, own));
        }
        let is_new_view = present.view != self.view;
        if is_new_view && let Some(view) = &present.view {
            self.mesh.handle.set_peers(&peers_of(view, &self.name));
            let listed = view.members.iter().map(|member| (member.id, member.name.clone()));
            self.mesh.handle.set_numbers(listed);
            self.mesh.handle.set_epoch(view.epoch);
        }
        let joining = present.profile.joining;
        let token_keys = present.token_keys;
        let has_new_keys = token_keys != self.token_keys;
        if is_other || is_new_view || has_new_keys || joining != self.joining {
            self.own = own;
            self.token_keys = token_keys;
            self.joining = joining;
            self.view.clone_from(&present.view);
            self.link.set(|stand| {
                stand.own = own;
                stand.joining = joining;
                stand.token_keys = token_keys;
                stand.view.clone_from(&present.view);
            });
        }
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Push { to, view } => {
                let frame = view_frame(&view);
                let Some(name) = to else {
                    self.mesh.handle.send_all(&frame);
                    return;
                };
                if let Some(to) = view.member(&name) {
                    // Whom it does not reach finds it in the engine.
                    let _ = self.mesh.handle.send(to.id, &frame);
                }
            }
            News::Joined(own) => {
                tracing::warn!(number = %own.id, start = %own.incarnation, "joined the cluster again");
            }
            News::Fenced { was, why } => {
                tracing::error!(start = %was.incarnation, "no longer a member: {why}; joining again");
            }
            News::End(End::Refused(why)) => tracing::error!("no longer a member: {why}"),
            News::End(End::Left) => tracing::info!("left the cluster"),
            News::Notice(notice) => tracing::warn!("{notice}"),
            News::View(view) => {
                tracing::info!(epoch = %view.epoch, members = view.members.len(), "new list of members");
            }
            // Where the member stands is read from what it publishes.
            News::Profile(_) => {}
        }
    }

    fn take_mesh(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        self.mesh.control.drain(&mut events);
        for event in events.drain(..) {
            if let Err(busy) = self.mesh_news.hand_on(&event, &self.membership) {
                tracing::warn!("not told of the mesh: {busy}");
            }
        }
        self.events = events;
    }

    /// What this member has is used while it takes part: then it is claimed.
    fn look_at_media(&mut self) {
        let present = self.membership.present();
        if let Standing::Part(_) = present.standing {
            self.media.turn(media::of(&present.profile), Instant::now());
            self.media.tell(&self.membership);
        }
    }

    fn tell_load(&self) {
        let load = (self.load)();
        self.mesh.handle.set_load(load);
        // The next time is a second away.
        let _ = self.membership.load(load);
    }
}
