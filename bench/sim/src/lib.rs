//! bench/sim
#![forbid(unsafe_code)]
