//! Outlier detection against a plain account of Envoy's, and under threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use http::StatusCode;
use mesh_router::dice::Dice;
use mesh_router::outcome::{Failure, Outcome};
use mesh_router::upstream::{Choice, Cluster, ClusterKey, ClusterSettings, EndpointConfig, OutlierSettings, Registry};
use proptest::prelude::*;
use tokio::time::advance;

const HOSTS: usize = 6;

#[derive(Clone, Debug)]
enum Step {
    Report(usize, Outcome),
    Advance(u64),
    /// A reload that changes settings which do not matter here.
    Reload(u64),
    /// The endpoints with a bit in it stay.
    Publish(u8),
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let status = |status| Outcome::Status(StatusCode::from_u16(status).unwrap());
    prop_oneof![
        4 => Just(status(500)),
        4 => Just(status(503)),
        1 => Just(status(200)),
        1 => Just(status(100)),
        2 => Just(Outcome::Failure(Failure::ConnectRefused)),
        2 => Just(Outcome::Failure(Failure::RemoteReset)),
        1 => Just(Outcome::Failure(Failure::Overflow)),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (0..HOSTS, outcomes()).prop_map(|(host, outcome)| Step::Report(host, outcome)),
        6 => (1u64..4000).prop_map(Step::Advance),
        1 => (1u64..90).prop_map(Step::Reload),
        1 => any::<u8>().prop_map(Step::Publish),
    ]
}

fn detections() -> impl Strategy<Value = OutlierSettings> {
    let threshold = || (0u32..4).prop_map(NonZeroU32::new);
    (threshold(), threshold(), threshold(), 1u64..3000, 1u64..5000, 0u8..101).prop_map(
        |(errors, gateway_errors, local_failures, interval, base, percent)| {
            let mut outlier = OutlierSettings::default();
            outlier.errors = errors;
            outlier.gateway_errors = gateway_errors;
            outlier.local_failures = local_failures;
            outlier.interval = Duration::from_millis(interval);
            outlier.base_ejection_time = Duration::from_millis(base);
            outlier.max_ejection_percent = percent;
            outlier
        },
    )
}

/// What Envoy keeps of a host. Times are in milliseconds from the start.
#[derive(Clone, Debug, Default)]
struct Host {
    errors: u32,
    gateway_errors: u32,
    local_failures: u32,
    ejected: Option<u64>,
    returned: u64,
    backoff: u64,
}

/// A detector that sweeps at every interval, whether anybody asks or not.
#[derive(Debug)]
struct Account {
    outlier: OutlierSettings,
    hosts: BTreeMap<usize, Host>,
    now: u64,
}

impl Account {
    fn base(&self) -> u64 {
        self.outlier.base_ejection_time.as_millis() as u64
    }

    fn longest(&self) -> u64 {
        self.base().max(300_000)
    }

    fn advance(&mut self, milliseconds: u64) {
        let interval = self.outlier.interval.as_millis() as u64;
        let (base, longest, to) = (self.base(), self.longest(), self.now + milliseconds);
        let mut sweep = (self.now / interval + 1) * interval;
        while sweep <= to {
            for host in self.hosts.values_mut() {
                match host.ejected {
                    Some(since) if sweep - since >= (base * host.backoff).min(longest) => {
                        *host = Host { returned: sweep, backoff: host.backoff, ..Host::default() };
                    }
                    None if host.backoff > 0 && sweep - host.returned >= interval => host.backoff -= 1,
                    _ => {}
                }
            }
            sweep += interval;
        }
        self.now = to;
    }

    fn report(&mut self, number: usize, outcome: Outcome) {
        let split = self.outlier.local_failures.is_some();
        let Some(host) = self.hosts.get_mut(&number) else { return };
        let code = match outcome {
            Outcome::Failure(Failure::Overflow) => return,
            Outcome::Failure(failure) if split => {
                if !failure.is_connect() {
                    host.local_failures = 0;
                }
                host.local_failures += 1;
                if Some(host.local_failures) == self.outlier.local_failures.map(NonZeroU32::get) && self.event(number) {
                    self.hosts.get_mut(&number).unwrap().local_failures = 0;
                }
                return;
            }
            Outcome::Failure(_) => 503,
            Outcome::Status(status) => status.as_u16(),
            other => panic!("{other:?} is not among the outcomes"),
        };
        if split {
            host.local_failures = 0;
        }
        match code {
            100 => {}
            502..=504 => {
                host.gateway_errors += 1;
                if Some(host.gateway_errors) == self.outlier.gateway_errors.map(NonZeroU32::get) && self.event(number) {
                    self.hosts.get_mut(&number).unwrap().gateway_errors = 0;
                }
                self.error(number);
            }
            500..=599 => {
                host.gateway_errors = 0;
                self.error(number);
            }
            _ => (host.errors, host.gateway_errors) = (0, 0),
        }
    }

    fn error(&mut self, number: usize) {
        let host = self.hosts.get_mut(&number).unwrap();
        host.errors += 1;
        if Some(host.errors) == self.outlier.errors.map(NonZeroU32::get) && self.event(number) {
            self.hosts.get_mut(&number).unwrap().errors = 0;
        }
    }

    /// Whether the run that led here begins again.
    fn event(&mut self, number: usize) -> bool {
        let (base, longest, now) = (self.base(), self.longest(), self.now);
        let ejected = self.hosts.values().filter(|host| host.ejected.is_some()).count();
        let share = 100.0 * (ejected + 1) as f64 / self.hosts.len() as f64;
        let host = self.hosts.get_mut(&number).unwrap();
        if host.ejected.is_some() {
            return false;
        }
        if share <= f64::from(self.outlier.max_ejection_percent) {
            host.ejected = Some(now);
            if host.backoff * base < longest + base {
                host.backoff += 1;
            }
        }
        true
    }

    fn publish(&mut self, kept: &[usize]) {
        self.hosts.retain(|number, _| kept.contains(number));
        kept.iter().for_each(|number| _ = self.hosts.entry(*number).or_default());
    }
}

fn hosts(numbers: impl IntoIterator<Item = usize>) -> Vec<EndpointConfig> {
    numbers.into_iter().map(|number| EndpointConfig::new(([10, 0, 0, number as u8], 80))).collect()
}

fn load(registry: &Registry, outlier: &OutlierSettings, numbers: &[usize], connect: u64) -> Arc<Cluster> {
    let mut settings = ClusterSettings::default();
    settings.outlier = Some(outlier.clone());
    Arc::make_mut(&mut settings.connection).connect_timeout = Duration::from_secs(connect);
    registry.cluster(ClusterKey::new("a.example", "", 80), settings, hosts(numbers.iter().copied()))
}

fn assert_same(cluster: &Cluster, account: &Account, dice: &Dice) {
    for (view, (number, host)) in cluster.view().iter().zip(&account.hosts) {
        assert_eq!(view.ejected.is_some(), host.ejected.is_some(), "host {number} of {account:#?}");
        assert_eq!(view.address, hosts([*number])[0].address);
    }
    let picked = cluster.pick(&mut dice.draws(), &Choice::default());
    let healthy = account.hosts.values().any(|host| host.ejected.is_none());
    assert_eq!(picked.is_some(), healthy);
    if let Some(picked) = picked {
        assert!(!picked.endpoint().is_ejected());
    }
}

async fn run(outlier: OutlierSettings, steps: Vec<Step>) {
    let dice = Dice::seeded(3);
    let registry = Registry::new(&dice);
    let mut kept: Vec<usize> = (0..HOSTS).collect();
    let mut cluster = load(&registry, &outlier, &kept, 1);
    let mut account = Account { outlier: outlier.clone(), hosts: BTreeMap::new(), now: 0 };
    account.publish(&kept);
    for step in steps {
        match step {
            Step::Report(number, outcome) => {
                let found = kept.iter().position(|kept| *kept == number);
                if let Some(index) = found {
                    let endpoint = cluster.endpoints().endpoints()[index].clone();
                    cluster.report(&endpoint, outcome);
                    account.report(number, outcome);
                }
            }
            Step::Advance(milliseconds) => {
                advance(Duration::from_millis(milliseconds)).await;
                account.advance(milliseconds);
            }
            Step::Reload(connect) => cluster = load(&registry, &outlier, &kept, connect),
            Step::Publish(bits) => {
                kept = (0..HOSTS).filter(|number| bits & (1 << number) != 0).collect();
                cluster.publish(hosts(kept.iter().copied()));
                account.publish(&kept);
            }
        }
        assert_same(&cluster, &account, &dice);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Nobody sweeps here, and yet every endpoint is in or out as if somebody did.
    #[test]
    fn endpoints_are_in_and_out_as_with_a_timer(outlier in detections(),
        steps in proptest::collection::vec(steps(), 0..150)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(outlier, steps));
    }
}

/// Whatever threads report at the same time, no view shows more ejected than allowed, and nobody waits for ever.
#[test]
fn threads_eject_no_more_than_allowed() {
    const TOTAL: usize = 40;
    let mut outlier = OutlierSettings::default();
    outlier.errors = NonZeroU32::new(2);
    outlier.max_ejection_percent = 30;
    outlier.interval = Duration::from_millis(1);
    outlier.base_ejection_time = Duration::from_millis(1);
    let dice = Dice::seeded(7);
    let numbers: Vec<usize> = (0..TOTAL).collect();
    let cluster = load(&Registry::new(&dice), &outlier, &numbers, 1);
    let (seen, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut most = 0;
    thread::scope(|scope| {
        let reporters: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    // On a busy machine the views below may begin only when all this is over.
                    for round in 0..2_000_000 {
                        if round >= 20_000 && seen.load(Ordering::Relaxed) {
                            break;
                        }
                        let Some(picked) = cluster.pick(&mut dice.draws(), &Choice::default()) else { continue };
                        cluster.report(picked.endpoint(), Outcome::Status(StatusCode::SERVICE_UNAVAILABLE));
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                cluster.publish(hosts((0..TOTAL).rev()));
                cluster.publish(hosts(0..TOTAL));
            }
        });
        while !reporters.iter().all(|reporter| reporter.is_finished()) {
            let ejected = cluster.view().iter().filter(|view| view.ejected.is_some()).count();
            most = most.max(ejected);
            seen.fetch_or(ejected > 0, Ordering::Relaxed);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(most > 0, "threads did eject");
    assert!(most <= TOTAL * 30 / 100, "{most} were ejected");
    assert_eq!(cluster.view().iter().map(|view| view.active).sum::<u32>(), 0);
}
