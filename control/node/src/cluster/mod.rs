//! What makes several nodes one cluster: the engine that holds what the members must agree on.

pub(crate) mod engine;
