//! The proxy core as its peers see it.

mod calls;
mod forking;
mod harness;
mod media;
mod refusals;
