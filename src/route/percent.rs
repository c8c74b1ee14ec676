//! A share of requests: [`Percent`].

/// A share of requests, in steps of a ten-thousandth of a percent.
///
/// ```
/// use mesh_router::route::Percent;
///
/// let half = Percent::new(50.0);
/// assert!(half.hits(499_999) && !half.hits(500_000));
/// assert_eq!(Percent::new(0.00005), Percent::NEVER);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent {
    /// Of a million.
    parts: u32,
}

const MILLION: u32 = 1_000_000;

impl Percent {
    /// No request.
    pub const NEVER: Self = Self { parts: 0 };
    /// Every request.
    pub const ALWAYS: Self = Self { parts: MILLION };

    /// `percent` of the requests; what is below a ten-thousandth is cut off, as Istio does.
    pub fn new(percent: f64) -> Self {
        // A cast of a float saturates, and takes what is no number for 0.
        Self { parts: ((percent * 10_000.0) as u32).min(MILLION) }
    }

    /// Whether the request that drew `draw`, 64 random bits, is one of them.
    pub fn hits(self, draw: u64) -> bool {
        draw % u64::from(MILLION) < u64::from(self.parts)
    }

    /// Whether no request is.
    pub fn is_never(self) -> bool {
        self.parts == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn f3_percentages_are_cut_off_below_a_ten_thousandth() {
        for (percent, parts) in [
            (0.0, 0),
            (0.000_05, 0),
            (0.0001, 1),
            (0.000_19, 1),
            // What a float cannot hold is cut off too, as in Istio.
            (0.57, 5699),
            (1.0, 10_000),
            (12.5, 125_000),
            (100.0, 1_000_000),
            (250.0, 1_000_000),
            (-1.0, 0),
            (f64::NAN, 0),
        ] {
            assert_eq!(Percent::new(percent).parts, parts, "{percent}");
        }
    }

    #[test]
    fn f3_the_draw_counts_modulo_a_million() {
        let one = Percent::new(0.0001);
        assert!(one.hits(0) && one.hits(3_000_000) && !one.hits(1) && !one.hits(u64::MAX));
        assert!((0..1000).all(|draw| Percent::ALWAYS.hits(draw * 7919) && !Percent::NEVER.hits(draw * 7919)));
    }

    #[test]
    fn shares_are_met_at_five_sigma() {
        let draws = 200_000u32;
        for percent in [0.5, 10.0, 33.3, 75.0] {
            let mut stream = Dice::seeded(17).draws();
            let share = Percent::new(percent);
            let hits: u32 = (0..draws).map(|_| u32::from(share.hits(stream.next_u64()))).sum();
            let expected = f64::from(draws) * percent / 100.0;
            let sigma = (expected * (1.0 - percent / 100.0)).sqrt();
            assert!((f64::from(hits) - expected).abs() < 5.0 * sigma, "{percent} %: {hits} of {expected}");
        }
    }
}
