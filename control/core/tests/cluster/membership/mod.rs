//! A member's part in the cluster, with an engine in memory and a clock of the test's.

mod barred;
mod checks;
mod controller;
mod drain_and_leave;
mod engine_trouble;
mod fencing;
mod joining;
mod media;
mod setting_changes;
mod storms;
mod token_keys;
mod world;
