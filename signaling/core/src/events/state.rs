//! What there is to be told of users and lists.

use std::time::Instant;

use super::documents::{dialog_info, pidf, reginfo, rlmi, summary, xml};
use super::publish::Content;
use super::subscription::{Subscription, Watched};
use super::{Events, Package, Waiting};
use crate::registrar::{Lookup, Registrar};

/// Most bytes of published documents, and of members of a list, that go into one notification: with
/// its head it has to fit into a datagram (65,507 bytes). Of documents the newest are taken, of
/// members the first; the others are in the list without their state.
const TOLD_BYTES_MAX: usize = 48 * 1024;

impl Events {
    /// Content-Type and body of a notification. `unlike`: see [`rlmi::compose`]. Without `version` it is
    /// for comparison, and leaves out what changes by itself.
    pub(super) fn document(
        &self,
        now: Instant,
        registrar: &Registrar,
        subscription: &Subscription,
        version: Option<u32>,
        unlike: &str,
    ) -> (String, String) {
        let package = subscription.package;
        let content_type = package.content_type();
        let at = match &subscription.watched {
            Watched::User(user) => {
                let entity = &subscription.entity;
                let body = self.state_of(now, registrar, package, user, entity, version);
                return (content_type.to_owned(), body);
            }
            Watched::List(at) => *at,
        };
        let list = self.config.lists.get(at);
        let mut told = 0;
        let mut members = Vec::new();
        for member in list.map(|list| list.members.as_slice()).unwrap_or_default() {
            let mut body = None;
            if told < TOLD_BYTES_MAX {
                let state =
                    self.state_of(now, registrar, package, &member.user, &member.uri, version);
                told += state.len();
                body = Some(state).filter(|_| told <= TOLD_BYTES_MAX);
            }
            members.push(rlmi::Member { uri: &member.uri, content_type, body });
        }
        rlmi::compose(&subscription.entity, version.unwrap_or_default(), &members, unlike)
    }

    fn state_of(
        &self,
        now: Instant,
        registrar: &Registrar,
        package: Package,
        user: &str,
        entity: &str,
        version: Option<u32>,
    ) -> String {
        match package {
            Package::Reg => self.reg_state(now, user, entity, version),
            Package::Presence => {
                let is_registered = matches!(registrar.lookup(now, user), Lookup::Bindings(_));
                pidf::compose(entity, &self.parts(package, user), is_registered)
            }
            Package::Dialog => {
                let version = version.unwrap_or_default();
                dialog_info::compose(
                    entity,
                    version,
                    &self.own_calls(user),
                    &self.parts(package, user),
                )
            }
            Package::MessageSummary => self.summary(user, entity),
        }
    }

    /// What is published for `user`, the newest first, as much as is told.
    fn published(&self, package: Package, user: &str) -> impl Iterator<Item = &Content> {
        let resource = self.index.resource(package, user);
        let keys = resource.map(|resource| resource.publications.as_slice()).unwrap_or_default();
        let mut told = 0;
        keys.iter().rev().filter_map(|key| self.publications.get(*key)).filter_map(
            move |publication| {
                told += publication.bytes;
                (told <= TOLD_BYTES_MAX).then_some(&publication.content)
            },
        )
    }

    fn parts(&self, package: Package, user: &str) -> Vec<&[xml::Child]> {
        self.published(package, user)
            .filter_map(|content| match content {
                Content::Parts(parts) => Some(parts.as_slice()),
                Content::Summary(_) => None,
            })
            .collect()
    }

    /// The dialogs of `user` that this node has itself.
    fn own_calls(&self, user: &str) -> String {
        let mut own = String::new();
        if let Some(resource) = self.index.resource(Package::Dialog, user) {
            for part in resource.calls.iter().chain(&resource.ended) {
                self.calls.write(&mut own, *part);
            }
        }
        own
    }

    /// The newest summary that is published, else what the node itself says.
    fn summary(&self, user: &str, entity: &str) -> String {
        let mut published = self.published(Package::MessageSummary, user);
        let newest = published.find_map(|content| match content {
            Content::Summary(text) => Some(&**text),
            Content::Parts(_) => None,
        });
        if let Some(text) = newest {
            return text.to_owned();
        }
        let resource = self.index.resource(Package::MessageSummary, user);
        match resource.and_then(|resource| resource.waiting) {
            Some(waiting) => summary::voice(entity, waiting),
            None => summary::NONE.to_owned(),
        }
    }

    fn reg_state(&self, now: Instant, user: &str, entity: &str, version: Option<u32>) -> String {
        let resource = self.index.resource(Package::Reg, user);
        let kept = resource.map(|resource| resource.contacts.as_slice()).unwrap_or_default();
        let mut contacts: Vec<reginfo::Contact> = Vec::with_capacity(kept.len());
        for (contact, expires) in kept {
            let left = expires.saturating_duration_since(now);
            let secs = u64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
            let expires_secs = version.map_or(0, |_| secs);
            contacts.push(reginfo::Contact { expires_secs, ..contact.clone() });
        }
        reginfo::compose(entity, version.unwrap_or_default(), &contacts)
    }

    /// The devices of `user` have changed, or may have.
    pub fn registration_changed(&mut self, now: Instant, registrar: &Registrar, user: &str) {
        if !self.index.is_watched(user) {
            return;
        }
        if let Some(resource) = self.index.resource_mut(Package::Reg, user) {
            let old = std::mem::take(&mut resource.contacts);
            let contacts = self.contacts_after(now, registrar, user, &old);
            if let Some(resource) = self.index.resource_mut(Package::Reg, user) {
                resource.contacts = contacts;
            }
            self.changed(now, registrar, Package::Reg, user);
        }
        self.changed(now, registrar, Package::Presence, user);
    }

    /// Somebody begins to watch a registration: it is kept from now on.
    pub(super) fn note_contacts(
        &mut self,
        now: Instant,
        registrar: &Registrar,
        package: Package,
        watched: &Watched,
    ) {
        let Watched::User(user) = watched else { return };
        if package == Package::Reg {
            let contacts = self.contacts_after(now, registrar, user, &[]);
            if let Some(resource) = self.index.resource_mut(package, user)
                && resource.watchers.len() == 1
            {
                resource.contacts = contacts;
            }
        }
    }

    /// The devices of `user` now, and those among `old` that are gone.
    fn contacts_after(
        &self,
        now: Instant,
        registrar: &Registrar,
        user: &str,
        old: &[(reginfo::Contact, Instant)],
    ) -> Vec<(reginfo::Contact, Instant)> {
        let mut contacts = Vec::new();
        if let Lookup::Bindings(bindings) = registrar.lookup(now, user) {
            for binding in bindings {
                let id = self.keyed.hash(binding.uri.as_bytes());
                let contact = reginfo::Contact {
                    id,
                    uri: binding.uri.clone(),
                    why: reginfo::Why::Registered,
                    expires_secs: 0,
                    q_thousandths: binding.q_thousandths,
                };
                contacts.push((contact, binding.expires));
            }
        }
        for (contact, expires) in old {
            let is_there = contacts.iter().any(|(other, _)| other.id == contact.id);
            if is_there || !contact.why.is_active() {
                continue;
            }
            let why =
                if *expires <= now { reginfo::Why::Expired } else { reginfo::Why::Unregistered };
            contacts.push((reginfo::Contact { why, ..contact.clone() }, now));
        }
        contacts
    }

    /// What waits for `user`, as another part of the node says; `None`: it does not say any more. What
    /// is published goes before it.
    pub fn set_waiting(
        &mut self,
        now: Instant,
        registrar: &Registrar,
        user: &str,
        waiting: Option<Waiting>,
    ) {
        let package = Package::MessageSummary;
        let (name, resource) = self.index.enter(package, user);
        resource.waiting = waiting;
        self.index.leave(package, &name);
        self.changed(now, registrar, package, &name);
    }
}
