//! What the kernel's own settings mean for the media ports: said once, at start.

use std::fs;
use std::ops::RangeInclusive;

use control_core::settings::PortRange;

/// Media ports that may share a place in the kernel's table of UDP sockets before it is called too
/// small. Measured: a packet of 16,000 streams costs 1.45 times one of 100 streams with 16,384
/// places, and 1.17 times with 65,536.
const PORTS_PER_BUCKET_MAX: usize = 2;

/// The largest table that the kernel makes (`UDP_HTABLE_SIZE_MAX`).
const BUCKETS_MAX: usize = 65_536;

/// Settings of the kernel, as far as they can be read; what cannot is not warned about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// Ports given to sockets that name none (`net.ipv4.ip_local_port_range`).
    local_ports: Option<RangeInclusive<u16>>,
    /// Those of them that are given to nobody (`net.ipv4.ip_local_reserved_ports`), as written.
    reserved: String,
    /// Places in the table of UDP sockets (`net.ipv4.udp_hash_entries`, since Linux 6.2).
    udp_buckets: Option<usize>,
}

impl Kernel {
    /// Reads the settings of this process's network namespace.
    pub(crate) fn read() -> Kernel {
        let key = |name| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok();
        Kernel::from_texts(
            key("ip_local_port_range").as_deref(),
            key("ip_local_reserved_ports").as_deref(),
            key("udp_hash_entries").as_deref(),
        )
    }

    fn from_texts(local: Option<&str>, reserved: Option<&str>, buckets: Option<&str>) -> Kernel {
        let ends = local.and_then(|text| {
            let mut words = text.split_whitespace().map(str::parse);
            Some(words.next()?.ok()?..=words.next()?.ok()?)
        });
        // Negative: the table is shared with the first network namespace.
        let buckets = buckets.and_then(|text| text.trim().parse::<i64>().ok());
        Kernel {
            local_ports: ends,
            reserved: reserved.unwrap_or_default().trim().to_owned(),
            udp_buckets: buckets.and_then(|count| usize::try_from(count.unsigned_abs()).ok()),
        }
    }

    /// What an operator should change for these media ports: one line each.
    pub(crate) fn advice(&self, ports: PortRange) -> Vec<String> {
        self.keep_ports_apart(ports).into_iter().chain(self.enlarge_table(ports)).collect()
    }

    fn keep_ports_apart(&self, ports: PortRange) -> Option<String> {
        let local = self.local_ports.as_ref()?;
        let (first, last) = (ports.first().max(*local.start()), ports.last().min(*local.end()));
        let reserved = reserved(&self.reserved);
        if (first..=last).all(|port| reserved.iter().any(|range| range.contains(&port))) {
            return None;
        }
        let list = if self.reserved.is_empty() {
            ports.to_string()
        } else {
            format!("{},{ports}", self.reserved)
        };
        Some(format!(
            "media.ports {ports} meets net.ipv4.ip_local_port_range {}-{}: the kernel may give media \
             ports to other programs; sysctl -w net.ipv4.ip_local_reserved_ports={list}",
            local.start(),
            local.end(),
        ))
    }

    fn enlarge_table(&self, ports: PortRange) -> Option<String> {
        let buckets = self.udp_buckets.filter(|buckets| *buckets < BUCKETS_MAX)?;
        if ports.count() <= buckets.saturating_mul(PORTS_PER_BUCKET_MAX) {
            return None;
        }
        let wanted = ports.count().next_power_of_two().min(BUCKETS_MAX);
        Some(format!(
            "the kernel's table of UDP sockets has {buckets} places for the {} ports of media.ports \
             {ports}, which makes each packet dearer once they are in use; boot with \
             uhash_entries={wanted}, or for a network namespace of its own set \
             net.ipv4.udp_child_hash_entries={wanted} before it is made",
            ports.count(),
        ))
    }
}

/// The ranges of a list such as `8080,9000-9010`.
fn reserved(list: &str) -> Vec<RangeInclusive<u16>> {
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    list.split(',').filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(local: &str, reserved: &str, buckets: &str) -> Kernel {
        Kernel::from_texts(Some(local), Some(reserved), Some(buckets))
    }

    fn ports(first: u16, last: u16) -> PortRange {
        PortRange::new(first, last).expect("a range")
    }

    #[test]
    fn media_ports_that_the_kernel_gives_to_others_are_named_with_the_line_that_mends_it() {
        let told = |first, last, reserved| {
            kernel("32768\t60999\n", reserved, "65536").advice(ports(first, last))
        };
        assert_eq!(
            told(30_000, 39_999, "\n"),
            ["media.ports 30000-39999 meets net.ipv4.ip_local_port_range 32768-60999: the kernel \
              may give media ports to other programs; \
              sysctl -w net.ipv4.ip_local_reserved_ports=30000-39999"]
        );
        // What is reserved for others stays so.
        assert!(
            told(30_000, 39_999, "8080,9000-9010\n")[0].ends_with("=8080,9000-9010,30000-39999")
        );
        assert_eq!(told(30_000, 39_999, "32768-39998\n").len(), 1, "one port is missing");
        for reserved in ["30000-39999", "8080,32768-35000,35001-40000", "1-65535"] {
            assert_eq!(told(30_000, 39_999, reserved), [""; 0], "{reserved}");
        }
        assert_eq!(told(20_000, 32_767, ""), [""; 0]);
        assert_eq!(told(61_000, 65_535, ""), [""; 0]);
    }

    #[test]
    fn a_table_of_udp_sockets_that_is_small_for_the_range_is_named_with_the_size_to_boot_with() {
        let told = |first, last, buckets| kernel("1 2", "", buckets).advice(ports(first, last));
        let [line] = &told(1024, 65_535, "16384\n")[..] else { panic!("one line is due") };
        assert!(line.contains("has 16384 places for the 64512 ports"), "{line}");
        assert!(line.contains("uhash_entries=65536"), "{line}");
        // A namespace that shares the first one's table.
        assert_eq!(told(1024, 65_535, "-16384\n").len(), 1);
        assert!(told(20_000, 29_999, "2048")[0].contains("uhash_entries=16384"));
        assert_eq!(told(20_000, 29_999, "8192"), [""; 0]);
        assert_eq!(told(1024, 65_535, "65536"), [""; 0]);
    }

    #[test]
    fn what_cannot_be_read_is_not_warned_about() {
        assert_eq!(Kernel::from_texts(None, None, None).advice(ports(1024, 65_535)), [""; 0]);
        assert_eq!(kernel("many", "some", "few").advice(ports(1024, 65_535)), [""; 0]);
    }
}
