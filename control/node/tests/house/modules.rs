//! Which source files belong to a crate: those that `mod` declarations lead to from its roots.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every .rs file under `dir`, but for build output and hidden folders.
pub(crate) fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).expect("a folder of the workspace can be read") {
            let path = entry.expect("its entries can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The files that `root` (a crate's root file) leads to, itself among them.
pub(crate) fn reachable(root: &Path) -> BTreeSet<PathBuf> {
    let mut seen = BTreeSet::new();
    let mut open = vec![(root.to_owned(), true)];
    while let Some((file, is_root)) = open.pop() {
        if !seen.insert(file.clone()) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let dir = submodules_of(&file, is_root);
        for module in declared(&text) {
            let candidates = [dir.join(format!("{module}.rs")), dir.join(module).join("mod.rs")];
            open.extend(
                candidates.into_iter().find(|path| path.exists()).map(|path| (path, false)),
            );
        }
    }
    seen
}

/// Where the modules that `file` declares are looked for.
fn submodules_of(file: &Path, is_root: bool) -> PathBuf {
    let dir = file.parent().unwrap_or(Path::new(""));
    match file.file_stem() {
        Some(stem) if !is_root && stem != "mod" => dir.join(stem),
        Some(_) | None => dir.to_owned(),
    }
}

/// The modules that a file declares to be files of their own: `mod name;`.
fn declared(text: &str) -> Vec<&str> {
    let name = |line: &'_ str| -> Option<(usize, usize)> {
        let end = line.find(';')?;
        let start = line.find("mod ")? + "mod ".len();
        let before = line[..start - "mod ".len()].trim();
        let is_visibility = before.is_empty() || before.starts_with("pub") || before.ends_with(']');
        (is_visibility && start < end).then_some((start, end))
    };
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.filter_map(|line| name(line).map(|(start, end)| line[start..end].trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_of_every_visibility_are_found() {
        let text = "mod a;\npub mod b;\npub(crate) mod c;\n    mod d;\n#[cfg(test)] mod e;\n";
        assert_eq!(declared(text), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn comments_and_modules_in_place_declare_no_file() {
        assert!(declared("// mod a;\nmod tests {\n    use super::x;\n}\n").is_empty());
    }
}
