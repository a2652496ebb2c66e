//! `ringfarm-sim fuzz TARGET`: mutations of the corpus until the time is up or something fails.
//!
//! Built with `RUSTFLAGS="-C instrument-coverage"` (and run with `LLVM_PROFILE_FILE=/dev/null`, for there
//! is nothing to be written at the end) it is guided: an input that reaches code which none before it has
//! reached is mutated from then on, too.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sim::fuzz::{TARGETS, Target, mutate};

use crate::coverage::Coverage;

/// Inputs between two looks at the clock.
const ROUND: u32 = 64;

/// Passes that make a failing input shorter.
const PASSES_MAX: usize = 8;

pub(crate) const HELP: &str = "fuzz TARGET [--seconds N] [--seed N] [--keep]";

struct Order {
    target: Target,
    seconds: u64,
    seed: u64,
    /// Inputs that reach new code go into the corpus.
    keep: bool,
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Order, String> {
    let name = args.next().unwrap_or_default();
    let known = TARGETS.map(|target| target.name).join(", ");
    let target = TARGETS.into_iter().find(|target| target.name == name);
    let target = target.ok_or_else(|| format!("fuzz {name}: give one of {known}"))?;
    let mut order = Order { target, seconds: 60, seed: 1, keep: false };
    while let Some(arg) = args.next() {
        if arg == "--keep" {
            order.keep = true;
            continue;
        }
        let value = args.next().and_then(|value| value.parse().ok());
        let value = value.ok_or_else(|| format!("{arg} wants a number"))?;
        match arg.as_str() {
            "--seconds" => order.seconds = value,
            "--seed" => order.seed = value,
            _ => return Err(format!("unknown option {arg}")),
        }
    }
    Ok(order)
}

/// Exit status 0 if nothing failed, 1 if something did (it is in the corpus then), 2 if it cannot be run.
pub(crate) fn run(args: impl Iterator<Item = String>) -> ExitCode {
    match parse(args).and_then(|order| fuzz(&order)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn fuzz(order: &Order) -> Result<bool, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(order.target.name);
    let place = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut corpus = Vec::new();
    for entry in fs::read_dir(&folder).map_err(place)? {
        corpus.push(fs::read(entry.map_err(place)?.path()).map_err(place)?);
    }
    corpus.sort();
    if corpus.is_empty() {
        return Err(format!("{} is empty", folder.display()));
    }
    let mut rng = ChaCha8Rng::seed_from_u64(order.seed);
    let mut coverage = Coverage::open();
    if let Some(coverage) = &mut coverage {
        corpus.iter().for_each(|input| (order.target.run)(input));
        coverage.has_grown();
    }
    let given = corpus.len();
    let end = Instant::now() + Duration::from_secs(order.seconds);
    let mut count = 0_u64;
    while Instant::now() < end {
        for _ in 0..ROUND {
            let mut input = corpus[rng.random_range(0..corpus.len())].clone();
            let other = &corpus[rng.random_range(0..corpus.len())];
            mutate(&mut rng, &mut input, other);
            count += 1;
            if fails(order.target, &input) {
                let input = shorten(order.target, input);
                let path = folder.join(format!("failed-{}-{count}", order.seed));
                fs::write(&path, &input).map_err(place)?;
                eprintln!("input {count} fails; shortened to {}", path.display());
                return Ok(false);
            }
            if coverage.as_mut().is_some_and(Coverage::has_grown) {
                corpus.push(input);
            }
        }
    }
    let found = &corpus[given..];
    if order.keep {
        for (number, input) in found.iter().enumerate() {
            let path = folder.join(format!("reached-{}-{number}", order.seed));
            fs::write(path, input).map_err(place)?;
        }
    }
    let guided = coverage.map_or("blind".to_owned(), |coverage| {
        format!("{} inputs reached new code, {} places in all", found.len(), coverage.reached())
    });
    eprintln!("{}: {count} inputs, none failed ({guided})", order.target.name);
    Ok(true)
}

fn fails(target: Target, input: &[u8]) -> bool {
    catch_unwind(|| (target.run)(input)).is_err()
}

/// Leaves out what is not needed for it to fail, in ever smaller pieces.
fn shorten(target: Target, mut input: Vec<u8>) -> Vec<u8> {
    std::panic::set_hook(Box::new(|_| {}));
    for _ in 0..PASSES_MAX {
        let before = input.len();
        let mut size = input.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < input.len() {
                let mut less = input.clone();
                less.drain(at..(at + size).min(input.len()));
                if fails(target, &less) {
                    input = less;
                } else {
                    at += size;
                }
            }
            if size == 1 {
                break;
            }
            size = size.div_ceil(2);
        }
        if input.len() == before {
            break;
        }
    }
    let _ = std::panic::take_hook();
    input
}
