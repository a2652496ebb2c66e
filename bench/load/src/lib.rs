//! bench/load
