//! The engine on NATS JetStream: one key-value bucket a cluster, `ringfarm-CLUSTER`.
//!
//! The bucket is laid out as NATS's own tools lay one out (stream `KV_BUCKET`, subjects
//! `$KV.BUCKET.KEY`, deletions as markers), so that `nats kv` shows it. Calls are made on the
//! stream's API rather than on the client library's bucket type, which reads from any replica and
//! does not tell every conflict from a failure.

mod bucket;
mod calls;
mod health;
mod setup;
mod watch;

use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream::stream::Stream;
use async_nats::jetstream::{self, Context};
use async_nats::{Client, Event};
use tokio::sync::{mpsc, watch as latest};
use tokio::task::JoinHandle;

use super::CALL_MAX;
use super::types::{EngineState, Prefix, Unavailable};
use super::watch::{EVENTS_MAX, Watch};
use health::Health;
pub(crate) use setup::{Access, BadSetup, NatsSetup};

/// How often the client asks its server for a sign of life. It gives the server up at the third
/// question without an answer, after 1.5 s, and turns to the next one.
const PING_EVERY: Duration = Duration::from_millis(500);
/// A server that takes longer to let us in is passed over: one that is stopped accepts
/// connections, for its kernel does, and says nothing.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Longest pause between two rounds over the servers while none lets us in.
const RECONNECT_MAX: Duration = Duration::from_secs(1);
/// Messages that wait for one watch, a sign of life of every member among them; past this NATS's
/// client drops some, which the watch notices.
const MESSAGES_MAX: usize = 512;

/// A connection to the servers. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub(crate) struct Nats {
    shared: Arc<Shared>,
    _tender: Arc<Tender>,
}

/// What calls, watches and the tender share.
struct Shared {
    client: Client,
    context: Context,
    bucket: Bucket,
    state: latest::Sender<EngineState>,
    /// Grows with every connection that is made, so that watches look for a gap at once.
    connections: latest::Sender<u64>,
    health: Mutex<Health>,
}

/// The names of the bucket, and what it is made with.
struct Bucket {
    stream: String,
    /// What stands before a key in a subject, with its dot.
    subjects: String,
    replicas: usize,
}

/// The task that makes the bucket and watches over the engine's health.
struct Tender(JoinHandle<()>);

impl Drop for Tender {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Nats {
    /// Begins to connect, and goes on for as long as it takes: the engine is `Lost` until then.
    ///
    /// # Errors
    /// A setting that can never work, such as a file that cannot be read.
    pub(crate) async fn connect(setup: &NatsSetup) -> Result<Self, BadSetup> {
        let connections = latest::Sender::new(0);
        let counted = connections.clone();
        let options = setup
            .options()?
            .event_callback(move |event| {
                note(&counted, &event);
                std::future::ready(())
            })
            .retry_on_initial_connect()
            .ping_interval(PING_EVERY)
            .connection_timeout(CONNECT_MAX)
            .request_timeout(Some(CALL_MAX))
            .subscription_capacity(MESSAGES_MAX)
            .reconnect_delay_callback(pause);
        let client = setup.connect(options).await?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(CALL_MAX);
        let now = Instant::now();
        let shared = Arc::new(Shared {
            client,
            context,
            bucket: Bucket::new(&setup.cluster, setup.servers.len()),
            state: latest::Sender::new(EngineState::Lost { since: now }),
            connections,
            health: Mutex::new(Health::new(now)),
        });
        let tender = tokio::spawn(health::tend(shared.clone()));
        Ok(Self { shared, _tender: Arc::new(Tender(tender)) })
    }

    pub(super) fn watch(&self, prefix: &Prefix) -> Watch {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let task = tokio::spawn(watch::follow(self.shared.clone(), prefix.clone(), sender));
        Watch::new(receiver, task)
    }

    pub(super) fn state(&self) -> latest::Receiver<EngineState> {
        self.shared.state.subscribe()
    }
}

impl Shared {
    /// The stream, without asking whether it is there.
    async fn stream(&self) -> Result<Stream<()>, Unavailable> {
        let stream = self.context.get_stream_no_info(&self.bucket.stream).await;
        stream.map_err(|error| Unavailable::new(error.to_string()))
    }

    /// A call while there is no connection would wait in the client and be sent at any later time.
    fn is_connected(&self) -> Result<(), Unavailable> {
        match self.client.connection_state() {
            State::Connected => Ok(()),
            State::Pending | State::Disconnected => {
                Err(Unavailable::new("no server of the cluster engine lets us in"))
            }
        }
    }
}

/// No pause before the first round, then longer ones.
fn pause(attempt: usize) -> Duration {
    let tries = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    RECONNECT_MAX.min(Duration::from_millis(100).saturating_mul(tries))
}

fn note(connections: &latest::Sender<u64>, event: &Event) {
    match event {
        Event::Connected => connections.send_modify(|count| *count += 1),
        Event::SlowConsumer(_) => tracing::debug!("a watch of the cluster engine fell behind"),
        Event::ServerError(error) => tracing::warn!(
            %error,
            "the cluster engine's server refuses something: see its log and [cluster.engine]"
        ),
        Event::ClientError(error) => tracing::debug!(%error, "the cluster engine's client"),
        Event::Disconnected | Event::LameDuckMode | Event::Draining | Event::Closed => {
            tracing::debug!(%event, "the connection to the cluster engine");
        }
    }
}
