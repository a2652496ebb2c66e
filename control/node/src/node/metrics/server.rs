//! As much of HTTP/1.1 as a scraper and a health check need: GET, one request a connection.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Longest request head: a path of ours and the headers of any scraper, several times over.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// How long one client may take to send its request, and again to take the answer. One is served at
/// a time, so a slow one delays the next by as much and nobody else.
const CLIENT_WITHIN: Duration = Duration::from_secs(2);

/// How long accepting rests after an error (no descriptor left), which would repeat at once.
const PAUSE: Duration = Duration::from_millis(100);

/// What is answered: a status line's code and phrase, and the body.
pub(super) type Answer = (&'static str, String);

/// Serves until the process ends, on a thread of its own; returns the address that is bound.
pub(super) fn start(
    listen: SocketAddr,
    answer: impl Fn(&str) -> Answer + Send + 'static,
) -> anyhow::Result<SocketAddr> {
    let context = || format!("cannot listen on {listen} (metrics.listen)");
    let listener = TcpListener::bind(listen).with_context(context)?;
    let bound = listener.local_addr().with_context(context)?;
    thread::Builder::new().name("metrics".to_owned()).spawn(move || {
        loop {
            match listener.accept() {
                // A client that goes away or misbehaves is its own affair.
                Ok((stream, _)) => drop(serve(stream, &answer)),
                Err(_) => thread::sleep(PAUSE),
            }
        }
    })?;
    Ok(bound)
}

fn serve(mut stream: TcpStream, answer: impl Fn(&str) -> Answer) -> io::Result<()> {
    stream.set_write_timeout(Some(CLIENT_WITHIN))?;
    let head = read_head(&mut stream)?;
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (status, body) = match (words.next(), words.next()) {
        (Some("GET"), Some(path)) => answer(path.split('?').next().unwrap_or_default()),
        (Some(_), Some(_)) => ("405 Method Not Allowed", "only GET is answered here\n".to_owned()),
        (_, None) | (None, _) => ("400 Bad Request", "this is not HTTP\n".to_owned()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let end = Instant::now() + CLIENT_WITHIN;
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > REQUEST_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => head.extend_from_slice(&chunk[..count]),
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}
