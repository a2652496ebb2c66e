//! Whoever speaks the members' protocol with keys of its own, or with none.

use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use control_core::cluster::{
    Capacity, FarmSetting, Incarnation, Load, Member, MemberId, MemberName, PlacementSetting,
    Profile, Role, Versions,
};
use control_core::mesh::{Cut, Frame, Hello, PROTOCOL, cut, encode};
use control_core::settings::{AddressPair, PortRange};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::harness::{PROXY, node, run};
use crate::lab::{FRONTENDS, Segment};
use crate::member::MESH;

/// Longer than a member waits for a connection to be ready.
const ANSWER: Duration = Duration::from_secs(10);

/// What somebody proves itself by.
pub(crate) struct Papers {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// Whom it believes.
    pub(crate) ca: CertificateDer<'static>,
    pub(crate) name: String,
    cluster: String,
}

impl Papers {
    /// Those in a folder of keys.
    pub(crate) fn of(folder: &Path) -> Papers {
        let certificate = |name: &str| {
            CertificateDer::from_pem_file(folder.join(name))
                .unwrap_or_else(|e| panic!("{}/{name}: {e}", folder.display()))
        };
        let shown = run(std::process::Command::new(node::binary())
            .args(["cluster", "show", "--json", "--state"])
            .arg(folder));
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("one JSON object");
        let text = |name: &str| shown[name].as_str().expect("a text").to_owned();
        let ca = certificate("ca.pem");
        Papers {
            chain: vec![certificate("member.pem"), ca.clone()],
            key: PrivateKeyDer::from_pem_file(folder.join("member.key")).expect("a key"),
            ca,
            name: text("member"),
            cluster: text("cluster"),
        }
    }

    /// What a member with these papers says of itself.
    pub(crate) fn hello(&self, name: &str, number: u16) -> Hello {
        let profile = Profile {
            role: Role::Frontend,
            farm: FarmSetting::Auto,
            call_legs: PlacementSetting::Auto,
            signals: PlacementSetting::Auto,
            draining: false,
            joining: false,
            continues: Vec::new(),
            capacity: Capacity::USUAL,
            media_ports: PortRange::new(20_000, 29_999).expect("ports"),
            wan_ip: AddressPair::default(),
            own_wan_ip: AddressPair::default(),
            mesh: SocketAddr::new(PROXY.into(), MESH),
            sip: Vec::new(),
            protocol: PROTOCOL,
        };
        let member = Member {
            name: MemberName::new(name).expect("a name"),
            id: MemberId::new(number).expect("not 0"),
            incarnation: Incarnation(1),
            profile,
        };
        Hello::new(self.cluster.parse().expect("an id"), member, Load::default())
    }
}

/// As [`Papers::hello`], of software that speaks other versions.
pub(crate) fn of_versions(hello: Hello, oldest: u16, newest: u16) -> Hello {
    Hello { versions: Versions { oldest, newest }, ..hello }
}

/// A connection to a member.
pub(crate) struct Impostor {
    stream: StreamOwned<ClientConnection, TcpStream>,
    buffer: BytesMut,
}

/// A connection without TLS.
pub(crate) fn knock(segment: &Segment, from: Ipv4Addr, member: Ipv4Addr) -> Result<TcpStream> {
    segment.host(from).enter(|| {
        let stream = TcpStream::connect_timeout(&(member, MESH).into(), ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        Ok(stream)
    })
}

impl Impostor {
    /// Connects, from a host where no member runs; believes who `ca` vouches for, and shows `papers`, if there are some.
    pub(crate) fn connect(
        segment: &Segment,
        member: Ipv4Addr,
        ca: &CertificateDer<'static>,
        papers: Option<&Papers>,
        version: &'static SupportedProtocolVersion,
    ) -> Result<Impostor> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone()).map_err(Error::other)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .map_err(Error::other)?
            .with_root_certificates(roots);
        let mut config = match papers {
            Some(Papers { chain, key, .. }) => config
                .with_client_auth_cert(chain.clone(), key.clone_key())
                .map_err(Error::other)?,
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"ringfarm-mesh".to_vec()];
        let name = ServerName::try_from("member.ringfarm").map_err(Error::other)?;
        let mut tls = ClientConnection::new(Arc::new(config), name).map_err(Error::other)?;
        let mut stream = knock(segment, FRONTENDS[2], member)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(Impostor { stream: StreamOwned::new(tls, stream), buffer: BytesMut::new() })
    }

    /// As a member with its own papers that says this of itself.
    pub(crate) fn enter(
        segment: &Segment,
        member: Ipv4Addr,
        papers: &Papers,
        hello: Hello,
    ) -> Result<Impostor> {
        let version = &rustls::version::TLS13;
        let mut connected = Impostor::connect(segment, member, &papers.ca, Some(papers), version)?;
        connected.say(&Frame::Hello(Box::new(hello)))?;
        Ok(connected)
    }

    pub(crate) fn say(&mut self, frame: &Frame) -> Result<()> {
        let mut bytes = Vec::new();
        encode(frame, &mut bytes).map_err(Error::other)?;
        self.say_bytes(&bytes)
    }

    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next frame that is no sign of life or introduction.
    ///
    /// # Errors
    /// If the connection ends before it, or nothing comes in time.
    pub(crate) fn hear(&mut self) -> Result<Frame> {
        let end = Instant::now() + ANSWER;
        loop {
            match cut(&mut self.buffer).map_err(Error::other)? {
                Some(Cut::Frame(Frame::Heartbeat(_) | Frame::Hello(_))) | Some(Cut::Unknown(_)) => {
                }
                Some(Cut::Frame(frame)) => return Ok(frame),
                None => {
                    let mut bytes = [0; 4096];
                    let length = self.stream.read(&mut bytes)?;
                    if length == 0 || Instant::now() > end {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                    self.buffer.extend_from_slice(&bytes[..length]);
                }
            }
        }
    }
}
