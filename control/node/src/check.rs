//! `ringfarm check FILE`: what is wrong with a settings file. Binds and starts nothing.

use std::path::Path;

use control_core::settings::{Overrides, Problem, check_with};
use serde_json::json;
use signaling_net::tls::TlsError;

use crate::cli::CheckArgs;
use crate::exit::Stop;
use crate::node::certificates;
use crate::output;
use crate::settings_io::{self, Content};

/// Prints every problem of a file.
pub(crate) fn check(args: &CheckArgs) -> Result<(), Stop> {
    let problems = problems(args)?;
    output::print(&if args.json {
        as_json(&args.file, &problems)
    } else {
        as_text(&args.file, &problems)
    })?;
    if problems.is_empty() { Ok(()) } else { Err(Stop::Reported) }
}

fn problems(args: &CheckArgs) -> Result<Vec<Problem>, Stop> {
    let text = match settings_io::read(&args.file).map_err(Stop::Usage)? {
        Content::Text(text) => text,
        Content::NotText(problem) => return Ok(vec![problem]),
    };
    match check_with(&text, &Overrides::default()) {
        Err(problems) => Ok(problems),
        Ok(_) if args.elsewhere => Ok(Vec::new()),
        Ok(checked) => {
            let mut problems = settings_io::misfits(&checked)?;
            problems.extend(certificates::load(&checked.settings).err().map(unusable));
            Ok(problems)
        }
    }
}

/// A file that TLS needs is not what it should be.
fn unusable(error: TlsError) -> Problem {
    Problem {
        position: None,
        key: "sip.tls".to_owned(),
        what: format!("{}: {}", error.file.display(), error.what),
        fix: error.fix.to_owned(),
    }
}

fn as_text(file: &Path, problems: &[Problem]) -> String {
    if problems.is_empty() {
        return format!("{}: no problems\n", file.display());
    }
    let line = |problem| settings_io::line(Some(file), problem) + "\n";
    problems.iter().map(line).collect()
}

fn as_json(file: &Path, problems: &[Problem]) -> String {
    let problem = |problem: &Problem| {
        json!({
            "line": problem.position.map(|position| position.line),
            "column": problem.position.map(|position| position.column),
            "key": problem.key,
            "what": problem.what,
            "fix": problem.fix,
        })
    };
    let report = json!({
        "file": file.to_string_lossy(),
        "ok": problems.is_empty(),
        "problems": problems.iter().map(problem).collect::<Vec<_>>(),
    });
    format!("{report:#}\n")
}
