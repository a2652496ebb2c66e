//! The kernel's table of UDP sockets, which a namespace may have for itself.
//!
//! A host that carries many thousand media ports is advised to have more buckets than the kernel's
//! 16,384 or fewer; in a namespace the same is had by `net.ipv4.udp_child_hash_entries` of its parent,
//! which counts when the namespace is made.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const ENTRIES: &str = "/proc/sys/net/ipv4/udp_hash_entries";
const CHILD_ENTRIES: &str = "/proc/sys/net/ipv4/udp_child_hash_entries";

/// The most that the kernel allows (UDP_HTABLE_SIZE_MAX).
pub(crate) const BUCKETS_MAX: u32 = 65_536;

/// The least (UDP_HTABLE_SIZE_MIN_PERNET).
pub(crate) const BUCKETS_MIN: u32 = 128;

/// Runs `make`, by which namespaces are made, with tables of `buckets` for them, and puts the setting
/// back as it was. A kernel that does not have the setting (before 6.1) gives none.
///
/// # Errors
/// The setting cannot be written, or `make` failed.
pub(crate) fn of_children<T>(buckets: u32, make: impl FnOnce() -> Result<T>) -> Result<T> {
    if !Path::new(CHILD_ENTRIES).exists() {
        return make();
    }
    let _back = Kept::set(Path::new(CHILD_ENTRIES), buckets)?;
    make()
}

/// A setting that goes back to what it was.
struct Kept<'a> {
    path: &'a Path,
    before: String,
}

impl Kept<'_> {
    fn set(path: &Path, value: u32) -> Result<Kept<'_>> {
        let before = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        fs::write(path, value.to_string())
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Kept { path, before })
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.path, &self.before) {
            eprintln!("{} could not be set back to {}: {error}", self.path.display(), self.before);
        }
    }
}

/// Buckets of the table that this thread's namespace uses, and whether it shares the table with
/// others (the kernel writes that as a negative number).
pub(crate) fn entries() -> Option<(u32, bool)> {
    // Below /proc/sys/net is the network of who opens the file, as far as /proc/thread-self says.
    read(&fs::read_to_string(ENTRIES).ok()?)
}

fn read(text: &str) -> Option<(u32, bool)> {
    let entries: i64 = text.trim().parse().ok()?;
    Some((u32::try_from(entries.unsigned_abs()).ok()?, entries < 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_its_own_and_a_shared_one_are_told_apart() {
        assert_eq!(read("65536\n"), Some((65_536, false)));
        assert_eq!(read("-16384\n"), Some((16_384, true)));
        assert_eq!(read("x"), None);
    }

    #[test]
    fn a_setting_goes_back_to_what_it_was_even_after_a_failure() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "0\n").unwrap();
        let failed: Result<()> = (|| {
            let _back = Kept::set(file.path(), 65_536)?;
            assert_eq!(fs::read_to_string(file.path())?, "65536");
            anyhow::bail!("no namespace")
        })();
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "0\n");
    }
}
