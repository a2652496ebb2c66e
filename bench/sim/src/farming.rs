//! `ringfarm-sim farm`: the farm for as many seeds as wanted, on several threads.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use sim::farm::{self, Counts, Report};

const HELP: &str = "\
Runs members of one farm behind a balancer that sends every datagram to a random one of them, while
packets are lost and members come, go and die; and checks what came of it.

  farm [OPTIONS]
  --seed N         the seed (default 1)
  --seeds K        so many seeds, from --seed on (default 1)
  --threads T      so many at once (default: one a processor)
  --steps          show everything that happens
  --only TEXT      of the steps, those with TEXT in them
  --whole          of the steps that are messages, all of the message
  --json           one line of JSON a seed, and one for all
  --help           this

The exit status is 0 if nothing was wrong, 1 if something was, 2 if the command line was.";

#[derive(Debug)]
struct Order {
    first: u64,
    seeds: u64,
    threads: usize,
    steps: bool,
    only: Option<String>,
    whole: bool,
    json: bool,
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Order>, String> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut order =
        Order { first: 1, seeds: 1, threads, steps: false, only: None, whole: false, json: false };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--steps" => order.steps = true,
            "--whole" => order.whole = true,
            "--json" => order.json = true,
            "--only" => order.only = args.next(),
            "--help" | "-h" => return Ok(None),
            "--seed" | "--seeds" | "--threads" => {
                let value = args.next().and_then(|value| value.parse().ok());
                let value: u64 = value.ok_or_else(|| format!("{arg} wants a number"))?;
                match arg.as_str() {
                    "--seed" => order.first = value,
                    "--seeds" => order.seeds = value,
                    _ => order.threads = usize::try_from(value.clamp(1, 64)).unwrap_or(1),
                }
            }
            _ => return Err(format!("unknown option {arg}")),
        }
    }
    Ok(Some(order))
}

pub(crate) fn run(args: impl Iterator<Item = String>) -> ExitCode {
    match parse(args) {
        Ok(Some(order)) if order.steps => replay(&order),
        Ok(Some(order)) => many(&order),
        Ok(None) => {
            println!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn replay(order: &Order) -> ExitCode {
    let mut trace = |at: Duration, what: &str, message: &[u8]| {
        if order.only.as_ref().is_none_or(|text| what.contains(text.as_str())) {
            println!("{:12.6} {what}", at.as_secs_f64());
            if order.whole {
                println!("{}", String::from_utf8_lossy(message));
            }
        }
    };
    let report = farm::run(order.first, Some(&mut trace));
    println!("{report}");
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Of all seeds together.
#[derive(Default)]
struct Sum {
    seeds: u64,
    bad: u64,
    events: u64,
    simulated: Duration,
    counts: Counts,
    /// In how many seeds each kind of thing has come about, and how often in all.
    met: BTreeMap<&'static str, (u64, u64)>,
}

impl Sum {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.bad += u64::from(!report.violations.is_empty());
        self.events += report.events;
        self.simulated += report.simulated;
        self.counts.add(&report.counts);
        for (what, times) in &report.met {
            let (seeds, all) = self.met.entry(what).or_default();
            *seeds += 1;
            *all += times;
        }
    }

    fn coverage(&self) -> String {
        let line = |(what, (seeds, times)): (&&str, &(u64, u64))| {
            format!("{what:<42} {times:>9} times in {seeds:>7} seeds\n")
        };
        self.met.iter().map(line).collect()
    }

    fn json(&self, took: Duration) -> String {
        let c = &self.counts;
        format!(
            "{{\"seeds\":{},\"bad\":{},\"events\":{},\"simulated_s\":{:.0},\"took_s\":{:.1},\
             \"transactions\":{},\"answered\":{},\"relayed\":{},\"asked\":{},\"excused\":{},\
             \"worn_out\":{},\"twice\":{},\"skipped\":{},\"deaths\":{},\"forged\":{}}}",
            self.seeds,
            self.bad,
            self.events,
            self.simulated.as_secs_f64(),
            took.as_secs_f64(),
            c.transactions,
            c.answered,
            c.relayed,
            c.asked,
            c.excused,
            c.worn_out,
            c.twice,
            c.skipped,
            c.deaths,
            c.forged,
        )
    }
}

/// So many seeds from one sign of life to the next.
const PROGRESS_EVERY: u64 = 1_000;

/// Reports that wait to be shown: a thread that is further ahead waits.
const REPORTS_MAX: usize = 64;

fn many(order: &Order) -> ExitCode {
    let begun = Instant::now();
    let next = AtomicU64::new(0);
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let (sender, reports) = mpsc::sync_channel(REPORTS_MAX);
        for _ in 0..order.threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= order.seeds {
                        return;
                    }
                    let report = farm::run(order.first.saturating_add(number), None);
                    if sender.send(report).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for report in reports {
            sum.add(&report);
            show(order, &report, &sum, begun);
        }
    });
    eprint!("{}", sum.coverage());
    let json = sum.json(begun.elapsed());
    if order.json {
        println!("{json}")
    } else {
        eprintln!("{json}")
    }
    if sum.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn show(order: &Order, report: &Report, sum: &Sum, begun: Instant) {
    if order.json {
        println!("{}", report.json());
    } else if order.seeds <= 20 || !report.violations.is_empty() {
        println!("{report}");
    }
    if sum.seeds.is_multiple_of(PROGRESS_EVERY) {
        let took = begun.elapsed().as_secs();
        eprintln!("{} of {} seeds, {} bad, {took} s", sum.seeds, order.seeds, sum.bad);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_and_wrong_ones_named() {
        let parse = |line: &str| parse(line.split_whitespace().map(str::to_owned));
        let order = parse("--seed 7 --seeds 3 --threads 2 --json").unwrap().unwrap();
        assert_eq!((order.first, order.seeds, order.threads, order.json), (7, 3, 2, true));
        assert!(parse("--help").unwrap().is_none());
        for (wrong, named) in [("--seed x", "--seed"), ("--odd", "--odd")] {
            assert!(parse(wrong).unwrap_err().contains(named));
        }
    }
}
