//! Redirections that are followed here instead of being passed on (RFC 3261 16.5, 16.7 step 4): a phone
//! that forwards its calls reaches whom it names, without the caller having to call again.
//!
//! Nobody gets further by a redirection than the caller could by calling there himself: what is not
//! served here is only followed where settings say so, and for callers who may send outward.

use std::cmp::Reverse;
use std::time::Instant;

use super::Proxy;
use super::authorise::Caller;
use super::config::Redirects;
use super::context::{Branch, Failure, Purpose};
use super::inbound::{Answer, Routed};
use super::routing::{Destination, request_uri};
use crate::call::CallBranch;
use crate::table::Key;
use crate::transport::{Arrival, Transport};
use crate::wire::{Contact, HeaderName, Message, Method, Scheme, Uri};

/// Where a redirection leads, by the preferences of its Contact and of the device behind that.
type Target = ((u16, u16), Destination);

/// What becomes of a redirection.
#[derive(Debug, Default)]
struct Redirection {
    targets: Vec<Target>,
    /// The numbers of the Contact values that are followed, or have been.
    taken: Vec<usize>,
    /// How many there are.
    contacts: usize,
    /// Why the last of those did not lead anywhere.
    failure: Option<Answer>,
}

/// Who wants to be led on, and whence.
struct Seeker<'a> {
    arrival: &'a Arrival,
    caller: Caller,
    request: &'a Message,
}

impl Proxy {
    /// A branch has been answered 300, 301 or 302.
    pub(super) fn redirect_branch(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        response: Message,
    ) {
        let followed = self.redirection(now, key, &response);
        let Some((redirection, routed)) = followed.filter(|(r, _)| !r.taken.is_empty()) else {
            return self.finish_branch(now, key, index, response, false);
        };
        let Redirection { targets, taken, contacts, failure } = redirection;
        let leads_on = !targets.is_empty();
        self.add_targets(key, targets, routed);
        if let Some(failure) = failure
            && let Some(response) = self.own_response(key, failure.status, &failure.reason, None)
            && let Some(context) = self.contexts.get_mut(key)
        {
            context.consider(Failure { response, is_own: true });
        }
        // RFC 3261 16.7 step 4: what is followed is taken out; nothing is said of one without contacts.
        if taken.len() < contacts {
            let rest = without(&response, &taken).unwrap_or(response);
            self.finish_branch(now, key, index, rest, false);
        } else if leads_on || self.contexts.get(key).is_some_and(|c| c.best.is_some()) {
            self.end_branch(now, key, index, None);
        } else {
            self.fail_branch(now, key, index, 482, "Redirected In A Loop");
        }
        if leads_on {
            self.start_group(now, key);
        }
    }

    /// Where the response leads; `None` where it is not followed.
    fn redirection(
        &mut self,
        now: Instant,
        key: Key,
        response: &Message,
    ) -> Option<(Redirection, Routed)> {
        if self.config.redirects == Redirects::Never {
            return None;
        }
        let context = self.contexts.get(key)?;
        let starts = matches!(context.purpose, Purpose::NewCall(_) | Purpose::Plain);
        let is_within_dialog = context.request.to().tag().is_some();
        if !context.may_try_more()
            || !starts
            || is_within_dialog
            || context.method == Method::Register
        {
            return None;
        }
        let (request, arrival, caller) = (context.request.clone(), context.arrival, context.caller);
        let routed = self.take_own_routes(&request).ok()?;
        // The caller has chosen another way than that of the Request-URI.
        if routed.next_route.is_some() {
            return None;
        }
        let seeker = Seeker { arrival: &arrival, caller, request: &request };
        let mut redirection = Redirection::default();
        for contact in response.contacts() {
            let number = redirection.contacts;
            redirection.contacts += 1;
            let Some(contact) = contact.ok().and_then(Contact::addr) else { continue };
            let Ok(uri) = contact.uri() else { continue };
            if self.was_followed(key, &routed, &uri) {
                redirection.taken.push(number);
                continue;
            }
            let Some(found) = self.follow(now, &seeker, &uri) else { continue };
            if !self.note_followed(key, &uri) {
                continue;
            }
            redirection.taken.push(number);
            let q = contact.q_thousandths().unwrap_or(1000);
            match found {
                Ok(found) => {
                    redirection.targets.extend(found.into_iter().map(|to| ((q, to.q), to)));
                }
                Err(answer) => redirection.failure = Some(answer),
            }
        }
        Some((redirection, routed))
    }

    /// Whether the request has been sent to `uri` already, by name.
    fn was_followed(&self, key: Key, routed: &Routed, uri: &Uri<'_>) -> bool {
        let is_it = |other: &str| Uri::parse(other).is_ok_and(|other| other.equivalent(uri));
        is_it(&routed.uri)
            || self.contexts.get(key).is_some_and(|c| c.followed.iter().any(|other| is_it(other)))
    }

    /// Remembers that `uri` is followed; `false` once a request has been led on often enough.
    fn note_followed(&mut self, key: Key, uri: &Uri<'_>) -> bool {
        let limit = self.config.limits.branches;
        let Some(context) = self.contexts.get_mut(key) else { return false };
        let has_room = context.followed.len() < limit && context.branches.len() < limit;
        if has_room {
            context.followed.push(uri.as_str().into());
        }
        has_room
    }

    /// The targets that a Contact stands for; `None` if it is for the caller to go there.
    fn follow(
        &mut self,
        now: Instant,
        seeker: &Seeker<'_>,
        uri: &Uri<'_>,
    ) -> Option<Result<Vec<Destination>, Answer>> {
        let asked = seeker.request.uri()?;
        match uri.scheme() {
            // RFC 3261 16.7 step 4: what asked for TLS does not go without.
            Scheme::Sip if matches!(asked.scheme(), Scheme::Sips) => return None,
            Scheme::Sip => {}
            Scheme::Sips if self.offered.speaks(Transport::Tls) => {}
            Scheme::Sips | Scheme::Tel | Scheme::Other(_) => return None,
        }
        if self.addresses.is_served(&self.config, uri) {
            return uri.user().is_some().then(|| self.contacts(now, uri));
        }
        match self.config.redirects {
            Redirects::Never | Redirects::Served => None,
            Redirects::Anywhere if !seeker.caller.may_send_outward() => None,
            Redirects::Anywhere => {
                let found = self.outward(seeker.arrival, uri.as_str(), seeker.caller);
                let named = Some(request_uri(uri.as_str()));
                // RFC 3261 26.2.2: a static route does not take the place of TLS.
                let is_secure = |found: &Result<Destination, Answer>| {
                    found.as_ref().is_ok_and(Destination::is_secure)
                };
                if matches!(uri.scheme(), Scheme::Sips) && !is_secure(&found) {
                    return None;
                }
                Some(found.map(|to| vec![Destination { uri: named, ..to }]))
            }
        }
    }

    /// Puts targets next in turn: the best in the group that is being tried, the others in groups of
    /// their own between that and the next.
    fn add_targets(&mut self, key: Key, mut targets: Vec<Target>, routed: Routed) {
        let limit = self.config.limits.branches;
        let Some(context) = self.contexts.get_mut(key) else { return };
        targets.retain(|(_, to)| !context.branches.iter().any(|branch| branch.is_to(to)));
        targets.sort_by_key(|(q, _)| Reverse(*q));
        targets.truncate(limit.saturating_sub(context.branches.len()));
        let mut groups = targets.iter().map(|(q, _)| *q).collect::<Vec<_>>();
        groups.dedup();
        let further = groups.len().saturating_sub(1);
        for branch in context.branches.iter_mut().filter(|b| b.group > context.group) {
            branch.group += further;
        }
        context.routed.get_or_insert_with(|| Box::new(routed));
        for (q, destination) in targets {
            let turn = groups.iter().position(|group| *group == q).unwrap_or_default();
            if let Purpose::NewCall(call) = context.purpose
                && let Some(call) = self.calls.get_mut(call.0)
            {
                call.branches.push(CallBranch::new(destination.party));
            }
            context.branches.push(Branch::new(destination, context.group + turn));
        }
    }
}

/// The response without the Contact values of these numbers.
fn without(response: &Message, taken: &[usize]) -> Option<Message> {
    let mut edit = response.edit();
    for number in taken.iter().rev() {
        edit.remove_value(HeaderName::Contact, *number);
    }
    edit.finish_message().ok()
}
