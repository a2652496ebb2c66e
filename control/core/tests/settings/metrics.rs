//! `[metrics]`: where figures are served.

use crate::{bad, good};

#[test]
fn figures_are_served_nowhere_unless_it_is_asked_for() {
    assert_eq!(good("").metrics.listen, None);
    let asked = good("[metrics]\nlisten = \"127.0.0.1:9090\"\n");
    assert_eq!(asked.metrics.listen, Some("127.0.0.1:9090".parse().unwrap()));
    let problems = bad("[metrics]\nlisten = \"224.0.0.1:9090\"\n");
    assert!(problems.contains("metrics.listen: 224.0.0.1 is a multicast"), "{problems}");
}
