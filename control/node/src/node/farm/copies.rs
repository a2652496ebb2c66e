//! Full copies of registrations, part by part, so that members that have not heard each other for a while
//! know the same again.
//!
//! Whenever a connection to a member comes up, that member is asked for what it has. One member at a time is
//! asked, and for the next part only once the last one is there: a member that has just come is not flooded,
//! and whoever is asked keeps nothing but a name for each member that asks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use control_core::cluster::MemberId;
use control_core::mesh::{Body, Frame, SyncStep};

/// Where a copy that another member asked for has come to.
struct Given {
    copy: u64,
    part: u32,
    after: Option<Arc<str>>,
}

/// The copy that is being asked for.
#[derive(Clone, Copy)]
struct Asked {
    of: MemberId,
    copy: u64,
    part: u32,
}

/// Copies that this member gives and takes. Each of them ends with the connection.
#[derive(Default)]
pub(super) struct Copies {
    last: u64,
    to_ask: VecDeque<MemberId>,
    asked: Option<Asked>,
    given: BTreeMap<MemberId, Given>,
    /// Copies that were taken to their ends.
    pub(super) taken: u64,
}

fn frame(copy: u64, part: u32, step: u8, bytes: Bytes) -> Frame {
    Frame::RegistrationSync(SyncStep { copy, part, step }, Body(bytes))
}

impl Copies {
    /// A connection to this member has come up: it has to be asked. Whom to ask what now.
    pub(super) fn up(&mut self, member: MemberId) -> Option<(MemberId, Frame)> {
        self.given.remove(&member);
        self.asked.take_if(|asked| asked.of == member);
        if !self.to_ask.contains(&member) {
            self.to_ask.push_back(member);
        }
        self.ask_next()
    }

    /// There is no connection to it any more. Whom to ask what now.
    pub(super) fn down(&mut self, member: MemberId) -> Option<(MemberId, Frame)> {
        self.given.remove(&member);
        self.to_ask.retain(|other| *other != member);
        self.asked.take_if(|asked| asked.of == member);
        self.ask_next()
    }

    fn ask_next(&mut self) -> Option<(MemberId, Frame)> {
        if self.asked.is_some() {
            return None;
        }
        let of = self.to_ask.pop_front()?;
        self.last += 1;
        self.asked = Some(Asked { of, copy: self.last, part: 0 });
        Some((of, frame(self.last, 0, SyncStep::ASK, Bytes::new())))
    }

    /// A part has come from that member: whether it was waited for.
    pub(super) fn is_awaited(&self, from: MemberId, step: SyncStep) -> bool {
        let is =
            |asked: &Asked| asked.of == from && asked.copy == step.copy && asked.part == step.part;
        self.asked.as_ref().is_some_and(is)
    }

    /// The part that was waited for has been taken. Whom to ask what now.
    pub(super) fn took(&mut self, step: SyncStep) -> Option<(MemberId, Frame)> {
        if step.step == SyncStep::LAST {
            self.asked = None;
            self.taken += 1;
            return self.ask_next();
        }
        let asked = self.asked.as_mut()?;
        asked.part += 1;
        Some((asked.of, frame(asked.copy, asked.part, SyncStep::ASK, Bytes::new())))
    }

    /// That member asks for a part: after whose registrations it begins. `None`: it asks for what does not
    /// follow the last one.
    pub(super) fn asks(&mut self, from: MemberId, step: SyncStep) -> Option<Option<Arc<str>>> {
        if step.part == 0 {
            self.given.insert(from, Given { copy: step.copy, part: 0, after: None });
            return Some(None);
        }
        let is_next = |given: &&Given| given.copy == step.copy && given.part == step.part;
        self.given.get(&from).filter(is_next).map(|given| given.after.clone())
    }

    /// The part that it has asked for, and what the next one follows; `None`: it is the last one.
    pub(super) fn give(
        &mut self,
        to: MemberId,
        step: SyncStep,
        bytes: Bytes,
        next: Option<Arc<str>>,
    ) -> Frame {
        let kind = match next {
            Some(after) => {
                let given = Given { copy: step.copy, part: step.part + 1, after: Some(after) };
                self.given.insert(to, given);
                SyncStep::PART
            }
            None => {
                self.given.remove(&to);
                SyncStep::LAST
            }
        };
        frame(step.copy, step.part, kind, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> MemberId {
        MemberId::new(number).unwrap()
    }

    fn step(asked: Option<(MemberId, Frame)>) -> (MemberId, SyncStep) {
        match asked {
            Some((to, Frame::RegistrationSync(step, _))) => (to, step),
            other => panic!("nobody is asked: {other:?}"),
        }
    }

    /// Two members with three parts between them.
    #[test]
    fn a_copy_comes_part_by_part_and_then_the_next_member_is_asked() {
        let (mut one, mut two) = (Copies::default(), Copies::default());
        let (to, mut asked) = step(one.up(id(2)));
        assert_eq!((to, asked.part), (id(2), 0));
        assert!(one.up(id(3)).is_none(), "one after the other");
        for part in 0..3 {
            let after = two.asks(id(1), asked).expect("it follows");
            assert_eq!(after.as_deref(), [None, Some("a"), Some("b")][part]);
            let next = [Some("a".into()), Some("b".into()), None][part].clone();
            let (_, given) = step(Some((id(1), two.give(id(1), asked, Bytes::new(), next))));
            assert!(one.is_awaited(id(2), given));
            assert!(!one.is_awaited(id(3), given), "not from a third one");
            let (to, next) = step(one.took(given));
            assert_eq!(to, if part == 2 { id(3) } else { id(2) });
            asked = next;
        }
        assert_eq!(one.taken, 1);
        assert!(two.given.is_empty());
    }

    #[test]
    fn a_member_that_is_lost_while_it_is_asked_makes_room_for_the_next() {
        let mut one = Copies::default();
        one.up(id(2));
        one.up(id(3));
        let (to, _) = step(one.down(id(2)));
        assert_eq!(to, id(3));
        let (to, again) = step(one.up(id(3)));
        assert_eq!((to, again.part), (id(3), 0), "a new connection begins anew");
        assert!(one.down(id(3)).is_none());
    }

    #[test]
    fn a_part_that_does_not_follow_is_not_given() {
        let mut two = Copies::default();
        let asked = SyncStep { copy: 4, part: 1, step: SyncStep::ASK };
        assert_eq!(two.asks(id(1), asked), None);
    }
}
