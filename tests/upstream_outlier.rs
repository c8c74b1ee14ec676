//! Which failures eject an endpoint, for how long, and how many at a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use mesh_router::dice::Dice;
use mesh_router::outcome::{Failure, Outcome};
use mesh_router::upstream::{
    Choice, Cluster, ClusterKey, ClusterSettings, EjectionReason, EndpointConfig, OutlierSettings, Policy, Registry,
};
use tokio::time::{Instant, advance};

const OK: Outcome = Outcome::Status(StatusCode::OK);
const NOT_FOUND: Outcome = Outcome::Status(StatusCode::NOT_FOUND);
const ERROR: Outcome = Outcome::Status(StatusCode::INTERNAL_SERVER_ERROR);
const GATEWAY_ERROR: Outcome = Outcome::Status(StatusCode::BAD_GATEWAY);

/// One error ejects, and everybody may be ejected.
fn strict() -> OutlierSettings {
    let mut outlier = OutlierSettings::default();
    outlier.errors = NonZeroU32::new(1);
    outlier.max_ejection_percent = 100;
    outlier
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn hosts(count: usize) -> Vec<EndpointConfig> {
    (0..count).map(|host| EndpointConfig::new(([10, 0, (host / 250) as u8, (host % 250) as u8], 80))).collect()
}

fn settings(outlier: Option<OutlierSettings>) -> ClusterSettings {
    let mut settings = ClusterSettings::default();
    settings.outlier = outlier;
    settings
}

fn key() -> ClusterKey {
    ClusterKey::new("a.example", "", 80)
}

fn cluster(count: usize, outlier: OutlierSettings) -> Arc<Cluster> {
    Registry::new(&Dice::seeded(1)).cluster(key(), settings(Some(outlier)), hosts(count))
}

fn report(cluster: &Cluster, host: usize, outcomes: &[Outcome]) {
    let endpoint = cluster.endpoints().endpoints()[host].clone();
    outcomes.iter().for_each(|outcome| cluster.report(&endpoint, *outcome));
}

fn ejected(cluster: &Cluster) -> Vec<usize> {
    let view = cluster.view();
    (0..view.len()).filter(|host| view[*host].ejected.is_some()).collect()
}

/// Whether these outcomes, on the only endpoint, eject it.
fn ejects(outlier: &OutlierSettings, outcomes: &[Outcome]) -> bool {
    let cluster = cluster(1, outlier.clone());
    report(&cluster, 0, outcomes);
    !ejected(&cluster).is_empty()
}

/// The picks of a while, as numbers of endpoints in the order of the view.
fn picks(cluster: &Cluster) -> Vec<usize> {
    let dice = Dice::seeded(5);
    let view = cluster.view();
    let mut picked: Vec<_> = (0..400)
        .filter_map(|_| cluster.pick(&mut dice.draws(), &Choice::default()))
        .map(|picked| view.iter().position(|known| known.id == picked.endpoint().id).unwrap())
        .collect();
    picked.sort_unstable();
    picked.dedup();
    picked
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_percentage_is_ejected() {
    for (total, percent, most) in [
        (1, 10, 0),
        (1, 100, 1),
        (3, 33, 0),
        (3, 34, 1),
        (3, 50, 1),
        (9, 10, 0),
        (10, 10, 1),
        (19, 10, 1),
        (20, 10, 2),
        (4, 100, 4),
    ] {
        let mut outlier = strict();
        outlier.max_ejection_percent = percent;
        let cluster = cluster(total, outlier);
        (0..total).for_each(|host| report(&cluster, host, &[ERROR]));
        assert_eq!(ejected(&cluster), (0..most).collect::<Vec<_>>(), "{total} endpoints, {percent} %");
        assert_eq!(picks(&cluster), (most..total).collect::<Vec<_>>(), "{total} endpoints, {percent} %");
    }
}

#[tokio::test(start_paused = true)]
async fn ejections_get_longer_up_to_the_longest() {
    let thirties: Vec<u64> = (1..=12).map(|number| (30 * number).min(300)).collect();
    for (base, expected) in [(30, thirties), (400, vec![400, 400, 400]), (200, vec![200, 300, 300])] {
        let mut outlier = strict();
        outlier.base_ejection_time = Duration::from_secs(base);
        outlier.interval = Duration::from_secs(1);
        let cluster = cluster(1, outlier);
        for (number, lasts) in expected.into_iter().enumerate() {
            report(&cluster, 0, &[ERROR]);
            let ejection = cluster.view()[0].ejected.expect("one error ejects");
            assert_eq!(ejection.until - ejection.since, Duration::from_secs(lasts), "base {base}, ejection {number}");
            assert_eq!((ejection.since, ejection.times), (Instant::now(), number as u32 + 1));
            assert_eq!(ejection.reason, EjectionReason::Errors);
            advance(Duration::from_secs(lasts) - Duration::from_millis(1)).await;
            assert!(picks(&cluster).is_empty(), "base {base}, ejection {number}");
            advance(Duration::from_millis(1)).await;
            assert_eq!(picks(&cluster), [0], "base {base}, ejection {number}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn quiet_intervals_make_the_next_ejection_shorter() {
    let mut outlier = strict();
    outlier.base_ejection_time = Duration::from_secs(10);
    outlier.interval = Duration::from_secs(10);
    // After three ejections without pause and so many quiet seconds the fourth lasts this long.
    for (quiet, lasts) in [(0.0, 40), (9.9, 40), (10.0, 30), (19.9, 30), (20.0, 20), (30.0, 10), (500.0, 10)] {
        let cluster = cluster(1, outlier.clone());
        for _ in 0..3 {
            report(&cluster, 0, &[ERROR]);
            advance(cluster.view()[0].ejected.unwrap().until - Instant::now()).await;
        }
        advance(seconds(quiet)).await;
        report(&cluster, 0, &[ERROR]);
        let ejection = cluster.view()[0].ejected.unwrap();
        let raw = Duration::from_secs(lasts);
        let late = ejection.until - ejection.since - raw;
        assert!(late < Duration::from_secs(10), "{quiet} s quiet: {:?}", ejection.until - ejection.since);
        assert_eq!(ejection.times, 4);
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_return_when_they_are_looked_after() {
    let mut outlier = strict();
    outlier.base_ejection_time = seconds(1.5);
    outlier.interval = seconds(1.0);
    let cluster = cluster(2, outlier);
    let start = Instant::now();
    advance(seconds(0.2)).await;
    report(&cluster, 0, &[ERROR]);
    assert_eq!(cluster.view()[0].ejected.unwrap().until, start + seconds(2.0));
    advance(seconds(1.79)).await;
    assert_eq!(picks(&cluster), [1]);
    advance(seconds(0.01)).await;
    assert_eq!(picks(&cluster), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn runs_are_of_consecutive_errors() {
    let mut outlier = strict();
    outlier.errors = NonZeroU32::new(3);
    assert!(!ejects(&outlier, &[ERROR, ERROR]));
    assert!(ejects(&outlier, &[ERROR, GATEWAY_ERROR, ERROR]));
    for success in [OK, NOT_FOUND, Outcome::Status(StatusCode::SWITCHING_PROTOCOLS), Outcome::Grpc(StatusCode::OK)] {
        assert!(!ejects(&outlier, &[ERROR, ERROR, success, ERROR, ERROR]), "{success:?}");
    }
    let none = [Outcome::Status(StatusCode::CONTINUE), Outcome::Failure(Failure::Overflow)];
    for nothing in none {
        assert!(ejects(&outlier, &[ERROR, ERROR, nothing, ERROR]), "{nothing:?}");
        assert!(!ejects(&outlier, &[nothing, nothing, nothing, nothing]), "{nothing:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn gateway_errors_are_counted_beside_the_others() {
    let mut outlier = strict();
    outlier.errors = None;
    outlier.gateway_errors = NonZeroU32::new(2);
    assert!(!ejects(&outlier, &[ERROR; 20]));
    assert!(!ejects(&outlier, &[GATEWAY_ERROR, ERROR, GATEWAY_ERROR]));
    for status in [502, 503, 504] {
        let outcome = Outcome::Status(StatusCode::from_u16(status).unwrap());
        assert!(ejects(&outlier, &[GATEWAY_ERROR, outcome]), "{status}");
    }
    // Asking for them does not switch the others off.
    outlier.errors = NonZeroU32::new(5);
    assert!(ejects(&outlier, &[ERROR; 5]));
    let cluster = cluster(1, outlier);
    report(&cluster, 0, &[GATEWAY_ERROR; 2]);
    assert_eq!(cluster.view()[0].ejected.unwrap().reason, EjectionReason::GatewayErrors);
}

const FAILURES: [Failure; 9] = [
    Failure::ConnectRefused,
    Failure::ConnectLocal,
    Failure::ConnectTimeout,
    Failure::ConnectionTermination,
    Failure::RemoteReset,
    Failure::RefusedStream,
    Failure::ProtocolError,
    Failure::PerTryTimeout,
    Failure::Timeout,
];

#[tokio::test(start_paused = true)]
async fn failures_count_as_gateway_errors() {
    let (mut errors, mut gateway_errors) = (strict(), strict());
    errors.errors = NonZeroU32::new(2);
    (gateway_errors.errors, gateway_errors.gateway_errors) = (None, NonZeroU32::new(2));
    for failure in FAILURES {
        assert!(ejects(&errors, &[ERROR, Outcome::Failure(failure)]), "{failure:?}");
        assert!(ejects(&gateway_errors, &[Outcome::Failure(failure); 2]), "{failure:?}");
    }
    for own in [Failure::Overflow, Failure::LocalReset] {
        assert!(!ejects(&errors, &[Outcome::Failure(own); 9]), "{own:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_counted_apart_do_not_mix_with_answers() {
    let mut outlier = strict();
    outlier.errors = NonZeroU32::new(2);
    outlier.local_failures = NonZeroU32::new(3);
    let refused = Outcome::Failure(Failure::ConnectRefused);
    assert!(ejects(&outlier, &[refused; 3]));
    assert!(!ejects(&outlier, &[ERROR, refused, refused]));
    assert!(ejects(&outlier, &[ERROR, refused, refused, ERROR]), "failures end no run of errors");
    // An answer, an error too, came over a connection.
    assert!(!ejects(&outlier, &[refused, refused, ERROR, refused, refused]));
    for failure in FAILURES {
        // What fails later had a connection first, and the run begins with it.
        let ends_run = !failure.is_connect();
        let found = ejects(&outlier, &[refused, refused, Outcome::Failure(failure)]);
        assert_eq!(found, !ends_run, "{failure:?}");
    }
    for own in [Failure::Overflow, Failure::LocalReset] {
        assert!(!ejects(&outlier, &[Outcome::Failure(own); 9]), "{own:?}");
    }
    outlier.local_failures = NonZeroU32::new(1);
    for failure in FAILURES {
        assert!(ejects(&outlier, &[Outcome::Failure(failure)]), "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn error_codes_make_every_other_status_a_success() {
    let mut outlier = strict();
    outlier.errors = NonZeroU32::new(2);
    outlier.error_codes = [StatusCode::TOO_MANY_REQUESTS, StatusCode::BAD_GATEWAY].into();
    let too_many = Outcome::Status(StatusCode::TOO_MANY_REQUESTS);
    assert!(ejects(&outlier, &[too_many, GATEWAY_ERROR]));
    assert!(!ejects(&outlier, &[ERROR; 9]));
    assert!(!ejects(&outlier, &[too_many, ERROR, too_many]));
    assert!(ejects(&outlier, &[too_many, Outcome::Failure(Failure::RemoteReset)]));
    let grpc = Outcome::Grpc(StatusCode::INTERNAL_SERVER_ERROR);
    assert!(ejects(&outlier, &[grpc, grpc]), "gRPC knows no such list");
    assert!(!ejects(&outlier, &[Outcome::Grpc(StatusCode::TOO_MANY_REQUESTS); 2]));
    (outlier.errors, outlier.gateway_errors) = (None, NonZeroU32::new(1));
    assert!(!ejects(&outlier, &[too_many]), "it counts as a 500");
    assert!(ejects(&outlier, &[GATEWAY_ERROR]));
}

#[tokio::test(start_paused = true)]
async fn a_refused_ejection_takes_another_run() {
    let mut outlier = strict();
    outlier.errors = NonZeroU32::new(3);
    outlier.max_ejection_percent = 50;
    outlier.base_ejection_time = seconds(10.0);
    let cluster = cluster(2, outlier);
    report(&cluster, 0, &[ERROR; 3]);
    report(&cluster, 1, &[ERROR; 3]);
    assert_eq!(ejected(&cluster), [0]);
    advance(seconds(10.0)).await;
    report(&cluster, 1, &[ERROR; 2]);
    assert!(ejected(&cluster).is_empty());
    report(&cluster, 1, &[ERROR]);
    assert_eq!(ejected(&cluster), [1]);
}

#[tokio::test(start_paused = true)]
async fn reports_during_an_ejection_are_forgotten_with_it() {
    let mut outlier = strict();
    outlier.errors = NonZeroU32::new(2);
    outlier.base_ejection_time = seconds(10.0);
    let cluster = cluster(1, outlier);
    report(&cluster, 0, &[ERROR; 2]);
    let ejection = cluster.view()[0].ejected;
    advance(seconds(5.0)).await;
    report(&cluster, 0, &[ERROR; 5]);
    assert_eq!(cluster.view()[0].ejected, ejection);
    advance(seconds(5.0)).await;
    assert!(ejected(&cluster).is_empty());
    report(&cluster, 0, &[ERROR]);
    assert!(ejected(&cluster).is_empty());
    report(&cluster, 0, &[ERROR]);
    assert_eq!(cluster.view()[0].ejected.unwrap().times, 2);
}

#[tokio::test(start_paused = true)]
async fn without_detection_nothing_is_ejected() {
    let registry = Registry::new(&Dice::seeded(1));
    let cluster = registry.cluster(key(), settings(None), hosts(2));
    report(&cluster, 0, &[ERROR; 100]);
    assert_eq!(picks(&cluster), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn ejections_outlive_reloads() {
    let registry = Registry::new(&Dice::seeded(1));
    let load = |outlier, count| registry.cluster(key(), settings(outlier), hosts(count));
    let mut outlier = strict();
    outlier.base_ejection_time = seconds(10.0);
    let before = load(Some(outlier.clone()), 3);
    report(&before, 1, &[ERROR]);
    // Endpoints come and go.
    before.publish(hosts(2));
    assert_eq!(ejected(&before), [1]);
    // Settings change; the time of an ejection is that of the new ones.
    outlier.base_ejection_time = seconds(20.0);
    let after = load(Some(outlier.clone()), 3);
    assert!(!Arc::ptr_eq(&before, &after));
    assert_eq!(after.view()[1].ejected.unwrap().times, 1);
    assert_eq!(picks(&after), [0, 2]);
    // Who still has the cluster of before learns of it, too.
    report(&after, 0, &[ERROR]);
    assert_eq!((picks(&after), picks(&before)), (vec![2], vec![]));
    advance(seconds(20.0)).await;
    assert_eq!((picks(&after), picks(&before)), (vec![0, 1, 2], vec![0, 1]));
    // Switched off, ejections do not matter.
    report(&after, 2, &[ERROR]);
    let off = load(None, 3);
    assert_eq!(picks(&off), [0, 1, 2]);
    assert!(ejected(&off).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_left_starts_anew() {
    let cluster = cluster(2, strict());
    report(&cluster, 1, &[ERROR]);
    cluster.publish(hosts(1));
    cluster.publish(hosts(2));
    assert_eq!(picks(&cluster), [0, 1]);
    // Late news of it reaches nobody.
    let gone = cluster.endpoints().endpoints()[1].clone();
    cluster.publish(hosts(1));
    cluster.report(&gone, ERROR);
    assert_eq!(picks(&cluster), [0]);
}

#[tokio::test(start_paused = true)]
async fn each_cluster_has_its_own_ejections() {
    let registry = Registry::new(&Dice::seeded(1));
    let load = |subset| registry.cluster(ClusterKey::new("a.example", subset, 80), settings(Some(strict())), hosts(2));
    let (whole, subset) = (load(""), load("v1"));
    report(&whole, 0, &[ERROR]);
    assert_eq!((ejected(&whole), ejected(&subset)), (vec![0], vec![]));
    assert_eq!(whole.view()[0].cluster.subset, "".into());
}

#[tokio::test(start_paused = true)]
async fn endpoints_that_are_not_ready_count_in_the_total() {
    let mut outlier = strict();
    outlier.max_ejection_percent = 25;
    let endpoints = hosts(4).into_iter().enumerate().map(|(number, host)| host.with_healthy(number < 2)).collect();
    let cluster = Registry::new(&Dice::seeded(1)).cluster(key(), settings(Some(outlier)), endpoints);
    report(&cluster, 0, &[ERROR]);
    report(&cluster, 1, &[ERROR]);
    assert_eq!(ejected(&cluster), [0]);
    assert_eq!(picks(&cluster), [1]);
}

/// Settings that make another cluster of the same key.
fn other_settings(outlier: OutlierSettings) -> ClusterSettings {
    let mut settings = settings(Some(outlier));
    settings.balancing.policy = Policy::Random;
    settings
}

#[tokio::test(start_paused = true)]
async fn a_cluster_of_before_leaves_the_ejections_of_the_next_to_it() {
    // An endpoint that it does not know, and one that it would eject for longer.
    for (known, base) in [(0..1, 30), (1..2, 3600)] {
        let registry = Registry::new(&Dice::seeded(1));
        let mut patient = strict();
        patient.base_ejection_time = Duration::from_secs(base);
        let before = registry.cluster(key(), settings(Some(patient)), hosts(2)[known].to_vec());
        let after = registry.cluster(key(), other_settings(strict()), hosts(2)[1..].to_vec());
        report(&after, 0, &[ERROR]);
        assert_eq!(ejected(&after), [0]);
        // The answer to a request of before the change.
        report(&before, 0, &[OK]);
        advance(Duration::from_secs(31)).await;
        assert_eq!(picks(&after), [0], "{base}");
        assert!(ejected(&after).is_empty() && ejected(&before).is_empty(), "{base}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_past_a_lowered_threshold_ejects_with_the_next_failure() {
    let registry = Registry::new(&Dice::seeded(1));
    let of = |errors| {
        let mut outlier = strict();
        outlier.errors = NonZeroU32::new(errors);
        registry.cluster(key(), settings(Some(outlier)), hosts(1))
    };
    let before = of(10);
    report(&before, 0, &[ERROR; 5]);
    let after = of(3);
    assert!(ejected(&after).is_empty(), "nothing has failed since");
    report(&after, 0, &[ERROR]);
    assert_eq!(ejected(&after), [0]);
    // Failures during the ejection are forgotten with it, as ever.
    report(&after, 0, &[ERROR; 9]);
    advance(seconds(30.0)).await;
    assert!(ejected(&after).is_empty());
    report(&after, 0, &[ERROR; 2]);
    assert!(ejected(&after).is_empty());
    // The third is reported by who still has the cluster of before.
    report(&before, 0, &[ERROR]);
    report(&after, 0, &[ERROR]);
    assert_eq!(ejected(&after), [0]);
    assert_eq!(after.view()[0].ejected.unwrap().times, 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_cluster_of_before_does_not_judge_the_next_failure_brings_up() {
    let registry = Registry::new(&Dice::seeded(1));
    let before = registry.cluster(key(), settings(Some(strict())), hosts(2)[..1].to_vec());
    let after = registry.cluster(key(), other_settings(strict()), hosts(2)[1..].to_vec());
    assert!(ejected(&after).is_empty());
    // It is told of an endpoint that it does not have any more.
    before.report(&after.endpoints().endpoints()[0].clone(), ERROR);
    assert!(ejected(&after).is_empty());
    report(&after, 0, &[ERROR]);
    assert_eq!(ejected(&after), [0]);
}

#[tokio::test(start_paused = true)]
async fn an_ejection_may_last_for_ever() {
    let mut outlier = strict();
    (outlier.base_ejection_time, outlier.interval) = (Duration::MAX, Duration::MAX);
    let cluster = cluster(2, outlier);
    for times in 1..=2 {
        report(&cluster, 0, &[ERROR]);
        assert_eq!((ejected(&cluster), picks(&cluster)), (vec![0], vec![1]), "{times}");
        advance(Duration::from_secs(365 * 24 * 60 * 60)).await;
    }
}
