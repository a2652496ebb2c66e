//! What every web page of a benchmark is made of: one file that needs nothing else.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::paired::report::Machine;
use crate::relaybench::plot::escape;
use crate::relaybench::statistics::Range;

const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2430;--pale:#667085;--rule:#e4e7ec;\
--ringfarm:#1f6feb;--rtpengine:#d1495b;--epoll:#2b8a3e;--forward:#8a6d1d}\
@media(prefers-color-scheme:dark){:root{--paper:#12161c;--ink:#e6e9ef;--pale:#98a2b3;--rule:#2a313c;\
--ringfarm:#6ea8fe;--rtpengine:#f0808d;--epoll:#69c57c;--forward:#d9b95b}}\
body{background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.1rem;margin-top:2.2rem}\
.pale,.tick{color:var(--pale);fill:var(--pale)}.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(420px,1fr));gap:1rem}\
svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--ink)}svg .title{font-weight:600;font-size:14px}svg .tick{fill:var(--pale);font-size:11px}\
.grid{stroke:var(--rule)}.mark{stroke:var(--pale);stroke-dasharray:4 4}polyline{fill:none;stroke-width:2;opacity:.55}svg g line{stroke-width:2}\
.ringfarm{stroke:var(--ringfarm);fill:var(--ringfarm)}.rtpengine,.kamailio{stroke:var(--rtpengine);fill:var(--rtpengine)}\
.epoll{stroke:var(--epoll);fill:var(--epoll)}.forward{stroke:var(--forward);fill:var(--forward)}svg g text{stroke:none}\
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--rule);text-align:right;white-space:nowrap}th:first-child,td:first-child{text-align:left}\
td.why{white-space:normal;text-align:left;color:var(--pale)}.bad{color:var(--rtpengine);font-weight:600}\
code{font-size:.85em;word-break:break-word}pre{white-space:pre-wrap;font-size:.8rem}";

/// Writes into a page; writing to a String does not fail.
macro_rules! put {
    ($page:expr, $($words:tt)*) => {{
        use std::fmt::Write as _;
        let _ = write!($page, $($words)*);
    }};
}
pub(crate) use put;

/// A page with this title and heading, which `body` fills; the report as JSON stands at its end.
///
/// # Errors
/// The report cannot be written as JSON.
pub(crate) fn document<R: Serialize>(
    report: &R,
    [title, heading]: [&str; 2],
    body: impl FnOnce(&mut String),
) -> Result<String> {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style><body><h1>{heading}</h1>"
    );
    body(&mut page);
    let json = serde_json::to_string(report).context("the report as JSON")?;
    page += "<h2>All figures</h2><details><summary>The report as JSON</summary><pre>";
    page += &escape(&json);
    page += "</pre></details></body></html>\n";
    Ok(page)
}

/// What was measured on, and how often; the system under test is called `system`.
pub(crate) fn measured_on(
    machine: &Machine,
    system: &str,
    (rounds, seconds): (u32, f64),
    page: &mut String,
) {
    put!(
        page,
        "<p class=\"pale\">{}, {} cores ({system} on core {}, generator on {:?}), {:.0} GB, Linux {}. {rounds} rounds of {seconds} s a cell; median, minimum and maximum over the rounds.</p>",
        escape(&machine.processor),
        machine.cores,
        machine.relay_core,
        machine.generator_cores,
        machine.memory_bytes as f64 / 1e9,
        escape(&machine.kernel)
    );
}

/// What the reader must know before believing the figures: each of `words` that `is` so.
pub(crate) fn warnings<'w>(words: impl IntoIterator<Item = (bool, &'w str)>, page: &mut String) {
    for (is, words) in words {
        if is {
            put!(page, "<p class=\"bad\">{words}</p>");
        }
    }
}

pub(crate) const NOT_QUIET: &str =
    "The machine was not quiet: other programs ran, and the costs hold theirs.";
pub(crate) const NOT_COMPLETE: &str = "Not complete: the run was ended early.";

/// Rows of quotients, for a table that has been begun.
pub(crate) fn quotients(ranges: &BTreeMap<String, Range>, page: &mut String) {
    for (path, range) in ranges {
        let Range { median, min, max, .. } = range;
        put!(page, "<tr><td>{}<td>{median:.3}<td>{min:.3}<td>{max:.3}", escape(path));
    }
}

/// The list of how it was measured.
pub(crate) fn notes(notes: &[String], page: &mut String) {
    *page += "<h2>How it was measured</h2><ul>";
    for note in notes {
        put!(page, "<li>{}", escape(note));
    }
    *page += "</ul>";
}
