//! signaling/net
