//! ROUND_ROBIN: a fixed order and one atomic position in it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::balancer::all_equal;
use super::cluster::Position;
use super::weights::Weights;

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
