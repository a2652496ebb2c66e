//! The report as a table for people.

use std::fmt;

use super::case::{Kind, Place, Time};
use super::report::{CaseReport, ModeReport, StrangerReport};

pub(crate) struct Table<'a>(pub(crate) &'a StrangerReport);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table(report) = self;
        report.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))?;
        writeln!(
            f,
            "- {} packets of the stranger a case. Each figure is INJECTED/DIVERTED/LOST: its packets that reached a party, the parties' that reached it, and their RTP packets that were lost. With * the stranger may be taken for the peer, as documented; with ! more came of it than is stated.",
            report.packets
        )?;
        for (system, of_system) in &report.systems {
            writeln!(f, "\n{system}: {}", of_system.version)?;
            of_system.modes.iter().try_for_each(|mode| of_mode(mode, f))?;
        }
        report.exceeded.iter().try_for_each(|what| writeln!(f, "\nEXCEEDED {what}"))?;
        if report.complete { Ok(()) } else { writeln!(f, "\nNOT COMPLETE") }
    }
}

fn of_mode(mode: &ModeReport, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "\n  {}: {}", mode.mode, mode.description)?;
    for why in mode.skipped.iter().chain(&mode.failed) {
        writeln!(f, "    not tried: {why}")?;
    }
    if mode.cases.is_empty() {
        return Ok(());
    }
    write!(f, "    {:<22}", "")?;
    Kind::ALL.iter().try_for_each(|kind| write!(f, " {:>13}", kind.name()))?;
    writeln!(f)?;
    for place in Place::ALL {
        for time in Time::ALL {
            write!(f, "    {:<22}", format!("{}, {}", place.name(), time.name()))?;
            let of_row =
                |report: &&CaseReport| report.case.place == place && report.case.time == time;
            let row = mode.cases.iter().filter(of_row);
            row.map(cell).try_for_each(|cell| write!(f, " {cell:>13}"))?;
            writeln!(f)?;
        }
    }
    Ok(())
}

fn cell(report: &CaseReport) -> String {
    let outcome = report.outcome;
    let taken = report.stated.is_some_and(|stated| stated.injected.is_none());
    let sign = match (report.exceeded, taken) {
        (true, _) => "!",
        (false, true) => "*",
        (false, false) => "",
    };
    format!("{}/{}/{}{sign}", outcome.injected, outcome.diverted, outcome.lost)
}
