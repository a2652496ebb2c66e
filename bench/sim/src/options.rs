//! The command line.

use std::str::FromStr;

use sim::{Profile, Settings};

pub(crate) const HELP: &str = "\
Runs the cores in a simulated network until every call is over, and checks what came of it.

  --seed N         the seed (default 1)
  --seeds K        so many seeds, from --seed on (default 1)
  --profile NAME   calm, jittery, lossy, streams, outages, nat, scarce or storm (default: all)
  --calls C        calls of a run (default 60)
  --loss P         share of SIP datagrams that are lost, 0 to 1 (default: the profile's)
  --steps          show everything that happens
  --only TEXT      of the steps, those with TEXT in them
  --whole          of the steps that are messages, all of the message
  --json           one line of JSON a run
  --help           this
  fuzz TARGET      instead: mutated inputs for a target (--seconds N, --seed N)
  farm             instead: members that act as one (farm --help)

The exit status is 0 if nothing was wrong, 1 if something was, 2 if the command line was.";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) first: u64,
    pub(crate) seeds: u64,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) calls: u32,
    pub(crate) loss: Option<f64>,
    pub(crate) steps: bool,
    pub(crate) only: Option<String>,
    pub(crate) whole: bool,
    pub(crate) json: bool,
}

fn number<T: FromStr>(name: &str, value: Option<String>) -> Result<T, String> {
    let value = value.ok_or_else(|| format!("{name} wants a value"))?;
    value.parse().map_err(|_| format!("{name}: {value} will not do"))
}

impl Options {
    /// `None`: help is wanted.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
        let mut options = Options {
            first: 1,
            seeds: 1,
            profiles: Profile::ALL.to_vec(),
            calls: 60,
            loss: None,
            steps: false,
            only: None,
            whole: false,
            json: false,
        };
        while let Some(arg) = args.next() {
            let name = arg.as_str();
            match name {
                "--seed" => options.first = number(name, args.next())?,
                "--seeds" => options.seeds = number(name, args.next())?,
                "--calls" => options.calls = number(name, args.next())?,
                "--loss" => options.loss = Some(number(name, args.next())?),
                "--profile" => {
                    let value = args.next().unwrap_or_default();
                    let profile = value.parse().map_err(|_| format!("{value} is not a profile"))?;
                    options.profiles = vec![profile];
                }
                "--only" => options.only = args.next(),
                "--steps" => options.steps = true,
                "--whole" => options.whole = true,
                "--json" => options.json = true,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("unknown option {name}")),
            }
        }
        options.validate().map(Some)
    }

    fn validate(self) -> Result<Options, String> {
        if self.loss.is_some_and(|loss| !(0.0..=1.0).contains(&loss)) {
            return Err("--loss: 0 to 1".to_owned());
        }
        Ok(self)
    }

    pub(crate) fn settings(&self, profile: Profile, seed: u64) -> Settings {
        let settings = Settings::new(profile, seed, self.calls);
        match self.loss {
            Some(loss) => settings.with_loss(loss),
            None => settings,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_and_wrong_ones_named() {
        let options =
            parse("--seed 7 --seeds 2 --profile nat --calls 9 --loss 0.5").unwrap().unwrap();
        let settings = options.settings(options.profiles[0], options.first);
        assert_eq!((options.seeds, settings.seed, settings.calls), (2, 7, 9));
        assert_eq!((settings.profile, settings.sip.loss), (Profile::Nat, 0.5));
        assert!(parse("--help").unwrap().is_none());
        for (wrong, named) in [("--loss 2", "--loss"), ("--seed x", "--seed"), ("--odd", "--odd")] {
            assert!(parse(wrong).unwrap_err().contains(named));
        }
    }
}
