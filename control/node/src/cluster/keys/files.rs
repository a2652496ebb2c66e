//! Files that hold secrets: for their owner alone, written once and whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// Longest file of ours, in bytes: a key or a certificate in PEM.
const FILE_BYTES_MAX: usize = 16 << 10;

/// Random bytes of the system's.
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the system has no random numbers")?;
    Ok(bytes)
}

/// Makes a folder for its owner alone, and those above it.
pub(super) fn make_dir(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    let about = made.and_then(|()| fs::metadata(path));
    let about = about.with_context(|| format!("cannot make the folder {}", path.display()))?;
    if about.mode() & 0o022 != 0 {
        bail!("{}: others may put their files into this folder: chmod 700", path.display());
    }
    Ok(())
}

/// Writes a file that was not there.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if !try_write_new(path, bytes)? {
        bail!("cannot write {}: it is there already", path.display());
    }
    Ok(())
}

/// Writes a file, unless it is there already; whether it did.
pub(super) fn try_write_new(path: &Path, bytes: &[u8]) -> anyhow::Result<bool> {
    let context = || format!("cannot write {}", path.display());
    let mut options = OpenOptions::new();
    let mut file = match options.write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error).with_context(context),
    };
    file.write_all(bytes).and_then(|()| file.sync_all()).with_context(context)?;
    Ok(true)
}

/// Puts a file in the place of another, whole or not at all.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    // What an attempt that was cut short has left.
    if new.exists() {
        fs::remove_file(&new).with_context(|| format!("cannot remove {}", new.display()))?;
    }
    write_new(&new, bytes)?;
    fs::rename(&new, path).with_context(|| format!("cannot replace {}", path.display()))
}

/// Reads a file that others may not read.
pub(super) fn read_private(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    let file = open(path)?;
    let about = file.metadata().with_context(|| format!("cannot read {}", path.display()))?;
    if about.mode() & 0o077 != 0 {
        bail!("{}: others may read or change this secret: chmod 600", path.display());
    }
    read(path, &file)
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads it where it was looked at: what its name stands for meanwhile does not matter.
fn read(path: &Path, file: &File) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX));
    let read = file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if text.len() > FILE_BYTES_MAX {
        bail!("{} is longer than {FILE_BYTES_MAX} bytes", path.display());
    }
    Ok(text)
}

pub(super) fn certificate(path: &Path) -> anyhow::Result<CertificateDer<'static>> {
    let text = read(path, &open(path)?)?;
    CertificateDer::from_pem_slice(text.as_bytes())
        .with_context(|| format!("{} holds no certificate (PEM)", path.display()))
}

pub(super) fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let text = read_private(path)?;
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .with_context(|| format!("{} holds no private key (PEM)", path.display()))
}

/// A line of 64 hexadecimal digits.
pub(super) fn secret(path: &Path) -> anyhow::Result<[u8; 32]> {
    let text = read_private(path)?;
    unhex(text.trim())
        .with_context(|| format!("{} holds no secret: 64 hexadecimal digits", path.display()))
}

pub(super) fn hex_line(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits + "\n"
}

pub(super) fn unhex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    if digits.len() != 2 * N || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// RFC 7468.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = format!("-----BEGIN {label}-----\n");
    // 48 bytes are a line of 64 characters.
    for line in der.chunks(48) {
        for three in line.chunks(3) {
            let number = three.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
            let number = number << (8 * (3 - three.len()));
            for place in 0..4 {
                let index = (number >> (18 - 6 * place)) & 63;
                let is_padding = place > three.len();
                text.push(if is_padding { '=' } else { char::from(ALPHABET[index as usize]) });
            }
        }
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}
