//! A member that stands still for longer than its lease, as a host whose virtual machine is moved or whose disk
//! hangs.

use std::net::SocketAddr;

use nix::sys::signal::Signal;

use crate::member::{Cluster, Member, logs, of};
use crate::standing::Standing;
use crate::{make_calls, sip};

/// A third of them are the member's: that all are, or all but one, does not happen.
const CALLS_MAX: u64 = 40;

/// Calls at the member that is going to pause, and at the others.
fn begin_at_both(cluster: &Cluster, lone: usize) -> (Vec<Standing>, Vec<Standing>) {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for number in 0..CALLS_MAX {
        let before = cluster.members[lone].calls();
        let call = Standing::begin(cluster, &sip(cluster), number);
        let sum = || cluster.members.iter().map(Member::calls).sum::<u64>();
        cluster.members[lone].until("the call is counted", |_| sum() == number + 1);
        if cluster.members[lone].calls() > before {
            own.push(call)
        } else {
            others.push(call)
        }
        if own.len() >= 2 && others.len() >= 2 {
            return (own, others);
        }
    }
    panic!("all calls are at one side\n{}", logs(cluster));
}

/// B3, B5: a process that stood still for longer than its lease was taken for dead. It finds that out, comes back
/// as another start of the same member, and goes on with its calls, which nobody else has touched: until then
/// they are nobody's (481). Calls of the others and new ones do not notice.
#[test]
fn a_member_that_stood_still_comes_back_as_another_start_with_its_calls() {
    let cluster = Cluster::start(3);
    let list = cluster.members[0].until("a Controller", |list| list["controller"].is_string());
    let lone = usize::from(list["controller"] == "n2") + 1;
    let name = cluster.members[lone].name.clone();
    let others: Vec<usize> = (0..3).filter(|at| *at != lone).collect();
    let all = sip(&cluster);
    let reachable: Vec<SocketAddr> = others.iter().map(|at| all[*at]).collect();
    let (mut own, mut theirs) = begin_at_both(&cluster, lone);

    cluster.members[lone].signal(Signal::SIGSTOP);
    for at in &others {
        cluster.members[*at]
            .until("it is taken for dead", |list| of(list, &name)["in_view"] == false);
    }
    for call in &mut own {
        assert_eq!(call.ask(&reachable), [481; 2], "{}", logs(&cluster));
    }
    for call in &mut theirs {
        assert_eq!(call.ask(&reachable), [200; 2], "{}", logs(&cluster));
    }
    make_calls(&cluster, &reachable, 3);

    cluster.members[lone].signal(Signal::SIGCONT);
    cluster.await_all_up();
    for member in &cluster.members {
        member.until("another start of it", |list| {
            of(list, &name)["incarnation"] == 2 && of(list, &name)["joining"] == false
        });
    }
    assert!(cluster.members[lone].log().contains("joining again"), "{}", logs(&cluster));
    for at in &others {
        let member = &cluster.members[*at];
        assert_eq!(of(&member.list(), &member.name)["incarnation"], 1, "{}", logs(&cluster));
        assert!(!member.log().contains("joining again"), "{}", member.log());
    }
    for call in own.iter_mut().chain(&mut theirs) {
        assert_eq!(call.ask(&all), [200; 2], "{}", logs(&cluster));
    }
    make_calls(&cluster, &all, 3);
    for call in own.iter_mut().chain(&mut theirs) {
        assert_eq!(call.end(&all), 200, "{}", logs(&cluster));
    }
}
