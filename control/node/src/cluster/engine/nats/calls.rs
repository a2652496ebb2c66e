//! Reading and writing one key.

use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::header::{HeaderMap, NATS_EXPECTED_LAST_SUBJECT_SEQUENCE};
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{LastRawMessageError, LastRawMessageErrorKind};
use bytes::Bytes;

use super::{Nats, Shared};
use crate::cluster::engine::CALL_MAX;
use crate::cluster::engine::types::{Entry, Expected, Key, Outcome, Revision, Unavailable};

/// The header of a message that is no value but the mark of a deletion, and what it says.
pub(super) const OPERATION: &str = "KV-Operation";
const DELETED: &str = "DEL";

/// A second kind of conflict, which the client library has no name for: the bucket's leader knows
/// of a write to the same key that is not acknowledged yet.
const CONFLICT_IN_FLIGHT: ErrorCode = ErrorCode(10164);

/// How often and how many times the other write of a conflict is looked for: a majority has it
/// within a millisecond, or, when its leader dies just then, not at all.
const OTHER_READ_EVERY: Duration = Duration::from_millis(10);
const OTHER_READS_MAX: usize = 50;

/// What the bucket holds for a key.
struct Slot {
    revision: Revision,
    /// `None` is the mark of a deletion.
    value: Option<Bytes>,
}

/// What the server said to a write.
enum Answer {
    Written(Revision),
    NotAsExpected,
    NotWritten(Unavailable),
    None,
}

impl Nats {
    pub(in crate::cluster::engine) async fn get(
        &self,
        key: &Key,
    ) -> Result<Option<Entry>, Unavailable> {
        let slot = self.shared.slot(key).await?;
        Ok(slot.and_then(|slot| slot.entry(key)))
    }

    pub(in crate::cluster::engine) async fn cas(
        &self,
        key: &Key,
        expected: Expected,
        value: Bytes,
    ) -> Outcome {
        let last = match expected {
            Expected::At(revision) => revision.0,
            Expected::Absent => 0,
        };
        let mut answer = self.shared.write(key, last, value.clone(), false).await;
        if matches!(answer, Answer::NotAsExpected) && expected == Expected::Absent {
            // A key that does not exist may have left the mark of its deletion.
            answer = self.recreate(key, value).await;
        }
        self.outcome(key, expected, answer).await
    }

    pub(in crate::cluster::engine) async fn delete(
        &self,
        key: &Key,
        expected: Revision,
    ) -> Outcome {
        // A deletion's mark has a revision too; deleting it again would be a second deletion.
        match self.shared.slot(key).await {
            Err(error) => Outcome::Unavailable(error),
            Ok(Some(slot)) if slot.revision == expected && slot.value.is_some() => {
                let answer = self.shared.write(key, expected.0, Bytes::new(), true).await;
                self.outcome(key, Expected::At(expected), answer).await
            }
            Ok(slot) => Outcome::Conflict { current: slot.and_then(|slot| slot.entry(key)) },
        }
    }

    async fn recreate(&self, key: &Key, value: Bytes) -> Answer {
        match self.shared.slot(key).await {
            Ok(Some(Slot { revision, value: None })) => {
                self.shared.write(key, revision.0, value, false).await
            }
            Ok(_) => Answer::NotAsExpected,
            Err(error) => Answer::NotWritten(error),
        }
    }

    async fn outcome(&self, key: &Key, expected: Expected, answer: Answer) -> Outcome {
        match answer {
            Answer::Written(revision) => Outcome::Done(revision),
            Answer::NotWritten(error) => Outcome::Unavailable(error),
            Answer::None => Outcome::Unknown,
            Answer::NotAsExpected => self.conflict(key, expected).await,
        }
    }

    /// What stands in the way of a write. The leader refuses as soon as it knows of another write,
    /// which can be read once a majority has it: that is waited for.
    async fn conflict(&self, key: &Key, expected: Expected) -> Outcome {
        for _ in 0..OTHER_READS_MAX {
            let current = match self.get(key).await {
                Ok(current) => current,
                Err(error) => return Outcome::Unavailable(error),
            };
            let found = current.as_ref().map_or(Expected::Absent, |it| Expected::At(it.revision));
            if found != expected {
                return Outcome::Conflict { current };
            }
            tokio::time::sleep(OTHER_READ_EVERY).await;
        }
        Outcome::Unavailable(Unavailable::new("another write was on its way and did not arrive"))
    }
}

impl Slot {
    fn entry(self, key: &Key) -> Option<Entry> {
        Some(Entry { key: key.clone(), revision: self.revision, value: self.value? })
    }
}

impl Shared {
    async fn slot(&self, key: &Key) -> Result<Option<Slot>, Unavailable> {
        self.is_connected()?;
        let stream = self.stream().await?;
        let subject = self.bucket.subject(key);
        let read = stream.get_last_raw_message_by_subject(&subject);
        match tokio::time::timeout(CALL_MAX, read).await {
            Err(_) => Err(Unavailable::new("the cluster engine did not answer within the time")),
            Ok(Ok(message)) => Ok(Some(Slot {
                revision: Revision(message.sequence),
                value: (!is_deletion(&message.headers)).then_some(message.payload),
            })),
            Ok(Err(error)) if is_nothing(&error) => Ok(None),
            Ok(Err(error)) => Err(Unavailable::new(error.to_string())),
        }
    }

    /// Writes if the last message of the key is number `last` of the bucket (0: there is none).
    async fn write(&self, key: &Key, last: u64, value: Bytes, delete: bool) -> Answer {
        if let Err(error) = self.is_connected() {
            self.note_write(false);
            return Answer::NotWritten(error);
        }
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, last.to_string());
        if delete {
            headers.insert(OPERATION, DELETED);
        }
        let request = Request::new().headers(headers).payload(value).timeout(Some(CALL_MAX));
        let answer = match self.client.send_request(self.bucket.subject(key), request).await {
            Ok(message) => read_answer(&message.payload),
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => {
                    Answer::NotWritten(Unavailable::new("the cluster engine has no bucket now"))
                }
                RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                    Answer::NotWritten(Unavailable::new(error.to_string()))
                }
                RequestErrorKind::TimedOut | RequestErrorKind::Other => Answer::None,
            },
        };
        self.note_write(matches!(answer, Answer::Written(_) | Answer::NotAsExpected));
        answer
    }
}

fn read_answer(payload: &[u8]) -> Answer {
    match serde_json::from_slice::<Response<PublishAck>>(payload) {
        Ok(Response::Ok(ack)) => Answer::Written(Revision(ack.sequence)),
        Ok(Response::Err { error }) => {
            let code = error.error_code();
            if code == ErrorCode::STREAM_WRONG_LAST_SEQUENCE || code == CONFLICT_IN_FLIGHT {
                Answer::NotAsExpected
            } else {
                Answer::NotWritten(Unavailable::new(error.to_string()))
            }
        }
        // Whatever answered, it was not the bucket.
        Err(_) => Answer::None,
    }
}

/// Whether a message is the mark of a deletion or of a purge, which NATS's own tools write.
pub(super) fn is_deletion(headers: &HeaderMap) -> bool {
    headers.get(OPERATION).is_some_and(|operation| operation.as_str() != "PUT")
}

/// Whether a read says that the key has no message.
pub(super) fn is_nothing(error: &LastRawMessageError) -> bool {
    match error.kind() {
        LastRawMessageErrorKind::NoMessageFound => true,
        LastRawMessageErrorKind::JetStream(error) => {
            error.error_code() == ErrorCode::NO_MESSAGE_FOUND
        }
        LastRawMessageErrorKind::InvalidSubject | LastRawMessageErrorKind::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: u64) -> String {
        format!(
            r#"{{"error":{{"code":400,"err_code":{code},"description":"d"}},"stream":"S","seq":0}}"#
        )
    }

    #[test]
    fn both_codes_of_a_conflict_are_conflicts() {
        for code in [10071, 10164] {
            assert!(
                matches!(read_answer(refusal(code).as_bytes()), Answer::NotAsExpected),
                "{code}"
            );
        }
    }

    #[test]
    fn another_refusal_is_no_conflict_and_nothing_is_written() {
        for code in [10008, 10077, 10023] {
            assert!(
                matches!(read_answer(refusal(code).as_bytes()), Answer::NotWritten(_)),
                "{code}"
            );
        }
    }

    #[test]
    fn an_answer_that_cannot_be_read_leaves_the_outcome_open() {
        for answer in ["", "{}", "nonsense", r#"{"seq":"x"}"#] {
            assert!(matches!(read_answer(answer.as_bytes()), Answer::None), "{answer}");
        }
    }
}
