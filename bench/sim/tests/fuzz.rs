//! The corpus of every target, and mutations of it by a fixed seed. Longer runs are the binary's:
//! `cargo run --release -p ringfarm-sim -- fuzz message --seconds 600`.

use std::fs;
use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sim::fuzz::{TARGETS, Target, mutate};

/// Mutations of each target: a second or so of a debug build.
const MUTATIONS: usize = 3_000;

/// A whole node, or member of a cluster, is slower.
const MUTATIONS_NODE: usize = 200;

const WHOLE: [&str; 3] = ["node", "member", "membership"];

/// The most that the corpus may take in the repository.
const CORPUS_BYTES_MAX: usize = 2_000_000;

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("a folder of the corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files.iter().map(|path| fs::read(path).expect("an input")).collect()
}

/// What once failed is in the corpus.
#[test]
fn the_corpus_of_every_target_holds() {
    let mut bytes = 0;
    for target in TARGETS {
        let corpus = corpus(&target);
        assert!(!corpus.is_empty(), "{}", target.name);
        for input in corpus {
            bytes += input.len();
            (target.run)(&input);
        }
    }
    assert!(bytes < CORPUS_BYTES_MAX, "{bytes} bytes");
}

#[test]
fn mutations_of_the_corpus_hold() {
    for target in TARGETS {
        let corpus = corpus(&target);
        let mut rng = ChaCha8Rng::seed_from_u64(20);
        let count = if WHOLE.contains(&target.name) { MUTATIONS_NODE } else { MUTATIONS };
        for _ in 0..count {
            let mut input = corpus[rng.random_range(0..corpus.len())].clone();
            let other = &corpus[rng.random_range(0..corpus.len())];
            mutate(&mut rng, &mut input, other);
            (target.run)(&input);
        }
    }
}
