//! The key of the farm's tokens is changed while calls go on (B1).

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::member::{Cluster, Member, logs, of, outcome};
use crate::sip;
use crate::standing::Standing;

/// Far longer than a change takes of members that are all there.
const NOT_YET: Duration = Duration::from_millis(800);

fn rotate(member: &Member) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfarm"));
    command.args(["cluster", "rotate-key", "--force", "--socket"]).arg(member.socket());
    command.stdout(Stdio::null()).spawn().expect("the binary runs")
}

fn writes(list: &Value) -> Option<u64> {
    list["token_key"]["writes"].as_u64()
}

/// B1: calls of the key before go on, one of a key that was retired since is nobody's; each change is written down,
/// and one that comes too soon is refused.
#[test]
fn calls_go_on_while_the_key_of_their_tokens_is_changed() {
    let cluster = Cluster::start(2);
    let members = sip(&cluster);
    let [first, second] = &cluster.members[..] else { panic!("two members") };
    let mut oldest: Vec<Standing> =
        (0..4).map(|number| Standing::begin(&cluster, &members, number)).collect();
    let done = first.ask(&["cluster", "rotate-key"]);
    assert_eq!((&done["key"], &done["done"]), (&1.into(), &true.into()), "{done}");
    for member in &cluster.members {
        let list = member.until("the key is changed", |list| writes(list) == Some(1));
        assert_eq!(list["token_key"]["reads"], 0, "{list:#}");
        assert_eq!(of(&list, "n2")["token_key"], 1, "each says what it reads: {list:#}");
    }
    let mut older: Vec<Standing> =
        (4..8).map(|number| Standing::begin(&cluster, &members, number)).collect();
    for call in oldest.iter_mut().chain(&mut older) {
        assert_eq!(call.ask(&members), [200; 2], "{}", logs(&cluster));
    }
    let (code, error) = outcome(&["cluster", "rotate-key", "--socket"], &second.socket());
    assert!(code == Some(1) && error.contains("--force"), "{error}");

    // Nobody makes tokens with what a member that is there does not read.
    second.signal(Signal::SIGSTOP);
    let mut rotation = rotate(first);
    first.until("it is announced", |list| list["token_key"]["reads"] == 2);
    std::thread::sleep(NOT_YET);
    assert_eq!(rotation.try_wait().expect("a child"), None);
    assert_eq!(writes(&first.list()), Some(1));
    second.signal(Signal::SIGCONT);
    second.until("the key is changed", |list| writes(list) == Some(2));
    assert!(rotation.wait().expect("it ends").success());
    cluster.await_all_up();

    let mut newest = Standing::begin(&cluster, &members, 8);
    for call in older.iter_mut().chain([&mut newest]) {
        assert_eq!(call.ask(&members), [200; 2], "{}", logs(&cluster));
    }
    for call in &mut oldest {
        let answers = call.ask(&members);
        assert!(!answers.contains(&200), "a token of a retired key leads somewhere: {answers:?}");
    }
    let log = first.ask(&["settings", "log"]);
    let changes = log["changes"].as_array().expect("a list");
    let new: Vec<_> = changes.iter().filter_map(|one| one["new"].as_str()).collect();
    assert_eq!(
        new,
        ["0, 1 announced", "1, 0 read still", "1, 2 announced", "2, 1 read still"],
        "{log:#}"
    );
    let shown = first.ask(&["settings", "get", "cluster.token_keys"]);
    assert_eq!(shown["values"]["cluster.token_keys"], "2, 1 read still", "no salt");
    let args = ["settings", "set", "cluster.token_keys", "0 0:00", "--socket"];
    let (code, error) = outcome(&args, &first.socket());
    assert!(code == Some(1) && error.contains("rotate-key"), "{error}");
}
