//! An estimate of what a listener thinks of the speech (ITU-T G.107, the E-model).
//!
//! R = 93.2 - Id - Ie,eff: G.107 with its default values, where
//! - Id = 0.024 d + 0.11 (d - 177.3) for d > 177.3 ms, else 0.024 d, of the one-way delay d in ms
//!   (R. G. Cole and J. H. Rosenbluth, "Voice over IP performance monitoring", 2001: a fit of G.107);
//! - Ie,eff = Ie + (95 - Ie) Ppl / (Ppl + Bpl) of the loss Ppl in per cent (G.107 7-29, random loss),
//!   with Ie = 0 and Bpl = 25.1, which G.113 appendix I gives for G.711 with loss concealment;
//!
//! and MOS = 1 + 0.035 R + 7e-6 R (R - 60) (100 - R) (G.107 annex B). The delay is half of both round
//! trips, a packet of 20 ms, and a jitter buffer of twice the jitter.

use std::time::Duration;

use crate::api::Mos;

/// What the estimate is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    /// RTP packets that came, and that did not.
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) jitter: Duration,
    /// Between the relay and the sender, and the relay and the listener.
    pub(crate) round_trips: [Option<Duration>; 2],
}

/// Fewer packets (a second of speech) say nothing.
const PACKETS_MIN: u64 = 50;
const PACKET: Duration = Duration::from_millis(20);
const R_BEST: f64 = 93.2;
const LOSS_ROBUSTNESS_PERCENT: f64 = 25.1;

/// The estimate, if there is enough to go by.
pub(crate) fn estimate(conditions: Conditions) -> Option<Mos> {
    let Conditions { received, lost, jitter, round_trips } = conditions;
    if received < PACKETS_MIN {
        return None;
    }
    let loss_percent = 100.0 * lost as f64 / (received + lost) as f64;
    let way = round_trips.iter().flatten().sum::<Duration>() / 2;
    let delay_ms = (way + PACKET + 2 * jitter).as_secs_f64() * 1e3;
    let delay_impairment = 0.024 * delay_ms + 0.11 * (delay_ms - 177.3).max(0.0);
    let loss_impairment = 95.0 * loss_percent / (loss_percent + LOSS_ROBUSTNESS_PERCENT);
    let r = (R_BEST - delay_impairment - loss_impairment).clamp(0.0, 100.0);
    let mos = 1.0 + 0.035 * r + 7e-6 * r * (r - 60.0) * (100.0 - r);
    // Between 1 and 4.5; the curve dips below 1 for the worst.
    Some(Mos::from_hundredths((mos.max(1.0) * 100.0).round() as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mos(lost: u64, jitter_ms: u64, round_trip_ms: u64) -> f32 {
        let conditions = Conditions {
            received: 1000 - lost,
            lost,
            jitter: Duration::from_millis(jitter_ms),
            round_trips: [Some(Duration::from_millis(round_trip_ms)), None],
        };
        estimate(conditions).unwrap().value()
    }

    /// Worked out by hand from the formulas above.
    #[test]
    fn the_estimate_follows_the_e_model() {
        // d = 20 ms: Id = 0.48, R = 92.72.
        assert_eq!(mos(0, 0, 0), 4.4);
        // 2 %: Ie,eff = 7.011, R = 85.71.
        assert_eq!(mos(20, 0, 0), 4.22);
        // d = 240 ms: Id = 5.76 + 6.897, R = 80.54.
        assert_eq!(mos(0, 10, 400), 4.04);
        // 50 %: Ie,eff = 63.25, R = 29.47.
        assert_eq!(mos(500, 0, 0), 1.59);
        assert_eq!(mos(949, 500, 2000), 1.0);
    }

    #[test]
    fn a_few_packets_say_nothing() {
        let conditions =
            Conditions { received: 49, lost: 0, jitter: Duration::ZERO, round_trips: [None, None] };
        assert_eq!(estimate(conditions), None);
    }
}
