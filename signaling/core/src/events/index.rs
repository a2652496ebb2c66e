//! Who watches what, and what there is to see of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use smallvec::SmallVec;

use super::calls::Part;
use super::config::List;
use super::documents::reginfo;
use super::subscription::Watched;
use super::{Package, Waiting};
use crate::table::Key;
use crate::transaction::hash::Keyed;

/// Keys of subscriptions or publications.
pub(super) type Keys = SmallVec<[Key; 2]>;

/// What is kept of one user in one package, while there is anything.
#[derive(Debug, Default)]
pub(super) struct Resource {
    /// Who watches it alone; those that watch a list with it are found by the list.
    pub(super) watchers: Keys,
    /// What its devices publish, the newest last.
    pub(super) publications: Keys,
    /// Its calls.
    pub(super) calls: SmallVec<[Part; 1]>,
    /// The last of its calls that ended while somebody watched.
    pub(super) ended: Option<Part>,
    /// What waits for it, as other parts of the node say.
    pub(super) waiting: Option<Waiting>,
    /// Its devices as watchers have been told of them, with those that have just gone.
    pub(super) contacts: Vec<(reginfo::Contact, std::time::Instant)>,
}

impl Resource {
    fn is_empty(&self) -> bool {
        self.watchers.is_empty()
            && self.publications.is_empty()
            && self.calls.is_empty()
            && self.waiting.is_none()
    }
}

/// Users and lists with what is known of them.
#[derive(Debug)]
pub(super) struct Index {
    /// By the place in [`Package::ALL`].
    resources: [HashMap<Arc<str>, Resource, Keyed>; Package::ALL.len()],
    /// The watchers of each list, by package.
    lists: Vec<[Keys; Package::ALL.len()]>,
    /// The lists that a user is in.
    lists_of: HashMap<Box<str>, Vec<usize>>,
    list_uris: HashMap<Box<str>, usize>,
    /// How many subscriptions each user has.
    by_watcher: HashMap<Box<str>, usize, Keyed>,
}

impl Index {
    pub(super) fn new(lists: &[List], keyed: Keyed) -> Index {
        let mut lists_of: HashMap<Box<str>, Vec<usize>> = HashMap::new();
        let mut list_uris = HashMap::new();
        for (at, list) in lists.iter().enumerate() {
            list_uris.insert(list.uri.clone(), at);
            for member in &list.members {
                let of = lists_of.entry(member.user.clone()).or_default();
                if !of.contains(&at) {
                    of.push(at);
                }
            }
        }
        Index {
            resources: std::array::from_fn(|_| HashMap::with_hasher(keyed)),
            lists: lists.iter().map(|_| Default::default()).collect(),
            lists_of,
            list_uris,
            by_watcher: HashMap::with_hasher(keyed),
        }
    }

    /// The list with that address of record.
    pub(super) fn list(&self, uri: &str) -> Option<usize> {
        self.list_uris.get(uri).copied()
    }

    /// What is kept of `user`.
    pub(super) fn resource(&self, package: Package, user: &str) -> Option<&Resource> {
        self.resources[package.index()].get(user)
    }

    /// As [`Index::resource`], to change it.
    pub(super) fn resource_mut(&mut self, package: Package, user: &str) -> Option<&mut Resource> {
        self.resources[package.index()].get_mut(user)
    }

    /// What is kept of `user`, be it nothing until now; and its name as it is kept.
    pub(super) fn enter(&mut self, package: Package, user: &str) -> (Arc<str>, &mut Resource) {
        let resources = &mut self.resources[package.index()];
        let name = match resources.get_key_value(user) {
            Some((name, _)) => name.clone(),
            None => user.into(),
        };
        (name.clone(), resources.entry(name).or_default())
    }

    /// Forgets `user` if nothing is kept of it any more.
    pub(super) fn leave(&mut self, package: Package, user: &str) {
        let resources = &mut self.resources[package.index()];
        if resources.get(user).is_some_and(Resource::is_empty) {
            resources.remove(user);
        }
    }

    /// The watchers of a user alone, or of a list.
    pub(super) fn watchers(&self, package: Package, watched: &Watched) -> &[Key] {
        match watched {
            Watched::User(user) => {
                self.resource(package, user).map_or(&[], |resource| &resource.watchers)
            }
            Watched::List(at) => self.lists.get(*at).map_or(&[], |list| &list[package.index()]),
        }
    }

    pub(super) fn add(&mut self, package: Package, watched: &Watched, key: Key) {
        match watched {
            Watched::User(user) => self.enter(package, user).1.watchers.push(key),
            Watched::List(at) => {
                if let Some(list) = self.lists.get_mut(*at) {
                    list[package.index()].push(key);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, package: Package, watched: &Watched, key: Key) {
        let keys = match watched {
            Watched::User(user) => {
                self.resource_mut(package, user).map(|resource| &mut resource.watchers)
            }
            Watched::List(at) => self.lists.get_mut(*at).map(|list| &mut list[package.index()]),
        };
        if let Some(keys) = keys {
            keys.retain(|other| *other != key);
        }
        if let Watched::User(user) = watched {
            self.leave(package, user);
        }
    }

    /// How many subscriptions `watcher` has.
    pub(super) fn count_of(&self, watcher: &str) -> usize {
        self.by_watcher.get(watcher).copied().unwrap_or_default()
    }

    /// `watcher` has one subscription more.
    pub(super) fn count_up(&mut self, watcher: &str) {
        *self.by_watcher.entry(watcher.into()).or_default() += 1;
    }

    /// `watcher` has one subscription less.
    pub(super) fn count_down(&mut self, watcher: &str) {
        if let Some(count) = self.by_watcher.get_mut(watcher) {
            *count -= 1;
            if *count == 0 {
                self.by_watcher.remove(watcher);
            }
        }
    }

    /// Everybody who is told of `user`, by itself or in a list.
    pub(super) fn told_of(&self, package: Package, user: &str) -> Vec<Key> {
        let alone = self.resource(package, user).map(|resource| resource.watchers.as_slice());
        let lists = self.lists_of.get(user).into_iter().flatten();
        let by_list = lists.filter_map(|at| self.lists.get(*at)).flat_map(|l| &l[package.index()]);
        alone.unwrap_or_default().iter().chain(by_list).copied().collect()
    }

    /// Those whom somebody is told of, by themselves or in a list.
    pub(super) fn watched_users(&self, package: Package) -> BTreeSet<Arc<str>> {
        let resources = self.resources[package.index()].iter();
        let alone = resources.filter(|(_, resource)| !resource.watchers.is_empty());
        let mut users: BTreeSet<Arc<str>> = alone.map(|(user, _)| user.clone()).collect();
        let is_watched =
            |at: &usize| self.lists.get(*at).is_some_and(|list| !list[package.index()].is_empty());
        let listed = self.lists_of.iter().filter(|(_, lists)| lists.iter().any(is_watched));
        users.extend(listed.map(|(user, _)| Arc::from(&**user)));
        users
    }

    /// Whether anybody would be told of `user` in any package.
    pub(super) fn is_watched(&self, user: &str) -> bool {
        self.resources.iter().any(|resources| resources.contains_key(user))
            || self.lists_of.contains_key(user)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.resources.iter().all(HashMap::is_empty)
            && self.lists.iter().flatten().all(SmallVec::is_empty)
            && self.by_watcher.is_empty()
    }
}
