//! "Did you mean": the known key nearest to an unknown one.

/// The nearest of `known` to `word`, if it is near enough to be a slip: one edit for each three
/// letters, at least one. Adjacent letters that changed places count as one edit.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|key| (distance(word, key), key))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, key)| key)
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_key() {
        let keys = ["ports", "wan_ip", "rest_s", "idle_timeout_s"];
        assert_eq!(nearest("port", keys), Some("ports"));
        assert_eq!(nearest("prots", keys), Some("ports"));
        assert_eq!(nearest("wanip", keys), Some("wan_ip"));
        assert_eq!(nearest("idle_timeout", keys), Some("idle_timeout_s"));
    }

    #[test]
    fn a_different_word_finds_nothing() {
        assert_eq!(nearest("colour", ["ports", "wan_ip"]), None);
        assert_eq!(nearest("", ["ports"]), None);
    }
}
