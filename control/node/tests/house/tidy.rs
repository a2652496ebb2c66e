//! How sources look.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::metadata::Workspace;
use crate::modules::{reachable, sources};

/// A file that grows past this is several files.
const LINES_MAX: usize = 800;

/// Packages that state in their root that they hold no unsafe code.
const SAFE: [&str; 4] =
    ["ringfarm-relay-core", "ringfarm-signaling-core", "ringfarm-control-core", "ringfarm-sim"];

/// Every source file of the workspace with its text.
fn files() -> Vec<(PathBuf, String)> {
    let folders = Workspace::get().ours().into_iter().map(folder).collect::<Vec<_>>();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a source file is text");
        (path, text)
    };
    folders.iter().flat_map(|folder| sources(folder)).map(read).collect()
}

fn folder(package: &cargo_metadata::Package) -> PathBuf {
    package.manifest_path.parent().expect("a manifest stands in a folder").into()
}

/// `FILE:LINE` of every line, comments cut off, for which `is_wrong`.
fn lines(is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files() {
        for (index, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if is_wrong(code) {
                found.push(format!("{}:{}: {}", shown(&path), index + 1, code.trim()));
            }
        }
    }
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(Workspace::get().root()).unwrap_or(path).display().to_string()
}

fn none(found: &[String], why: &str) {
    assert!(found.is_empty(), "{why}:\n{}", found.join("\n"));
}

#[test]
fn no_source_file_is_too_long_to_be_read() {
    let files = files();
    assert!(files.len() > 20, "the walk finds the sources: {}", files.len());
    let long = files.iter().filter(|(_, text)| text.lines().count() > LINES_MAX);
    let long: Vec<_> =
        long.map(|(path, text)| format!("{}: {}", shown(path), text.lines().count())).collect();
    none(&long, &format!("files of more than {LINES_MAX} lines"));
}

#[test]
fn every_source_file_belongs_to_a_crate() {
    for package in Workspace::get().ours() {
        let roots = package.targets.iter().map(|target| target.src_path.as_std_path());
        let reached: BTreeSet<PathBuf> = roots.flat_map(reachable).collect();
        let dead = sources(&folder(package)).into_iter().filter(|path| !reached.contains(path));
        let dead: Vec<_> = dead.map(|path| shown(&path)).collect();
        none(&dead, "files that no `mod` leads to");
    }
}

#[test]
fn the_cores_forbid_unsafe_code() {
    for name in SAFE {
        let root = folder(Workspace::get().package(name)).join("src/lib.rs");
        let text = std::fs::read_to_string(&root).expect("a core is a library");
        assert!(text.lines().any(|line| line == "#![forbid(unsafe_code)]"), "{}", shown(&root));
    }
}

/// Clocks, threads, files and sockets of the standard library need no dependency; clippy refuses
/// them in the cores.
#[test]
fn the_cores_refuse_clocks_threads_and_sockets_of_the_standard_library() {
    for name in &SAFE[..3] {
        let path = folder(Workspace::get().package(name)).join("clippy.toml");
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        for method in ["Instant::now", "SystemTime::now", "thread::spawn", "UdpSocket::bind"] {
            assert!(text.contains(method), "{} does not refuse {method}", shown(&path));
        }
    }
}

#[test]
fn every_package_keeps_the_lints_of_the_workspace() {
    for package in Workspace::get().ours() {
        let text = std::fs::read_to_string(&package.manifest_path).expect("a manifest can be read");
        let manifest: toml::Table = text.parse().expect("a manifest is TOML");
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        assert_eq!(inherits.and_then(toml::Value::as_bool), Some(true), "{}", package.name);
    }
}

#[test]
fn no_test_is_ignored() {
    none(&lines(|code| code.contains(concat!("#[", "ignore"))), "tests that do not run");
}

#[test]
fn exceptions_from_lints_say_why_and_end_when_they_are_not_needed() {
    let allows = |code: &str| {
        code.contains(concat!("[", "allow("))
            || (code.contains("cfg_attr") && code.contains(concat!("allow", "(")))
    };
    none(&lines(allows), "write #[expect(lint, reason = \"...\")]");
}

#[test]
fn every_queue_has_a_bound() {
    none(&lines(has_no_bound), "channels and queues without a bound");
}

fn has_no_bound(code: &str) -> bool {
    let named = [
        concat!("unbounded", "("),
        concat!("unbounded", "::<"),
        concat!("unbounded", "_channel"),
        concat!("Seg", "Queue"),
    ];
    named.iter().any(|name| code.contains(name)) || is_channel_without_size(code)
}

/// `channel()` takes no bound, unless it is the kind that carries one message at most.
fn is_channel_without_size(code: &str) -> bool {
    code.match_indices("channel").any(|(at, word)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        let after = match after
            .strip_prefix("::<")
            .and_then(|types| types.rfind(">(").map(|end| &types[end + 1..]))
        {
            Some(call) => call,
            None => after,
        };
        after.starts_with("()") && !before.ends_with("oneshot::") && !before.ends_with("fn ")
    })
}

#[test]
fn queues_without_a_bound_are_recognised() {
    let unbounded = [
        concat!("let (a, b) = mpsc::chan", "nel();"),
        concat!("let (a, b) = mpsc::chan", "nel::<Vec<u8>>();"),
        concat!("let (a, b) = crossbeam::channel::un", "bounded();"),
        concat!("let (a, b) = mpsc::un", "bounded_ch", "annel();"),
        concat!("queue: Seg", "Queue<u8>,"),
    ];
    for code in unbounded {
        assert!(has_no_bound(code), "{code}");
    }
    let bounded = [
        "mpsc::channel(64)",
        "mpsc::channel::<u8>(64)",
        "oneshot::channel()",
        "channel::bounded(8)",
        "sync_channel(1)",
    ];
    for code in bounded {
        assert!(!has_no_bound(code), "{code}");
    }
}
