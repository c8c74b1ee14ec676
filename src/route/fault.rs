//! Faults for tests (`http[].fault`): [`Fault`].
//!
//! They come before everything else that a rule does, CORS and timeouts included. Delay and abort are drawn
//! independently: the delay first, and after it has passed the abort.

use std::time::Duration;

use http::StatusCode;

use super::Percent;

/// What a rule injects (`http[].fault`).
///
/// ```
/// use std::time::Duration;
///
/// use http::StatusCode;
/// use mesh_router::route::{Abort, Fault, Percent};
///
/// let fault = Fault {
///     delay: Some((Percent::ALWAYS, Duration::from_secs(1))),
///     abort: Some((Percent::new(50.0), Abort::Http(StatusCode::SERVICE_UNAVAILABLE))),
/// };
/// assert_eq!(fault.delayed(3), Some(Duration::from_secs(1)));
/// assert!(fault.aborted(499_999).is_some() && fault.aborted(500_000).is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// How many requests are held, and for how long (flag `DI`). It counts into no timeout of the rule; a
    /// `DeadlineBudget` bounds it.
    pub delay: Option<(Percent, Duration)>,
    /// How many requests are answered here, and how (flag `FI`, body `fault filter abort`). Such an answer is never
    /// retried, starts no mirror, and CORS adds nothing to it.
    pub abort: Option<(Percent, Abort)>,
}

/// How a request is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Abort {
    /// With this status, which a gRPC client gets translated.
    Http(StatusCode),
    /// With 200 and this `grpc-status`; a client that does not speak gRPC gets only the body.
    Grpc(u16),
}

impl Fault {
    /// How long the request that drew `draw` is held.
    pub fn delayed(&self, draw: u64) -> Option<Duration> {
        self.delay.filter(|(percent, _)| percent.hits(draw)).map(|(_, delay)| delay)
    }

    /// How the request that drew `draw` is aborted. The draw is another than that of the delay.
    pub fn aborted(&self, draw: u64) -> Option<Abort> {
        self.abort.filter(|(percent, _)| percent.hits(draw)).map(|(_, abort)| abort)
    }
}

/// The statuses of gRPC by their numbers, as `fault.abort.grpcStatus` names them.
pub(super) const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Abort {
    /// An abort with a gRPC status by its name, `NOT_FOUND` for example; `None` if there is none of that name.
    pub fn grpc(name: &str) -> Option<Self> {
        let number = GRPC_STATUSES.iter().position(|status| *status == name)?;
        u16::try_from(number).ok().map(Abort::Grpc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    #[test]
    fn f7_statuses_of_grpc_have_names() {
        assert_eq!(Abort::grpc("OK"), Some(Abort::Grpc(0)));
        assert_eq!(Abort::grpc("UNAVAILABLE"), Some(Abort::Grpc(14)));
        assert_eq!(Abort::grpc("UNAUTHENTICATED"), Some(Abort::Grpc(16)));
        assert_eq!(Abort::grpc("unavailable"), None);
        assert_eq!(Abort::grpc("14"), None);
    }

    #[test]
    fn f2_delay_and_abort_are_independent_at_five_sigma() {
        let half = Percent::new(50.0);
        let fault = Fault {
            delay: Some((half, Duration::from_millis(1))),
            abort: Some((half, Abort::Http(StatusCode::NOT_FOUND))),
        };
        let (mut stream, draws) = (Dice::seeded(5).draws(), 200_000u32);
        let both: u32 = (0..draws)
            .map(|_| {
                let delayed = fault.delayed(stream.next_u64()).is_some();
                let aborted = fault.aborted(stream.next_u64()).is_some();
                u32::from(delayed && aborted)
            })
            .sum();
        let expected = f64::from(draws) / 4.0;
        assert!((f64::from(both) - expected).abs() < 5.0 * (expected * 0.75).sqrt(), "{both}");
    }

    #[test]
    fn f4_nothing_is_injected_without_a_share() {
        let fault = Fault { delay: Some((Percent::NEVER, Duration::from_secs(1))), abort: None };
        assert!((0..1000).all(|draw| fault.delayed(draw).is_none() && fault.aborted(draw).is_none()));
    }
}
