//! The secret that nonces and tokens of this node are proved by, so that other members, and this node
//! after a restart, know them for their own.
//!
//! A file of lines of 64 hexadecimal digits. The first is used; what was made under any of the others is
//! taken, too. To exchange a secret without refusing anybody: put the new one below the old one on each
//! member, then above it, and take the old one out once `sip.nonce_life_s` has passed.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Most secrets of a file: the one in use, the last and the next, and one to spare.
const SECRETS_MAX: usize = 4;
/// Longest file: that many lines, with a comment each.
const FILE_BYTES_MAX: u64 = 4_096;
/// The file that is made in the state directory (`STATE_DIRECTORY`, which systemd gives).
const FILE: &str = "node.secret";

/// The secrets of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Secrets {
    pub(super) first: [u8; 32],
    pub(super) others: Vec<[u8; 32]>,
}

/// From the file that the settings name, else from the one in the state directory (made there if there
/// is none), else `random`, which is gone with the process.
///
/// # Errors
/// If the file is there and cannot be used, or cannot be made.
pub(super) fn load(named: Option<&Path>, random: [u8; 32]) -> anyhow::Result<Secrets> {
    if let Some(path) = named {
        let context = || format!("{} (sip.secret_file)", path.display());
        return read(path).with_context(context);
    }
    let Some(path) = state_file() else {
        tracing::info!(
            "the secret of nonces and tokens is gone with this process, and other members do not know \
             it (sip.secret_file keeps one)"
        );
        return Ok(Secrets { first: random, others: Vec::new() });
    };
    let made = read_or_make(&path, random);
    made.with_context(|| format!("{} (in the state directory)", path.display()))
}

fn state_file() -> Option<PathBuf> {
    // systemd gives several folders with colons between them.
    let folders = std::env::var("STATE_DIRECTORY").unwrap_or_default();
    let folder = folders.split(':').next().filter(|folder| !folder.is_empty())?;
    Path::new(folder).is_dir().then(|| Path::new(folder).join(FILE))
}

fn read_or_make(path: &Path, random: [u8; 32]) -> anyhow::Result<Secrets> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(mut file) => {
            let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
            file.write_all(format!("{digits}\n").as_bytes())?;
            file.sync_all()?;
            tracing::info!(file = %path.display(), "made a secret for nonces and tokens");
            Ok(Secrets { first: random, others: Vec::new() })
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(path),
        Err(error) => Err(error.into()),
    }
}

fn read(path: &Path) -> anyhow::Result<Secrets> {
    let about = fs::metadata(path)?;
    if about.mode() & 0o077 != 0 {
        tracing::warn!(file = %path.display(), "others may read the secret of this node: chmod 600");
    }
    if about.len() > FILE_BYTES_MAX {
        bail!("longer than {FILE_BYTES_MAX} bytes: is this a file of secrets?");
    }
    parse(&fs::read_to_string(path)?)
}

fn parse(text: &str) -> anyhow::Result<Secrets> {
    let mut secrets = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let digits = line.split('#').next().unwrap_or_default().trim();
        if digits.is_empty() {
            continue;
        }
        let Some(secret) = unhex(digits) else {
            bail!("line {}: write 64 hexadecimal digits (openssl rand -hex 32)", index + 1);
        };
        secrets.push(secret);
    }
    if secrets.len() > SECRETS_MAX {
        bail!("{} secrets: keep at most {SECRETS_MAX}, the one to use first", secrets.len());
    }
    let mut secrets = secrets.into_iter();
    let Some(first) = secrets.next() else {
        bail!("no secret: write a line of 64 hexadecimal digits (openssl rand -hex 32)");
    };
    Ok(Secrets { first, others: secrets.collect() })
}

fn unhex(digits: &str) -> Option<[u8; 32]> {
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    let mut secret = [0; 32];
    for (at, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_for_its_owner_alone_and_read_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        let made = read_or_make(&path, [7; 32]).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read_or_make(&path, [8; 32]).unwrap(), made);
        assert_eq!(made.first, [7; 32]);
    }

    /// Rotation: the first line is used, the others are believed.
    #[test]
    fn a_file_holds_the_secret_in_use_and_others_that_are_believed() {
        let [new, old] = ["ab".repeat(32), "01".repeat(32)];
        let secrets = parse(&format!("# exchanged in May\n{new}\n\n{old} # until June\n")).unwrap();
        assert_eq!(secrets, Secrets { first: [0xab; 32], others: vec![[1; 32]] });
    }

    #[test]
    fn a_file_that_is_none_is_refused_with_its_line() {
        for (text, wanted) in [
            ("", "no secret"),
            ("hello\n", "line 1: write 64"),
            (&"0".repeat(63), "line 1"),
            (&"+".repeat(64), "line 1"),
            (&format!("{}\n", "0".repeat(64)).repeat(5), "5 secrets"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        let error = load(Some(&dir.path().join("none")), [0; 32]).unwrap_err();
        assert!(format!("{error:#}").contains("(sip.secret_file)"), "{error:#}");
    }
}
