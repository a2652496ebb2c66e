//! From the key of a message to the transaction that has it (RFC 3261 17.1.3, 17.2.3).

use hashbrown::HashTable;

use super::hash::Keyed;
use crate::table::Key;
use crate::wire::{Message, Method};

/// Finds transactions by the hash of their key.
#[derive(Debug, Default)]
pub(super) struct Index {
    places: HashTable<(u64, Key)>,
}

impl Index {
    pub(super) fn insert(&mut self, hash: u64, tx: Key) {
        self.places.insert_unique(hash, (hash, tx), |&(hash, _)| hash);
    }

    pub(super) fn remove(&mut self, hash: u64, tx: Key) {
        if let Ok(entry) = self.places.find_entry(hash, |&place| place == (hash, tx)) {
            entry.remove();
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The transaction with that hash for which `is_it` holds.
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(Key) -> bool) -> Option<Key> {
        self.places.find(hash, |&(own, tx)| own == hash && is_it(tx)).map(|&(_, tx)| tx)
    }
}

/// Puts the bytes of a key together and hashes them, once a message. The key last made stays until
/// the next one.
#[derive(Debug)]
pub(super) struct KeyMaker {
    keyed: Keyed,
    bytes: Vec<u8>,
    hash: u64,
    /// Where a key that is only hashed is put together.
    scratch: Vec<u8>,
}

/// Ends each part of a key; no part can hold it, since a head is text.
const END: u8 = 0;

impl KeyMaker {
    pub(super) fn new(keyed: Keyed) -> Self {
        KeyMaker { keyed, bytes: Vec::new(), hash: 0, scratch: Vec::new() }
    }

    /// The hash of the key last made.
    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    /// The bytes of the key last made.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes the key of a client transaction from its request or a response to it: branch and method.
    pub(super) fn client(&mut self, message: &Message) {
        self.bytes.clear();
        self.part(message.top_via().branch().unwrap_or_default().as_bytes());
        self.part(message.method().as_str().as_bytes());
        self.finish();
    }

    /// Makes the key of the server transaction that a request belongs to, taken as one with
    /// `method`: that of an INVITE is what an ACK or a CANCEL refers to. Says whether the request
    /// follows RFC 2543, where the key lacks the To tag.
    pub(super) fn server(&mut self, request: &Message, method: &Method) -> bool {
        self.bytes.clear();
        let via = request.top_via();
        let legacy = match via.unique_branch() {
            Some(branch) => {
                self.part(branch.as_bytes());
                self.part_lower(via.host_text().as_bytes());
                self.part(&via.port_or_default().to_be_bytes());
                false
            }
            None => {
                self.part(request.request_uri().as_bytes());
                self.caller(request);
                self.part(via.as_bytes());
                true
            }
        };
        self.part(method.as_str().as_bytes());
        self.finish();
        legacy
    }

    /// The hash of what a merged request has in common with the first one (RFC 3261 8.2.2.2).
    pub(super) fn merge(&mut self, request: &Message) -> u64 {
        std::mem::swap(&mut self.bytes, &mut self.scratch);
        self.bytes.clear();
        self.caller(request);
        self.part(request.method().as_str().as_bytes());
        let hash = self.keyed.hash(&self.bytes);
        std::mem::swap(&mut self.bytes, &mut self.scratch);
        hash
    }

    fn caller(&mut self, request: &Message) {
        self.part(request.from().tag().unwrap_or_default().as_bytes());
        self.part(request.call_id().as_bytes());
        self.part(&request.cseq().number.to_be_bytes());
    }

    fn part(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
        self.bytes.push(END);
    }

    fn part_lower(&mut self, part: &[u8]) {
        self.bytes.extend(part.iter().map(u8::to_ascii_lowercase));
        self.bytes.push(END);
    }

    fn finish(&mut self) {
        self.hash = self.keyed.hash(&self.bytes);
    }
}
