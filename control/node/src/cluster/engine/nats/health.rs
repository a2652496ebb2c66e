//! Whether the engine answers.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use super::calls::is_nothing;
use crate::cluster::engine::types::{EngineState, Key, Unavailable};

/// How long the tender rests between two questions.
const ASK_EVERY: Duration = Duration::from_millis(400);
/// An answer takes half a millisecond; past this there is none.
const ANSWER_MAX: Duration = Duration::from_millis(700);
/// The engine is lost when it has not answered for this long. With one rest and one question
/// added, that is known after 2.6 s at most.
const LOST_AFTER: Duration = Duration::from_millis(1500);
/// A failed write says that the engine is lost for this long, unless another one follows: a lease
/// is renewed every 2 s, so one follows wherever it matters.
const WRITE_COUNTS: Duration = Duration::from_secs(6);
/// The key that is asked for; nobody writes it.
const ASKED: &str = "health";

/// When what last worked.
pub(super) struct Health {
    answered: Instant,
    /// Writes fail without an exception since this, and did so last at that.
    writes_failed: Option<(Instant, Instant)>,
}

impl Health {
    pub(super) fn new(now: Instant) -> Self {
        Self { answered: now, writes_failed: None }
    }

    fn note_write(&mut self, answered: bool, now: Instant) {
        self.writes_failed = match (answered, self.writes_failed) {
            (true, _) => None,
            (false, None) => Some((now, now)),
            (false, Some((since, _))) => Some((since, now)),
        };
    }

    /// A leader that lost its majority still answers reads for some seconds: writes count too.
    fn lost_since(&self, now: Instant) -> Option<Instant> {
        let writes = self
            .writes_failed
            .filter(|(_, last)| now.duration_since(*last) < WRITE_COUNTS)
            .map(|(since, _)| since);
        let since = writes.map_or(self.answered, |since| since.min(self.answered));
        (now.duration_since(since) >= LOST_AFTER).then_some(since)
    }
}

impl Shared {
    /// What a write says of the engine's health.
    pub(super) fn note_write(&self, answered: bool) {
        let now = Instant::now();
        self.health.lock().unwrap_or_else(PoisonError::into_inner).note_write(answered, now);
    }

    fn note_answer(&self, answered: bool) {
        let now = Instant::now();
        let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            health.answered = now;
        }
        let lost = health.lost_since(now);
        drop(health);
        self.state.send_if_modified(|state| turn(state, lost, answered));
    }

    async fn ask(&self) -> Result<(), Unavailable> {
        self.is_connected()?;
        let Ok(key) = Key::parse(ASKED) else { return Ok(()) };
        let subject = self.bucket.subject(&key);
        let stream = self.stream().await?;
        match stream.get_last_raw_message_by_subject(&subject).await {
            Err(error) if !is_nothing(&error) => Err(Unavailable::new(error.to_string())),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// Whether the state changes. Before the first answer it stays lost.
fn turn(state: &mut EngineState, lost: Option<Instant>, answered: bool) -> bool {
    let next = match (lost, *state) {
        (None, EngineState::Lost { .. }) if answered => EngineState::Connected,
        (Some(since), EngineState::Connected) => EngineState::Lost { since },
        (_, same) => same,
    };
    if next == *state {
        return false;
    }
    match next {
        EngineState::Connected => tracing::info!("the cluster engine answers"),
        EngineState::Lost { .. } => tracing::warn!(
            "the cluster engine does not answer: calls go on, changes to the cluster wait; \
             see to the servers of [cluster.engine]"
        ),
    }
    *state = next;
    true
}

/// Makes the bucket, then asks for a sign of life for as long as the engine is used.
pub(super) async fn tend(shared: Arc<Shared>) {
    let mut has_bucket = false;
    loop {
        let asked = tokio::time::timeout(ANSWER_MAX, shared.ask());
        let answered = has_bucket && matches!(asked.await, Ok(Ok(())));
        shared.note_answer(answered);
        if !answered && shared.is_connected().is_ok() {
            // Takes longer than a question, but an engine without a bucket is lost anyway.
            let made = shared.bucket_info();
            match tokio::time::timeout(ANSWER_MAX, made).await {
                Ok(Ok(_)) => has_bucket = true,
                Ok(Err(error)) => tracing::debug!(%error, "the cluster engine's bucket"),
                Err(_) => {}
            }
            shared.note_answer(false);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn an_engine_is_lost_once_nothing_is_answered_for_long_enough() {
        let start = Instant::now();
        let health = Health::new(start);
        assert_eq!(health.lost_since(at(start, 1499)), None);
        assert_eq!(health.lost_since(at(start, 1500)), Some(start));
    }

    #[test]
    fn an_engine_that_reads_but_does_not_write_is_lost() {
        let start = Instant::now();
        let mut health = Health::new(start);
        health.note_write(false, at(start, 1000));
        health.note_write(false, at(start, 3000));
        health.answered = at(start, 3000);
        assert_eq!(health.lost_since(at(start, 3000)), Some(at(start, 1000)));
        health.note_write(true, at(start, 3100));
        assert_eq!(health.lost_since(at(start, 3100)), None);
    }

    #[test]
    fn a_failed_write_is_forgotten_when_none_follows() {
        let start = Instant::now();
        let mut health = Health::new(start);
        health.note_write(false, at(start, 0));
        health.answered = at(start, 6000);
        assert_eq!(health.lost_since(at(start, 6000)), None);
    }
}
