//! Settings files and what this machine is like, for the settings' pure rules.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, anyhow};
use control_core::settings::{
    Checked, Host, Overrides, Position, Problem, Settings, TEXT_BYTES_MAX, check_with,
};

use crate::cli::RunArgs;
use crate::exit::Stop;

/// A settings file's content.
pub(crate) enum Content {
    /// Text.
    Text(String),
    /// Bytes that are not text: the first of them is the problem.
    NotText(Problem),
}

/// The settings that a node is to run with: checked, and fit for this machine.
pub(crate) fn load(args: &RunArgs) -> Result<Settings, Stop> {
    let Some(path) = &args.config else { return settle("", None, args) };
    match read(path).map_err(Stop::Usage)? {
        Content::Text(text) => settle(&text, Some(path), args),
        Content::NotText(problem) => Err(refused(Some(path), &[problem])),
    }
}

fn settle(text: &str, path: Option<&Path>, args: &RunArgs) -> Result<Settings, Stop> {
    let overrides = Overrides { listen: args.listen.clone() };
    let checked = check_with(text, &overrides).map_err(|problems| refused(path, &problems))?;
    let problems = misfits(&checked)?;
    if problems.is_empty() { Ok(checked.settings) } else { Err(refused(path, &problems)) }
}

fn refused(path: Option<&Path>, problems: &[Problem]) -> Stop {
    let lines: Vec<_> = problems.iter().map(|problem| line(path, problem)).collect();
    Stop::Usage(anyhow!("{}", lines.join("\n")))
}

/// `FILE:LINE:COLUMN: key: what; what to do`, or without the place for what no file said.
pub(crate) fn line(path: Option<&Path>, problem: &Problem) -> String {
    match (path, problem.position) {
        (Some(path), Some(_)) => format!("{}:{problem}", path.display()),
        // There is no text: what is wrong was given on the command line or is this machine's.
        (None, Some(_)) => Problem { position: None, ..problem.clone() }.to_string(),
        (_, None) => problem.to_string(),
    }
}

/// Reads a settings file; no more of it than settings may have.
///
/// # Errors
/// If it cannot be opened or read.
pub(crate) fn read(path: &Path) -> anyhow::Result<Content> {
    let context = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(context)?;
    // One byte more than allowed, so that the rules see that it is too long.
    file.take(TEXT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).with_context(context)?;
    Ok(String::from_utf8(bytes)
        .map_or_else(|error| Content::NotText(not_text(&error)), Content::Text))
}

fn not_text(error: &std::string::FromUtf8Error) -> Problem {
    let good = error.utf8_error().valid_up_to();
    let before = String::from_utf8_lossy(&error.as_bytes()[..good]);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    Problem {
        position: Some(Position { line, column }),
        key: String::new(),
        what: "this is not UTF-8".to_owned(),
        fix: "save the file as UTF-8 text".to_owned(),
    }
}

/// What keeps checked settings from working on this machine.
pub(crate) fn misfits(checked: &Checked) -> Result<Vec<Problem>, Stop> {
    Ok(checked.against(&host()?))
}

fn host() -> Result<Host, Stop> {
    let cores = core_affinity::get_core_ids()
        .context("the system does not say which cores this process may run on")
        .map_err(Stop::CannotStart)?;
    Ok(Host { cores: cores.into_iter().map(|core| core.id).collect() })
}
