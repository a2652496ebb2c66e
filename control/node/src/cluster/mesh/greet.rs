//! The first frames of a connection: who is there, in which version, and whether it is used.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use control_core::cluster::MemberName;
use control_core::mesh::{
    Cut, Frame, Goodbye, Hello, Leave, Malformed, PROTOCOL, Welcome, cut, encode,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::peer::{LinkNow, Peer};
use super::shared::Shared;
use crate::cluster::keys::Identity;

/// Bytes read at a time: two records of TLS.
pub(super) const READ_BYTES: usize = 32 << 10;

/// A connection that is ready to be used.
pub(super) struct Ready<S> {
    pub(super) stream: S,
    /// What has been read of it beyond the first frames.
    pub(super) buffer: BytesMut,
    pub(super) peer: Arc<Peer>,
    pub(super) hello: Arc<Hello>,
    pub(super) link: LinkNow,
    /// Nobody keeps a connection to this member yet.
    pub(super) is_new: bool,
}

/// Why a connection does not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody listens there.
    #[error("nobody listens there")]
    ConnectionRefused,
    /// The network or TLS.
    #[error("{0}")]
    Io(std::io::Error),
    /// It was not ready in time.
    #[error("it was not ready in time")]
    Late,
    /// What came makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Its certificate.
    #[error("{0:#}")]
    Certificate(anyhow::Error),
    /// It is not who it says to be, or who it should be.
    #[error("{0}")]
    Identity(String),
    /// The two speak no version in common.
    #[error("it speaks versions {0} to {1}, and this member {oldest} to {newest}: upgrade the older one", oldest = PROTOCOL.oldest, newest = PROTOCOL.newest)]
    Versions(u16, u16),
    /// It is not taken here.
    #[error("it is not taken: {0}")]
    NotAdmitted(String),
    /// It says so.
    #[error("it says goodbye: {0:?}")]
    Goodbye(Leave),
    /// There is another connection between the two, or will be.
    #[error("another connection is used")]
    Duplicate,
}

impl Failure {
    /// Whether somebody should look after it.
    pub(super) const fn is_worth_telling(&self) -> bool {
        !matches!(
            self,
            Failure::Duplicate
                | Failure::ConnectionRefused
                | Failure::Goodbye(Leave::Duplicate | Leave::Stopping)
        )
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::ConnectionRefused {
            return Failure::ConnectionRefused;
        }
        Failure::Io(error)
    }
}

/// Greets whoever `identity` says is there. Of the two, the one with the lower number decides whether
/// this connection is used; so both use the same, when each has opened one.
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    shared: &Shared,
    mut stream: S,
    identity: &Identity,
    dialled: Option<&MemberName>,
) -> Result<Ready<S>, Failure> {
    let own = shared.own();
    say(&mut stream, &Frame::Hello(Box::new((*own).clone()))).await?;
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let first = next(&mut stream, &mut buffer).await?;
    let Frame::Hello(hello) = first else { return Err(unexpected(&first)) };
    let hello = Arc::from(hello);
    let version = match check(&own, shared, &hello, identity, dialled) {
        Ok(version) => version,
        Err((why, failure)) => {
            part(&mut stream, why).await;
            return Err(failure);
        }
    };
    // The other side may use it already: it is to hear a word even if this member stops meanwhile.
    let _greeting = shared.parting.begin();
    let (version, is_decided) = if own.member.id < hello.member.id {
        (version, false)
    } else {
        let second = next(&mut stream, &mut buffer).await?;
        let Frame::Welcome(Welcome { version }) = second else { return Err(unexpected(&second)) };
        (version, true)
    };
    let (peer, link, is_new) = match shared.admit(&hello, version, is_decided) {
        Ok(admitted) => admitted,
        Err((why, text)) => {
            part(&mut stream, why).await;
            let is_second = why == Leave::Duplicate;
            return Err(if is_second { Failure::Duplicate } else { Failure::NotAdmitted(text) });
        }
    };
    let ready = Ready { stream, buffer, peer, hello, link, is_new };
    if is_decided {
        return Ok(ready);
    }
    welcome(shared, ready, version).await
}

/// Says that the connection is used. If that cannot be said, it is not.
async fn welcome<S: AsyncWrite + Unpin>(
    shared: &Shared,
    mut ready: Ready<S>,
    version: u16,
) -> Result<Ready<S>, Failure> {
    match say(&mut ready.stream, &Frame::Welcome(Welcome { version })).await {
        Ok(()) => Ok(ready),
        Err(error) => {
            super::link::end(
                shared,
                &ready.peer,
                ready.link.number,
                &super::pipe::Ended::Io(error),
            );
            Err(Failure::Duplicate)
        }
    }
}

fn unexpected(frame: &Frame) -> Failure {
    let Frame::Goodbye(Goodbye { why }) = frame else {
        return Failure::Identity(format!("it says a frame of kind {}", frame.kind()));
    };
    if *why == Leave::Duplicate { Failure::Duplicate } else { Failure::Goodbye(*why) }
}

/// Whether it is who it says to be: as its certificate says, and as it was dialled.
fn check(
    own: &Hello,
    shared: &Shared,
    hello: &Hello,
    identity: &Identity,
    dialled: Option<&MemberName>,
) -> Result<u16, (Leave, Failure)> {
    let refuse = |text: String| Err((Leave::Refused, Failure::Identity(text)));
    let member = &hello.member;
    if hello.cluster != shared.identity.cluster || identity.cluster != shared.identity.cluster {
        return refuse(format!("it is a member of another cluster, {}", hello.cluster));
    }
    if member.name != identity.name {
        return refuse(format!(
            "it says to be {}, and its certificate {}",
            member.name, identity.name
        ));
    }
    if shared.is_barred(identity) {
        return refuse(format!(
            "{} was taken out of the cluster after its certificate was issued; a new one lets it in again \
             (`ringfarm cluster token --replace {}`)",
            member.name, member.name
        ));
    }
    if let Some(dialled) = dialled.filter(|dialled| **dialled != member.name) {
        return refuse(format!("{} is there, where {dialled} should be", member.name));
    }
    if member.name == own.member.name {
        return refuse(format!("it has this member's own name, {}", member.name));
    }
    if member.id == own.member.id {
        return refuse(format!("{} has this member's own number, {}", member.name, member.id));
    }
    own.versions.common(hello.versions).ok_or_else(|| {
        let failure = Failure::Versions(hello.versions.oldest, hello.versions.newest);
        (Leave::Versions, failure)
    })
}

/// Writes a single frame.
pub(crate) async fn say<S: AsyncWrite + Unpin>(
    stream: &mut S,
    frame: &Frame,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    // Frames of greeting are short, but for what an operator has put into the settings, which was checked.
    encode(frame, &mut bytes).map_err(std::io::Error::other)?;
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// Says why it ends; whether that arrives does not matter.
pub(super) async fn part<S: AsyncWrite + Unpin>(stream: &mut S, why: Leave) {
    if say(stream, &Frame::Goodbye(Goodbye { why })).await.is_ok() {
        // The other side may have gone.
        let _ = stream.shutdown().await;
    }
}

/// Reads a single frame; those of newer versions are passed over.
pub(crate) async fn next<S: AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
) -> Result<Frame, Failure> {
    loop {
        match cut(buffer)? {
            Some(Cut::Frame(frame)) => return Ok(frame),
            Some(Cut::Unknown(_)) => {}
            None => {
                buffer.reserve(READ_BYTES);
                if stream.read_buf(buffer).await? == 0 {
                    return Err(Failure::Io(std::io::ErrorKind::UnexpectedEof.into()));
                }
            }
        }
    }
}

/// Counts and tells of a connection that came to nothing: once a minute for each address.
pub(super) fn complain(shared: &Shared, address: SocketAddr, failure: &Failure, what: &str) {
    if !failure.is_worth_telling() || shared.is_stopping.load(Ordering::Acquire) {
        return;
    }
    shared.totals.handshakes_failed.add(1);
    if shared.strangers.may_complain(address.ip(), std::time::Instant::now()) {
        tracing::warn!(%address, "{what}: {failure} (further ones from there within a minute are not logged)");
    }
}
