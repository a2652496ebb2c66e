//! What was measured on, and how, in words.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::os;
use crate::paired::report::{Machine, Method};
use crate::relaybench::cpu::{self, Precision};
use crate::relaybench::lab::{CorePlan, Lab, Topology};

pub(crate) fn machine(cores: &CorePlan) -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let name =
        processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    Machine {
        processor: name.map_or_else(String::new, |(_, name)| name.trim().to_owned()),
        cores: cores.available,
        relay_core: cores.relay,
        generator_cores: cores.generator.clone(),
        memory_bytes: cpu::memory_bytes().unwrap_or(0),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        descriptors_max: os::raise_descriptor_limit().unwrap_or(0),
    }
}

pub(crate) fn method(lab: &Lab, system_hash: Option<&Lab>, precision: Precision) -> Method {
    let CorePlan { relay, generator, .. } = &lab.cores;
    let mut notes = Vec::new();
    let mut note = |text: &str| notes.push(text.to_owned());
    match lab.topology() {
        Topology::Namespaces => note(
            "Namespaces client-a, relay and client-b joined by veth. Receive packet steering (rps_cpus) puts the receive processing of the relay's devices on the relay's core and that of the clients' devices on the generator's cores.",
        ),
        Topology::Loopback | Topology::Auto => note(
            "Plain loopback: the receive processing of what the generator sends runs on the generator's core, and that of what the relay sends on the relay's core. Quotients compare; absolute costs are not those of a host with network cards.",
        ),
    }
    if let Some(why) = &lab.fallback {
        notes.push(format!("Namespaces could not be made, so loopback was taken: {why}"));
    }
    notes.extend(table_of(lab).map(|table| {
        format!("The kernel's table of UDP sockets where the systems run has {table}.")
    }));
    notes.extend(
        system_hash.and_then(table_of).map(|table| {
            format!("In rows named system-hash it is the system's own, with {table}.")
        }),
    );
    if generator.contains(relay) {
        notes.push("Generator and relay SHARE a core: the figures mean nothing.".into());
    }
    notes.push(format!(
        "us_per_packet is the busy time of core {relay} (wall-clock time less the kernel's idle time, which leaves out interrupts and softirqs), over the packets that arrived at the sink. It holds everything that the system causes on its core: its threads, system calls, softirqs and ksoftirqd, and also whatever else ran there: foreign_share is the part that is known to be of others."
    ));
    notes.push(
        match precision {
            Precision::Nanoseconds => "The idle time is that of /proc/timer_list, in nanoseconds.",
            Precision::Ticks => {
                "The idle time is that of /proc/stat, in ticks of 10 ms (/proc/timer_list cannot be read): short runs at low rates are coarse."
            }
        }
        .into(),
    );
    notes.push("us_per_packet_process is the processor time of the system's threads alone (schedstat); without IRQ_TIME_ACCOUNTING in the kernel it includes the softirqs that interrupted them.".into());
    notes.push("Latency is from just before the generator's send call to the receive timestamp of the sink's kernel; the sink's own delay is not in it.".into());
    notes.push("Every packet is checked at the sink, byte by byte, for its stream, place and source. Loss, duplicates and changes are counted over the whole cell, warm-up included. No RTCP is sent.".into());
    notes.push("Each cell starts its system anew; set-up is offer and answer over ng, one session after the other, from the calling client's address and clock; the client runs in real time on a generator core, and its pings to the system say how much of a command is way and waking up. The epoll floor is told over a pipe, the kernel's forwarding needs no set-up.".into());
    Method { topology: lab.topology(), notes }
}

/// The table of UDP sockets where the relay is, in words.
fn table_of(lab: &Lab) -> Option<String> {
    let (buckets, shared) = lab.udp_hash?;
    let whose = if shared { "shared with the whole system" } else { "its namespace's own" };
    Some(format!("{buckets} buckets, {whose}"))
}

/// The first line that a program says of itself.
pub(crate) fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let text = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}
