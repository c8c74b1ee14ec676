//! Weights laid end to end on the unit interval, to find whose share a point falls on.

/// The shares of some weights. Exact for any `u32` weights; a look-up is two reads where the weights are of one order,
/// and O(log n) at worst.
#[derive(Debug)]
pub(super) struct Weights {
    // Where each share ends, counted in weight.
    ends: Box<[u64]>,
    // For each of n equal parts of the interval, the share at its start; and the last share once more.
    starts: Box<[u32]>,
}

impl Weights {
    pub(super) fn new(weights: &[u32]) -> Self {
        let mut total = 0u64;
        let ends: Box<[u64]> = weights
            .iter()
            .map(|weight| {
                total += u64::from(*weight);
                total
            })
            .collect();
        let count = weights.len();
        let mut share = 0;
        let mut starts = Vec::with_capacity(count + 1);
        for part in 0..count {
            let at = u128::from(total) * part as u128 / count as u128;
            while share + 1 < count && u128::from(ends[share]) <= at {
                share += 1;
            }
            starts.push(share as u32);
        }
        starts.push(count.saturating_sub(1) as u32);
        Self { ends, starts: starts.into() }
    }

    /// Whose share the point `point / 2^64` falls on.
    pub(super) fn at(&self, point: u64) -> usize {
        let scale = |bound: u64| ((u128::from(point) * u128::from(bound)) >> 64) as u64;
        let Some(total) = self.ends.last() else { return 0 };
        let part = scale(self.ends.len() as u64) as usize;
        let (first, last) = (self.starts[part] as usize, self.starts[part + 1] as usize);
        let target = scale(*total);
        first + self.ends[first..last].partition_point(|end| *end <= target)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn slowly(weights: &[u32], point: u64) -> usize {
        let total: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
        let target = (u128::from(point) * total) >> 64;
        let mut end = 0;
        for (index, weight) in weights.iter().enumerate() {
            end += u128::from(*weight);
            if target < end {
                return index;
            }
        }
        unreachable!("the point is within the total")
    }

    proptest! {
        #[test]
        fn finds_what_a_walk_finds(
            weights in proptest::collection::vec(prop_oneof![1u32..5, Just(u32::MAX), 1u32..=u32::MAX], 1..200),
            points in proptest::collection::vec(any::<u64>(), 50),
        ) {
            let shares = Weights::new(&weights);
            for point in points.into_iter().chain([0, u64::MAX]) {
                prop_assert_eq!(shares.at(point), slowly(&weights, point));
            }
        }
    }
}
