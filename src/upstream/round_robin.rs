//! ROUND_ROBIN: a fixed order and one atomic position in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::{HashMap, HashMapExt};

use super::balancer::all_equal;
use super::weights::Weights;
use crate::dice::Draws;

/// The longest schedule: 256 KiB, and enough for 10,000 endpoints of weights 1 to 10.
const LONGEST: u64 = 1 << 16;

/// 2^64 divided by the golden ratio, made odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Equal weights rotate. Unequal ones follow Envoy's earliest-deadline-first order, which repeats after as many picks
/// as the weights sum up to, reduced by their greatest common divisor; it is laid out in full if it is no longer than
/// [`LONGEST`].
///
/// A longer one is not laid out nor rounded: the position, times the golden ratio, walks over the weights laid end to
/// end. Every endpoint still gets its exact share, and the gaps between two turns of one endpoint have at most three
/// lengths; only the order is not Envoy's.
///
/// Envoy starts after a random number of picks below the number of hosts; this starts anywhere in the order, so that
/// the first pick of many new processes already follows the weights.
#[derive(Debug)]
pub(super) struct RoundRobin {
    order: Order,
    position: Arc<Position>,
}

/// Whose turns a position counts: of the endpoints of a level, of the places of a level, of the endpoints of a place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Turns {
    Level(usize),
    Places(usize),
    Place(usize, Arc<str>),
}

/// Where a rotation stands: alone on its cache line, for every pick writes it.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Position(AtomicU64);

/// Where the rotations of a cluster stand, over all changes of its endpoints.
#[derive(Debug)]
pub(super) struct Positions {
    known: HashMap<Turns, Arc<Position>>,
}

impl Positions {
    pub(super) fn new() -> Self {
        Self { known: HashMap::new() }
    }

    /// Where these turns stand, at first anywhere.
    pub(super) fn get(&mut self, turns: Turns, draws: &mut Draws) -> Arc<Position> {
        // Half the range is kept free, so that counting on never wraps.
        let start = || Arc::new(Position(AtomicU64::new(draws.next_u64() >> 1)));
        Arc::clone(self.known.entry(turns).or_insert_with(start))
    }

    /// Forgets those that no list uses any more.
    pub(super) fn sweep(&mut self) {
        self.known.retain(|_, position| Arc::strong_count(position) > 1);
    }
}

#[derive(Debug)]
enum Order {
    Rotation(u64),
    Schedule(Box<[u32]>),
    Walk(Weights),
}

impl RoundRobin {
    pub(super) fn new(weights: &[u32], position: Arc<Position>) -> Self {
        Self { order: Order::new(weights), position }
    }

    pub(super) fn choose(&self) -> usize {
        self.order.at(self.position.0.fetch_add(1, Ordering::Relaxed))
    }
}

impl Order {
    fn new(weights: &[u32]) -> Self {
        if all_equal(weights) {
            return Order::Rotation(weights.len() as u64);
        }
        let divisor = weights.iter().copied().fold(0, greatest_common_divisor);
        let length: u64 = weights.iter().map(|weight| u64::from(weight / divisor)).sum();
        if length <= LONGEST { Order::Schedule(schedule(weights, divisor)) } else { Order::Walk(Weights::new(weights)) }
    }

    fn at(&self, position: u64) -> usize {
        match self {
            Order::Rotation(count) => (position % count) as usize,
            Order::Schedule(turns) => turns[(position % turns.len() as u64) as usize] as usize,
            Order::Walk(weights) => weights.at(position.wrapping_mul(GOLDEN)),
        }
    }
}

fn greatest_common_divisor(mut one: u32, mut other: u32) -> u32 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

/// One period of the earliest-deadline-first order: an endpoint of weight `w` is due at 1/w, 2/w, ... 1.
///
/// Of those due together the one put back earliest goes first, which is the one of the smaller weight, for it was last
/// due longer ago; and of equal weights the first in the list.
fn schedule(weights: &[u32], divisor: u32) -> Box<[u32]> {
    let mut turns = Vec::new();
    for (index, weight) in weights.iter().enumerate() {
        let weight = u64::from(weight / divisor);
        turns.extend((1..=weight).map(|turn| Turn { turn, weight, index: index as u32 }));
    }
    // Fractions compared without dividing: turn and weight are at most LONGEST.
    turns.sort_unstable_by(|one, other| {
        let due = (one.turn * other.weight).cmp(&(other.turn * one.weight));
        due.then(one.weight.cmp(&other.weight)).then(one.index.cmp(&other.index))
    });
    turns.into_iter().map(|turn| turn.index).collect()
}

/// Due at `turn / weight`.
struct Turn {
    turn: u64,
    weight: u64,
    index: u32,
}

#[cfg(test)]
#[allow(clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Earliest deadline first as Envoy's scheduler is written, with fractions in place of floats: the entry with the
    /// least (deadline, number of insertion) is taken and inserted again one interval later.
    fn slowly(weights: &[u32], picks: usize) -> Vec<usize> {
        // (turn, weight, number of insertion)
        let first = |(number, weight): (usize, &u32)| (1, u128::from(*weight), number);
        let mut entries: Vec<(u128, u128, usize)> = weights.iter().enumerate().map(first).collect();
        let mut picked = Vec::new();
        for inserted in (entries.len()..).take(picks) {
            let due = |one: &usize, other: &usize| {
                let (one, other) = (entries[*one], entries[*other]);
                (one.0 * other.1).cmp(&(other.0 * one.1)).then(one.2.cmp(&other.2))
            };
            let at = (0..entries.len()).min_by(due).expect("an entry");
            picked.push(at);
            entries[at] = (entries[at].0 + 1, entries[at].1, inserted);
        }
        picked
    }

    fn counts(order: &Order, from: u64, picks: u64, hosts: usize) -> Vec<u64> {
        let mut counts = vec![0; hosts];
        for position in from..from + picks {
            counts[order.at(position)] += 1;
        }
        counts
    }

    #[test]
    fn equal_weights_rotate() {
        let order = Order::new(&[7, 7, 7]);
        assert_eq!((3..9).map(|position| order.at(position)).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn weights_are_reduced() {
        let order = Order::new(&[3_000_000_000, 1_000_000_000]);
        assert!(matches!(&order, Order::Schedule(turns) if **turns == [0, 0, 1, 0]), "{order:?}");
    }

    #[test]
    fn the_longest_schedule_is_bounded() {
        let longest = Order::new(&[LONGEST as u32 - 1, 1]);
        assert!(matches!(&longest, Order::Schedule(turns) if turns.len() as u64 == LONGEST));
        assert!(matches!(Order::new(&[LONGEST as u32, 1]), Order::Walk(_)));
    }

    proptest! {
        #[test]
        fn the_schedule_is_earliest_deadline_first(weights in proptest::collection::vec(1u32..40, 2..30)) {
            prop_assume!(!all_equal(&weights));
            let order = Order::new(&weights);
            let Order::Schedule(turns) = &order else { panic!("a schedule is expected: {order:?}") };
            // Two periods and a half, so that it is seen to repeat.
            let picks = turns.len() * 5 / 2;
            let picked: Vec<_> = (0..picks as u64).map(|position| order.at(position)).collect();
            prop_assert_eq!(picked, slowly(&weights, picks));
        }

        #[test]
        fn a_walk_gives_every_endpoint_its_share(
            weights in proptest::collection::vec(prop_oneof![1u32..10, 1_000_000u32..=u32::MAX], 2..50),
            from in 0u64..1 << 62,
        ) {
            let picks = 20_000;
            let order = Order::Walk(Weights::new(&weights));
            let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
            for (weight, count) in weights.iter().zip(counts(&order, from, picks, weights.len())) {
                let share = picks as f64 * f64::from(*weight) / total;
                // The golden ratio's discrepancy grows with the logarithm of the picks: below 5 at 20,000.
                prop_assert!((count as f64 - share).abs() < 5.0, "{count} of {share} for {weight}");
            }
        }
    }

    #[test]
    fn ten_thousand_wild_weights_keep_their_shares() {
        let weights: Vec<u32> = (0..10_000u32).map(|index| 1 + index.wrapping_mul(2_654_435_761) % 1000).collect();
        let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let order = Order::new(&weights);
        assert!(matches!(order, Order::Walk(_)));
        for (weight, count) in weights.iter().zip(counts(&order, 99, total, weights.len())) {
            assert!(count.abs_diff(u64::from(*weight)) < 7, "{count} turns for weight {weight}");
        }
    }
}
