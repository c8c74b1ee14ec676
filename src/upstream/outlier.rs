//! Outlier detection: which endpoints fail so often in a row that they are left out for a while.
//!
//! Every try reports what it came to. Runs of errors are counted for each endpoint; a run that reaches its threshold
//! ejects the endpoint, unless too many are ejected already. It returns after a time that grows each time.

use std::cmp::Ordering;
use std::num::NonZeroU32;
use std::sync::atomic::{self, AtomicBool, AtomicU8};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::LONGEST;
use super::atomics::Streak;
use crate::outcome::{Failure, Outcome};

/// The longest ejection there is, unless the first is longer.
const LONGEST_EJECTION: Duration = Duration::from_secs(300);

/// When an endpoint that fails is left out for a while (`outlierDetection` of a DestinationRule).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutlierSettings {
    /// So many 5xx in a row eject (`consecutive5xxErrors`): 5. `None`: none do.
    pub errors: Option<NonZeroU32>,
    /// So many 502, 503 or 504 in a row eject (`consecutiveGatewayErrors`). `None`: none do.
    pub gateway_errors: Option<NonZeroU32>,
    /// So many failures of connections and timeouts in a row eject, where they are counted apart from the answers
    /// (`splitExternalLocalOriginErrors`, `consecutiveLocalOriginFailures`). `None`: they are not; a timeout counts as
    /// a 504 and any other failure as a 503.
    pub local_failures: Option<NonZeroU32>,
    /// How often ejected endpoints are looked after (`interval`): 10 s. One returns at the first time after its
    /// ejection has passed.
    pub interval: Duration,
    /// How long the first ejection lasts (`baseEjectionTime`): 30 s. Each further one lasts that much longer, up to
    /// 300 s or this, whichever is longer. Every `interval` without an ejection takes one back.
    pub base_ejection_time: Duration,
    /// The largest share of the endpoints that is ejected at a time, in percent (`maxEjectionPercent`): 10. It is kept
    /// strictly: of fewer than ten endpoints 10 % is none. Those that a [`Distribute`](super::Distribute) gives no
    /// requests do not count.
    pub max_ejection_percent: u8,
    /// Below this share of healthy endpoints, in percent, all are used (`minHealthPercent`): 0, never. It prevents no
    /// ejection.
    pub min_health_percent: u8,
    /// The statuses that are errors (`outlierDetectionHttpErrorCodes`); all others are none, 5xx included. Those below
    /// 500 count as 500. Empty: 500 to 599. They do not matter to gRPC requests.
    pub error_codes: Box<[StatusCode]>,
}

impl Default for OutlierSettings {
    fn default() -> Self {
        Self {
            errors: NonZeroU32::new(5),
            gateway_errors: None,
            local_failures: None,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_percent: 10,
            min_health_percent: 0,
            error_codes: Box::default(),
        }
    }
}

/// Which run of failures ejected an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EjectionReason {
    /// `consecutiveGatewayErrors`.
    GatewayErrors,
    /// `consecutive5xxErrors`.
    Errors,
    /// `consecutiveLocalOriginFailures`.
    LocalFailures,
}

impl EjectionReason {
    /// In the order in which one outcome may reach them.
    pub(super) const ALL: [Self; 3] = [Self::GatewayErrors, Self::Errors, Self::LocalFailures];

    /// The field of `outlierDetection`.
    pub fn as_str(self) -> &'static str {
        match self {
            EjectionReason::GatewayErrors => "consecutiveGatewayErrors",
            EjectionReason::Errors => "consecutive5xxErrors",
            EjectionReason::LocalFailures => "consecutiveLocalOriginFailures",
        }
    }
}

/// An ejection that lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ejection {
    /// What it is for.
    pub reason: EjectionReason,
    /// When it began.
    pub since: Instant,
    /// When the endpoint returns.
    pub until: Instant,
    /// How often the endpoint has been ejected, this time included.
    pub times: u32,
}

/// What an outcome says about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgment {
    /// Nothing.
    Nothing,
    /// An answer that is no error.
    Success,
    /// A 5xx that is no gateway error.
    Error,
    /// A 502, 503 or 504.
    GatewayError,
    /// A failure that is counted apart, and whether there was a connection before it.
    LocalFailure { connected: bool },
}

impl OutlierSettings {
    pub(super) fn judge(&self, outcome: Outcome) -> Judgment {
        match outcome {
            Outcome::Status(status) if self.error_codes.is_empty() => of_status(status),
            Outcome::Status(status) if !self.error_codes.contains(&status) => Judgment::Success,
            Outcome::Status(status) => match of_status(status) {
                Judgment::Success | Judgment::Nothing => Judgment::Error,
                error => error,
            },
            Outcome::Grpc(status) => of_status(status),
            // Both are this side's own.
            Outcome::Failure(Failure::Overflow | Failure::LocalReset) => Judgment::Nothing,
            Outcome::Failure(failure) if self.local_failures.is_some() => {
                Judgment::LocalFailure { connected: !failure.is_connect() }
            }
            // A 503, or a 504 after a timeout.
            Outcome::Failure(_) => Judgment::GatewayError,
        }
    }

    /// How many endpoints of `total` may be ejected at a time.
    pub(super) fn most_ejected(&self, total: usize) -> usize {
        total * usize::from(self.max_ejection_percent.min(100)) / 100
    }

    fn longest(&self) -> Duration {
        LONGEST_EJECTION.max(self.base_ejection_time).min(LONGEST)
    }

    /// How long ejection number `backoff` lasts.
    fn lasts(&self, backoff: u32) -> Duration {
        self.base_ejection_time.saturating_mul(backoff).min(self.longest())
    }

    /// The first time endpoints are looked after at or after `at`; they are from `origin` on.
    fn look_after(&self, at: Instant, origin: Instant) -> Instant {
        let interval = self.interval.as_nanos().max(1);
        let passed = at.saturating_duration_since(origin).as_nanos();
        let wait = passed.div_ceil(interval) * interval - passed;
        at + Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

fn of_status(status: StatusCode) -> Judgment {
    match status.as_u16() {
        502..=504 => Judgment::GatewayError,
        500..=599 => Judgment::Error,
        // An upgrade is an answer, other 1xx come before one.
        100 | 102..=199 => Judgment::Nothing,
        _ => Judgment::Success,
    }
}

/// What is known of an endpoint's failures, shared by all clusters of its key.
///
/// Runs are counted by whoever reports; all else is changed under the lock of the cluster's memory only.
#[derive(Debug, Default)]
pub(super) struct Health {
    errors: Streak,
    gateway_errors: Streak,
    local_failures: Streak,
    /// Bits of the runs that reached their threshold, by the order of [`EjectionReason::ALL`].
    accused: AtomicU8,
    ejected: AtomicBool,
    /// Only locked by those who hold the lock of the cluster's memory: nobody waits.
    history: Mutex<History>,
}

impl Health {
    pub(super) fn is_ejected(&self) -> bool {
        self.ejected.load(atomic::Ordering::Relaxed)
    }

    /// How many failures there were of those that are counted apart.
    pub(super) fn local_failures(&self) -> u32 {
        self.local_failures.so_far()
    }

    /// Ends the run of those: a try has its connection. How many there were.
    pub(super) fn connected(&self) -> u32 {
        let failures = self.local_failures();
        self.local_failures.end(failures);
        failures
    }

    /// Counts what a try came to, and says whether a run has reached its threshold. If the try had a connection, it had
    /// it after so many [local failures](Self::local_failures); `None`: only now, as far as is known.
    pub(super) fn count(&self, settings: &OutlierSettings, outcome: Outcome, before: Option<u32>) -> bool {
        let end_local = || self.local_failures.end(before.unwrap_or_else(|| self.local_failures()));
        let reached = match settings.judge(outcome) {
            Judgment::Nothing => 0,
            Judgment::Success => {
                self.gateway_errors.clear();
                self.errors.clear();
                0
            }
            Judgment::Error => {
                self.gateway_errors.clear();
                self.add(EjectionReason::Errors, settings)
            }
            Judgment::GatewayError => {
                self.add(EjectionReason::GatewayErrors, settings) | self.add(EjectionReason::Errors, settings)
            }
            Judgment::LocalFailure { connected } => {
                if connected {
                    end_local();
                }
                self.add(EjectionReason::LocalFailures, settings)
            }
        };
        if settings.local_failures.is_some() && matches!(outcome, Outcome::Status(_) | Outcome::Grpc(_)) {
            end_local();
        }
        if reached != 0 {
            self.accused.fetch_or(reached, atomic::Ordering::Release);
        }
        reached != 0
    }

    /// The bit of `reason` if its run has reached its threshold.
    ///
    /// A run may be past it and nobody has judged: it was counted under a higher threshold, before the settings changed
    /// or by who still has those of before, or its endpoint was not one of the cluster's that was told.
    fn add(&self, reason: EjectionReason, settings: &OutlierSettings) -> u8 {
        let threshold = match reason {
            EjectionReason::GatewayErrors => settings.gateway_errors,
            EjectionReason::Errors => settings.errors,
            EjectionReason::LocalFailures => settings.local_failures,
        };
        let Some(threshold) = threshold else { return 0 };
        let reached = match self.streak(reason).add(threshold.get()) {
            Ordering::Less => false,
            Ordering::Equal => true,
            Ordering::Greater => !self.is_ejected(),
        };
        if reached { 1 << reason as u8 } else { 0 }
    }

    fn streak(&self, reason: EjectionReason) -> &Streak {
        match reason {
            EjectionReason::GatewayErrors => &self.gateway_errors,
            EjectionReason::Errors => &self.errors,
            EjectionReason::LocalFailures => &self.local_failures,
        }
    }

    /// Ends an ejection whose time has passed; the ejection that ended.
    pub(super) fn end(&self, settings: &OutlierSettings, clock: Clock) -> Option<Ejection> {
        let ejection = self.ejection(settings, clock.origin).filter(|ejection| ejection.until <= clock.now)?;
        self.history().end(ejection.until);
        for reason in EjectionReason::ALL {
            self.streak(reason).clear();
        }
        self.accused.store(0, atomic::Ordering::Relaxed);
        self.ejected.store(false, atomic::Ordering::Relaxed);
        Some(ejection)
    }

    /// Judges what the endpoint is accused of; the ejection that began. Runs that brought none begin again.
    pub(super) fn judge(&self, settings: &OutlierSettings, may_eject: bool, clock: Clock) -> Option<Ejection> {
        let accused = match self.accused.load(atomic::Ordering::Relaxed) {
            0 => return None,
            _ => self.accused.swap(0, atomic::Ordering::Acquire),
        };
        if self.is_ejected() {
            return None;
        }
        let mut reasons = EjectionReason::ALL.into_iter().filter(|reason| accused & (1 << *reason as u8) != 0);
        if may_eject && let Some(reason) = reasons.next() {
            self.streak(reason).clear();
            self.history().eject(settings, reason, clock.now);
            self.ejected.store(true, atomic::Ordering::Relaxed);
            return self.ejection(settings, clock.origin);
        }
        reasons.for_each(|reason| self.streak(reason).clear());
        None
    }

    /// The ejection that lasts, if one does.
    pub(super) fn ejection(&self, settings: &OutlierSettings, origin: Instant) -> Option<Ejection> {
        if self.is_ejected() { self.history().ejection(settings, origin) } else { None }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time, and since when endpoints are looked after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) now: Instant,
    pub(super) origin: Instant,
}

/// The ejections of one endpoint so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    times: u32,
    /// By how many base times the last ejection lasted, and what has been taken back of it is not subtracted yet.
    backoff: u32,
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
enum Last {
    Ejected { reason: EjectionReason, since: Instant },
    Returned(Instant),
}

impl History {
    /// Begins an ejection.
    pub(super) fn eject(&mut self, settings: &OutlierSettings, reason: EjectionReason, now: Instant) {
        if let Some(Last::Returned(at)) = self.last {
            let quiet = now.saturating_duration_since(at).as_nanos() / settings.interval.as_nanos().max(1);
            self.backoff = self.backoff.saturating_sub(u32::try_from(quiet).unwrap_or(u32::MAX));
        }
        let reached = settings.base_ejection_time.saturating_mul(self.backoff);
        if reached < settings.longest().saturating_add(settings.base_ejection_time) {
            self.backoff += 1;
        }
        self.times = self.times.saturating_add(1);
        self.last = Some(Last::Ejected { reason, since: now });
    }

    /// Ends the ejection at the time it was to end.
    pub(super) fn end(&mut self, at: Instant) {
        self.last = Some(Last::Returned(at));
    }

    /// The ejection that lasts, if one does.
    pub(super) fn ejection(&self, settings: &OutlierSettings, origin: Instant) -> Option<Ejection> {
        let Some(Last::Ejected { reason, since }) = self.last else { return None };
        let until = settings.look_after(since + settings.lasts(self.backoff), origin);
        Some(Ejection { reason, since, until, times: self.times })
    }
}
