//! One question at a time, asked through hickory.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig as HickoryConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{TokioResolver, system_conf};
use signaling_core::resolve::{Naptr, Question, Reply, Srv};

use super::ResolverConfig;

/// Where a host without `/etc/resolv.conf` asks (resolv.conf(5)).
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// How often a question is asked, the first time included.
const ATTEMPTS: usize = 2;

/// Records of one answer that are looked at.
const RECORDS_MAX: usize = 256;

/// The system's DNS settings cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}; mend it, or list name servers in dns.servers", file.display())]
pub struct BadConfig {
    file: PathBuf,
    what: String,
}

#[derive(Clone)]
pub(super) struct Dns {
    resolver: TokioResolver,
    /// What the system's settings say; `None`: they are not there, or of no account.
    system: Option<Arc<[u8]>>,
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dns")
    }
}

impl Dns {
    pub(super) fn new(config: &ResolverConfig) -> Result<Dns, BadConfig> {
        let fault = |what: String| BadConfig { file: config.resolv_conf.clone(), what };
        let system = system(config).map_err(|error| fault(error.to_string()))?;
        let (servers, mut options) = servers(config, system.as_deref()).map_err(fault)?;
        options.timeout = config.query_timeout;
        options.attempts = ATTEMPTS - 1;
        options.cache_size = config.cache_entries;
        options.positive_min_ttl = Some(Duration::ZERO);
        options.positive_max_ttl = Some(config.ttl_max);
        options.negative_min_ttl = Some(Duration::ZERO);
        options.negative_max_ttl = Some(config.negative_ttl_max);
        options.use_hosts_file = ResolveHosts::Always;
        options.try_tcp_on_error = true;
        let provider = TokioRuntimeProvider::default();
        let builder = TokioResolver::builder_with_config(servers, provider).with_options(options);
        let resolver = builder.build().map_err(|error| fault(error.to_string()))?;
        Ok(Dns { resolver, system })
    }

    /// Whether both ask in the same places.
    pub(super) fn is_like(&self, other: &Dns) -> bool {
        self.system == other.system
    }

    pub(super) async fn ask(&self, question: &Question) -> Reply {
        let (name, kind) = match question {
            Question::Naptr(name) => (name, RecordType::NAPTR),
            Question::Srv(name) => (name, RecordType::SRV),
            Question::Addresses { name, v4: true } => (name, RecordType::A),
            Question::Addresses { name, v4: false } => (name, RecordType::AAAA),
        };
        // A name of SIP is a whole one: no search list is put behind it.
        let Ok(mut name) = Name::from_ascii(name) else { return Reply::Nothing };
        name.set_fqdn(true);
        match self.resolver.lookup(name, kind).await {
            Ok(lookup) => {
                let data = lookup.answers().iter().take(RECORDS_MAX).map(|record| &record.data);
                reply(question, data)
            }
            Err(error) if error.is_no_records_found() => Reply::Nothing,
            Err(error) => {
                tracing::debug!(?question, %error, "DNS failed");
                Reply::Failed
            }
        }
    }
}

/// The system's settings, where they count and are there.
fn system(config: &ResolverConfig) -> std::io::Result<Option<Arc<[u8]>>> {
    if !config.servers.is_empty() {
        return Ok(None);
    }
    match std::fs::read(&config.resolv_conf) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        text => text.map(|text| Some(text.into())),
    }
}

fn servers(
    config: &ResolverConfig,
    system: Option<&[u8]>,
) -> Result<(HickoryConfig, ResolverOpts), String> {
    if !config.servers.is_empty() {
        return Ok((only(&config.servers), ResolverOpts::default()));
    }
    let Some(text) = system else { return Ok((only(&[LOCAL]), ResolverOpts::default())) };
    let parsed = system_conf::parse_resolv_conf(text).map_err(|error| error.to_string())?;
    let (system, options) = parsed;
    let none = system.name_servers().is_empty();
    Ok((if none { only(&[LOCAL]) } else { system }, options))
}

fn only(servers: &[SocketAddr]) -> HickoryConfig {
    let server = |address: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
        let connections = connections.into_iter().map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.collect())
    };
    HickoryConfig::from_parts(None, Vec::new(), servers.iter().map(server).collect())
}

/// What the records say to the question; those of other kinds (CNAME) only led to them.
fn reply<'d>(question: &Question, data: impl Iterator<Item = &'d RData>) -> Reply {
    match question {
        Question::Naptr(_) => some(data.filter_map(naptr).collect(), Reply::Naptr),
        Question::Srv(_) => some(data.filter_map(srv).collect(), Reply::Srv),
        Question::Addresses { .. } => {
            some(data.filter_map(RData::ip_addr).collect(), Reply::Addresses)
        }
    }
}

fn some<T>(records: Vec<T>, reply: impl FnOnce(Vec<T>) -> Reply) -> Reply {
    if records.is_empty() { Reply::Nothing } else { reply(records) }
}

fn naptr(data: &RData) -> Option<Naptr> {
    let RData::NAPTR(naptr) = data else { return None };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into_boxed_str();
    Some(Naptr {
        order: naptr.order,
        preference: naptr.preference,
        flags: text(&naptr.flags),
        service: text(&naptr.services),
        replacement: host(&naptr.replacement),
    })
}

fn srv(data: &RData) -> Option<Srv> {
    let RData::SRV(srv) = data else { return None };
    Some(Srv {
        priority: srv.priority,
        weight: srv.weight,
        port: srv.port,
        target: host(&srv.target),
    })
}

/// Without the final dot; the root is empty.
fn host(name: &Name) -> Box<str> {
    name.to_ascii().trim_end_matches('.').into()
}
