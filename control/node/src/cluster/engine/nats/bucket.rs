//! The bucket: made at the first start, and again should it vanish.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, StorageType};

use super::{Bucket, Shared};
use crate::cluster::engine::CALL_MAX;
use crate::cluster::engine::types::{Key, Prefix, Unavailable, VALUE_MAX};

/// A bucket is kept by as many servers as there are, up to this: with three, one may die.
const REPLICAS_MAX: usize = 3;
/// Most bytes of a bucket: a hundred documents of the largest size, of which a cluster has the view
/// and a few more, and 1,000 small ones. At the bound NATS refuses writes.
const BYTES_MAX: i64 = 64 << 20;
/// Room for the headers of a message beside its value.
const HEADERS_MAX: usize = 1024;

impl Bucket {
    pub(super) fn new(cluster: &str, servers: usize) -> Self {
        Self {
            stream: format!("KV_ringfarm-{cluster}"),
            subjects: format!("$KV.ringfarm-{cluster}."),
            replicas: servers.clamp(1, REPLICAS_MAX),
        }
    }

    pub(super) fn subject(&self, key: &Key) -> String {
        format!("{}{key}", self.subjects)
    }

    pub(super) fn filter(&self, prefix: &Prefix) -> String {
        format!("{}{}>", self.subjects, prefix.as_str())
    }

    pub(super) fn key(&self, subject: &str) -> Option<Key> {
        Key::parse(subject.strip_prefix(&self.subjects)?).ok()
    }

    fn config(&self) -> Config {
        Config {
            name: self.stream.clone(),
            description: Some("What the members of a Ringfarm cluster agree on".into()),
            subjects: vec![format!("{}>", self.subjects)],
            max_messages_per_subject: 1,
            max_bytes: BYTES_MAX,
            max_message_size: i32::try_from(VALUE_MAX + HEADERS_MAX).unwrap_or(i32::MAX),
            discard: DiscardPolicy::New,
            storage: StorageType::File,
            num_replicas: self.replicas,
            allow_rollup: true,
            deny_delete: true,
            // Reads go to the leader: a replica may not have what was acknowledged.
            allow_direct: false,
            ..Config::default()
        }
    }
}

impl Shared {
    /// The bucket's present state; makes the bucket if there is none. What an existing one was
    /// made with is left as it is: changing the number of its replicas is the operator's decision.
    pub(super) async fn bucket_info(&self) -> Result<Info, Unavailable> {
        self.is_connected()?;
        let asked = tokio::time::timeout(CALL_MAX, self.context.get_stream(&self.bucket.stream));
        match asked.await.map_err(|_| no_answer())? {
            Ok(stream) => Ok(stream.cached_info().clone()),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(refusal)
                    if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    self.make_bucket().await
                }
                GetStreamErrorKind::JetStream(_)
                | GetStreamErrorKind::EmptyName
                | GetStreamErrorKind::Request
                | GetStreamErrorKind::InvalidStreamName => Err(Unavailable::new(error.to_string())),
            },
        }
    }

    /// Several members may do this at once: the same configuration twice is one bucket.
    async fn make_bucket(&self) -> Result<Info, Unavailable> {
        let made = tokio::time::timeout(CALL_MAX, self.context.create_stream(self.bucket.config()));
        match made.await.map_err(|_| no_answer())? {
            Ok(stream) => {
                tracing::info!(
                    bucket = %self.bucket.stream, replicas = self.bucket.replicas,
                    "made the cluster engine's bucket"
                );
                Ok(stream.cached_info().clone())
            }
            Err(error) => {
                if let CreateStreamErrorKind::JetStream(refusal) = error.kind() {
                    tracing::debug!(%refusal, "the cluster engine's bucket is not made yet");
                }
                Err(Unavailable::new(error.to_string()))
            }
        }
    }
}

fn no_answer() -> Unavailable {
    Unavailable::new("the cluster engine did not answer within the time")
}
