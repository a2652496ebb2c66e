//! Questions to one peer that wait for their answers.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use control_core::mesh::{Reply, RequestId};
use tokio::sync::{Notify, oneshot};

use super::outgoing::SendError;

/// Most questions that wait for one peer: no operation of ours has more than a handful.
const WAITING_MAX: usize = 1_024;
/// Longest time that an answer may take.
const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// It could not be asked.
    #[error(transparent)]
    NotSent(#[from] SendError),
    /// Too many questions wait for that member.
    #[error("too many requests wait for the member")]
    TooMany,
    /// It has not answered in time.
    #[error("the member has not answered in time")]
    Deadline,
    /// The connection to it was lost meanwhile; whether it did what it was asked is not known.
    #[error("the connection to the member was lost")]
    Lost,
    /// It has answered that it cannot, and why.
    #[error("the member refuses: {0}")]
    Refused(String),
}

type Answer = Result<Bytes, RequestError>;

/// An answer that is awaited.
#[derive(Debug)]
pub(crate) struct Pending(oneshot::Receiver<Answer>);

impl Pending {
    /// Of a question that cannot be asked.
    pub(super) fn failed(error: RequestError) -> Pending {
        let (sender, receiver) = oneshot::channel();
        // The receiver is there.
        let _ = sender.send(Err(error));
        Pending(receiver)
    }
}

impl Future for Pending {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let polled = Pin::new(&mut self.0).poll(context);
        polled.map(|answer| answer.unwrap_or(Err(RequestError::Lost)))
    }
}

#[derive(Default)]
struct Waiting {
    next: u64,
    by_id: HashMap<RequestId, (Instant, oneshot::Sender<Answer>)>,
    by_deadline: BTreeSet<(Instant, RequestId)>,
}

/// Those to one peer.
#[derive(Default)]
pub(super) struct Requests {
    waiting: Mutex<Waiting>,
    sooner: Notify,
}

impl Requests {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting().by_id.len()
    }

    /// Begins one: its number, its deadline in milliseconds, and the answer to come.
    pub(super) fn begin(
        &self,
        now: Instant,
        deadline: Duration,
    ) -> Result<(RequestId, u32, Pending), RequestError> {
        let deadline = deadline.min(DEADLINE_MAX);
        let mut waiting = self.waiting();
        if waiting.by_id.len() >= WAITING_MAX {
            return Err(RequestError::TooMany);
        }
        let id = RequestId(waiting.next);
        waiting.next += 1;
        let (sender, receiver) = oneshot::channel();
        let at = now + deadline;
        waiting.by_id.insert(id, (at, sender));
        waiting.by_deadline.insert((at, id));
        if waiting.by_deadline.first() == Some(&(at, id)) {
            self.sooner.notify_one();
        }
        let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        Ok((id, deadline_ms, Pending(receiver)))
    }

    /// Ends one; an answer that nobody awaits any more is dropped.
    pub(super) fn end(&self, id: RequestId, answer: Answer) {
        let mut waiting = self.waiting();
        if let Some((at, sender)) = waiting.by_id.remove(&id) {
            waiting.by_deadline.remove(&(at, id));
            // Who asked may have given up.
            let _ = sender.send(answer);
        }
    }

    pub(super) fn handle_reply(&self, reply: Reply) {
        let answer = match reply.is_answered {
            true => Ok(reply.body.0),
            false => Err(RequestError::Refused(String::from_utf8_lossy(&reply.body.0).into())),
        };
        self.end(reply.id, answer);
    }

    /// The connection is lost, and with it all answers.
    pub(super) fn handle_lost(&self) {
        let mut waiting = self.waiting();
        waiting.by_deadline.clear();
        for (_, (_, sender)) in waiting.by_id.drain() {
            // Who asked may have given up.
            let _ = sender.send(Err(RequestError::Lost));
        }
    }

    /// Ends each at its deadline, for as long as this is polled.
    pub(super) async fn expire(&self) {
        loop {
            let now = Instant::now();
            let first = self.waiting().by_deadline.first().copied();
            match first {
                Some((at, id)) if at <= now => self.end(id, Err(RequestError::Deadline)),
                Some((at, _)) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at.into()) => {}
                        () = self.sooner.notified() => {}
                    }
                }
                None => self.sooner.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use control_core::mesh::Body;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn reply(id: RequestId, is_answered: bool, text: &'static str) -> Reply {
        Reply { id, is_answered, body: Body(Bytes::from_static(text.as_bytes())) }
    }

    #[tokio::test]
    async fn an_answer_reaches_who_asked() {
        let requests = Requests::default();
        let now = Instant::now();
        let (first, _, one) = requests.begin(now, SECOND).unwrap();
        let (second, ms, two) = requests.begin(now, SECOND).unwrap();
        assert_eq!(ms, 1_000);
        requests.handle_reply(reply(second, false, "no such account"));
        requests.handle_reply(reply(first, true, "yes"));
        requests.handle_reply(reply(first, true, "again"));
        assert_eq!(one.await, Ok(Bytes::from_static(b"yes")));
        assert_eq!(two.await, Err(RequestError::Refused("no such account".to_owned())));
        assert_eq!(requests.len(), 0);
    }

    #[tokio::test]
    async fn each_ends_at_its_own_deadline() {
        let requests = Requests::default();
        let now = Instant::now();
        let (_, _, slow) = requests.begin(now, 10 * SECOND).unwrap();
        let both = async {
            // Begun while another is waited for already, and due before it.
            let (_, _, soon) = requests.begin(Instant::now(), SECOND / 50).unwrap();
            let ended = soon.await;
            (ended, now.elapsed())
        };
        tokio::select! {
            () = requests.expire() => {}
            (ended, after) = both => {
                assert_eq!(ended, Err(RequestError::Deadline));
                assert!(after < 5 * SECOND, "{after:?}");
            }
        }
        requests.handle_lost();
        assert_eq!(slow.await, Err(RequestError::Lost));
    }

    #[test]
    fn one_more_than_may_wait_fails_at_once() {
        let requests = Requests::default();
        let now = Instant::now();
        let kept: Vec<_> = (0..WAITING_MAX).map(|_| requests.begin(now, SECOND)).collect();
        assert!(kept.iter().all(Result::is_ok));
        assert_eq!(requests.begin(now, SECOND).unwrap_err(), RequestError::TooMany);
        let (_, ms, _) = Requests::default().begin(now, 1_000 * SECOND).unwrap();
        assert_eq!(ms, 60_000, "nobody waits for ever");
    }
}
