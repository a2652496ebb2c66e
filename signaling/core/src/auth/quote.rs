//! Writing quoted strings.

use std::fmt::Write;

/// Appends `name="content"`, escaped; characters that no header may hold are left out.
pub(super) fn push_quoted(to: &mut String, name: &str, content: &str) {
    // Writing to a String cannot fail.
    let _ = write!(to, "{name}=\"");
    for c in content.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            to.push('\\');
        }
        to.push(c);
    }
    to.push('"');
}
