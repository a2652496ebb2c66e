//! The side of the control socket that obeys.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use control_core::settings::ControlSocket;
use nix::sys::socket::{getsockopt, sockopt};

use super::{Answer, Command, Reply};

/// Longest request: a command with some lists of addresses.
pub(crate) const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// How long one client may let us wait for its request, and again for taking the answer. One is
/// served at a time, so a slow one delays the next by as much and nobody else.
pub(crate) const CLIENT_WITHIN: Duration = Duration::from_secs(2);

/// How long accepting rests after an error (no descriptor left), which would repeat at once.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound control socket. Its file goes with it; who comes later finds no node.
pub(crate) struct Control {
    path: PathBuf,
}

impl Drop for Control {
    fn drop(&mut self) {
        // It may have been removed with its folder.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Serves as the settings say, until the process ends; `None`: they want no socket.
///
/// # Errors
/// If the socket that the settings name cannot be bound. One that they do not name is only warned of.
pub(crate) fn start(
    socket: &ControlSocket,
    run: impl Fn(Command) -> Answer + Send + 'static,
) -> anyhow::Result<Option<Control>> {
    match socket {
        ControlSocket::None => Ok(None),
        ControlSocket::At(path) => serve(path.as_path(), run).map(Some),
        ControlSocket::Auto => {
            // systemd gives several folders with colons between them.
            let folders = std::env::var("RUNTIME_DIRECTORY").unwrap_or_default();
            let Some(folder) = folders.split(':').next().filter(|folder| !folder.is_empty()) else {
                return Ok(None);
            };
            let served = serve(&Path::new(folder).join("control.sock"), run);
            Ok(served.map_err(|error| tracing::warn!("no control socket: {error:#}")).ok())
        }
    }
}

fn serve(path: &Path, run: impl Fn(Command) -> Answer + Send + 'static) -> anyhow::Result<Control> {
    let context = || format!("cannot listen on {} (control.socket)", path.display());
    let listener = bind(path).with_context(context)?;
    let control = Control { path: path.to_owned() };
    let owner = std::fs::metadata(path).with_context(context)?.uid();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(context)?;
    thread::Builder::new().name("control".to_owned()).spawn(move || {
        loop {
            match listener.accept() {
                // A client that goes away or misbehaves is its own affair.
                Ok((stream, _)) => drop(answer(&stream, owner, &run)),
                Err(_) => thread::sleep(PAUSE),
            }
        }
    })?;
    tracing::info!(socket = %path.display(), "commands are received");
    Ok(control)
}

/// Binds, in place of what a node that was killed has left.
fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        outcome => return Ok(outcome?),
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("a node that runs has this socket: give each its own"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Err(error) => return Err(anyhow!(error).context("a file of this name is in the way")),
    }
    std::fs::remove_file(path)?;
    Ok(UnixListener::bind(path)?)
}

/// Serves one client.
fn answer(stream: &UnixStream, owner: u32, run: &impl Fn(Command) -> Answer) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(CLIENT_WITHIN))?;
    stream.set_write_timeout(Some(CLIENT_WITHIN))?;
    // The file's mode says the same, but a folder's owner can exchange the file.
    let peer = getsockopt(stream, sockopt::PeerCredentials)?.uid();
    let answer = if peer == 0 || peer == owner {
        let mut line = String::new();
        BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_line(&mut line)?;
        parse(&line).and_then(run)
    } else {
        Err(format!("user {peer} may not: become root"))
    };
    let mut line = serde_json::to_vec(&Reply::from(answer))?;
    line.push(b'\n');
    let mut stream = stream;
    Ok(stream.write_all(&line)?)
}

fn parse(line: &str) -> Result<Command, String> {
    if !line.ends_with('\n') {
        return Err(format!("a request is one line of at most {REQUEST_BYTES_MAX} bytes"));
    }
    serde_json::from_str(line).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use serde_json::json;

    use super::super::client;
    use super::*;

    /// What the node says to these bytes.
    fn said(path: &Path, request: &[u8]) -> String {
        let mut stream = UnixStream::connect(path).unwrap();
        // A node that has read enough may close before it has read all.
        let _ = stream.write_all(request);
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        said
    }

    #[test]
    fn a_command_is_one_line_and_so_is_its_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sock");
        let control = serve(&path, |_| Ok(json!({"done": 1}))).unwrap();
        assert_eq!(client::ask(&path, &Command::Refresh {}).unwrap(), json!({"done": 1}));
        assert_eq!(
            said(&path, b"{\"command\":\"refresh\"}\nmore"),
            "{\"ok\":true,\"result\":{\"done\":1}}\n"
        );
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else may write to it");
        drop(control);
        let error = client::ask(&path, &Command::Refresh {}).unwrap_err();
        assert!(format!("{error:#}").contains("cannot reach a node"), "{error:#}");
    }

    #[test]
    fn what_is_no_command_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sock");
        let _control = serve(&path, |_| Err("not today".to_owned())).unwrap();
        let error = client::ask(&path, &Command::Refresh {}).unwrap_err();
        assert_eq!(error.to_string(), "the node refuses: not today");
        for (request, wanted) in [
            (&b"{\"command\":\"refersh\"}\n"[..], "unknown variant `refersh`"),
            (b"{\"command\":\"refresh\",\"x\":1}\n", "unknown field `x`"),
            (b"nonsense\n", "expected"),
            (&[b' '; REQUEST_BYTES_MAX as usize + 1], "one line of at most 65536 bytes"),
        ] {
            let said = said(&path, request);
            assert!(said.starts_with("{\"ok\":false,") && said.contains(wanted), "{said}");
        }
    }

    /// A killed node leaves its file; the next one takes the name, but not from one that lives.
    #[test]
    fn a_socket_that_was_left_behind_is_replaced_and_one_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sock");
        drop(UnixListener::bind(&path).unwrap());
        let _control = serve(&path, |_| Ok(json!(1))).unwrap();
        let Err(error) = serve(&path, |_| Ok(json!(2))) else { panic!("two nodes on one socket") };
        assert!(format!("{error:#}").contains("a node that runs has this socket"), "{error:#}");
        assert_eq!(client::ask(&path, &Command::Refresh {}).unwrap(), json!(1));
    }

    /// A client that says nothing does not keep the next one from being heard.
    #[test]
    fn a_silent_client_delays_the_next_one_for_a_moment_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.sock");
        let _control = serve(&path, |_| Ok(json!(1))).unwrap();
        let _silent = UnixStream::connect(&path).unwrap();
        assert_eq!(client::ask(&path, &Command::Refresh {}).unwrap(), json!(1));
    }
}
