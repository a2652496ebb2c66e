//! Who handles a message: a pure function of it, of how it came, and of what is known of the members.
//!
//! What names its owner goes there: a response by the branch of its Via (S28), a request by its Route, its
//! Request-URI or its To tag (S24, S29, S30), whatever the farm settings are. Everything else is spread over
//! the members that take what is new (S20, S31).
//!
//! When those change, some keys get another member. A message with such a key may belong to something that
//! the one before has begun (B3). It alone can know, so it is asked: it gets the message, and returns what
//! it does not know. Until then nobody else handles it; afterwards the member that it came to sends it
//! on. Whoever is sent a message handles it or returns it, and never sends it to a third (B2).

use std::net::SocketAddr;
use std::time::Instant;

use super::membership::{ASKED_MAX, ENDINGS, REPEATS, Standing, Whose};
use super::{Farm, Identity, Membership, Mode, Owner, Purpose};
use crate::wire::{Message, Method, NameAddr, SIP_PORT_DEFAULT, SIPS_PORT_DEFAULT, Scheme, Uri};

/// The parameter of our Record-Route of a call that carries its token.
pub const CALL: &str = "rf";
/// The parameter of our Contact that carries the token of whose it is.
pub const CONTACT: &str = "ro";
/// The parameter of our Record-Route in dialogs that nothing is remembered of.
pub const FLOW: &str = "ft";

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Over a transport that retransmits by itself: no request comes twice (RFC 3261 17.1.1.1).
    pub reliable: bool,
    /// Another member has sent it, for this reason; `None` for what has come back to this one.
    pub relayed: Option<Why>,
    /// So many members have been asked and do not know it.
    pub asked: u8,
}

/// What members tell each other with a message that one sends to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errand {
    /// Why.
    pub why: Why,
    /// So many members have been asked before and do not know it.
    pub asked: u8,
}

/// What this member knows besides the members.
pub trait Home {
    /// Whether a transaction of this member's has the message: it comes again, or is the ACK or CANCEL of one.
    fn knows(&mut self, message: &Message) -> bool;
    /// Whether `uri` is of a domain that is served here.
    fn serves(&mut self, uri: &Uri<'_>) -> bool;
}

/// Why a message is sent to another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// It carries that member's token.
    Pinned,
    /// It names that member's address.
    Named,
    /// By the hash of its key.
    Spread,
    /// That member may have begun what it belongs to; it returns what it does not know.
    Asked,
    /// That member has asked, and it is not known here.
    Returned,
}

impl Why {
    /// Every reason, in a fixed order.
    pub const ALL: [Why; 5] = [Why::Pinned, Why::Named, Why::Spread, Why::Asked, Why::Returned];

    /// As members tell each other; the same in each version.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Why::Pinned => 0,
            Why::Named => 1,
            Why::Spread => 2,
            Why::Asked => 3,
            Why::Returned => 4,
        }
    }

    /// The reason of that number; one that this version does not know is as good as
    /// [`Why::Spread`]: the message is this member's to handle.
    #[must_use]
    pub fn from_number(number: u8) -> Why {
        Why::ALL.into_iter().find(|why| why.number() == number).unwrap_or(Why::Spread)
    }

    /// As counters name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Why::Pinned => "pinned",
            Why::Named => "named",
            Why::Spread => "spread",
            Why::Asked => "asked",
            Why::Returned => "returned",
        }
    }
}

/// The answer to what nobody can handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 481: whoever could have known it is no more (B5).
    Gone,
    /// 503: its owner cannot be reached now (B5).
    Unreachable,
    /// 503: nobody takes what is new.
    NobodyTakes,
}

/// Why a message that has no answer is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Whoever could have known it is no more (B5).
    Gone,
    /// Its owner cannot be reached now (B5).
    Unreachable,
    /// An ACK of something new, which nobody takes.
    NobodyTakes,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is handled here.
    Here,
    /// That member gets it.
    Relay {
        /// Who.
        to: Identity,
        /// Why.
        why: Why,
    },
    /// It was asked for, and is not known here: whoever asked gets it back.
    Return,
    /// It is answered without a trace.
    Refuse(Refusal),
    /// It is a balancer's question whether this member takes anything new.
    Ping {
        /// It does.
        ready: bool,
    },
    /// Nothing becomes of it.
    Drop(Dropped),
}

/// What becomes of `message`.
#[must_use]
pub fn decide(
    now: Instant,
    farm: &Farm,
    home: &mut impl Home,
    facts: Facts,
    message: &Message,
) -> Decision {
    let owner =
        if message.is_request() { owner_of_request(farm, message) } else { branch(farm, message) };
    match (facts.relayed, owner) {
        (Some(why), owner) => relayed(farm, home, message, why, owner),
        (None, Some(owner)) => pinned(farm, message, owner.identity),
        // S28 has nothing to say of it: the transaction layer knows it or does not.
        (None, None) if message.is_response() => Decision::Here,
        (None, None) => unpinned(now, farm, home, facts, message),
    }
}

/// S28.
fn branch(farm: &Farm, message: &Message) -> Option<Owner> {
    read_branch(farm, message.top_via().unique_branch()?, message.call_id())
}

/// The owner of a branch of ours (without `z9hG4bK`); a token stands at its front.
#[must_use]
pub fn read_branch(farm: &Farm, branch: &str, call_id: &str) -> Option<Owner> {
    let text = branch.get(..super::token::TOKEN_LEN)?;
    farm.tokens.read(Purpose::Branch, text, call_id)
}

/// S24, S29, S30: the first of Route, Request-URI and To tag that names an owner.
fn owner_of_request(farm: &Farm, request: &Message) -> Option<Owner> {
    let call_id = request.call_id();
    let of = |uri: Uri<'_>| {
        let params = uri.params();
        let read = |purpose, name| farm.tokens.read(purpose, params.get(name)?, call_id);
        read(Purpose::Call, CALL).or_else(|| read(Purpose::Place, CONTACT))
    };
    let route = first_route(request);
    route
        .and_then(|route| route.uri().ok())
        .and_then(of)
        .or_else(|| request.uri().and_then(of))
        .or_else(|| farm.tokens.read(Purpose::Tag, request.to().tag()?, call_id))
}

fn first_route(request: &Message) -> Option<NameAddr<'_>> {
    request.routes().next()?.ok()
}

/// Another member has sent it: whatever it is, nobody else gets it (B2).
fn relayed(
    farm: &Farm,
    home: &mut impl Home,
    message: &Message,
    why: Why,
    owner: Option<Owner>,
) -> Decision {
    match owner.map(|owner| farm.membership.standing(owner.identity)) {
        // B5: it was meant for an earlier life of this member, or for somebody else.
        Some(Standing::Gone | Standing::Reachable | Standing::Down) => gone(message),
        Some(Standing::Own) => Decision::Here,
        None if why == Why::Asked && !home.knows(message) => Decision::Return,
        None => Decision::Here,
    }
}

fn pinned(farm: &Farm, message: &Message, to: Identity) -> Decision {
    match farm.membership.standing(to) {
        Standing::Own => Decision::Here,
        Standing::Reachable => Decision::Relay { to: farm.membership.now(to), why: Why::Pinned },
        Standing::Down if has_no_answer(message) => Decision::Drop(Dropped::Unreachable),
        Standing::Down => Decision::Refuse(Refusal::Unreachable),
        Standing::Gone => gone(message),
    }
}

fn gone(message: &Message) -> Decision {
    if has_no_answer(message) {
        Decision::Drop(Dropped::Gone)
    } else {
        Decision::Refuse(Refusal::Gone)
    }
}

fn has_no_answer(message: &Message) -> bool {
    message.is_response() || *message.method() == Method::Ack
}

/// A request that names no owner.
fn unpinned(
    now: Instant,
    farm: &Farm,
    home: &mut impl Home,
    facts: Facts,
    request: &Message,
) -> Decision {
    let membership = &farm.membership;
    if is_ping(farm, home, request) {
        let ready =
            !membership.is_draining() && !membership.is_joining() && !membership.is_minority();
        return Decision::Ping { ready };
    }
    let ends = matches!(request.method(), Method::Ack | Method::Cancel);
    let window = if ends { ENDINGS } else { REPEATS };
    // Only where a message could be anybody's else is it looked for.
    let is_doubtful = membership.is_draining()
        || membership.is_joining()
        || membership.is_minority()
        || !membership.is_settled(now, window);
    if is_doubtful && home.knows(request) {
        return Decision::Here;
    }
    if let Some(to) = flow(farm, request) {
        let here = to == membership.own();
        return if here { Decision::Here } else { Decision::Relay { to, why: Why::Pinned } };
    }
    let named = named(farm, request);
    if let Some(Named { to, takes: true }) = named {
        return match to == membership.own() {
            true if membership.is_minority() => nobody(request),
            true => Decision::Here,
            false => Decision::Relay { to, why: Why::Named },
        };
    }
    let hash = farm.spread.of(request);
    // What came over a connection comes once; it can be part of what has begun only if it ends it.
    let comes_again = ends || !facts.reliable;
    // One that is `Disabled` or `Relay` is not part of this: what came to it stays with it (S21, S22).
    let is_part = membership.mode() == Mode::Member || gives_away(membership);
    if comes_again && is_part {
        let mut earlier = membership.earlier_takers(now, window, hash);
        if let Some(Named { to, .. }) = named
            && !earlier.contains(&to)
        {
            earlier.insert(0, to);
        }
        earlier.truncate(ASKED_MAX);
        if let Some(to) = earlier.get(usize::from(facts.asked)) {
            return Decision::Relay { to: *to, why: Why::Asked };
        }
    }
    spread(farm, request, hash)
}

/// The member that wrote the first Route, into a dialog that nothing is remembered of: it may hold what leads
/// on. Where it cannot be reached any other member does as well as it can.
fn flow(farm: &Farm, request: &Message) -> Option<Identity> {
    request.to().tag()?;
    let route = first_route(request)?.uri().ok()?;
    let text = route.params().get(FLOW)?;
    let owner = farm.tokens.read(Purpose::Place, text, request.call_id())?.identity;
    match farm.membership.standing(owner) {
        Standing::Own | Standing::Reachable => Some(farm.membership.now(owner)),
        Standing::Down | Standing::Gone => None,
    }
}

/// S20, S21, S22, S31.
fn spread(farm: &Farm, request: &Message, hash: u64) -> Decision {
    let membership = &farm.membership;
    let own = membership.own();
    match membership.mode() {
        Mode::Disabled | Mode::Relay if !gives_away(membership) => return Decision::Here,
        Mode::Member if membership.is_minority() => return nobody(request),
        Mode::Member | Mode::Disabled | Mode::Relay => {}
    }
    match membership.taker(hash) {
        Some(to) if to == own => Decision::Here,
        Some(to) => Decision::Relay { to, why: Why::Spread },
        // Better one that may not know everybody than nobody.
        None if membership.is_joining() && !membership.is_draining() => Decision::Here,
        None => nobody(request),
    }
}

/// Whether what is new goes to others, as long as there are any, whatever the farm setting says.
const fn gives_away(membership: &Membership) -> bool {
    membership.is_draining() || membership.is_joining()
}

fn nobody(request: &Message) -> Decision {
    match request.method() {
        Method::Ack => Decision::Drop(Dropped::NobodyTakes),
        // What it would end is not known to anybody who can be reached (RFC 3261 9.2).
        Method::Cancel => Decision::Refuse(Refusal::Gone),
        Method::Invite
        | Method::Bye
        | Method::Options
        | Method::Register
        | Method::Prack
        | Method::Update
        | Method::Info
        | Method::Message
        | Method::Subscribe
        | Method::Notify
        | Method::Publish
        | Method::Refer
        | Method::Other(_) => Decision::Refuse(Refusal::NobodyTakes),
    }
}

/// A member whose address the first Route names.
#[derive(Clone, Copy)]
struct Named {
    to: Identity,
    /// It takes what is new.
    takes: bool,
}

/// S24: a Route with an address that is one member's alone.
fn named(farm: &Farm, request: &Message) -> Option<Named> {
    let route = first_route(request)?;
    let Whose::Of(id) = farm.membership.whose(address_of(&route.uri().ok()?)?)? else {
        return None;
    };
    let member = farm.membership.member(id)?;
    match farm.membership.standing(member.identity) {
        Standing::Own | Standing::Reachable => {
            let takes = !member.draining && !member.joining;
            Some(Named { to: member.identity, takes })
        }
        Standing::Down | Standing::Gone => None,
    }
    .filter(|named| named.takes || named.to != farm.membership.own())
}

/// RFC 3261 19.1.2.
fn address_of(uri: &Uri<'_>) -> Option<SocketAddr> {
    let secure = matches!(uri.scheme(), Scheme::Sips);
    let default = if secure { SIPS_PORT_DEFAULT } else { SIP_PORT_DEFAULT };
    Some(SocketAddr::new(uri.host().ip()?, uri.port().unwrap_or(default)))
}

/// OPTIONS to this member by its own address, about nobody: what load balancers send (B4).
fn is_ping(farm: &Farm, home: &mut impl Home, request: &Message) -> bool {
    if *request.method() != Method::Options || request.to().tag().is_some() {
        return false;
    }
    let Some(uri) = request.uri().filter(|uri| uri.user().is_none()) else { return false };
    let mut routes = request.routes();
    match (routes.next(), routes.next()) {
        (Some(Ok(route)), None) => {
            let address = route.uri().ok().and_then(|uri| address_of(&uri));
            address.is_some_and(|address| farm.membership.is_own_address(address))
                && (is_of_members(farm, &uri) || home.serves(&uri))
        }
        (None, _) => {
            let whose = address_of(&uri).and_then(|address| farm.membership.whose(address));
            whose == Some(Whose::Of(farm.membership.own().member))
        }
        (Some(_), _) => false,
    }
}

fn is_of_members(farm: &Farm, uri: &Uri<'_>) -> bool {
    address_of(uri).is_some_and(|address| farm.membership.whose(address).is_some())
}
