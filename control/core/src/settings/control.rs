//! `[control]`: the socket by which a running node is told what to do.

use super::problem::Wrong;
use super::read::{Reader, Text};
use super::table::{Rules, settings_table};
use super::tls::FilePath;
use super::values::text_values;

settings_table! {
    /// Commands to the running node, as `ringfarm refresh` gives them.
    section Control {
        /// The Unix domain socket that commands come over, by its full name. Root and the user that
        /// the node runs as may use it, nobody else. "auto": `control.sock` in the folder that the
        /// service manager gives the node (systemd: /run/ringfarm); without one there is no socket.
        /// "none": there is none.
        restart socket: ControlSocket = default(ControlSocket::Auto);
    }
}

text_values!(ControlSocket);

/// Longest name of a Unix domain socket, in bytes (`sun_path` of unix(7), less its end).
const SOCKET_BYTES_MAX: usize = 107;

/// Where commands are received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlSocket {
    /// In the service manager's folder, if there is one.
    Auto,
    /// Nowhere.
    None,
    /// Here.
    At(FilePath),
}

impl Text for ControlSocket {
    fn parse(text: &str) -> Result<ControlSocket, Wrong> {
        match text {
            "auto" => return Ok(ControlSocket::Auto),
            "none" => return Ok(ControlSocket::None),
            _ => {}
        }
        if text.len() > SOCKET_BYTES_MAX {
            let what = format!("{} bytes are too many for the name of a socket", text.len());
            return Err(Wrong::new(what, format!("write at most {SOCKET_BYTES_MAX}")));
        }
        FilePath::parse(text).map(ControlSocket::At).map_err(|wrong| {
            Wrong::new(wrong.what, "write \"auto\", \"none\" or \"/run/ringfarm/control.sock\"")
        })
    }

    fn show(&self) -> String {
        match self {
            ControlSocket::Auto => "auto".to_owned(),
            ControlSocket::None => "none".to_owned(),
            ControlSocket::At(path) => path.show(),
        }
    }
}

impl Rules for Control {
    fn check(&self, _path: &str, _reader: &mut Reader) {}
}
