//! Copies of requests (`http[].mirror`, `http[].mirrors`): [`Mirror`].

use super::{ClusterChoice, Percent};

/// A place that copies of requests go to, whose answers are dropped.
///
/// The copy is taken after header operations and rewrites, once a request, not once a try. A destination that is not
/// known gets none, without an error.
///
/// ```
/// use mesh_router::route::{ClusterChoice, ClusterIndex, Mirror, Percent};
///
/// let canary = Mirror { destination: ClusterChoice::Fixed(ClusterIndex(1)), percent: Percent::new(10.0) };
/// assert!(canary.takes(99_999) && !canary.takes(100_000));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Where the copies go.
    pub destination: ClusterChoice,
    /// The share of the requests that is copied. All unless the rule says otherwise.
    pub percent: Percent,
}

impl Mirror {
    /// Whether the request that drew `draw` is copied. Istio has one draw for all mirrors of a request: two of 50 %
    /// take the same half.
    pub fn takes(&self, draw: u64) -> bool {
        self.percent.hits(draw)
    }
}
