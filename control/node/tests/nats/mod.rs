//! The server of the cluster's engine, for all tests that start it.

use std::path::{Path, PathBuf};

/// Where `deploy/test --install` puts the server.
pub(crate) fn server() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let cache = cache.or_else(home).expect("HOME is set");
    let server = cache.join("ringfarm-tests/nats-server");
    assert!(server.exists(), "{} is missing: run `deploy/test --install` once", server.display());
    server
}
