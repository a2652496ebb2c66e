//! The commands of the binary that start nothing, as a user or a script meets them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::NamedTempFile;

fn ringfarm(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfarm")).args(args).output().expect("the binary runs")
}

fn file(content: impl AsRef<[u8]>) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(content.as_ref()).expect("it can be written");
    file
}

fn name(path: &Path) -> &str {
    path.to_str().expect("a temporary file's name is UTF-8")
}

/// Exit code, standard output and standard error.
fn outcome(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("it ended by itself"), text(&output.stdout), text(&output.stderr))
}

#[test]
fn check_names_file_line_column_and_key_of_each_problem_and_exits_1() {
    let file = file("[media]\nprots = \"20000-29999\"\nrest_s = 4000\n");
    let path = name(file.path());
    let (code, out, err) = outcome(&ringfarm(&["check", path]));
    assert_eq!(
        out,
        format!(
            "{path}:2:1: media.prots: no such key; did you mean `ports`?\n\
             {path}:3:10: media.rest_s: 4000 is out of range; choose 0 to 3600\n"
        )
    );
    assert_eq!((code, err.as_str()), (1, ""));
}

#[test]
fn check_of_a_good_file_exits_0() {
    let file = file("[sip]\ndomains = [\"ring.test\"]\n");
    let (code, out, _) = outcome(&ringfarm(&["check", name(file.path())]));
    assert_eq!((code, out), (0, format!("{}: no problems\n", name(file.path()))));
}

#[test]
fn check_of_a_file_that_cannot_be_read_exits_2_and_names_it() {
    let (code, out, err) = outcome(&ringfarm(&["check", "/nonexistent/ringfarm.toml"]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.starts_with("cannot read /nonexistent/ringfarm.toml: "), "{err}");
    assert_eq!(outcome(&ringfarm(&["check"])).0, 2);
}

#[test]
fn check_reports_bytes_that_are_not_text_where_they_are() {
    let file = file(b"[node]\nname = \"\xff\"\n");
    let (code, out, _) = outcome(&ringfarm(&["check", name(file.path())]));
    assert_eq!(code, 1);
    assert_eq!(
        out,
        format!("{}:2:9: this is not UTF-8; save the file as UTF-8 text\n", name(file.path()))
    );
}

#[test]
fn check_as_json_holds_the_same_for_programs() {
    let bad = file("[node]\nname = 3\n");
    let (code, out, _) = outcome(&ringfarm(&["check", "--json", name(bad.path())]));
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &report["ok"]), (1, &serde_json::json!(false)));
    assert_eq!(
        report["problems"][0],
        serde_json::json!({
            "line": 2, "column": 8, "key": "node.name",
            "what": "expected a string, found integer", "fix": "write it in double quotes",
        })
    );
    let good = file("");
    let (code, out, _) = outcome(&ringfarm(&["check", "--json", name(good.path())]));
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &report["ok"]), (0, &serde_json::json!(true)));
}

#[test]
fn check_asks_for_the_cores_of_this_machine_unless_the_file_is_for_another() {
    let file = file("[node]\ncores = [100000]\n");
    let (code, out, _) = outcome(&ringfarm(&["check", name(file.path())]));
    assert_eq!(code, 1);
    assert!(out.contains("node.cores[0]: the process may not run on core 100000"), "{out}");
    assert_eq!(outcome(&ringfarm(&["check", "--elsewhere", name(file.path())])).0, 0);
}

#[test]
fn the_printed_default_file_is_good() {
    let (code, default, _) = outcome(&ringfarm(&["config", "default"]));
    assert_eq!(code, 0);
    let file = file(&default);
    assert_eq!(outcome(&ringfarm(&["check", name(file.path())])).0, 0);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let script = format!(
        "{} config default | head -n 1; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_ringfarm")
    );
    let output = Command::new("bash").args(["-c", &script]).output().expect("bash runs");
    let (code, _, err) = outcome(&output);
    assert_eq!((code, err.as_str()), (0, ""));
}

/// Exit code 2 for wrong settings, before anything is bound: the address is not even this host's.
#[test]
fn run_refuses_wrong_settings_before_it_binds_anything() {
    let file = file("[media]\nwan_ip = \"0.0.0.0\"\n");
    let path = name(file.path());
    let (code, out, err) =
        outcome(&ringfarm(&["run", "--config", path, "--listen", "192.0.2.1:5060"]));
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.starts_with(&format!("{path}:2:10: media.wan_ip: 0.0.0.0 is a wildcard")), "{err}");
    assert_eq!(outcome(&ringfarm(&["--config", path])).0, 2);
}

#[test]
fn run_refuses_a_wrong_listen_option_by_name() {
    let (code, _, err) = outcome(&ringfarm(&["--listen", "224.0.0.1:5060"]));
    assert_eq!(code, 2);
    assert!(err.starts_with("--listen: 224.0.0.1 is a multicast address"), "{err}");
    assert_eq!(outcome(&ringfarm(&["--listen", "localhost:5060"])).0, 2);
}

#[test]
fn help_teaches_by_example() {
    let commands =
        [vec!["--help"], vec!["run", "--help"], vec!["demo", "--help"], vec!["check", "--help"]];
    for command in commands {
        let (code, out, _) = outcome(&ringfarm(&command));
        assert_eq!(code, 0);
        assert!(out.contains("Examples:\n  ringfarm "), "{out}");
    }
}

#[test]
fn the_example_file_of_the_repository_is_the_default_file() {
    let example = include_str!("../../../deploy/ringfarm.example.toml");
    let (_, default, _) = outcome(&ringfarm(&["config", "default"]));
    assert_eq!(example, default, "ringfarm config default > deploy/ringfarm.example.toml");
}

/// The unit's command line is one that the binary takes: with a wrong file it gets as far as saying so.
#[test]
fn the_systemd_unit_starts_the_node_with_options_that_it_has() {
    let unit = include_str!("../../../deploy/systemd/ringfarm.service");
    let start =
        unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/ringfarm "));
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("ringfarm.toml"), "[node]\nname = 3\n")
        .expect("it can be written");
    let command = start.expect("the unit starts the node").replace("%d", name(dir.path()));
    let (code, _, err) = outcome(&ringfarm(&command.split(' ').collect::<Vec<_>>()));
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("ringfarm.toml:2:8: node.name: expected a string"), "{err}");
    assert!(unit.contains(&format!("\nRestartPreventExitStatus={code}\n")), "{unit}");
}

/// What a node has to be told to become a member, and what is said when that cannot be.
#[test]
fn cluster_makes_keys_once_shows_them_and_makes_tokens() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let state = dir.path().join("keys");
    let cluster = |args: &[&str]| {
        outcome(&ringfarm(&[&["cluster"][..], args, &["--state", name(&state)]].concat()))
    };
    let (code, _, err) = cluster(&["show"]);
    assert_eq!(code, 1);
    assert!(err.contains("holds no member's keys: `ringfarm cluster init` makes"), "{err}");
    let (code, out, err) = cluster(&["init", "--name", "fe-1"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("its member fe-1\n") && out.contains("[cluster]\nstate = "), "{out}");
    let (code, _, err) = cluster(&["init", "--name", "fe-2"]);
    assert_eq!(code, 1);
    assert!(err.contains("this node is a member of a cluster already"), "{err}");
    let (code, out, _) = cluster(&["show", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (code, &shown["member"], &shown["lets_members_in"]),
        (0, &"fe-1".into(), &true.into())
    );
    // Ten years, of which a moment has passed.
    let days = shown["certificate_left_days"].as_u64();
    assert!(matches!(days, Some(3_649 | 3_650)), "{out}");
    let (code, out, _) = cluster(&["show"]);
    assert!(code == 0 && out.contains(" days), the authority until 20"), "{out}");
    let before = std::fs::read(state.join("member.pem")).expect("a certificate");
    let (code, out, err) = cluster(&["renew"]);
    assert!(code == 0 && out.contains("start the node anew to use it"), "{out}{err}");
    assert_ne!(std::fs::read(state.join("member.pem")).expect("a certificate"), before);
    std::fs::rename(state.join("ca.key"), dir.path().join("ca.key")).expect("it is moved");
    let (code, _, err) = cluster(&["renew"]);
    assert!(code == 1 && err.contains("ringfarm cluster token --replace NAME"), "{err}");
    std::fs::rename(dir.path().join("ca.key"), state.join("ca.key")).expect("it is moved");
    let (code, token, _) = cluster(&["token", "--address", "127.0.0.1:1", "--valid", "10m"]);
    assert!(code == 0 && token.starts_with("rf1-") && token.lines().count() == 1, "{token}");
    assert_eq!(cluster(&["token", "--address", "127.0.0.1:1", "--valid", "8d"]).0, 2);
}

#[test]
fn cluster_join_says_what_is_wrong_with_a_token_or_with_whom_it_names() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let made = ringfarm(&["cluster", "init", "--state", name(&first), "--name", "n1"]);
    assert!(made.status.success(), "{made:?}");
    let token = ["cluster", "token", "--state", name(&first), "--address", "127.0.0.1:1"];
    let (_, token, _) = outcome(&ringfarm(&token));
    let token = token.trim();
    let join = |token: &str| {
        let args = ["cluster", "join", token, "--state", name(&second), "--name", "n2"];
        let (code, _, err) = outcome(&ringfarm(&args));
        (code, err)
    };
    let (code, err) = join(&token[..token.len() - 2]);
    assert!(code == 2 && err.contains("the token is damaged: copy the whole of it"), "{err}");
    let (code, err) = join("hello");
    assert!(code == 2 && err.contains("this is not a token"), "{err}");
    // Nobody listens there.
    let (code, err) = join(token);
    assert_eq!(code, 1);
    assert!(
        err.contains("the member at 127.0.0.1:1 does not let this node in: cannot connect"),
        "{err}"
    );
    assert!(!second.exists(), "nothing is left behind");
}

/// An operator at the wrong host, or before the node runs, is told so; and every command about the cluster
/// shows how it is used.
#[test]
fn commands_about_the_cluster_say_where_they_looked_and_how_they_are_used() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let socket = dir.path().join("none.sock");
    for command in [
        "members",
        "drain",
        "settings get",
        "settings log",
        "settings set member.farm relay --member n1",
        "settings unset member.farm --member n1",
        "cluster remove n1",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        let (code, out, err) =
            outcome(&ringfarm(&[&words[..], &["--json", "--socket", name(&socket)]].concat()));
        assert_eq!((code, out.as_str()), (1, ""), "{command}: {err}");
        assert!(err.contains("none.sock") && err.contains("is it running"), "{command}: {err}");
    }
    for command in ["members", "drain", "settings", "cluster"] {
        let (code, out, _) = outcome(&ringfarm(&[command, "--help"]));
        assert!(code == 0 && out.contains("Examples:\n  ringfarm"), "{command}: {out}");
    }
    let (code, out, _) = outcome(&ringfarm(&["settings", "keys", "--json"]));
    let keys: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert!(code == 0 && keys.as_array().is_some_and(|keys| keys.len() == 10), "{out}");
}

/// Where a member's keys are is written as a node started from any folder finds it.
#[test]
fn cluster_init_says_the_whole_path_of_the_keys() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut init = std::process::Command::new(env!("CARGO_BIN_EXE_ringfarm"));
    init.args(["cluster", "init", "--name", "n1", "--state", "keys"]).current_dir(dir.path());
    let out = init.output().expect("it runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let whole = format!("state = \"{}\"", dir.path().join("keys").display());
    assert!(text.contains(&whole), "{text}");
}

/// The pages of docs/deploy: each `ringfarm lb render` that they show prints something for the site that they describe.
#[test]
fn the_deployment_pages_show_commands_that_work() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/deploy");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a page");
    let page = read("single-ip-nat.md");
    let block = page.split("`site.toml`:\n").nth(1).expect("the site is described");
    let lines = block.lines().skip_while(|line| line.is_empty());
    let mut site: String =
        lines.take_while(|line| !line.is_empty()).map(|line| line.to_owned() + "\n").collect();
    for number in 1..=3 {
        let lan = format!("lan = [\"10.0.0.{number}\"]\n");
        assert!(site.contains(&lan), "{site}");
        site = site.replace(&lan, &format!("{lan}wan = [\"203.0.113.1{number}\"]\n"));
    }
    let dir = tempfile::tempdir().expect("a scratch folder");
    std::fs::write(dir.path().join("site.toml"), site).expect("the site");
    let mut shown = 0;
    for name in ["single-ip-nat.md", "multi-ip.md", "multi-ip-nat.md", "dsr.md"] {
        for line in read(name).lines() {
            let Some(words) = line.trim().strip_prefix("ringfarm lb render ") else { continue };
            let words = words.split(['#', '|', '>']).next().unwrap_or_default();
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringfarm"))
                .args(["lb", "render"])
                .args(words.split_whitespace())
                .current_dir(dir.path())
                .output()
                .expect("it starts");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{name}: {line}: {said}");
            shown += 1;
        }
    }
    assert!(shown >= 8, "{shown}");
}
