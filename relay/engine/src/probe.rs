//! Whether this kernel can do what the engine needs, in words that say what is missing and which
//! kernel brings it.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use crate::config::RingSizes;
use crate::ring::{PoolSizes, Ring};

/// Why the engine cannot work on this kernel.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// io_uring is turned off.
    #[error("io_uring is disabled on this host: {hint}")]
    Disabled {
        /// What the operator can do.
        hint: &'static str,
    },
    /// The kernel is too old, or built without something.
    #[error(
        "this kernel lacks what the media engine needs: {}; use Linux 6.1 or later",
        list(missing)
    )]
    Missing {
        /// What is missing.
        missing: Vec<Missing>,
    },
    /// The probe itself failed.
    #[error("cannot probe io_uring: {operation}: {error}")]
    Os {
        /// What was tried.
        operation: &'static str,
        /// The system's words.
        error: io::Error,
    },
}

/// Something that the kernel lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name in io_uring(7).
    pub what: &'static str,
    /// The first kernel that has it.
    pub since: &'static str,
}

fn list(missing: &[Missing]) -> String {
    let each = missing.iter().map(|Missing { what, since }| format!("{what} (Linux {since})"));
    each.collect::<Vec<_>>().join(", ")
}

/// Operations by number.
const OPERATIONS: [(u8, Missing); 6] = [
    (opcode::RecvMsgMulti::CODE, Missing { what: "RECVMSG", since: "5.3" }),
    (opcode::Send::CODE, Missing { what: "SEND", since: "5.6" }),
    (opcode::Connect::CODE, Missing { what: "CONNECT", since: "5.5" }),
    (opcode::AsyncCancel2::CODE, Missing { what: "ASYNC_CANCEL", since: "5.5" }),
    (opcode::Close::CODE, Missing { what: "CLOSE", since: "5.6" }),
    (opcode::Read::CODE, Missing { what: "READ", since: "5.6" }),
];

/// Needed where a worker has more sockets than fit one table.
const SEVERAL_TABLES: (u8, Missing) = (
    opcode::FixedFdInstall::CODE,
    Missing {
        what: "FIXED_FD_INSTALL (or a higher RLIMIT_NOFILE, LimitNOFILE= of systemd: it is below \
               the sockets that a worker may have)",
        since: "6.8",
    },
);

/// A ring for trying things out.
const SMALL: RingSizes = RingSizes { submissions: 8, completions: 16, table: 1 };

/// Checks every operation, setup flag and registration that the engine uses, including those that
/// `several_tables` a worker need. Sends nothing. Call it on a thread that ends soon: when its rings
/// are closed the kernel interrupts the thread.
///
/// # Errors
/// [`ProbeError`] says what to do.
pub fn check(several_tables: bool) -> Result<(), ProbeError> {
    let plain = IoUring::new(SMALL.submissions).map_err(|error| {
        let sysctl = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        unavailable(error, sysctl.ok().as_deref())
    })?;
    let mut missing = missing_operations(&plain, several_tables)?;
    missing.extend(missing_features(&plain));
    drop(plain);
    if missing.is_empty() {
        missing.extend(missing_setup()?);
    }
    if missing.is_empty() { Ok(()) } else { Err(ProbeError::Missing { missing }) }
}

/// Why not even a plain ring can be had. `sysctl` is kernel.io_uring_disabled, if it exists.
fn unavailable(error: io::Error, sysctl: Option<&str>) -> ProbeError {
    let hint = match (error.raw_os_error(), sysctl.map(str::trim)) {
        (Some(libc::EPERM), Some("2")) => {
            "kernel.io_uring_disabled is 2; sysctl -w kernel.io_uring_disabled=0"
        }
        (Some(libc::EPERM), Some("1")) => {
            "kernel.io_uring_disabled is 1: run with CAP_SYS_ADMIN, join the group of \
             kernel.io_uring_group, or sysctl -w kernel.io_uring_disabled=0"
        }
        (Some(libc::EPERM | libc::EACCES), _) => {
            "io_uring_setup is forbidden, probably by a seccomp filter of the container: allow \
             io_uring_setup, io_uring_enter and io_uring_register"
        }
        (Some(libc::ENOSYS), _) => {
            "the kernel is built without io_uring (CONFIG_IO_URING) or older than 5.1"
        }
        _ => return ProbeError::Os { operation: "io_uring_setup", error },
    };
    ProbeError::Disabled { hint }
}

fn missing_operations(plain: &IoUring, several_tables: bool) -> Result<Vec<Missing>, ProbeError> {
    let mut probe = Probe::new();
    match plain.submitter().register_probe(&mut probe) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            return Ok(vec![Missing { what: "IORING_REGISTER_PROBE", since: "5.6" }]);
        }
        Err(error) => return Err(ProbeError::Os { operation: "IORING_REGISTER_PROBE", error }),
    }
    let operations = OPERATIONS.iter().chain(several_tables.then_some(&SEVERAL_TABLES));
    let lacking = operations.filter(|(code, _)| !probe.is_supported(*code));
    Ok(lacking.map(|(_, missing)| *missing).collect())
}

fn missing_features(plain: &IoUring) -> impl Iterator<Item = Missing> {
    let features = plain.params();
    let needed = [
        (features.is_feature_nodrop(), Missing { what: "FEAT_NODROP", since: "5.5" }),
        (features.is_feature_submit_stable(), Missing { what: "FEAT_SUBMIT_STABLE", since: "5.5" }),
        (features.is_feature_fast_poll(), Missing { what: "FEAT_FAST_POLL", since: "5.7" }),
        (features.is_feature_ext_arg(), Missing { what: "FEAT_EXT_ARG", since: "5.11" }),
        (
            features.is_feature_skip_cqe_on_success(),
            Missing { what: "FEAT_CQE_SKIP", since: "5.17" },
        ),
    ];
    needed.into_iter().filter(|(has, _)| !has).map(|(_, missing)| missing)
}

/// Tries what has no flag of its own: the setup flags, the table of sockets, the buffer ring and
/// a multishot receive.
fn missing_setup() -> Result<Option<Missing>, ProbeError> {
    match Ring::new(SMALL, 1, PoolSizes { single: 1, single_bytes: 256, merged: 1 }) {
        Ok(mut ring) => missing_multishot(&mut ring),
        Err((operation, error)) => match (operation, error.raw_os_error()) {
            ("io_uring_setup", Some(libc::EINVAL)) => {
                let what = "SETUP_SINGLE_ISSUER with SETUP_DEFER_TASKRUN and SETUP_SUBMIT_ALL";
                Ok(Some(Missing { what, since: "6.1" }))
            }
            (_, Some(libc::EINVAL)) => {
                Ok(Some(Missing { what: "sparse file tables and buffer rings", since: "5.19" }))
            }
            _ => Err(ProbeError::Os { operation, error }),
        },
    }
}

fn missing_multishot(ring: &mut Ring) -> Result<Option<Missing>, ProbeError> {
    let what = "multishot RECVMSG on direct descriptors";
    let result =
        ring.try_receive().map_err(|error| ProbeError::Os { operation: "RECVMSG", error })?;
    match result {
        None | Some(Ok(_) | Err(libc::ECANCELED)) => Ok(None),
        Some(Err(libc::EINVAL)) => Ok(Some(Missing { what, since: "6.0" })),
        Some(Err(errno)) => {
            let error = io::Error::from_raw_os_error(errno);
            Err(ProbeError::Os { operation: "multishot RECVMSG", error })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(errno: i32, sysctl: Option<&str>) -> String {
        unavailable(io::Error::from_raw_os_error(errno), sysctl).to_string()
    }

    #[test]
    fn the_probe_passes_where_the_tests_run() {
        check(true).unwrap();
    }

    #[test]
    fn a_disabled_io_uring_is_explained() {
        assert!(hint(libc::EPERM, Some("2\n")).contains("sysctl -w kernel.io_uring_disabled=0"));
        assert!(hint(libc::EPERM, Some("1\n")).contains("kernel.io_uring_group"));
        assert!(hint(libc::EPERM, Some("0\n")).contains("seccomp"));
        assert!(hint(libc::EPERM, None).contains("seccomp"));
        assert!(hint(libc::ENOSYS, None).contains("CONFIG_IO_URING"));
        assert!(hint(libc::ENOMEM, None).contains("cannot probe"));
    }

    #[test]
    fn what_is_missing_is_named_with_the_kernel_that_brings_it() {
        let missing = vec![OPERATIONS[0].1, Missing { what: "FEAT_CQE_SKIP", since: "5.17" }];
        assert_eq!(
            ProbeError::Missing { missing }.to_string(),
            "this kernel lacks what the media engine needs: RECVMSG (Linux 5.3), \
             FEAT_CQE_SKIP (Linux 5.17); use Linux 6.1 or later"
        );
    }
}
