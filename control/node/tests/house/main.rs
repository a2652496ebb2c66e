//! The rules of the house that a machine can keep: which crate may know which, and how sources look.
//! ARCHITECTURE.md states them in words.

mod dependencies;
mod metadata;
mod modules;
mod tidy;
