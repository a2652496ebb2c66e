//! Phones that answer a call whose caller has been refused meanwhile: their 2xx has crossed our CANCEL, and
//! nobody upstream can acknowledge it any more. Left alone they would believe in a call for 32 s.

use std::time::Instant;

use super::Proxy;
use super::bye::Asker;
use super::context::Purpose;
use crate::call::{CallId, Dialog};
use crate::table::Key;
use crate::transport::Target;
use crate::wire::{HeaderName, MAX_FORWARDS_DEFAULT, Message, Method, RequestBuilder};
use relay_core::api::Leg;

/// Why the phone is hung up on.
const REASON: &str = "SIP;cause=408;text=\"Answered Too Late\"";

impl Proxy {
    /// Acknowledges a 2xx that comes after the caller has been refused, and ends its dialog (RFC 3261
    /// 13.2.2.4, 15.1.1). `false`: the caller can still hear of it.
    pub(super) fn end_orphan(
        &mut self,
        now: Instant,
        key: Key,
        index: usize,
        response: &Message,
    ) -> bool {
        let Some(context) = self.contexts.get_mut(key).filter(|context| context.refused) else {
            return false;
        };
        let Purpose::NewCall(id) = context.purpose else { return false };
        let invite = context.request.clone();
        let Some(branch) = context.branches.get_mut(index) else { return false };
        let target = branch.target;
        // Each repetition is acknowledged; one BYE, in a transaction of its own, is enough.
        let is_first = !std::mem::replace(&mut branch.is_orphan, true);
        self.close_branch(key, index);
        let cseq = invite.cseq().number;
        if let Some(ack) = self.for_orphan(id, &invite, response, &target, (Method::Ack, cseq)) {
            self.transmit(target, ack.raw().clone());
        }
        let bye = (Method::Bye, cseq.saturating_add(1));
        let bye = is_first.then(|| self.for_orphan(id, &invite, response, &target, bye));
        if let Some(bye) = bye.flatten()
            && let Ok(tx) = self.transactions.send(now, bye, target)
        {
            self.byes += 1;
            self.by_client.insert(tx, Asker::Node);
        }
        true
    }

    /// A request within the dialog that the 2xx has made, as the caller would send it.
    fn for_orphan(
        &mut self,
        call: CallId,
        invite: &Message,
        response: &Message,
        target: &Target,
        (method, cseq): (Method, u32),
    ) -> Option<Message> {
        let mut dialog = Dialog::new(response.to().tag()?, true);
        dialog.confirm(&self.mark_in(call, response), invite, response);
        let remote = dialog.remote(Leg::Callee)?;
        let via = self.via(invite, target);
        let mut request = RequestBuilder::new(&method, remote.target);
        request.header(HeaderName::Via, via);
        if !remote.routes.is_empty() {
            request.header(HeaderName::Route, remote.routes);
        }
        request
            .header(HeaderName::MaxForwards, MAX_FORWARDS_DEFAULT.to_string())
            .header(HeaderName::From, response.from().as_bytes())
            .header(HeaderName::To, response.to().as_bytes())
            .header(HeaderName::CallId, response.call_id())
            .header(HeaderName::CSeq, format!("{cseq} {method}"));
        if method == Method::Bye {
            request.header(HeaderName::Reason, REASON);
        }
        request.finish_message().ok()
    }
}
