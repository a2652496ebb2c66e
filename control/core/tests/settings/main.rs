//! What a settings text may say, what it means, and how each mistake in it is reported.

mod cluster;
mod control;
mod default_file;
mod media;
mod metrics;
mod networks;
mod ng;
mod node;
mod routing;
mod sip;
mod text;
mod users;

use control_core::settings::{Settings, check};

/// The settings that `text` gives; fails the test if it has problems.
fn good(text: &str) -> Settings {
    check(text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// Each problem of `text` on a line of its own; fails the test if there is none.
fn bad(text: &str) -> String {
    let problems = check(text).expect_err("the text has a problem");
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
