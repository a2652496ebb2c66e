//! `ringfarm-sim`: runs the simulation for as many seeds as wanted.

mod coverage;
mod farming;
mod fuzzing;
mod options;

use std::process::ExitCode;
use std::time::Duration;

use options::Options;
use sim::{Report, Settings};

fn main() -> ExitCode {
    let words = std::env::args().skip(1);
    if std::env::args().nth(1).as_deref() == Some("fuzz") {
        return fuzzing::run(words.skip(1));
    }
    if std::env::args().nth(1).as_deref() == Some("farm") {
        return farming::run(words.skip(1));
    }
    let options = match Options::parse(words) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n\n{}", options::HELP);
            return ExitCode::from(2);
        }
    };
    let mut bad = 0_u64;
    let total = options.seeds * options.profiles.len() as u64;
    let mut done = 0_u64;
    for seed in options.first..options.first.saturating_add(options.seeds) {
        for profile in &options.profiles {
            let report = run(&options, options.settings(*profile, seed));
            bad += u64::from(!report.violations.is_empty());
            done += 1;
            show(&options, &report, done, total);
        }
    }
    eprintln!("{done} runs, {bad} with violations");
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(options: &Options, settings: Settings) -> Report {
    if !options.steps {
        return sim::run(&settings, None);
    }
    let mut trace = |at: Duration, what: &str, message: &[u8]| {
        let wanted = options.only.as_ref().is_none_or(|text| what.contains(text.as_str()));
        if wanted {
            println!("{:12.6} {what}", at.as_secs_f64());
            if options.whole {
                println!("{}", String::from_utf8_lossy(message));
            }
        }
    };
    sim::run(&settings, Some(&mut trace))
}

/// The first run of each hundred shows that things go on.
const PROGRESS_EVERY: u64 = 100;

fn show(options: &Options, report: &Report, done: u64, total: u64) {
    if options.json {
        println!("{}", report.json());
    } else if total <= PROGRESS_EVERY || !report.violations.is_empty() {
        println!("{report}");
    }
    if total > PROGRESS_EVERY && done.is_multiple_of(PROGRESS_EVERY) {
        eprintln!("{done} of {total} runs");
    }
}
