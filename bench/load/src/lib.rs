//! The built-in load generator.
mod guard;
mod ids;
mod media;
mod os;
pub mod cli { pub const SESSIONS_MAX: u32 = 20_000; }
pub mod users;
