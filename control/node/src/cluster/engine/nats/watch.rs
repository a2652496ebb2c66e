//! Following the bucket's keys over reconnects, elections and servers that come back empty.
//!
//! A push consumer of our own reads the last message of every key, then what follows. Its messages
//! are numbered and its silence is broken by heartbeats, so a gap shows. After a gap everything is
//! listed anew with a new consumer and only what is newer is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_nats::header::NATS_LAST_CONSUMER;
use async_nats::jetstream::consumer::push::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy};
use async_nats::jetstream::stream::Info;
use async_nats::{Message, StatusCode, Subscriber};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;

use super::Shared;
use super::calls::is_deletion;
use crate::cluster::engine::CALL_MAX;
use crate::cluster::engine::types::{Entry, Key, Prefix, Revision, Unavailable};
use crate::cluster::engine::watch::WatchEvent;

/// The consumer says this often that it has nothing to say.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// A consumer that is silent for longer is dead.
const SILENCE_MAX: Duration = Duration::from_millis(2500);
/// The server forgets a consumer that nobody listens to after this.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);
/// Between two attempts to make a consumer.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Why a consumer is no longer followed.
enum End {
    /// Nobody listens to the watch any more.
    Dropped,
    /// Something may be missing.
    Gap(Unavailable),
}

impl From<Unavailable> for End {
    fn from(error: Unavailable) -> Self {
        Self::Gap(error)
    }
}

fn gap(why: &str) -> End {
    End::Gap(Unavailable::new(why))
}

/// Follows until nobody listens.
pub(super) async fn follow(shared: Arc<Shared>, prefix: Prefix, events: mpsc::Sender<WatchEvent>) {
    let mut follower = Follower { shared, prefix, events, told: Told::default() };
    loop {
        match follower.consume().await {
            End::Dropped => return,
            End::Gap(why) => tracing::debug!(%why, "a watch of the cluster engine begins anew"),
        }
        tokio::time::sleep(RETRY_AFTER).await;
    }
}

struct Follower {
    shared: Arc<Shared>,
    prefix: Prefix,
    events: mpsc::Sender<WatchEvent>,
    told: Told,
}

/// What the reader of the watch was told.
#[derive(Default)]
struct Told {
    /// When the bucket that it was told of was made; `None`: nothing was told yet.
    bucket_made: Option<String>,
    /// Keys that exist.
    keys: BTreeMap<Key, Revision>,
    /// The highest revision.
    last: u64,
    complete: bool,
}

/// One consumer.
struct Consumer {
    messages: Subscriber,
    /// Messages so far.
    count: u64,
    /// Keys that exist, of a listing that goes on.
    listing: Option<BTreeSet<Key>>,
}

impl Follower {
    async fn consume(&mut self) -> End {
        match self.try_consume().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_consume(&mut self) -> Result<std::convert::Infallible, End> {
        let mut connections = self.shared.connections.subscribe();
        let info = self.shared.bucket_info().await?;
        self.compare(&info).await?;
        let mut consumer = self.make_consumer().await?;
        if consumer.listing.is_none() {
            self.listed(&BTreeSet::new()).await?;
        }
        loop {
            tokio::select! {
                message = tokio::time::timeout(SILENCE_MAX, consumer.messages.next()) => {
                    let message = message.map_err(|_| gap("no heartbeat"))?;
                    self.take(&mut consumer, message.ok_or_else(|| gap("closed"))?).await?;
                }
                _ = connections.changed() => return Err(gap("a new connection")),
                () = self.events.closed() => return Err(End::Dropped),
            }
        }
    }

    /// A bucket that was made anew, or that lost its end, makes void what was told.
    async fn compare(&mut self, info: &Info) -> Result<(), End> {
        let made = info.created.to_string();
        let is_same = |told: &String| *told == made && info.state.last_sequence >= self.told.last;
        if self.told.bucket_made.as_ref().is_some_and(|told| !is_same(told)) {
            self.told = Told::default();
            self.tell(WatchEvent::Restarted).await?;
        }
        self.told.bucket_made = Some(made);
        Ok(())
    }

    async fn make_consumer(&self) -> Result<Consumer, End> {
        let inbox = self.shared.client.new_inbox();
        let messages = self.shared.client.subscribe(inbox.clone()).await;
        let messages = messages.map_err(|error| gap(&error.to_string()))?;
        let config = Config {
            deliver_subject: inbox,
            deliver_policy: DeliverPolicy::LastPerSubject,
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            filter_subject: self.shared.bucket.filter(&self.prefix),
            idle_heartbeat: HEARTBEAT,
            inactive_threshold: FORGOTTEN_AFTER,
            // Nothing is lost with it: a watch makes another one.
            memory_storage: true,
            num_replicas: 1,
            ..Config::default()
        };
        let stream = self.shared.stream().await?;
        let made = tokio::time::timeout(CALL_MAX, stream.create_consumer(config)).await;
        let made = made
            .map_err(|_| gap("no consumer within the time"))?
            .map_err(|error| gap(&error.to_string()))?;
        let info = made.cached_info();
        // It may have begun before it was described.
        let is_empty = info.num_pending + info.delivered.consumer_sequence == 0;
        let listing = (!is_empty).then(BTreeSet::new);
        Ok(Consumer { messages, count: 0, listing })
    }

    async fn take(&mut self, consumer: &mut Consumer, message: Message) -> Result<(), End> {
        match message.status {
            None => self.take_entry(consumer, message).await,
            Some(StatusCode::IDLE_HEARTBEAT) => {
                let said = message.headers.as_ref().and_then(|all| all.get(NATS_LAST_CONSUMER));
                let count = said.and_then(|count| count.as_str().parse::<u64>().ok());
                match count {
                    Some(count) if count != consumer.count => Err(gap("messages are missing")),
                    Some(_) | None => Ok(()),
                }
            }
            Some(status) => Err(gap(&format!("the consumer says {status}"))),
        }
    }

    async fn take_entry(&mut self, consumer: &mut Consumer, message: Message) -> Result<(), End> {
        let message =
            async_nats::jetstream::Message { message, context: self.shared.context.clone() };
        let (number, sequence, pending) = {
            let info = message.info().map_err(|_| gap("a message without a number"))?;
            (info.consumer_sequence, info.stream_sequence, info.pending)
        };
        if number != consumer.count + 1 {
            return Err(gap("messages are missing"));
        }
        consumer.count = number;
        let message = message.message;
        // A key that we would not write is none of ours.
        if let Some(key) = self.shared.bucket.key(&message.subject) {
            let deleted = message.headers.as_ref().is_some_and(is_deletion);
            if let Some(listing) = &mut consumer.listing
                && !deleted
            {
                listing.insert(key.clone());
            }
            let value = (!deleted).then_some(message.payload);
            self.news(key, Revision(sequence), value).await?;
        }
        if pending == 0
            && let Some(listing) = consumer.listing.take()
        {
            self.listed(&listing).await?;
        }
        Ok(())
    }

    async fn news(
        &mut self,
        key: Key,
        revision: Revision,
        value: Option<bytes::Bytes>,
    ) -> Result<(), End> {
        if revision.0 <= self.told.last {
            return Ok(());
        }
        self.told.last = revision.0;
        match value {
            Some(value) => {
                self.told.keys.insert(key.clone(), revision);
                self.tell(WatchEvent::Changed(Entry { key, revision, value })).await
            }
            // A deletion of what the reader never saw is no news.
            None if self.told.keys.remove(&key).is_none() => Ok(()),
            None => self.tell(WatchEvent::Gone { key, revision }).await,
        }
    }

    /// Everything that is there was seen: what was told before and is not there is gone, its mark
    /// too, as after a purge by hand.
    async fn listed(&mut self, there: &BTreeSet<Key>) -> Result<(), End> {
        let gone: Vec<Key> =
            self.told.keys.keys().filter(|key| !there.contains(*key)).cloned().collect();
        for key in gone {
            self.told.keys.remove(&key);
            self.tell(WatchEvent::Gone { key, revision: Revision(self.told.last) }).await?;
        }
        if !self.told.complete {
            self.told.complete = true;
            self.tell(WatchEvent::Complete).await?;
        }
        Ok(())
    }

    async fn tell(&self, event: WatchEvent) -> Result<(), End> {
        self.events.send(event).await.map_err(|_| End::Dropped)
    }
}
