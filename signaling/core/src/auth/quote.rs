//! Writing quoted strings.

/// Appends `name="content"`, escaped; characters that no header may hold are left out.
pub(super) fn push_quoted(to: &mut String, name: &str, content: &str) {
    to.push_str(name);
    to.push_str("=\"");
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if content.bytes().all(is_plain) {
        to.push_str(content);
    } else {
        push_escaped(to, content);
    }
    to.push('"');
}

fn push_escaped(to: &mut String, content: &str) {
    for c in content.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            to.push('\\');
        }
        to.push(c);
    }
}
