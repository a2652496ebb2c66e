//! What happens when the process has no file descriptor left. A process of its own, because the limit is
//! the process's.
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::fs::File;

use common::{beside, bind_one, in_time, message, request, tcp};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use signaling_net::Limits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Accepting pauses, without a busy loop, while there is no descriptor left; the connection waits in
/// the backlog and is served as soon as there is one.
#[tokio::test]
async fn accepting_pauses_while_there_are_no_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 256.min(hard), hard).unwrap();
    let (mut transports, bound) = bind_one(tcp("127.0.0.1:0"), Limits::default());
    let mut fillers = Vec::new();
    while let Ok(filler) = File::open("/dev/null") {
        fillers.push(filler);
    }
    fillers.pop();
    let mut phone = in_time(TcpStream::connect(bound)).await.unwrap();
    phone.write_all(&request(1, 0)).await.unwrap();

    let mut out = Vec::new();
    let wait = tokio::time::sleep(std::time::Duration::from_millis(350));
    beside(&mut transports, &mut out, wait).await;
    let paused = transports.counters().tcp_accept_paused;
    assert!((1..=5).contains(&paused), "{paused}");
    assert_eq!(out, []);

    drop(fillers);
    let (_, bytes) = message(&mut transports).await;
    assert_eq!(bytes, request(1, 0));
    assert_eq!(transports.counters().tcp_accepted, 1);
}
