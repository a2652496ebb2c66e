//! Becomes a member.

use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use control_core::cluster::membership::{Standing, Timing};
use control_core::cluster::{Incarnate, LocalSettings, Member};
use control_core::settings::Settings;
use signaling_net::tls::Certificate;
use tokio::sync::{Notify, mpsc as messages, oneshot};

use super::keeper::Keeper;
use super::media::{self, MediaChange};
use super::{MemberHandle, ReadLoad, Running, local};
use crate::cluster::engine::{Coord, Embedded, Nats, NatsSetup};
use crate::cluster::keys::{Keys, StateDir, Tokens};
use crate::cluster::membership::{self, End, Handle, News};
use crate::cluster::mesh::{self, Mesh, Wake};
use crate::node::farm::{FarmParts, Link};
use crate::node::media::MediaSide;

/// How often a node that waits for its place in the cluster says what for.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// What the member's thread is given.
struct Plan {
    settings: Settings,
    local: LocalSettings,
    keys: Keys,
    certificates: Arc<[Certificate]>,
    tokens: Option<Tokens>,
    listener: TcpListener,
    wake_signaling: Wake,
    load: ReadLoad,
    media: MediaSide,
}

/// What it gives back once the member takes part.
type Ready = anyhow::Result<(FarmParts, MemberHandle)>;

pub(super) fn start(
    settings: &Settings,
    wake_signaling: Wake,
    load: ReadLoad,
    media: MediaSide,
) -> anyhow::Result<Option<Running>> {
    let Some(state) = &settings.cluster.state else { return Ok(None) };
    let state = StateDir::new(state.as_path());
    let keys = state.load().context("[cluster] state")?;
    if let Some(name) = &settings.cluster.name {
        ensure!(
            *name == keys.identity.name,
            "cluster.name is {name}, and the keys in cluster.state are those of {}; take the name out, or \
             name the folder of {name}'s keys",
            keys.identity.name
        );
    }
    let ends = state.ends()?;
    let certificate = |(file, not_after)| Certificate { file, names: Vec::new(), not_after };
    let certificates = ends.into_iter().map(certificate).collect();
    let tokens = state.authority()?.map(|_| state.tokens());
    let listen = settings.cluster.listen.context("cluster.listen is not set")?;
    // Held from here on: while this process listens there, no other start of this member does.
    let listener = TcpListener::bind(listen)
        .with_context(|| format!("cannot listen for other members on {listen} (cluster.listen)"))?;
    let local = local::local(settings)?;
    let settings = settings.clone();
    let plan =
        Plan { settings, local, keys, certificates, tokens, listener, wake_signaling, load, media };
    let (ready, is_ready) = mpsc::sync_channel(1);
    let (stop, stopped) = oneshot::channel();
    let thread = thread::Builder::new()
        .name("cluster".to_owned())
        .spawn(move || run(plan, &ready, stopped))?;
    let (farm, handle) =
        is_ready.recv().map_err(|_| anyhow!("the cluster's thread has ended"))??;
    Ok(Some(Running { farm: Some(farm), handle, stop, thread }))
}

fn run(plan: Plan, ready: &mpsc::SyncSender<Ready>, stopped: oneshot::Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(anyhow!("cannot start the cluster's runtime: {error}")));
            return;
        }
    };
    runtime.block_on(async {
        match join(plan).await {
            Ok((mut keeper, farm, handle)) => {
                if let Err(error) = keeper.until_connected().await {
                    let _ = ready.send(Err(error));
                    return;
                }
                let _ = ready.send(Ok((farm, handle)));
                keeper.run(stopped).await;
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        }
    });
}

async fn join(plan: Plan) -> anyhow::Result<(Keeper, FarmParts, MemberHandle)> {
    let Plan { settings, local, keys, certificates, tokens, listener, wake_signaling, load, media } =
        plan;
    let name = keys.identity.name.clone();
    let secret = keys.secret;
    let engine = engine(&settings, &keys).await?;
    let certified = keys.identity.issued;
    let (membership, mut news) =
        membership::start(engine, name.clone(), certified, local, Timing::default())
            .map_err(|error| anyhow!("no randomness: {error}"))?;
    let own = joined(&membership, &mut news).await?;
    let woken = Arc::new(Notify::new());
    let wakes = Arc::clone(&woken);
    let listen = settings.cluster.listen.context("cluster.listen is not set")?;
    let config = mesh::Config {
        listen,
        member: member(&membership, &name, own),
        keys,
        tokens,
        wake_signaling: Arc::clone(&wake_signaling),
        wake_control: Arc::new(move || wakes.notify_one()),
    };
    let mesh = Mesh::start_on(listener, config)?;
    tracing::info!(
        member = %name,
        number = %own.id,
        start = %own.incarnation,
        mesh = %mesh.address,
        "joined the cluster"
    );
    let wakes = Arc::clone(&woken);
    let link = Arc::new(Link::new(wake_signaling, Arc::new(move || wakes.notify_one())));
    let (handle, inbox) = (mesh.handle.clone(), mesh.signaling.clone());
    let farm = FarmParts { link: Arc::clone(&link), mesh: handle.clone(), inbox, secret };
    let runtime = tokio::runtime::Handle::current();
    let ports = media.ports();
    let media = MediaChange::new(media, ports, media::of(&membership.present().profile));
    let member = MemberHandle {
        name: name.clone(),
        membership: membership.clone(),
        mesh: handle,
        earlier: media.shown(),
        certificates,
        runtime,
    };
    let keeper = Keeper::new(name, own, membership, news, mesh, woken, link, load, media);
    Ok((keeper, farm, member))
}

async fn engine(settings: &Settings, keys: &Keys) -> anyhow::Result<Coord> {
    let cluster = keys.identity.cluster.to_string();
    Ok(match NatsSetup::new(&cluster, &settings.cluster.engine) {
        None => Coord::Embedded(Embedded::new()),
        Some(setup) => Coord::Nats(Nats::connect(&setup).await?),
    })
}

/// Waits until this process is a start of the member.
async fn joined(
    membership: &Handle,
    news: &mut messages::Receiver<News>,
) -> anyhow::Result<Incarnate> {
    let mut say = tokio::time::interval(SAID_EVERY);
    say.tick().await;
    loop {
        tokio::select! {
            one = news.recv() => match one {
                Some(News::Joined(own)) => return Ok(own),
                Some(News::End(End::Refused(why))) => return Err(why.into()),
                Some(News::Notice(notice)) => tracing::info!("{notice}"),
                Some(
                    News::View(_)
                    | News::Push { .. }
                    | News::Profile(_)
                    | News::Fenced { .. }
                    | News::End(End::Left),
                ) => {}
                None => return Err(anyhow!("the membership has ended")),
            },
            _ = say.tick() => {
                let present = membership.present();
                tracing::warn!(engine = ?present.engine, "still waiting for a place in the cluster");
            }
        }
    }
}

/// What this member says of itself over the mesh.
pub(super) fn member(
    membership: &Handle,
    name: &control_core::cluster::MemberName,
    own: Incarnate,
) -> Member {
    let profile = membership.present().profile.clone();
    Member { name: name.clone(), id: own.id, incarnation: own.incarnation, profile }
}

/// Which start of the member this process is now.
pub(super) const fn own(standing: Standing) -> Option<Incarnate> {
    match standing {
        Standing::Outside => None,
        Standing::Waiting(own) | Standing::Part(own) => Some(own),
    }
}
