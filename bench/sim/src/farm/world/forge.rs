//! What strangers try: tokens that are changed, replayed elsewhere, or of members that are no more.

use bytes::Bytes;
use rand::Rng;

use super::{Event, World};
use crate::farm::phone;
use crate::farm::process::SHARED;

impl World<'_> {
    /// Somebody sends a BYE with a token that is no good.
    pub(super) fn forge(&mut self) {
        let draw = self.rng.random_range(0..1_000);
        let now = self.now();
        match self.rng.random_range(0..3) {
            0 => {
                let Some((mut token, call_id)) = self.ledger.a_token(draw) else { return };
                let at = self.rng.random_range(0..token.len());
                let other = if token.as_bytes()[at] == b'a' { "b" } else { "a" };
                token.replace_range(at..=at, other);
                self.meet("a token is changed");
                self.bye(&format!("f{draw}"), &token, &call_id);
            }
            1 => {
                let Some((token, call_id)) = self.ledger.a_token(draw) else { return };
                self.meet("a token is used in another dialog");
                self.bye(&format!("f{draw}"), &token, &format!("x{call_id}"));
            }
            _ => {
                let Some((token, call_id)) = self.ledger.a_dead_token(now, draw) else { return };
                self.meet("a token of a life that is over");
                self.bye(&format!("d{draw}"), &token, &call_id);
            }
        }
        self.ledger.counts.forged += 1;
    }

    /// B5: every member gets a token of a life that is over, once all of them know that it is.
    pub(super) fn replay_dead(&mut self) {
        let now = self.now();
        for slot in 0..self.slots.len() {
            if self.slots[slot].process.is_none() {
                continue;
            }
            let draw = self.rng.random_range(0..1_000);
            let Some((token, call_id)) = self.ledger.a_dead_token(now, draw) else { return };
            self.meet("a token of a life that is over for long");
            let branch = format!("d{draw}x{slot}");
            self.ledger.must_refuse(&format!("z9hG4bK{branch}"), format!("m{slot}: {token}"));
            self.bye_to(slot, &branch, &token, &call_id);
        }
    }

    fn bye(&mut self, branch: &str, token: &str, call_id: &str) {
        if let Some(slot) = self.spread() {
            self.bye_to(slot, branch, token, call_id);
        }
    }

    fn bye_to(&mut self, slot: usize, branch: &str, token: &str, call_id: &str) {
        let from = phone::address(0);
        let bytes = Bytes::from(format!(
            "BYE sip:u1@{} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bK{branch}\r\n\
             Route: <sip:{SHARED};lr;rf={token}>\r\nMax-Forwards: 70\r\n\
             From: <sip:x@sim.test>;tag=x\r\nTo: <sip:y@sim.test>;tag=y\r\n\
             Call-ID: {call_id}\r\nCSeq: 7 BYE\r\nContent-Length: 0\r\n\r\n",
            phone::address(1),
        ));
        self.clock.at(self.now(), Event::ToMember { slot, phone: 0, bytes });
    }
}
