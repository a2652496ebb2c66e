//! The event server by its behaviour.

mod harness;
mod lists;
mod publications;
mod registrations;
mod subscriptions;
