//! Interarrival jitter (RFC 3550 A.8), and the clock rate that it is measured in.

use std::time::{Duration, Instant};

use crate::rtp::{RtpHeader, static_clock_rate};

/// Clock rates in use with dynamic payload types (RFC 3551 6 and the payload formats since).
const RATES_HZ: [u32; 9] = [8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 90_000];
/// For so long the timestamps are watched before a rate is taken from them: in 2 s one video frame
/// of 30 a second is an error of 1.7 %.
const WATCH: Duration = Duration::from_secs(2);
/// Two neighbouring rates differ by 8.8 % at least (44,100 and 48,000), so this is unambiguous.
const TOLERANCE_PERCENT: u64 = 4;

#[derive(Clone, Copy, Debug)]
enum Rate {
    Unknown,
    /// Since when the timestamps are watched, and from which on.
    Watching {
        since: Instant,
        timestamp: u32,
    },
    Known {
        hz: u32,
        epoch: Instant,
    },
}

/// The jitter of one source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jitter {
    rate: Rate,
    /// The last packet's arrival less its timestamp (RFC 3550 A.8), once there was one.
    transit: Option<u32>,
    /// Jitter times 16, which keeps the fraction (RFC 3550 A.8).
    scaled: u32,
}

impl Jitter {
    pub(super) const fn new() -> Jitter {
        Jitter { rate: Rate::Unknown, transit: None, scaled: 0 }
    }

    /// In timestamp units.
    pub(super) const fn value(&self) -> u32 {
        self.scaled >> 4
    }

    /// As a time, if the clock rate is known, and the rate in Hz.
    pub(super) fn time(&self) -> Option<(Duration, u32)> {
        match self.rate {
            Rate::Known { hz, .. } => {
                let microseconds = u64::from(self.value()) * 1_000_000 / u64::from(hz);
                Some((Duration::from_micros(microseconds), hz))
            }
            Rate::Unknown | Rate::Watching { .. } => None,
        }
    }

    /// A packet that is neither late nor a duplicate.
    pub(super) fn arrived(&mut self, now: Instant, header: RtpHeader) {
        let Some((hz, epoch)) = self.rate(now, header) else { return };
        let arrival_us = now.saturating_duration_since(epoch).as_micros();
        // Timestamps count modulo 2^32, and so does the arrival.
        let arrival = (arrival_us * u128::from(hz) / 1_000_000) as u32;
        let transit = arrival.wrapping_sub(header.timestamp);
        if let Some(last) = self.transit.replace(transit) {
            let step = (transit.wrapping_sub(last) as i32).unsigned_abs();
            // A pause in which a sender's clock stood still is not jitter: a second is the limit.
            let step = step.min(hz);
            self.scaled = self.scaled + step - ((self.scaled + 8) >> 4);
        }
    }

    fn rate(&mut self, now: Instant, header: RtpHeader) -> Option<(u32, Instant)> {
        match self.rate {
            Rate::Known { hz, epoch } => return Some((hz, epoch)),
            Rate::Unknown => match static_clock_rate(header.payload_type) {
                Some(hz) => self.rate = Rate::Known { hz, epoch: now },
                None => self.rate = Rate::Watching { since: now, timestamp: header.timestamp },
            },
            Rate::Watching { since, timestamp } => {
                let elapsed = now.saturating_duration_since(since);
                if elapsed >= WATCH {
                    let ticks = header.timestamp.wrapping_sub(timestamp);
                    self.rate = match nearest(ticks, elapsed) {
                        Some(hz) => Rate::Known { hz, epoch: now },
                        None => Rate::Watching { since: now, timestamp: header.timestamp },
                    };
                }
            }
        }
        match self.rate {
            Rate::Known { hz, epoch } => Some((hz, epoch)),
            Rate::Unknown | Rate::Watching { .. } => None,
        }
    }
}

/// The rate at which `ticks` fit into `elapsed`, if one is near enough.
fn nearest(ticks: u32, elapsed: Duration) -> Option<u32> {
    let hz = u128::from(ticks) * 1_000_000 / elapsed.as_micros().max(1);
    let hz = u64::try_from(hz).ok()?;
    let near =
        |rate: &u32| hz.abs_diff(u64::from(*rate)) * 100 <= u64::from(*rate) * TOLERANCE_PERCENT;
    RATES_HZ.into_iter().find(near)
}
