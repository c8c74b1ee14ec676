//! A cluster: a key, its settings and the endpoints of the moment.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, MutexGuard};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use super::atomics::Alarm;
use super::balancer::{Balancing, Policy};
use super::choice::Choice;
use super::connection::ConnectionSettings;
use super::endpoint::{Endpoint, EndpointConfig, EndpointView, Picked};
use super::endpoint_set::{EndpointSet, first_of_each_address};
use super::lasting::{Lasting, Memory};
use super::limits::{LimitSettings, Limits};
use super::locality::Placement;
use super::originals::{Originals, PassThrough};
use super::outlier::{Clock, Ejection, OutlierSettings};
use crate::dice::Draws;
use crate::outcome::Outcome;

/// The tick at which an alarm rings that is to ring with the next pick.
const AT_ONCE: u64 = 0;

/// Which cluster: a host, a subset of it and a port.
///
/// Displayed as Istio names it, `outbound|9080|v1|reviews.default.svc.cluster.local`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterKey {
    /// The full name of the host.
    pub host: Arc<str>,
    /// The subset of a DestinationRule, empty for the whole host.
    pub subset: Arc<str>,
    /// The port of the service.
    pub port: u16,
}

impl ClusterKey {
    /// The key of `subset` (empty: the whole host) of `host` at `port`.
    pub fn new(host: impl Into<Arc<str>>, subset: impl Into<Arc<str>>, port: u16) -> Self {
        Self { host: host.into(), subset: subset.into(), port }
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "outbound|{}|{}|{}", self.port, self.subset, self.host)
    }
}

/// What a DestinationRule and the mesh say about a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ClusterSettings {
    /// How its endpoints share the requests (`loadBalancer`): LEAST_REQUEST, all alike.
    pub balancing: Balancing,
    /// How its connections are opened, secured and kept.
    pub connection: Arc<ConnectionSettings>,
    /// When an endpoint that fails is left out for a while. `None`: never.
    pub outlier: Option<OutlierSettings>,
    /// How much of it may be in use at a time: any number.
    pub limits: LimitSettings,
    /// Whether its requests go where they lead by themselves, and not to endpoints of its own: no.
    pub pass_through: Option<PassThrough>,
}

impl ClusterSettings {
    /// Where its requests lead by themselves, if they do.
    fn passes_through(&self) -> Option<&PassThrough> {
        const AS_DIALLED: PassThrough = PassThrough::Dialed { port: None };
        match &self.pass_through {
            None if self.balancing.policy == Policy::PassThrough => Some(&AS_DIALLED),
            pass => pass.as_ref(),
        }
    }
}

/// A cluster: one destination with its settings and its endpoints of the moment.
///
/// Made by [`Registry::cluster`](super::Registry::cluster). Its endpoints change behind the one `Arc`; a change of
/// its settings makes another cluster, which goes on with the same endpoint states and counts.
///
/// # Health
///
/// Every try [reports](Self::report) what it came to. Where that ejects an endpoint, the one who reported it rebuilds
/// the endpoint set; where somebody else is at it already, nobody waits and the next pick or report sees to it. An
/// endpoint whose ejection has passed returns with the next pick, report or view. There is no task and no timer.
///
/// Envoy puts off a change of health that comes within a second of another. Here it takes effect at once, except that
/// a set which takes long to build (a large one with a hash table) is not rebuilt before ten times as long has passed,
/// at most a second, so that an outage of many endpoints does not keep requests building sets.
pub struct Cluster {
    /// Which cluster it is.
    pub key: ClusterKey,
    settings: ClusterSettings,
    limits: Arc<Limits>,
    set: ArcSwap<EndpointSet>,
    /// Endpoints that are not published: where clients connected to, under whatever settings of its key.
    originals: Arc<Originals>,
    /// Rings when an ejection of these endpoints may begin or end, by these settings.
    alarm: Alarm,
    /// The version of the endpoints' health that the set was built for.
    built: AtomicU64,
    /// How often rules were published of it; raised under the lock of the memory.
    generation: AtomicU64,
    lasting: Arc<Lasting>,
    /// Among those of its key.
    number: u64,
}

impl Cluster {
    pub(super) fn new(
        key: ClusterKey,
        settings: ClusterSettings,
        lasting: Arc<Lasting>,
        endpoints: Vec<EndpointConfig>,
    ) -> Self {
        let endpoints = first_of_each_address(endpoints);
        let mut memory = lasting.lock();
        let limits = memory.limits(settings.limits);
        let originals = settings.passes_through().map(|_| memory.originals()).unwrap_or_default();
        let number = memory.next_cluster();
        let endpoints = memory.endpoints(number, endpoints, &settings, &limits);
        let set = memory.arrange(&settings, endpoints);
        let built = AtomicU64::new(lasting.version());
        drop(memory);
        let alarm = Alarm::new();
        // Endpoints may be known, and ejected, from before.
        alarm.set(AT_ONCE);
        Self {
            key,
            settings,
            limits,
            set: ArcSwap::from_pointee(set),
            originals,
            alarm,
            built,
            generation: AtomicU64::new(0),
            lasting,
            number,
        }
    }

    /// Its settings.
    pub fn settings(&self) -> &ClusterSettings {
        &self.settings
    }

    /// Whether its requests go where they lead by themselves: a pick needs [`Choice::original`].
    pub fn pass_through(&self) -> Option<&PassThrough> {
        self.settings.passes_through()
    }

    /// What it admits at a time.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Chooses an endpoint for one try and counts it busy until the [`Picked`] is dropped.
    ///
    /// `None` if no endpoint comes into question (flag `UH`): none is healthy, or the cluster passes through and the
    /// choice does not say where to.
    pub fn pick(&self, draws: &mut Draws, choice: &Choice<'_>) -> Option<Picked> {
        if let Some(pass) = self.pass_through() {
            return self.originals.pick(pass, choice.original, &self.settings, &self.limits);
        }
        self.look_after();
        self.set.load().pick(draws, choice)
    }

    /// Says what a try on `endpoint` came to, once for each try: a retry reports for the endpoint it was on before,
    /// whatever the request comes to in the end.
    ///
    /// Not reported is a try that was given up because the client went away, nor one that never had an endpoint. It
    /// costs nothing without outlier detection; with it a success writes nothing.
    pub fn report(&self, endpoint: &Endpoint, outcome: Outcome) {
        self.report_try(endpoint, outcome, None);
    }

    /// The same of a try whose connection, if it had one, it had when there were so many
    /// [local failures](Endpoint::local_failures).
    pub(crate) fn report_try(&self, endpoint: &Endpoint, outcome: Outcome, before: Option<u32>) {
        let Some(settings) = &self.settings.outlier else { return };
        self.look_after();
        if endpoint.state().health().count(settings, outcome, before) {
            self.alarm.set(self.lasting.rest());
            self.look_after();
        }
    }

    /// The endpoints of the moment.
    pub fn endpoints(&self) -> Arc<EndpointSet> {
        self.look_after();
        self.set.load_full()
    }

    /// Every endpoint with its counts and its ejection, for people.
    pub fn view(&self) -> Vec<EndpointView> {
        let set = self.endpoints();
        // Ejections are looked at as they are changed: one at a time.
        let _memory = self.lasting.lock();
        let ejection = |endpoint: &Endpoint| {
            let settings = self.settings.outlier.as_ref()?;
            endpoint.state().health().ejection(settings, self.lasting.origin())
        };
        set.endpoints().iter().map(|endpoint| endpoint.view(&self.key, ejection(endpoint))).collect()
    }

    /// Replaces the endpoints, in one step for those who pick.
    ///
    /// Endpoints found again by their address keep their identity, counts and ejections. If nothing changed, nothing
    /// is replaced and the balancer goes on where it was. It takes effect at once, also for snapshots that are already
    /// out.
    pub fn publish(&self, endpoints: Vec<EndpointConfig>) {
        self.replace(self.lasting.lock(), endpoints);
    }

    /// The same with rules that are published: what those of before say of its endpoints does not count any more.
    pub(crate) fn publish_anew(&self, endpoints: Vec<EndpointConfig>) {
        let memory = self.lasting.lock();
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.replace(memory, endpoints);
    }

    /// The same for what changes without rules, unless others were published since those of `generation`: they may
    /// have endpoints of another kind.
    pub(crate) fn publish_within(&self, generation: u64, endpoints: Vec<EndpointConfig>) {
        let memory = self.lasting.lock();
        if self.generation() == generation {
            self.replace(memory, endpoints);
        }
    }

    /// Which rules its endpoints are of, for those who publish rules one at a time.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// `memory` is held until the set is stored: of two publications the later one stays.
    fn replace(&self, mut memory: MutexGuard<'_, Memory>, endpoints: Vec<EndpointConfig>) {
        let endpoints = first_of_each_address(endpoints);
        if !self.set.load().is_as(&endpoints) {
            let endpoints = memory.endpoints(self.number, endpoints, &self.settings, &self.limits);
            self.store(&mut memory, endpoints);
            drop(memory);
            self.alarm.set(AT_ONCE);
        }
    }

    /// Has the connections kept that its endpoints have a use for: it is published, and none of its key before is.
    pub(crate) fn stand(&self) {
        self.lasting.lock().stand(self.number, self.set.load().endpoints());
    }

    pub(super) fn lasting(&self) -> &Arc<Lasting> {
        &self.lasting
    }

    /// Builds and publishes the set of `endpoints` by their health.
    fn store(&self, memory: &mut Memory, endpoints: Box<[Arc<Endpoint>]>) {
        self.set.store(Arc::new(memory.arrange(&self.settings, endpoints)));
        self.built.store(self.lasting.version(), Ordering::Relaxed);
    }

    /// Sees to what is due of ejections and returns. Without outlier detection nothing ever is.
    fn look_after(&self) {
        if let Some(settings) = &self.settings.outlier
            && self.is_due()
        {
            self.change_health(settings);
        }
    }

    /// Whether there is something to see to. The clock is read only while an ejection lasts.
    fn is_due(&self) -> bool {
        let at = self.alarm.at();
        let rings = at != Alarm::NEVER && at <= self.lasting.tick(Instant::now());
        rings || self.built.load(Ordering::Relaxed) != self.lasting.version()
    }

    /// Ends and begins the ejections that are due, and rebuilds the set if there are any. Whoever finds another at it
    /// goes on: the alarm rings until somebody was here.
    ///
    /// Clusters of one key that are in use at a time, as after a change of settings, each look after their own
    /// endpoints by their own settings; what one changes the others see by the version.
    #[cold]
    fn change_health(&self, settings: &OutlierSettings) {
        let Some(mut memory) = self.lasting.try_lock() else { return };
        self.alarm.take();
        let clock = self.lasting.clock();
        let set = self.set.load_full();
        let Changes { ended, begun, next } =
            changes(settings, &self.settings.balancing.placement, set.endpoints(), clock);
        if !ended.is_empty() || !begun.is_empty() {
            self.lasting.health_changed();
        }
        if self.built.load(Ordering::Relaxed) != self.lasting.version() {
            self.store(&mut memory, set.endpoints().into());
            self.lasting.rest_after(clock);
        }
        if let Some(next) = next {
            self.alarm.set(self.lasting.tick(next));
        }
        drop(memory);
        for (endpoint, ejection) in ended {
            let Ejection { reason, times, .. } = ejection;
            tracing::info!(cluster = %self.key, endpoint = %endpoint.address, reason = reason.as_str(), times,
                "an endpoint returns from its ejection");
        }
        for (endpoint, ejection) in begun {
            let Ejection { reason, times, since, until } = ejection;
            tracing::warn!(cluster = %self.key, endpoint = %endpoint.address, reason = reason.as_str(), times,
                seconds = (until - since).as_secs_f64(), "an endpoint is ejected");
        }
    }
}

/// What changed in the health of endpoints.
struct Changes<'a> {
    ended: Vec<(&'a Endpoint, Ejection)>,
    begun: Vec<(&'a Endpoint, Ejection)>,
    /// When the next ejection ends.
    next: Option<Instant>,
}

fn changes<'a>(
    settings: &OutlierSettings,
    placement: &Placement,
    endpoints: &'a [Arc<Endpoint>],
    clock: Clock,
) -> Changes<'a> {
    let mut ended = Vec::new();
    for endpoint in endpoints {
        ended.extend(endpoint.state().health().end(settings, clock).map(|ejection| (&**endpoint, ejection)));
    }
    // Those that get no requests are no part of what a share is of: Istio leaves them out of what Envoy has.
    let placed = || endpoints.iter().filter(|endpoint| placement.has(endpoint));
    let mut ejected = placed().filter(|endpoint| endpoint.is_ejected()).count();
    let most = settings.most_ejected(placed().count());
    let mut begun = Vec::new();
    for endpoint in placed() {
        if let Some(ejection) = endpoint.state().health().judge(settings, ejected < most, clock) {
            ejected += 1;
            begun.push((&**endpoint, ejection));
        }
    }
    let lasting = endpoints.iter().filter_map(|endpoint| endpoint.state().health().ejection(settings, clock.origin));
    Changes { ended, begun, next: lasting.map(|ejection| ejection.until).min() }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("key", &format_args!("{}", self.key))
            .field("settings", &self.settings)
            .field("endpoints", &self.set.load().endpoints().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::registry::Registry;
    use super::*;
    use crate::dice::Dice;

    #[tokio::test(start_paused = true)]
    async fn endpoints_are_looked_after_when_the_alarm_rings_or_their_health_has_changed() {
        let key = ClusterKey::new("a.test", "", 80);
        let cluster = Registry::new(&Dice::seeded(1)).cluster(key, ClusterSettings::default(), Vec::new());
        assert!(cluster.is_due(), "they may be known from before");
        cluster.alarm.take();
        assert!(!cluster.is_due());
        cluster.lasting.health_changed();
        assert!(cluster.is_due());
        cluster.built.store(cluster.lasting.version(), Ordering::Relaxed);
        assert!(!cluster.is_due());
        cluster.alarm.set(cluster.lasting.tick(Instant::now() + Duration::from_secs(1)));
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(!cluster.is_due());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(cluster.is_due());
        // Whatever was put off is seen to at once where something else is due.
        cluster.alarm.set(cluster.lasting.tick(Instant::now() + Duration::from_secs(1)));
        cluster.alarm.set(AT_ONCE);
        assert!(cluster.is_due());
    }
}
