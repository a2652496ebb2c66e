//! The doubly linked lists that the ports of an allocator are nodes of.
//!
//! A pair is one node, its even port; the odd port is then [`Place::Second`] and in no list.

use std::time::Instant;

use super::Width;
use crate::api::SessionId;

/// The lists. A port (or pair) is in exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    FreePairs,
    /// Free ports whose neighbour is not free.
    FreeHalves,
    /// Pairs and singles in the order in which they were taken.
    Used,
    RestingPairs,
    RestingSingles,
    /// Pairs and singles that someone else on this host has.
    Quarantined,
}

const LISTS: usize = 6;

/// Where a port is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The odd port of a pair that is a node as a whole.
    Second,
    /// Taken out of a list by an operation that has not put it elsewhere yet.
    Nowhere,
    In(List, Width),
}

impl Place {
    pub(super) const fn used(width: Width) -> Place {
        Place::In(List::Used, width)
    }

    pub(super) const fn resting(width: Width) -> Place {
        match width {
            Width::Pair => Place::In(List::RestingPairs, width),
            Width::Single => Place::In(List::RestingSingles, width),
        }
    }

    pub(super) const fn quarantined(width: Width) -> Place {
        Place::In(List::Quarantined, width)
    }
}

/// No neighbour. A range has at most 65,534 ports, so no place in it has this number.
const NIL: u16 = u16::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    prev: u16,
    next: u16,
    place: Place,
    since: Instant,
    owner: SessionId,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    head: u16,
    tail: u16,
    ports: u32,
}

#[derive(Debug)]
pub(super) struct Lists {
    first: u16,
    nodes: Vec<Node>,
    ends: [Ends; LISTS],
}

impl Lists {
    /// All ports are nowhere but the odd ones, which are second.
    pub(super) fn new(now: Instant, first: u16, ports: u32) -> Lists {
        let node = |index: u32| Node {
            prev: NIL,
            next: NIL,
            place: if index.is_multiple_of(2) { Place::Nowhere } else { Place::Second },
            since: now,
            owner: SessionId(0),
        };
        let ends = [Ends { head: NIL, tail: NIL, ports: 0 }; LISTS];
        Lists { first, nodes: (0..ports).map(node).collect(), ends }
    }

    pub(super) fn ports_in(&self, list: List) -> u32 {
        self.ends[list as usize].ports
    }

    /// The port that has been in the list the longest.
    pub(super) fn front(&self, list: List) -> Option<(u16, Width, Instant)> {
        let index = self.ends[list as usize].head;
        let node = self.nodes.get(usize::from(index))?;
        match node.place {
            Place::In(_, width) => Some((self.first + index, width, node.since)),
            Place::Second | Place::Nowhere => None,
        }
    }

    /// Takes the port at the front out of the list; it is nowhere then.
    pub(super) fn pop(&mut self, list: List) -> Option<u16> {
        let (port, width, _) = self.front(list)?;
        self.unlink(port - self.first, list, width);
        Some(port)
    }

    /// Puts a port that is nowhere at the back of the list that `place` names.
    pub(super) fn enter(&mut self, port: u16, place: Place, now: Instant, owner: SessionId) {
        let Place::In(list, width) = place else { return };
        let index = port - self.first;
        let tail = self.ends[list as usize].tail;
        let node = &mut self.nodes[usize::from(index)];
        *node = Node { prev: tail, next: NIL, place, since: now, owner };
        match self.nodes.get_mut(usize::from(tail)) {
            Some(last) => last.next = index,
            None => self.ends[list as usize].head = index,
        }
        let ends = &mut self.ends[list as usize];
        ends.tail = index;
        ends.ports += width.ports();
    }

    /// Frees a port that is nowhere: it is taken last. Two free neighbours become a pair again.
    pub(super) fn enter_free(&mut self, port: u16, width: Width) {
        self.enter_free_after(port, width, NIL);
    }

    /// The same; a pair is taken after the free pair of this index in the range, if that is one.
    pub(super) fn enter_free_after(&mut self, port: u16, width: Width, before: u16) {
        let even = port & !1;
        let index = usize::from(port - self.first);
        let (since, owner) = (self.nodes[index].since, self.nodes[index].owner);
        let neighbour = port ^ 1;
        let merges = width == Width::Single && self.is_free_half(neighbour);
        if merges {
            self.unlink(neighbour - self.first, List::FreeHalves, Width::Single);
            self.nodes[usize::from((even + 1) - self.first)].place = Place::Second;
        }
        if merges || width == Width::Pair {
            self.enter(even, Place::In(List::FreePairs, Width::Pair), since, owner);
            self.move_after(even - self.first, before);
        } else {
            self.enter(port, Place::In(List::FreeHalves, Width::Single), since, owner);
        }
    }

    /// Whether the pair of this index in the range is free.
    pub(super) fn is_free_pair(&self, index: u16) -> bool {
        let pair = Place::In(List::FreePairs, Width::Pair);
        self.nodes.get(usize::from(index)).is_some_and(|node| node.place == pair)
    }

    /// Whether `port`, one of the range, is free: alone or with the rest of its pair.
    pub(super) fn is_free(&self, port: u16) -> bool {
        let mut index = usize::from(port - self.first);
        if self.nodes[index].place == Place::Second {
            index -= 1;
        }
        matches!(self.nodes[index].place, Place::In(List::FreePairs | List::FreeHalves, _))
    }

    /// Moves a free pair to the place after another one.
    fn move_after(&mut self, index: u16, before: u16) {
        if index == before || !self.is_free_pair(before) {
            return;
        }
        let Node { since, owner, place, .. } = self.nodes[usize::from(index)];
        self.unlink(index, List::FreePairs, Width::Pair);
        let next = self.nodes[usize::from(before)].next;
        self.nodes[usize::from(index)] = Node { prev: before, next, place, since, owner };
        self.nodes[usize::from(before)].next = index;
        let ends = &mut self.ends[List::FreePairs as usize];
        ends.ports += Width::Pair.ports();
        match self.nodes.get_mut(usize::from(next)) {
            Some(node) => node.prev = index,
            None => ends.tail = index,
        }
    }

    /// Makes the odd port of a pair that is nowhere a free single of its own.
    pub(super) fn enter_half(&mut self, odd: u16) {
        let node = self.nodes[usize::from(odd - self.first)];
        self.enter(odd, Place::In(List::FreeHalves, Width::Single), node.since, node.owner);
    }

    fn is_free_half(&self, port: u16) -> bool {
        self.nodes[usize::from(port - self.first)].place
            == Place::In(List::FreeHalves, Width::Single)
    }

    /// Takes a port in use out of its list; `None` if it is not in use with that width.
    pub(super) fn leave_used(&mut self, port: u16, width: Width) -> Option<SessionId> {
        let index = port.checked_sub(self.first)?;
        let node = self.nodes.get(usize::from(index))?;
        if node.place != Place::used(width) {
            return None;
        }
        let owner = node.owner;
        self.unlink(index, List::Used, width);
        Some(owner)
    }

    /// Who has `port` in use and since when; the odd port of a pair is its even port's owner's.
    pub(super) fn owner(&self, port: u16) -> Option<(SessionId, Instant)> {
        let index = usize::from(port.checked_sub(self.first)?);
        let mut node = self.nodes.get(index)?;
        if node.place == Place::Second {
            node = &self.nodes[index - 1];
        }
        match node.place {
            Place::In(List::Used, _) => Some((node.owner, node.since)),
            Place::In(..) | Place::Second | Place::Nowhere => None,
        }
    }

    fn unlink(&mut self, index: u16, list: List, width: Width) {
        let Node { prev, next, .. } = self.nodes[usize::from(index)];
        match self.nodes.get_mut(usize::from(prev)) {
            Some(node) => node.next = next,
            None => self.ends[list as usize].head = next,
        }
        match self.nodes.get_mut(usize::from(next)) {
            Some(node) => node.prev = prev,
            None => self.ends[list as usize].tail = prev,
        }
        self.ends[list as usize].ports -= width.ports();
        self.nodes[usize::from(index)].place = Place::Nowhere;
    }
}
