//! What overload control is told once.

use std::time::Duration;

/// When a node refuses new work, and what it takes all the same.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether it refuses anything before its tables are full.
    pub enabled: bool,
    /// How long the oldest waiting message may wait, all the time, before new requests are refused.
    pub lag: Duration,
    /// How full a table may be, in percent, before fewer and fewer requests are taken.
    pub tables: u32,
    /// How many percent of the media ports have to be left, below which fewer and fewer calls are
    /// taken.
    pub ports: u32,
    /// New requests a second; 0: as many as the other measures let through.
    pub new_per_s: u32,
    /// Emergency calls of strangers a second that come before everything else.
    pub emergency_per_s: u32,
    /// What is dialled for an emergency.
    pub emergency_numbers: Vec<String>,
    /// The least that Retry-After says in a refusal; whole seconds, twice as many at most.
    pub retry_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            lag: Duration::from_millis(250),
            tables: 90,
            ports: 5,
            new_per_s: 0,
            emergency_per_s: 50,
            emergency_numbers: ["112", "911"].map(str::to_owned).to_vec(),
            retry_after: Duration::from_secs(5),
        }
    }
}
