//! The time that a caller has left, handed on to what is called for it: [`DeadlineBudget`].
//!
//! ```
//! use std::time::Duration;
//!
//! use http::Request;
//! use mesh_router::service::DeadlineBudget;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), http::Error> {
//! // What came in: its caller waits for two seconds.
//! let incoming = Request::get("/").header("x-envoy-expected-rq-timeout-ms", "2000").body(())?;
//! let budget = DeadlineBudget::of(incoming.headers()).expect("it says so");
//! assert!(budget.left() <= Duration::from_secs(2));
//! // What goes out for it takes no longer.
//! let outgoing = Request::get("http://ratings/").extension(budget).body(())?;
//! # drop(outgoing);
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use http::{Extensions, HeaderMap};
use tokio::time::Instant;

use super::deadline::asked_timeout;
use crate::upstream::LONGEST;

/// Until when a caller waits. In the extensions of an outgoing request it bounds the delay of a fault and all of its
/// tries, whatever longer timeouts its rule and its [`RequestPolicy`](super::RequestPolicy) have, and each try tells
/// what is left in `x-envoy-expected-rq-timeout-ms`, for gRPC in `grpc-timeout`.
///
/// [`InboundRouter`](super::InboundRouter) puts it into the extensions of what it lets through to the application, from
/// what the caller said and the rule allows; passing it on is up to the application. A request whose budget is spent
/// is not sent: it is answered with 504.
///
/// For requests that no http rule forwards it does nothing: for hosts that no resource names, and for `https`, which
/// goes through [unseen](super#differences-from-envoy).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadlineBudget {
    deadline: Instant,
}

impl DeadlineBudget {
    /// From now on for `time`.
    pub fn within(time: Duration) -> Self {
        let now = Instant::now();
        // More than a clock can count is as good as a century.
        Self { deadline: now + time.min(LONGEST) }
    }

    /// Until `deadline`.
    pub fn until(deadline: Instant) -> Self {
        Self { deadline }
    }

    /// What the caller of a request with these headers says: the shorter of `grpc-timeout` and
    /// `x-envoy-expected-rq-timeout-ms`, which sidecars and gateways send. It counts from now: ask when the request has
    /// just come.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        asked_timeout(headers).map(Self::within)
    }

    /// Puts it into the extensions of a request, unless there is one that ends sooner.
    pub(crate) fn bound(self, extensions: &mut Extensions) {
        let sooner = extensions.get::<Self>().is_some_and(|other| *other <= self);
        if !sooner {
            extensions.insert(self);
        }
    }

    /// When it ends.
    pub fn deadline(self) -> Instant {
        self.deadline
    }

    /// What is left of it; zero once it is spent.
    pub fn left(self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether nothing is left.
    pub fn is_spent(self) -> bool {
        self.left().is_zero()
    }
}
