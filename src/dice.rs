//! Chance that can be held still: [`Dice`] gives each request its own stream of draws.
//!
//! ```
//! use mesh_router::dice::Dice;
//!
//! let dice = Dice::seeded(7);
//! let again = Dice::seeded(7);
//! assert_eq!(dice.draws().next_u64(), again.draws().next_u64());
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A source of chance, shared by everything that draws: weights, balancers, faults, jitter.
///
/// Seeded dice give request number `n` the stream `(seed, n)`, so that a run on one thread repeats bit for bit;
/// unseeded dice take each stream from the thread's own generator.
#[derive(Clone, Debug, Default)]
pub struct Dice {
    seeded: Option<Arc<Seeded>>,
}

#[derive(Debug)]
struct Seeded {
    seed: u64,
    requests: AtomicU64,
}

impl Dice {
    /// Dice that cannot be foretold.
    pub fn new() -> Self {
        Self::default()
    }

    /// Dice that repeat: the same seed gives the same draws to the same request number.
    pub fn seeded(seed: u64) -> Self {
        Self { seeded: Some(Arc::new(Seeded { seed, requests: AtomicU64::new(0) })) }
    }

    /// The draws of the next request.
    pub fn draws(&self) -> Draws {
        let state = match &self.seeded {
            Some(seeded) => {
                let number = seeded.requests.fetch_add(1, Ordering::Relaxed);
                // Mixed, since streams that begin some steps of the generator apart are one stream.
                mixed(seeded.seed ^ number.wrapping_mul(STEP))
            }
            None => THREAD.with_borrow_mut(Rng::next_u64),
        };
        Draws { state }
    }
}

/// From one state of the generator to the next.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// Each number is another's, and says nothing of it.
fn mixed(number: u64) -> u64 {
    let bits = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

thread_local! {
    static THREAD: std::cell::RefCell<SmallRng> = std::cell::RefCell::new(SmallRng::from_rng(&mut rand::rng()));
}

/// The draws of one request: a small generator that owns its state (SplitMix64).
#[derive(Clone, Debug, Default)]
pub struct Draws {
    state: u64,
}

impl Draws {
    /// Draws that follow from `seed` alone.
    pub(crate) fn of(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mixed(self.state)
    }

    /// A number below `bound`, or 0 if `bound` is 0. The bias is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn below_zero_is_zero_and_below_one_too() {
        let mut draws = Dice::seeded(1).draws();
        assert_eq!(draws.below(0), 0);
        assert_eq!(draws.below(1), 0);
    }

    #[test]
    fn each_request_has_its_own_stream() {
        let dice = Dice::seeded(1);
        assert_ne!(dice.draws().next_u64(), dice.draws().next_u64());
    }

    #[test]
    fn what_one_request_draws_no_other_draws_later() {
        for seed in [0, 1, 7, u64::MAX] {
            let dice = Dice::seeded(seed);
            let mut drawn = std::collections::HashSet::new();
            for _ in 0..100 {
                let mut draws = dice.draws();
                assert!((0..100).all(|_| drawn.insert(draws.next_u64())), "{seed}");
            }
        }
    }

    #[test]
    fn below_is_uniform_at_five_sigma() {
        let mut draws = Dice::seeded(3).draws();
        let mut counts = [0u32; 10];
        for _ in 0..200_000 {
            counts[draws.below(10) as usize] += 1;
        }
        let sigma = (200_000.0f64 * 0.1 * 0.9).sqrt();
        for count in counts {
            assert!((f64::from(count) - 20_000.0).abs() < 5.0 * sigma, "{counts:?}");
        }
    }
}
