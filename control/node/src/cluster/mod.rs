//! What makes several nodes one cluster: the engine that holds what the members must agree on, the keys by
//! which they know each other, and the mesh by which they speak.

pub(crate) mod bench;
pub(crate) mod commands;
pub(crate) mod engine;
mod join;
pub(crate) mod keys;
pub(crate) mod member;
pub(crate) mod membership;
pub(crate) mod mesh;
