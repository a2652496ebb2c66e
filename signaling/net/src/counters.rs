//! What the transports count.

/// Counters since the start; each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams handed on as messages.
    pub udp_received: u64,
    /// Datagrams that were keep-alives and went no further.
    pub udp_keep_alives: u64,
    /// STUN Binding requests that were answered, be it with an error.
    pub stun_answered: u64,
    /// STUN datagrams that were malformed or no Binding requests, and went unanswered.
    pub stun_dropped: u64,
    /// Datagrams that the kernel took for sending.
    pub udp_sent: u64,
    /// Datagrams dropped because too many waited for a full socket, or the kernel had no memory.
    pub udp_dropped: u64,
    /// ICMP reports that were no failure (RFC 3261 18.4) or did not quote enough of a datagram sent
    /// lately to be believed.
    pub udp_reports_ignored: u64,
    /// Messages framed on stream connections and handed on.
    pub tcp_received: u64,
    /// Messages taken for sending on stream connections; one that was not sent after all is also
    /// in `send_failed`.
    pub tcp_sent: u64,
    /// Connections accepted.
    pub tcp_accepted: u64,
    /// Connections closed as soon as they were accepted, because of a limit.
    pub tcp_refused: u64,
    /// Connections that were opened by us.
    pub tcp_opened: u64,
    /// TLS handshakes completed, in either direction.
    pub tls_handshakes: u64,
    /// Those of them that resumed an earlier session.
    pub tls_resumed: u64,
    /// TLS handshakes that failed or were not complete in time.
    pub tls_failed: u64,
    /// WebSockets that were opened by peers.
    pub ws_opened: u64,
    /// Requests for a WebSocket that were refused or not complete in time.
    pub ws_refused: u64,
    /// Times that accepting paused because the process or the system had no descriptors left.
    pub tcp_accept_paused: u64,
    /// Messages reported as [`Input::SendFailed`](crate::Input::SendFailed).
    pub send_failed: u64,
}
