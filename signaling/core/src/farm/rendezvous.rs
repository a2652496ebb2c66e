//! Rendezvous hashing, weighted: every member that knows the same list picks the same one for a key, and a
//! member that comes or goes moves no key between others (Thaler and Ravishankar; the weights are those of
//! Schindelhauer and Schomaker's logarithmic method).

use super::MemberId;

/// The member with the highest score for the key; `None` if there is none with a weight. The order of the list does not count.
#[must_use]
pub fn pick(key: u64, members: impl IntoIterator<Item = (MemberId, u32)>) -> Option<MemberId> {
    let mut best: Option<(f64, MemberId)> = None;
    for (member, weight) in members.into_iter().filter(|(_, weight)| *weight > 0) {
        let score = score(key, member, weight);
        let is_better = best.is_none_or(|(highest, of)| {
            score > highest || (score.total_cmp(&highest).is_eq() && member < of)
        });
        if is_better {
            best = Some((score, member));
        }
    }
    best.map(|(_, member)| member)
}

/// `weight / -ln(u)` of a `u` between 0 and 1 that key and member give.
fn score(key: u64, member: MemberId, weight: u32) -> f64 {
    let mixed = mix(key ^ mix(u64::from(member.get())));
    // 53 bits: what a float holds, never 0 and never 1.
    let unit = ((mixed >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
    f64::from(weight) / -ln(unit)
}

/// Spreads each bit over all (the finaliser of SplitMix64).
const fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// The natural logarithm of a normal number, by operations that IEEE 754 defines to the last bit: libraries
/// differ in theirs, and members of different machines have to agree.
fn ln(value: f64) -> f64 {
    let bits = value.to_bits();
    let exponent = (bits >> 52 & 0x7ff) as i32 - 1023;
    let mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 1023 << 52);
    // ln(m) = 2 atanh(t), t = (m - 1)/(m + 1) <= 1/3: what is left out is below 10^-10.
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let mut sum = 0.0;
    for odd in [19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
        sum = sum * square + 1.0 / odd;
    }
    2.0 * t * sum + f64::from(exponent) * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: u64 = 20_000;

    fn list(weights: &[(u16, u32)]) -> Vec<(MemberId, u32)> {
        weights.iter().map(|(id, weight)| (MemberId::new(*id).unwrap(), *weight)).collect()
    }

    fn shares(weights: &[(u16, u32)]) -> Vec<f64> {
        let list = list(weights);
        let mut counts = vec![0; list.len()];
        for key in 0..KEYS {
            let picked = pick(mix(key), list.iter().copied()).unwrap();
            counts[list.iter().position(|(id, _)| *id == picked).unwrap()] += 1;
        }
        counts.iter().map(|count| f64::from(*count) / KEYS as f64).collect()
    }

    #[test]
    fn the_logarithm_is_that_of_the_library_to_ten_places() {
        for step in 1..100_000 {
            let value = f64::from(step) / 100_000.0;
            assert!((ln(value) - value.ln()).abs() < 1e-10, "{value}");
        }
        let least = 0.5 / (1_u64 << 52) as f64;
        assert!((ln(least) - least.ln()).abs() < 1e-9);
    }

    /// S31: members take shares by their capacity.
    #[test]
    fn keys_are_shared_by_weight() {
        for weights in [&[(1, 1), (2, 1), (3, 1)][..], &[(1, 100), (2, 200), (3, 700)], &[(9, 5)]] {
            let all: u32 = weights.iter().map(|(_, weight)| weight).sum();
            for (share, (id, weight)) in shares(weights).into_iter().zip(weights) {
                let wanted = f64::from(*weight) / f64::from(all);
                assert!((share - wanted).abs() < 0.015, "{id}: {share} for {wanted}");
            }
        }
    }

    /// S31: nobody but the one that leaves or joins has its keys moved.
    #[test]
    fn a_member_that_goes_moves_its_own_keys_alone() {
        let all = list(&[(1, 3), (2, 2), (3, 2), (4, 1)]);
        for gone in 0..all.len() {
            let mut rest = all.clone();
            let (lost, _) = rest.remove(gone);
            for key in (0..KEYS).map(mix) {
                let before = pick(key, all.iter().copied()).unwrap();
                let after = pick(key, rest.iter().rev().copied()).unwrap();
                assert!(before == after || before == lost);
            }
        }
    }

    /// A change of weight moves keys to the one that gains, or from the one that loses, alone.
    #[test]
    fn a_member_that_gains_weight_takes_keys_and_gives_none() {
        let light = list(&[(1, 1), (2, 1), (3, 1)]);
        let heavy = list(&[(1, 1), (2, 2), (3, 1)]);
        let second = light[1].0;
        for key in (0..KEYS).map(mix) {
            let before = pick(key, light.iter().copied()).unwrap();
            let after = pick(key, heavy.iter().copied()).unwrap();
            assert!(before == after || after == second);
        }
    }

    #[test]
    fn who_has_no_weight_is_never_picked() {
        assert_eq!(pick(1, list(&[])), None);
        assert_eq!(pick(1, list(&[(1, 0)])), None);
        assert!((0..1000).all(|key| pick(key, list(&[(1, 0), (2, 1)])) == MemberId::new(2)));
    }
}
