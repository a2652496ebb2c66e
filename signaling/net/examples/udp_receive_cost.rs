//! Prints what receiving a SIP message over UDP costs, by how many wait at a time: processor time of
//! the receiving thread, kernel included, from the socket to the core's door.
//!
//! `cargo run --release -p ringfarm-signaling-net --example udp_receive_cost`

use std::error::Error;
use std::net::UdpSocket;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use signaling_core::transport::Transport;
use signaling_net::{Limits, ListenerConfig, Transports};

/// As large as an INVITE with SDP usually is.
const MESSAGE_BYTES: usize = 800;

/// Messages a row of the table.
const MESSAGES: usize = 65_536;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("waiting at a time  CPU per message");
    for waiting in [1, 4, 16, 32, 128] {
        let cost = runtime.block_on(measure(waiting))?;
        println!("{waiting:>15}  {:>12} ns", cost.as_nanos());
    }
    Ok(())
}

async fn measure(waiting: usize) -> Result<Duration, Box<dyn Error>> {
    let config = ListenerConfig::new(Transport::Udp, "0.0.0.0:0".parse()?);
    let mut transports = Transports::bind(vec![config], Limits::default())?;
    let port = transports.bound()[0].port();
    let sender = UdpSocket::bind("127.0.0.1:0")?;
    sender.connect(("127.0.0.1", port))?;
    let message = [b'x'; MESSAGE_BYTES];
    let mut inputs = Vec::with_capacity(waiting);
    let mut spent = Duration::ZERO;
    for _ in 0..MESSAGES / waiting {
        for _ in 0..waiting {
            sender.send(&message)?;
        }
        let start = processor_time()?;
        while inputs.len() < waiting {
            transports.recv_batch(&mut inputs).await;
        }
        inputs.clear();
        spent += processor_time()? - start;
    }
    Ok(spent / u32::try_from(MESSAGES)?)
}

fn processor_time() -> Result<Duration, nix::Error> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from)
}
