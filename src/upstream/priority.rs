//! Priorities: how the requests are shared among the levels of a cluster, and when a level panics.

/// Envoy's `overprovisioning_factor`, in percent: a level has all of its load as long as 72 of 100 are healthy.
const OVERPROVISIONING: u64 = 140;

/// How many levels there may be, as in Envoy.
pub(super) const MOST_LEVELS: usize = 128;

/// How many tries go by before the levels tried are left alone (`update_frequency` of Envoy's previous-priorities, as
/// Istio sets it).
const TRIES: usize = 2;

/// How many endpoints a level has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) healthy: usize,
    pub(super) all: usize,
}

impl Count {
    /// The health of a level in percent: each endpoint counts 1.4 times, up to 100.
    fn health(self) -> u32 {
        let health = OVERPROVISIONING * self.healthy as u64 / (self.all as u64).max(1);
        health.min(100) as u32
    }

    /// Whether fewer are healthy than the threshold, in percent, asks for.
    fn is_below(self, threshold: u32) -> bool {
        (self.healthy as u64) * 100 < u64::from(threshold.min(100)) * self.all as u64 || self.all == 0 && threshold > 0
    }
}

/// The shares of the levels for one state of their health.
#[derive(Debug)]
pub(super) struct Priorities {
    health: Box<[u32]>,
    panic: Box<[bool]>,
    /// The loads in percent; they sum up to 100.
    loads: Box<[u32]>,
}

impl Priorities {
    /// The shares of levels with so many endpoints; `threshold` in percent, 0 for no panic.
    pub(super) fn new(counts: &[Count], threshold: u32) -> Self {
        let health: Box<[u32]> = counts.iter().map(|count| count.health()).collect();
        let total = health.iter().sum::<u32>().min(100);
        let panic: Box<[bool]> = counts.iter().map(|count| total < 100 && count.is_below(threshold)).collect();
        let mut loads = vec![0; counts.len()].into_boxed_slice();
        if threshold > 0 && panic.iter().all(|panic| *panic) {
            by_count(counts, &mut loads);
        } else if total > 0 {
            distribute(&health, total, &mut loads);
        } else if let Some(first) = loads.first_mut() {
            // It has nobody to pick, and so says that nobody is healthy.
            *first = 100;
        }
        Self { health, panic, loads }
    }

    /// Whether a level is picked from whether healthy or not.
    pub(super) fn panics(&self, level: usize) -> bool {
        self.panic.get(level).is_some_and(|panic| *panic)
    }

    /// The level that 64 random bits, or the hash of a key, fall on.
    pub(super) fn at(&self, point: u64) -> usize {
        level_at(&self.loads, point)
    }

    /// The same, with the levels of the endpoints tried so far left alone after every second try, until none is left.
    pub(super) fn away_from(&self, tried: impl Iterator<Item = Option<usize>>, point: u64) -> usize {
        let mut seen = 0u128;
        let mut excluded = 0u128;
        let mut tries = 0;
        for level in tried {
            seen |= level.map_or(0, |level| 1u128.checked_shl(level as u32).unwrap_or(0));
            tries += 1;
            if tries % TRIES != 0 {
                continue;
            }
            excluded = seen;
            if self.left(excluded).sum::<u32>() == 0 {
                (seen, excluded, tries) = (0, 0, 0);
            }
        }
        let total = self.left(excluded).sum::<u32>().min(100);
        if excluded == 0 || total == 0 {
            return self.at(point);
        }
        let (mut health, mut loads) = ([0; MOST_LEVELS], [0; MOST_LEVELS]);
        for (slot, left) in health.iter_mut().zip(self.left(excluded)) {
            *slot = left;
        }
        let count = self.health.len().min(MOST_LEVELS);
        distribute(&health[..count], total, &mut loads[..count]);
        level_at(&loads[..count], point)
    }

    /// The health of every level, none of those excluded.
    fn left(&self, excluded: u128) -> impl Iterator<Item = u32> + '_ {
        let is_out = move |level: usize| level < MOST_LEVELS && excluded & (1 << level) != 0;
        self.health.iter().enumerate().map(move |(level, health)| if is_out(level) { 0 } else { *health })
    }
}

/// The first level up to which the loads reach the point, of 1 to 100.
fn level_at(loads: &[u32], point: u64) -> usize {
    let point = (point % 100) as u32 + 1;
    let mut sum = 0;
    loads
        .iter()
        .position(|load| {
            sum += load;
            sum >= point
        })
        .unwrap_or(0)
}

/// Gives each level, the first ones first, as much as its health asks for. What rounding leaves goes to the first that
/// has any health.
fn distribute(health: &[u32], total: u32, loads: &mut [u32]) {
    let mut left = 100;
    for (load, health) in loads.iter_mut().zip(health) {
        *load = (health * 100 / total).min(left);
        left -= *load;
    }
    if let Some(first) = health.iter().position(|health| *health > 0) {
        loads[first] += left;
    }
}

/// When every level panics each has a load by the number of its endpoints.
fn by_count(counts: &[Count], loads: &mut [u32]) {
    let all: usize = counts.iter().map(|count| count.all).sum();
    let mut left = 100;
    for (load, count) in loads.iter_mut().zip(counts) {
        *load = (100 * count.all / all.max(1)) as u32;
        left -= *load;
    }
    let first = counts.iter().position(|count| count.all > 0).unwrap_or(0);
    if let Some(load) = loads.get_mut(first) {
        *load += left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(healthy: usize, all: usize) -> Count {
        Count { healthy, all }
    }

    fn loads(counts: &[Count], threshold: u32) -> Vec<u32> {
        Priorities::new(counts, threshold).loads.into()
    }

    #[test]
    fn loads_follow_the_health_of_the_levels() {
        for (first, second, expected) in [
            (count(10, 10), count(10, 10), [100, 0]),
            (count(72, 100), count(1, 7), [100, 0]),
            (count(71, 100), count(100, 100), [99, 1]),
            (count(5, 10), count(10, 10), [70, 30]),
            (count(0, 10), count(10, 10), [0, 100]),
            (count(1, 10), count(1, 10), [50, 50]),
            (count(0, 10), count(0, 10), [100, 0]),
        ] {
            assert_eq!(loads(&[first, second], 0), expected, "{first:?} {second:?}");
        }
        // 14 + 28 + 14 is 56: 25, 50 and 25.
        assert_eq!(loads(&[count(1, 10), count(2, 10), count(1, 10)], 0), [25, 50, 25]);
        // 46 thrice: 33 each for 100 and one over, which the first gets.
        assert_eq!(loads(&[count(1, 3), count(1, 3), count(1, 3)], 0), [46, 46, 8]);
        assert_eq!(loads(&[count(1, 10), count(1, 10), count(1, 10)], 0), [34, 33, 33]);
    }

    #[test]
    fn a_level_panics_below_the_threshold_unless_the_others_suffice() {
        let of = |counts: &[Count], threshold| {
            let priorities = Priorities::new(counts, threshold);
            (0..counts.len()).map(|level| priorities.panics(level)).collect::<Vec<_>>()
        };
        assert_eq!(of(&[count(1, 10)], 50), [true]);
        assert_eq!(of(&[count(5, 10)], 50), [false]);
        assert_eq!(of(&[count(1, 10)], 0), [false]);
        // The second level takes all.
        assert_eq!(of(&[count(1, 10), count(10, 10)], 50), [false, false]);
        assert_eq!(of(&[count(1, 10), count(5, 10)], 40), [true, false]);
        assert_eq!(of(&[count(0, 10), count(0, 0)], 1), [true, true]);
    }

    #[test]
    fn where_all_levels_panic_the_number_of_endpoints_counts() {
        assert_eq!(loads(&[count(0, 10), count(0, 20)], 50), [34, 66]);
        assert_eq!(loads(&[count(1, 10), count(1, 10)], 50), [50, 50]);
        assert_eq!(loads(&[count(0, 0)], 50), [100]);
        // One does not: loads stay those of health.
        assert_eq!(loads(&[count(1, 10), count(5, 10)], 40), [17, 83]);
    }

    #[test]
    fn a_point_falls_on_the_level_whose_load_reaches_it() {
        let priorities = Priorities::new(&[count(5, 10), count(10, 10)], 0);
        assert_eq!([0, 69, 70, 99, 100, 169, 170].map(|point| priorities.at(point)), [0, 0, 1, 1, 0, 0, 1]);
    }

    #[test]
    fn after_every_second_try_the_levels_tried_are_left_alone() {
        let priorities = Priorities::new(&[count(3, 3), count(2, 2), count(1, 2)], 0);
        let level = |tried: &[usize]| priorities.away_from(tried.iter().map(|level| Some(*level)), 99);
        assert_eq!(level(&[]), 0);
        assert_eq!(level(&[0]), 0);
        assert_eq!(level(&[0, 0]), 1);
        assert_eq!(level(&[0, 0, 1]), 1);
        assert_eq!(level(&[0, 0, 1, 1]), 2);
        assert_eq!(level(&[0, 0, 1, 1, 2]), 2);
        // None is left: from the beginning.
        assert_eq!(level(&[0, 0, 1, 1, 2, 2]), 0);
        assert_eq!(level(&[0, 0, 1, 1, 2, 2, 0]), 0);
        assert_eq!(level(&[0, 0, 1, 1, 2, 2, 0, 0]), 1);
        // An endpoint that is gone had no level.
        assert_eq!(priorities.away_from([None, None].into_iter(), 99), 0);
    }

    #[test]
    fn the_load_of_levels_left_alone_goes_to_the_others_by_health() {
        let priorities = Priorities::new(&[count(3, 3), count(1, 4), count(1, 10)], 0);
        let tried = || [Some(0), Some(0)].into_iter();
        let seconds = (0..100).filter(|point| priorities.away_from(tried(), *point) == 1).count();
        // 35 and 14 of 49: 71 and 28, and one over.
        assert_eq!(seconds, 72);
    }
}
