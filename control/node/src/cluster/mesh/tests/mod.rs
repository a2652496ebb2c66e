//! Members that are real but for their node: keys, TLS, sockets on the loopback.
#![expect(clippy::wildcard_enum_match_arm, reason = "a test picks out what it waits for")]

mod events;
mod joining;
mod links;
mod pumped;
mod strange;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use control_core::cluster::{
    Capacity, FarmSetting, Incarnation, Load, Member, MemberId, MemberName, PlacementSetting,
    Profile, Role,
};
use control_core::mesh::{
    Body, ClusterId, ClusterSecret, Errand, Frame, Hello, Hop, ListenerKind, PROTOCOL, Sip,
};
use control_core::settings::{AddressPair, PortRange};
use rcgen::KeyPair;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::cluster::keys::{Authority, Identity};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn name(text: &str) -> MemberName {
    MemberName::new(text).expect("a name")
}

fn id(number: u16) -> MemberId {
    MemberId::new(number).expect("not 0")
}

/// A cluster without members yet.
struct Cluster {
    authority: Authority,
    id: ClusterId,
}

impl Cluster {
    fn new(seed: u8) -> Cluster {
        let id = ClusterId([seed; 16]);
        let authority = Authority::make(id, SystemTime::now()).expect("an authority");
        Cluster { authority, id }
    }

    fn keys(&self, of: &str) -> Keys {
        let key = KeyPair::generate().expect("a key");
        let now = SystemTime::now();
        let certificate = self.authority.issue(&name(of), &key, now).expect("a certificate");
        Keys {
            identity: Identity::of(&certificate).expect("a member's"),
            ca: self.authority.certificate().clone(),
            certificate,
            key: rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            secret: ClusterSecret([0; 32]),
        }
    }

    /// The member `nNUMBER`, in its first incarnation.
    fn start(&self, number: u16) -> Running {
        let of = format!("n{number}");
        Running::start(member(&of, number, 1), self.keys(&of), loopback())
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn member(of: &str, number: u16, incarnation: u32) -> Member {
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
        mesh: loopback(),
        sip: Vec::new(),
        protocol: PROTOCOL,
    };
    let incarnation = Incarnation(incarnation);
    Member { name: name(of), id: id(number), incarnation, profile }
}

/// A mesh, and what it has told.
struct Running {
    mesh: Mesh,
    name: MemberName,
    woken: Receiver<()>,
    signaling: Vec<MeshEvent>,
    control: Vec<MeshEvent>,
}

impl Running {
    fn start(member: Member, keys: Keys, listen: SocketAddr) -> Running {
        Running::start_with(member, keys, listen, None)
    }

    fn start_with(
        member: Member,
        keys: Keys,
        listen: SocketAddr,
        tokens: Option<Tokens>,
    ) -> Running {
        let (wake, woken) = sync_channel(1);
        // Full: somebody has been woken already.
        let wake: Wake = Arc::new(move || {
            let _ = wake.try_send(());
        });
        let name = member.name.clone();
        let config = Config {
            listen,
            member,
            keys,
            tokens,
            wake_signaling: Arc::clone(&wake),
            wake_control: wake,
        };
        let mesh = Mesh::start(config).expect("a mesh");
        Running { mesh, name, woken, signaling: Vec::new(), control: Vec::new() }
    }

    fn at(&self) -> (MemberName, SocketAddr) {
        (self.name.clone(), self.mesh.address)
    }

    fn handle(&self) -> &MeshHandle {
        &self.mesh.handle
    }

    fn know(&self, others: &[&Running]) {
        let others: Vec<_> = others.iter().map(|other| other.at()).collect();
        self.handle().set_peers(&others);
    }

    fn gather(&mut self, wait: Duration) {
        match self.woken.recv_timeout(wait) {
            Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("the mesh has ended"),
        }
        let mut events = Vec::new();
        self.mesh.signaling.drain(&mut events);
        self.signaling.append(&mut events);
        self.mesh.control.drain(&mut events);
        self.control.append(&mut events);
    }

    /// Waits for something that was told to whoever keeps the membership; what came before it is dropped.
    fn await_control<T>(&mut self, what: &str, pick: impl Fn(&MeshEvent) -> Option<T>) -> T {
        self.wait(what, |this| {
            let at = this.control.iter().position(|event| pick(event).is_some())?;
            let found = pick(&this.control[at]);
            this.control.drain(..=at);
            found
        })
    }

    /// As [`Running::await_control`], of what was told to the signaling thread.
    fn await_signaling<T>(&mut self, what: &str, pick: impl Fn(&MeshEvent) -> Option<T>) -> T {
        self.wait(what, |this| {
            let at = this.signaling.iter().position(|event| pick(event).is_some())?;
            let found = pick(&this.signaling[at]);
            this.signaling.drain(..=at);
            found
        })
    }

    fn wait<T>(&mut self, what: &str, found: impl Fn(&mut Running) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            assert!(Instant::now() < end, "{}: no {what}; {:?}", self.name, self.control);
            self.gather(Duration::from_millis(10));
        }
    }

    fn await_up(&mut self, number: u16) -> Arc<Hello> {
        self.await_control("PeerUp", |event| match event {
            MeshEvent::PeerUp(hello) if hello.member.id == id(number) => Some(Arc::clone(hello)),
            _ => None,
        })
    }

    /// Which incarnation is down, and whether its host refused.
    fn await_down(&mut self, number: u16) -> (Incarnation, bool) {
        self.await_control("PeerDown", |event| match event {
            MeshEvent::PeerDown { member, incarnation, refused } if *member == id(number) => {
                Some((*incarnation, *refused))
            }
            _ => None,
        })
    }

    /// The next event frame of that member.
    fn await_event(&mut self, number: u16) -> Bytes {
        self.await_control("event", |event| match event {
            MeshEvent::Frame(from, Frame::Event(Body(bytes))) if *from == id(number) => {
                Some(bytes.clone())
            }
            _ => None,
        })
    }

    fn peer(&self, number: u16) -> PeerFigures {
        let peers = self.handle().figures().peers;
        let found = peers.into_iter().find(|peer| peer.name == name(&format!("n{number}")));
        found.expect("a known member")
    }
}

fn event(text: impl Into<Bytes>) -> Frame {
    Frame::Event(Body(text.into()))
}

fn sip(bytes: impl Into<Bytes>) -> Frame {
    let address = "192.0.2.1:5060".parse().expect("an address");
    let listener = ListenerKind::Address;
    let hop = Hop { transport: 0, listener, local: address, remote: address, connection: 0 };
    Frame::SipRelay(Errand { why: 0, asked: 0 }, Sip { hop, bytes: bytes.into() })
}

/// A member whose every byte the test decides.
struct ByHand {
    stream: TlsStream<TcpStream>,
    buffer: BytesMut,
}

impl ByHand {
    async fn connect(keys: &Keys, address: SocketAddr) -> std::io::Result<ByHand> {
        let tls = Tls::new(keys).expect("keys");
        let stream = TcpStream::connect(address).await?;
        let stream = tls.connector.connect(host().expect("a name"), stream).await?;
        Ok(ByHand { stream, buffer: BytesMut::new() })
    }

    /// Connects and says hello.
    async fn greet(keys: &Keys, address: SocketAddr, hello: Hello) -> ByHand {
        let mut by_hand = ByHand::connect(keys, address).await.expect("a connection");
        by_hand.say(&Frame::Hello(Box::new(hello))).await;
        by_hand
    }

    /// As member `number`, which is above that of whom it connects to, until it is welcome.
    async fn enter(cluster: &Cluster, number: u16, address: SocketAddr) -> ByHand {
        let of = format!("n{number}");
        let hello = Hello::new(cluster.id, member(&of, number, 1), Load::default());
        let mut by_hand = ByHand::greet(&cluster.keys(&of), address, hello).await;
        assert!(matches!(by_hand.hear().await, Some(Frame::Hello(_))));
        assert!(matches!(by_hand.hear().await, Some(Frame::Welcome(_))));
        by_hand
    }

    async fn say(&mut self, frame: &Frame) {
        say(&mut self.stream, frame).await.expect("it listens");
    }

    /// The next frame that is no heartbeat; `None`: the connection has ended.
    async fn hear(&mut self) -> Option<Frame> {
        loop {
            let heard = tokio::time::timeout(PATIENCE, next(&mut self.stream, &mut self.buffer));
            match heard.await.expect("something is said in time") {
                Ok(Frame::Heartbeat(_)) => {}
                Ok(frame) => return Some(frame),
                Err(_) => return None,
            }
        }
    }
}
