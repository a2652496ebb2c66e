//! What must hold at every moment, whatever goes wrong. Apart from the code that it judges: it looks
//! at what is written to the engine and at what processes are told.

use std::collections::{BTreeMap, BTreeSet};

use control_core::cluster::membership::Output;
use control_core::cluster::{
    Document, Epoch, IdTable, Incarnate, Key, MemberId, MemberName, Ranges, Term, View,
};

#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// Which process published in a term.
    publishers: BTreeMap<Term, usize>,
    last_view: Option<(Epoch, Term)>,
    numbers: BTreeMap<MemberId, MemberName>,
    /// Starts that are in the last view, and those that were in one and are not any more.
    inside: BTreeSet<Incarnate>,
    dropped: BTreeSet<Incarnate>,
    /// Which process was told that it is that start.
    owners: BTreeMap<Incarnate, usize>,
    seen: BTreeMap<usize, Epoch>,
    pub(crate) views_written: usize,
}

impl Checks {
    /// The engine has lost everything: what stood there may come again.
    pub(crate) fn forget(&mut self) {
        self.last_view = None;
        self.inside.clear();
    }

    pub(crate) fn written(&mut self, process: usize, key: &Key, bytes: &[u8]) {
        match key {
            Key::View => self.view(process, &View::from_bytes(bytes).expect("a view")),
            Key::Ids => self.ids(&IdTable::from_bytes(bytes).expect("a table")),
            Key::Ranges(_) => ranges(&Ranges::from_bytes(bytes).expect("ranges")),
            Key::Member(_) | Key::Controller | Key::ClusterSettings | Key::MemberSettings(_) => {}
        }
    }

    fn view(&mut self, process: usize, view: &View) {
        self.views_written += 1;
        assert!(view.is_sound(), "{view:#?}");
        if let Some((epoch, term)) = self.last_view {
            assert!(view.epoch > epoch, "epochs grow: {} after {epoch}", view.epoch);
            assert!(view.term >= term, "terms do not fall: {} after {term}", view.term);
        }
        self.last_view = Some((view.epoch, view.term));
        let publisher = *self.publishers.entry(view.term).or_insert(process);
        assert_eq!(publisher, process, "one Controller publishes in term {}", view.term);
        let now: BTreeSet<Incarnate> = view.members.iter().map(|m| m.incarnate()).collect();
        self.dropped.extend(self.inside.difference(&now));
        let back: Vec<_> = now.intersection(&self.dropped).collect();
        assert!(back.is_empty(), "{back:?} were fenced and are in view {} again", view.epoch);
        self.inside = now;
    }

    fn ids(&mut self, table: &IdTable) {
        for (name, id) in &table.ids {
            let owner = self.numbers.entry(*id).or_insert_with(|| name.clone());
            assert_eq!(owner, name, "number {id} was given twice");
        }
    }

    pub(crate) fn told(&mut self, process: usize, output: &Output) {
        if let Output::Joined(own) = output {
            let owner = *self.owners.entry(*own).or_insert(process);
            assert_eq!(owner, process, "two processes are {own:?}");
        }
        if let Output::ViewChanged(view) = output {
            let before = self.seen.insert(process, view.epoch).unwrap_or_default();
            assert!(view.epoch > before, "{process} goes from {before} to {}", view.epoch);
        }
    }
}

fn ranges(ranges: &Ranges) {
    for (at, claim) in ranges.claims.iter().enumerate() {
        let others = ranges.claims[..at].iter().filter(|other| other.name != claim.name);
        let both: Vec<_> = others.filter(|other| other.ports.overlaps(claim.ports)).collect();
        assert!(both.is_empty(), "{claim:?} and {both:?} overlap");
    }
}
