//! The side of the control socket that asks.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde_json::Value;

use super::{Answer, Command, Reply};

/// How long the node may take: other clients' turns, and its signaling thread's.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// Longest answer: a million lines of some list, a hundred bytes each.
const ANSWER_BYTES_MAX: u64 = 100 << 20;

/// Tells the node at `socket` and gives what came of it.
///
/// # Errors
/// If no node answers there, or it refuses; the text is for people.
pub(crate) fn ask(socket: &Path, command: &Command) -> anyhow::Result<Value> {
    let at = socket.display();
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "cannot reach a node at {at} (is it running, with this control.socket, and are you root?)"
        )
    })?;
    stream.set_read_timeout(Some(ANSWERED_WITHIN))?;
    stream.set_write_timeout(Some(ANSWERED_WITHIN))?;
    let mut line = serde_json::to_vec(command)?;
    line.push(b'\n');
    stream.write_all(&line).with_context(|| format!("cannot write to the node at {at}"))?;
    let mut reply = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX))
        .read_line(&mut reply)
        .with_context(|| format!("no answer from the node at {at}"))?;
    let reply: Reply = serde_json::from_str(&reply)
        .map_err(|_| anyhow!("the node at {at} has closed the connection without an answer"))?;
    Answer::from(reply).map_err(|error| anyhow!("the node refuses: {error}"))
}
