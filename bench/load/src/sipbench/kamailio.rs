//! Kamailio as it is compared with: a stateful proxy with Record-Route, and a registrar that asks for
//! digest, with nothing loaded that a run does not need.

use std::fmt::Write as _;
use std::net::SocketAddrV4;
use std::path::Path;

use crate::sipbench::registrations::PASSWORD;
use crate::sipbench::systems::{Needs, Ports};
use crate::sipbench::texts::DOMAIN;

/// Buckets of the location table, as a power of two: enough for 100,000 contacts.
const LOCATION_BUCKETS: u32 = 16;

/// Its configuration; its own files lie in `folder`.
pub(crate) fn configuration(
    address: SocketAddrV4,
    ports: Ports,
    needs: &Needs,
    children: u32,
    folder: &Path,
) -> String {
    let ip = address.ip();
    let mut text = format!(
        "#!KAMAILIO\n\
         debug=-1\nlog_stderror=yes\nfork=yes\nchildren={children}\ntcp_children={children}\n\
         auto_aliases=no\ndns=no\nrev_dns=no\nuse_dns_cache=off\n\
         tcp_connection_lifetime=3605\ntcp_max_connections=20000\ntcp_accept_no_cl=no\n\
         listen=udp:{ip}:{}\nlisten=tcp:{ip}:{}\n",
        ports.sip, ports.sip
    );
    if needs.tls {
        let _ = writeln!(
            text,
            "enable_tls=yes\ntls_max_connections=20000\nlisten=tls:{ip}:{}",
            ports.tls
        );
    }
    // Where Debian keeps them.
    let modules = format!("/usr/lib/{}-linux-gnu/kamailio/modules/", std::env::consts::ARCH);
    let _ = writeln!(text, "alias=\"{DOMAIN}\"\nmpath=\"{modules}\"");
    let mut modules = vec![
        "kex",
        "tm",
        "sl",
        "rr",
        "pv",
        "maxfwd",
        "textops",
        "siputils",
        "usrloc",
        "registrar",
        "ctl",
    ];
    if needs.digest {
        modules.push("auth");
    }
    if needs.dialogs {
        modules.push("dialog");
    }
    if needs.tls {
        modules.push("tls");
    }
    for module in modules {
        let _ = writeln!(text, "loadmodule \"{module}.so\"");
    }
    let folder = folder.display();
    let _ = writeln!(
        text,
        "modparam(\"ctl\", \"binrpc\", \"unix:{folder}/ctl\")\n\
         modparam(\"usrloc\", \"db_mode\", 0)\nmodparam(\"usrloc\", \"hash_size\", {LOCATION_BUCKETS})\n\
         modparam(\"registrar\", \"max_expires\", 7200)\nmodparam(\"rr\", \"append_fromtag\", 0)"
    );
    if needs.digest {
        text += "modparam(\"auth\", \"nonce_count\", 1)\nmodparam(\"auth\", \"qop\", \"auth\")\n\
                 modparam(\"auth\", \"nonce_expire\", 300)\n";
    }
    if needs.tls {
        let _ = writeln!(
            text,
            "modparam(\"tls\", \"tls_method\", \"TLSv1.2+\")\nmodparam(\"tls\", \"private_key\", \"{folder}/key.pem\")\n\
             modparam(\"tls\", \"certificate\", \"{folder}/cert.pem\")"
        );
    }
    text + &routes(needs)
}

fn routes(needs: &Needs) -> String {
    let dialog = if needs.dialogs { "  if (is_method(\"INVITE\")) dlg_manage();\n" } else { "" };
    let digest = if needs.digest {
        format!(
            "    if (!pv_www_authenticate(\"{DOMAIN}\", \"{PASSWORD}\", \"0\")) {{ www_challenge(\"{DOMAIN}\", \"1\"); exit; }}\n"
        )
    } else {
        String::new()
    };
    format!(
        "request_route {{\n\
         \x20 if (!mf_process_maxfwd_header(\"10\")) {{ sl_send_reply(\"483\", \"Too Many Hops\"); exit; }}\n\
         \x20 if (is_method(\"OPTIONS\")) {{ sl_send_reply(\"200\", \"OK\"); exit; }}\n\
         \x20 if (is_method(\"CANCEL\")) {{ if (t_check_trans()) t_relay(); exit; }}\n\
         \x20 if (has_totag()) {{\n\
         \x20   if (loose_route() || (is_method(\"ACK\") && t_check_trans())) {{ if (!t_relay()) sl_reply_error(); }}\n\
         \x20   else if (!is_method(\"ACK\")) sl_send_reply(\"404\", \"Not here\");\n\
         \x20   exit;\n\
         \x20 }}\n\
         \x20 if (is_method(\"REGISTER\")) {{\n{digest}\
         \x20   if (!save(\"location\")) sl_reply_error();\n\
         \x20   exit;\n\
         \x20 }}\n\
         \x20 t_check_trans();\n\
         \x20 record_route();\n{dialog}\
         \x20 if (!lookup(\"location\")) {{ sl_send_reply(\"404\", \"Not Found\"); exit; }}\n\
         \x20 if (!t_relay()) sl_reply_error();\n\
         }}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(needs: Needs) -> String {
        let address = "10.77.0.1:5060".parse().unwrap();
        configuration(address, Ports { sip: 5060, tls: 5061 }, &needs, 2, Path::new("/f"))
    }

    #[test]
    fn only_what_a_run_needs_is_loaded() {
        let plain = text(Needs::default());
        for absent in
            ["auth.so", "dialog.so", "tls.so", "dlg_manage", "www_challenge", "listen=tls"]
        {
            assert!(!plain.contains(absent), "{absent}: {plain}");
        }
        let all = text(Needs { digest: true, dialogs: true, tls: true, ..Needs::default() });
        for there in ["auth.so", "dialog.so", "tls.so", "dlg_manage", "www_challenge", "listen=tls"]
        {
            assert!(all.contains(there), "{there}: {all}");
        }
    }
}
