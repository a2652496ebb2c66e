//! `[control]`: where a running node is told what to do.

use control_core::settings::ControlSocket;

use crate::{bad, good};

#[test]
fn the_control_socket_is_a_full_name_or_left_to_the_service_manager() {
    assert_eq!(good("").control.socket, ControlSocket::Auto);
    assert_eq!(good("[control]\nsocket = \"none\"\n").control.socket, ControlSocket::None);
    let ControlSocket::At(path) = good("[control]\nsocket = \"/run/x.sock\"\n").control.socket
    else {
        panic!("a name")
    };
    assert_eq!(path.as_path().to_str(), Some("/run/x.sock"));
    assert!(bad("[control]\nsocket = \"x.sock\"\n").contains("is not the full name of a file"));
    let long = format!("/{}", "x".repeat(107));
    let problems = bad(&format!("[control]\nsocket = \"{long}\"\n"));
    assert!(problems.starts_with("2:10: control.socket: 108 bytes are too many"), "{problems}");
}
