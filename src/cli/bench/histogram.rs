//! How long many things took, in a few kilobytes: each power of two of microseconds in 64 parts.

use std::time::Duration;

const PART_BITS: u32 = 6;
const PARTS: u64 = 1 << PART_BITS;

/// Counts of durations. A quantile is at most one part in 64 too high.
#[derive(Debug, Clone, Default)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum_us: u64,
    max_us: u64,
}

impl Histogram {
    pub(super) fn record(&mut self, took: Duration) {
        self.record_us(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn record_us(&mut self, us: u64) {
        let part = part_of(us);
        if self.counts.len() <= part {
            self.counts.resize(part + 1, 0);
        }
        self.counts[part] += 1;
        self.total += 1;
        self.sum_us = self.sum_us.saturating_add(us);
        self.max_us = self.max_us.max(us);
    }

    /// Takes in what another one has counted.
    pub(super) fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
        self.max_us = self.max_us.max(other.max_us);
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    pub(super) const fn max_us(&self) -> u64 {
        self.max_us
    }

    pub(super) fn mean_us(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.sum_us as f64 / self.total as f64 }
    }

    /// The microseconds within which the fraction `quantile` of all stayed; 0 where there is none.
    pub(super) fn quantile_us(&self, quantile: f64) -> u64 {
        let wanted = ((self.total as f64 * quantile).ceil() as u64).max(1);
        let mut below = 0;
        for (part, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= wanted {
                return highest_of(part).min(self.max_us);
            }
        }
        self.max_us
    }
}

fn part_of(us: u64) -> usize {
    let exponent = us.max(1).ilog2();
    let part = if exponent < PART_BITS {
        us
    } else {
        let shift = exponent - PART_BITS;
        u64::from(shift + 1) * PARTS + ((us >> shift) & (PARTS - 1))
    };
    usize::try_from(part).unwrap_or(usize::MAX)
}

fn highest_of(part: usize) -> u64 {
    let part = part as u64;
    if part < PARTS {
        return part;
    }
    let shift = part / PARTS - 1;
    let next = u128::from(PARTS + part % PARTS + 1) << shift;
    u64::try_from(next - 1).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_part_that_ends_at_most_one_in_64_above_it() {
        for us in (0..200_000).chain([u64::MAX / 3, u64::MAX - 1, u64::MAX]) {
            let highest = highest_of(part_of(us));
            assert!(highest >= us && highest - us <= us / PARTS, "{us} in a part that ends at {highest}");
        }
    }

    #[test]
    fn quantiles_are_those_of_what_was_recorded_also_in_several_histograms() {
        let (mut one, mut other) = (Histogram::default(), Histogram::default());
        (1..=500).for_each(|us| one.record_us(us));
        (501..=1000).for_each(|us| other.record_us(us));
        one.add(&other);
        assert_eq!(one.total(), 1000);
        for (quantile, exact) in [(0.001, 1), (0.5, 500), (0.99, 990), (1.0, 1000)] {
            let found = one.quantile_us(quantile);
            assert!(found >= exact && found <= exact + exact / PARTS, "{quantile}: {found}");
        }
        assert_eq!(Histogram::default().quantile_us(0.5), 0);
    }
}
