//! What media does in a call that the node proxies: two phones by hand, with real sockets on the
//! loopback network, and the node as a process of its own.

mod bundle;
mod calls;
mod changes;
mod exhaustion;
mod marking;
mod ng;
mod node;
mod packet;
mod phone;
mod turns;
