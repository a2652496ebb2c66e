//! The steps of one look-up.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::order::{servers, services, srv_name, transports};
use super::{HOPS_MAX, Hop, Query, Question, Reply, ResolveError, Srv};
use crate::transport::Transport;

/// A server whose addresses are wanted.
#[derive(Clone, Debug)]
struct Server {
    transport: Transport,
    name: Box<str>,
    port: u16,
}

/// Where the look-up stands.
#[derive(Debug)]
enum Step {
    /// Which services the domain has.
    Services,
    /// The servers of each service, in order of preference.
    Servers {
        services: Vec<(Transport, Box<str>)>,
        expressed: bool,
    },
    /// The addresses of each server, in order.
    Addresses(Vec<Server>),
    Over(Result<Vec<Hop>, ResolveError>),
}

/// One look-up. Take [`Lookup::questions`], ask them all (at once, if you like), give every reply to
/// [`Lookup::handle`], and go round until there are no questions: then [`Lookup::outcome`] is there.
#[derive(Debug)]
pub struct Lookup {
    query: Query,
    rng: SmallRng,
    step: Step,
    replies: HashMap<Question, Reply>,
    /// A server of the domain's has failed to answer: what is missing may exist.
    failed: bool,
    /// There were servers that cannot be reached.
    unreachable: bool,
}

impl Lookup {
    /// Starts a look-up; `seed` decides among servers of one priority.
    #[must_use]
    pub fn new(query: Query, seed: u64) -> Lookup {
        let rng = SmallRng::seed_from_u64(seed);
        let mut lookup = Lookup {
            query,
            rng,
            step: Step::Services,
            replies: HashMap::new(),
            failed: false,
            unreachable: false,
        };
        lookup.step = lookup.first();
        lookup
    }

    /// RFC 3263 4.1: what the URI says already need not be asked.
    fn first(&self) -> Step {
        let query = &self.query;
        let fits = |t: &Transport| query.offered.speaks(*t) && (!query.secure || t.is_secure());
        let default = if query.secure { Transport::Tls } else { Transport::Udp };
        match (query.transport, query.port) {
            (Some(transport), _) if !fits(&transport) => {
                Step::Over(Err(ResolveError::NotReachable))
            }
            (_, Some(port)) => self.addresses_at(query.transport.unwrap_or(default), port),
            (Some(transport), None) => {
                let name = srv_name(transport, &query.host);
                Step::Servers { services: vec![(transport, name)], expressed: false }
            }
            (None, None) => Step::Services,
        }
    }

    fn addresses_at(&self, transport: Transport, port: u16) -> Step {
        if !self.query.offered.speaks(transport) {
            return Step::Over(Err(ResolveError::NotReachable));
        }
        Step::Addresses(vec![Server { transport, name: (*self.query.host).into(), port }])
    }

    /// What has to be asked now; empty once the look-up is over.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        let mut questions = Vec::new();
        match &self.step {
            Step::Services => questions.push(Question::Naptr((*self.query.host).into())),
            Step::Servers { services, .. } => {
                questions.extend(services.iter().map(|(_, name)| Question::Srv(name.clone())));
            }
            Step::Addresses(servers) => {
                questions.extend(servers.iter().flat_map(|server| self.address_questions(server)));
            }
            Step::Over(_) => {}
        }
        questions.retain(|question| !self.replies.contains_key(question));
        let mut seen = std::collections::HashSet::new();
        questions.retain(|question| seen.insert(question.clone()));
        questions
    }

    /// RFC 7984 4: both families, where this node has both; IPv6 first (RFC 6724 2.1).
    fn address_questions(&self, server: &Server) -> Vec<Question> {
        let families = [false, true].into_iter().filter(|v4| self.query.offered.has_family(*v4));
        families.map(|v4| Question::Addresses { name: server.name.clone(), v4 }).collect()
    }

    /// A question has been answered.
    pub fn handle(&mut self, question: Question, reply: Reply) {
        self.failed |= reply == Reply::Failed;
        self.replies.insert(question, reply);
        // A step without questions (all names were asked before) is taken at once.
        while self.questions().is_empty() && !matches!(self.step, Step::Over(_)) {
            self.step = self.next();
        }
    }

    /// What the look-up has found, once it is over.
    ///
    /// # Errors
    /// Why there is no hop.
    pub fn outcome(self) -> Result<Vec<Hop>, ResolveError> {
        match self.step {
            Step::Over(outcome) => outcome,
            Step::Services | Step::Servers { .. } | Step::Addresses(_) => {
                Err(ResolveError::NoAnswer)
            }
        }
    }

    fn next(&mut self) -> Step {
        match std::mem::replace(&mut self.step, Step::Services) {
            Step::Services => self.after_services(),
            Step::Servers { services, expressed } => self.after_servers(&services, expressed),
            Step::Addresses(servers) => Step::Over(self.hops(&servers)),
            over @ Step::Over(_) => over,
        }
    }

    fn after_services(&mut self) -> Step {
        let question = Question::Naptr((*self.query.host).into());
        let records = match self.replies.remove(&question) {
            Some(Reply::Naptr(records)) => records,
            Some(Reply::Srv(_) | Reply::Addresses(_) | Reply::Nothing | Reply::Failed) | None => {
                Vec::new()
            }
        };
        let had_records = !records.is_empty();
        let found = services(records, self.query.secure, &self.query.offered);
        if !found.is_empty() {
            let services = found.into_iter().take(HOPS_MAX).collect();
            return Step::Servers { services, expressed: true };
        }
        self.unreachable |= had_records;
        // RFC 3263 4.1: without NAPTR, SRV for each transport that is spoken here.
        let host = &self.query.host;
        let services = transports(&self.query).into_iter().map(|t| (t, srv_name(t, host)));
        let services: Vec<_> = services.collect();
        if services.is_empty() {
            return Step::Over(Err(ResolveError::NotReachable));
        }
        Step::Servers { services, expressed: false }
    }

    fn after_servers(&mut self, services: &[(Transport, Box<str>)], expressed: bool) -> Step {
        let mut found = Vec::new();
        let mut had_records = false;
        for (transport, name) in services {
            let Some(Reply::Srv(records)) = self.replies.remove(&Question::Srv(name.clone()))
            else {
                continue;
            };
            had_records |= !records.is_empty();
            let records = servers(records, &mut self.rng);
            found.extend(records.into_iter().filter(|srv| !srv.target.is_empty()).map(
                |Srv { target, port, .. }| Server { transport: *transport, name: target, port },
            ));
        }
        found.truncate(HOPS_MAX);
        if !found.is_empty() {
            return Step::Addresses(found);
        }
        // RFC 2782: a target of "." says that the service is not there.
        if had_records {
            return Step::Over(Err(ResolveError::NotFound));
        }
        if expressed && self.failed {
            return Step::Over(Err(ResolveError::NoAnswer));
        }
        // RFC 3263 4.2: no SRV, so the name itself.
        let default = if self.query.secure { Transport::Tls } else { Transport::Udp };
        let transport = self.query.transport.or(services.first().map(|(t, _)| *t));
        let transport = if expressed { transport } else { self.query.transport };
        let transport = transport.unwrap_or(default);
        self.addresses_at(transport, transport.default_port())
    }

    fn hops(&mut self, servers: &[Server]) -> Result<Vec<Hop>, ResolveError> {
        let mut hops: Vec<Hop> = Vec::new();
        for server in servers {
            for address in self.addresses_of(server) {
                let hop = Hop {
                    address: SocketAddr::new(address, server.port),
                    transport: server.transport,
                    server_name: Some(self.query.host.clone()),
                };
                if !is_sendable(&hop) || !self.query.offered.reaches(hop.transport, address) {
                    self.unreachable = true;
                } else if !hops.contains(&hop) && hops.len() < HOPS_MAX {
                    hops.push(hop);
                }
            }
        }
        match (hops.is_empty(), self.failed, self.unreachable) {
            (false, _, _) => Ok(hops),
            (true, true, _) => Err(ResolveError::NoAnswer),
            (true, false, true) => Err(ResolveError::NotReachable),
            (true, false, false) => Err(ResolveError::NotFound),
        }
    }

    fn addresses_of(&self, server: &Server) -> Vec<IpAddr> {
        let replies = self.address_questions(server).into_iter();
        let addresses = replies.filter_map(|question| match self.replies.get(&question) {
            Some(Reply::Addresses(addresses)) => Some(addresses.clone()),
            Some(Reply::Naptr(_) | Reply::Srv(_) | Reply::Nothing | Reply::Failed) | None => None,
        });
        addresses.flatten().collect()
    }
}

/// Whoever owns a name may have it mean anything: the unspecified address would lead back here, a group
/// to anybody, and port 0 nowhere.
fn is_sendable(hop: &Hop) -> bool {
    let ip = hop.address.ip();
    !ip.is_unspecified() && !ip.is_multicast() && hop.address.port() != 0
}
