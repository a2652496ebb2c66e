//! The workspace as cargo sees it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use cargo_metadata::{Metadata, MetadataCommand, Package};

/// Asked once: cargo takes a moment.
static WORKSPACE: LazyLock<Workspace> = LazyLock::new(Workspace::ask);

pub(crate) struct Workspace {
    metadata: Metadata,
}

impl Workspace {
    pub(crate) fn get() -> &'static Workspace {
        &WORKSPACE
    }

    fn ask() -> Workspace {
        // The platform that the node runs on; what others would need is not even downloaded.
        let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let metadata = MetadataCommand::new()
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .other_options(["--filter-platform".to_owned(), platform])
            .exec()
            .expect("cargo describes the workspace that it has just built");
        Workspace { metadata }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.metadata.workspace_root.clone().into()
    }

    /// Our own packages.
    pub(crate) fn ours(&self) -> Vec<&Package> {
        self.metadata.workspace_packages()
    }

    pub(crate) fn package(&self, name: &str) -> &Package {
        let found = self.ours().into_iter().find(|package| package.name.as_str() == name);
        found.unwrap_or_else(|| panic!("{name} is not a package of this workspace"))
    }

    /// Our packages that `name` names in its manifest, for tests and build scripts, too.
    pub(crate) fn direct(&self, name: &str) -> BTreeSet<&str> {
        let ours: BTreeSet<&str> =
            self.ours().iter().map(|package| package.name.as_str()).collect();
        let named =
            self.package(name).dependencies.iter().map(|dependency| dependency.name.as_str());
        named.filter(|dependency| ours.contains(dependency)).collect()
    }

    /// Every package that is linked with `name` when it is built alone: normal dependencies, all the
    /// way down, without procedural macros. Asked of `cargo tree`, because `cargo metadata` shows each
    /// package with the features that all of the workspace together asks for.
    pub(crate) fn linked(&self, name: &str) -> BTreeSet<String> {
        let output = Command::new(env!("CARGO"))
            .current_dir(self.root())
            .args(["tree", "--quiet", "--edges", "normal,no-proc-macro", "--prefix", "none"])
            .args(["--format", "{p}", "--package", name])
            .output()
            .expect("cargo is there: it has just built this");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo tree -p {name}: {errors}");
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }
}
