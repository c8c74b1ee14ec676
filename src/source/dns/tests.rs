//! Names under paused time, with answers that tests give.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{Level, Metadata, Subscriber, span};

use super::driver::Driver;
use super::resolve::Resolver;
use super::{Answer, DnsSource, Resolve};
use crate::config::Config;
use crate::mesh::Mesh;
use crate::options::{DnsLookupFamily, MeshOptions};

/// A resolver that answers what it was told, and remembers when it was asked.
#[derive(Clone, Default)]
struct Oracle(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    answers: HashMap<String, Option<Answer>>,
    asked: Vec<(String, Duration)>,
    since: Option<Instant>,
}

impl Oracle {
    fn say(&self, name: &str, answer: Option<Answer>) {
        self.0.lock().unwrap().answers.insert(name.to_owned(), answer);
    }

    /// The seconds at which `name` was asked for.
    fn asked(&self, name: &str) -> Vec<u64> {
        let known = self.0.lock().unwrap();
        known.asked.iter().filter(|(asked, _)| asked == name).map(|(_, at)| at.as_secs()).collect()
    }
}

impl Resolve for Oracle {
    async fn resolve(&self, name: Arc<str>) -> io::Result<Answer> {
        let mut known = self.0.lock().unwrap();
        let since = *known.since.get_or_insert_with(Instant::now);
        known.asked.push((name.to_string(), since.elapsed()));
        match known.answers.get(&*name) {
            Some(Some(answer)) => Ok(answer.clone()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn answer(last: &[u8]) -> Option<Answer> {
    Some(Answer::new(last.iter().map(|last| ip(*last))))
}

fn entry(host: &str, resolution: &str, rest: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {host}}}
spec:
  hosts: [{host}]
  resolution: {resolution}
  ports: [{{number: 80, name: http, protocol: HTTP}}]
{rest}
---
"
    )
}

fn apply(mesh: &Mesh, text: &str) {
    let report = mesh.apply(Config::from_yaml(text, "names.yaml").unwrap()).unwrap();
    assert_eq!(report.problems(), []);
}

/// The addresses of every endpoint of `host`; `None` without a cluster.
fn addresses(mesh: &Mesh, host: &str) -> Option<Vec<String>> {
    let snapshot = mesh.snapshot();
    let cluster = snapshot.clusters().find(|cluster| &*cluster.key.host == host)?;
    Some(cluster.view().iter().map(|endpoint| endpoint.address.to_string()).collect())
}

fn at(addresses: &[&str]) -> Option<Vec<String>> {
    Some(addresses.iter().map(|address| (*address).to_owned()).collect())
}

#[tokio::test(start_paused = true)]
async fn every_address_of_a_host_is_an_endpoint_and_it_is_asked_again_after_5_s() {
    let (mesh, oracle) = (Mesh::new(), Oracle::default());
    apply(&mesh, &entry("a.test", "DNS", ""));
    assert_eq!(addresses(&mesh, "a.test"), at(&[]), "never resolved: a cluster without endpoints");
    oracle.say("a.test", answer(&[2, 1]));
    let _resolving = DnsSource::new().resolver(oracle.clone()).open(&mesh).await;
    assert_eq!(addresses(&mesh, "a.test"), at(&["10.0.0.1:80", "10.0.0.2:80"]));
    oracle.say("a.test", answer(&[3]));
    sleep(Duration::from_secs(6)).await;
    assert_eq!(addresses(&mesh, "a.test"), at(&["10.0.0.3:80"]));
    assert_eq!(oracle.asked("a.test"), [0, 5]);
}

#[tokio::test(start_paused = true)]
async fn se1_no_answer_keeps_the_last_one_and_is_asked_for_again_after_60_s() {
    let (mesh, oracle) = (Mesh::new(), Oracle::default());
    apply(&mesh, &entry("a.test", "DNS", ""));
    oracle.say("a.test", answer(&[1]));
    let _resolving = DnsSource::new().resolver(oracle.clone()).open(&mesh).await;
    oracle.say("a.test", None);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(addresses(&mesh, "a.test"), at(&["10.0.0.1:80"]));
    oracle.say("a.test", answer(&[2]));
    sleep(Duration::from_secs(36)).await;
    assert_eq!(addresses(&mesh, "a.test"), at(&["10.0.0.2:80"]));
    assert_eq!(oracle.asked("a.test"), [0, 5, 65]);
}

#[tokio::test(start_paused = true)]
async fn se1_the_ttl_of_an_answer_says_when_it_is_asked_for_again() {
    let (mesh, oracle) = (Mesh::new(), Oracle::default());
    apply(&mesh, &[("a.test", 20), ("b.test", 0)].map(|(host, _)| entry(host, "DNS", "")).concat());
    oracle.say("a.test", answer(&[1]).map(|answer| answer.with_ttl(Duration::from_secs(20))));
    oracle.say("b.test", answer(&[1]).map(|answer| answer.with_ttl(Duration::ZERO)));
    let _resolving = DnsSource::new().resolver(oracle.clone()).open(&mesh).await;
    sleep(Duration::from_secs(61)).await;
    assert_eq!(oracle.asked("a.test"), [0, 20, 40, 60]);
    assert_eq!(oracle.asked("b.test"), [0, 60], "a TTL of 0 says nothing");
}

#[tokio::test(start_paused = true)]
async fn names_of_endpoints_have_ports_weights_and_places_of_their_own() {
    let (mesh, oracle) = (Mesh::new(), Oracle::default());
    let endpoints = "  endpoints:
  - {address: one.test, weight: 3, locality: r/z, ports: {http: 8080}}
  - {address: two.test}
  - {address: 10.9.9.9}";
    apply(&mesh, &entry("a.test", "DNS", endpoints));
    oracle.say("one.test", answer(&[1, 2]));
    let _resolving = DnsSource::new().resolver(oracle.clone()).open(&mesh).await;
    assert_eq!(addresses(&mesh, "a.test"), at(&["10.0.0.1:8080", "10.0.0.2:8080", "10.9.9.9:80"]));
    let snapshot = mesh.snapshot();
    let view = snapshot.clusters().next().unwrap().view();
    assert_eq!(
        view.iter().map(|each| (each.weight, &*each.locality)).collect::<Vec<_>>(),
        [(3, "r/z"), (3, "r/z"), (1, "")]
    );
    oracle.say("two.test", answer(&[7]));
    sleep(Duration::from_secs(61)).await;
    let expected = at(&["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.7:80", "10.9.9.9:80"]);
    assert_eq!(addresses(&mesh, "a.test"), expected);
    assert!(oracle.asked("a.test").is_empty(), "the host itself is not looked up");
}

#[tokio::test(start_paused = true)]
async fn dns_round_robin_is_one_endpoint_that_stays_whatever_the_answer() {
    let (mesh, oracle) = (Mesh::new(), Oracle::default());
    apply(&mesh, &entry("a.test", "DNS_ROUND_ROBIN", ""));
    assert_eq!(addresses(&mesh, "a.test"), at(&[]));
    oracle.say("a.test", answer(&[2, 1]));
    let _resolving = DnsSource::new().resolver(oracle.clone()).open(&mesh).await;
    let before = mesh.snapshot().clusters().next().unwrap().view()[0].id;
    assert_eq!(addresses(&mesh, "a.test"), at(&["a.test:80"]));
    oracle.say("a.test", answer(&[9]));
    sleep(Duration::from_secs(6)).await;
    let snapshot = mesh.snapshot();
    let cluster = snapshot.clusters().next().unwrap();
    assert_eq!(cluster.view()[0].id, before);
    let crate::upstream::Address::Logical(host) = &cluster.view()[0].address else { panic!("{cluster:?}") };
    assert_eq!(host.address(), Some(([10, 0, 0, 9], 80).into()));
}

#[tokio::test(start_paused = true)]
async fn a_publication_brings_new_names_keeps_answers_and_ends_what_is_not_needed() {
    let (mesh, oracle) = (Mesh::new(), Oracle::default());
    apply(&mesh, &entry("a.test", "DNS", ""));
    oracle.say("a.test", answer(&[1]));
    oracle.say("b.test", answer(&[2]));
    let _resolving = DnsSource::new().resolver(oracle.clone()).open(&mesh).await;
    apply(&mesh, &(entry("a.test", "DNS", "") + &entry("b.test", "DNS", "")));
    assert_eq!(addresses(&mesh, "a.test"), at(&["10.0.0.1:80"]), "the answer is there without asking");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(addresses(&mesh, "b.test"), at(&["10.0.0.2:80"]));
    assert_eq!(oracle.asked("a.test"), [0]);
    apply(&mesh, &entry("b.test", "DNS", ""));
    sleep(Duration::from_secs(20)).await;
    assert_eq!(oracle.asked("a.test"), [0], "not needed any more");
    assert_eq!(addresses(&mesh, "a.test"), None);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_ends_while_its_name_comes_and_goes_is_not_gone_on_with() {
    let (mesh, oracle) = (Mesh::new(), Oracle::default());
    apply(&mesh, &entry("a.test", "DNS", ""));
    oracle.say("a.test", answer(&[1]));
    let mut driver = Driver::new(&mesh, Resolver::of(oracle.clone()));
    driver.follow();
    // It ends, and nobody has looked yet.
    sleep(Duration::from_secs(1)).await;
    apply(&mesh, &entry("b.test", "DNS", ""));
    driver.follow();
    apply(&mesh, &entry("a.test", "DNS", ""));
    oracle.say("a.test", answer(&[2]));
    let _resolving = tokio::spawn(driver.run(mesh.claim_names(Duration::ZERO).unwrap()));
    sleep(Duration::from_secs(16)).await;
    assert_eq!(oracle.asked("a.test"), [0, 1, 6, 11, 16]);
    assert_eq!(addresses(&mesh, "a.test"), at(&["10.0.0.2:80"]));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_never_answers_is_not_waited_for_without_end() {
    let mesh = Mesh::new();
    apply(&mesh, &entry("a.test", "DNS", ""));
    let started = Instant::now();
    let silent = |_: Arc<str>| std::future::pending::<io::Result<Answer>>();
    let _resolving = DnsSource::new().resolver(silent).patience(Duration::from_secs(3)).open(&mesh).await;
    assert_eq!(started.elapsed().as_secs(), 3);
    assert_eq!(addresses(&mesh, "a.test"), at(&[]));
}

#[tokio::test(start_paused = true)]
async fn se5_names_that_select_nothing_are_no_cluster() {
    let mesh = Mesh::new();
    apply(&mesh, &entry("a.test", "DNS", "  workloadSelector: {labels: {app: a}}"));
    assert_eq!(addresses(&mesh, "a.test"), None);
    apply(&mesh, &entry("a.test", "STATIC", "  workloadSelector: {labels: {app: a}}"));
    assert_eq!(addresses(&mesh, "a.test"), at(&[]));
}

#[tokio::test(start_paused = true)]
async fn a_mesh_is_resolved_by_one_source_at_a_time() {
    let (mesh, first, second) = (Mesh::new(), Oracle::default(), Oracle::default());
    apply(&mesh, &entry("a.test", "DNS", ""));
    first.say("a.test", answer(&[1]));
    second.say("a.test", answer(&[2]));
    let resolving = DnsSource::new().resolver(first.clone()).open(&mesh).await;
    drop(DnsSource::new().resolver(second.clone()).open(&mesh).await);
    sleep(Duration::from_secs(6)).await;
    assert_eq!((first.asked("a.test").len(), second.asked("a.test").len()), (2, 0));
    drop(resolving);
    let _resolving = DnsSource::new().resolver(second.clone()).open(&mesh).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(addresses(&mesh, "a.test"), at(&["10.0.0.2:80"]));
    drop(DnsSource::new().resolver(first.clone()).open(&mesh).await);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(first.asked("a.test").len(), 2, "the task of the first took nothing along when it ended");
}

/// Counts warnings.
struct Warnings(Arc<AtomicUsize>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target().ends_with("dns")
    }

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_was_chosen_and_is_not_asked_is_told_of() {
    let warnings = Arc::new(AtomicUsize::new(0));
    let _logged = tracing::subscriber::set_default(Warnings(warnings.clone()));
    let mesh = Mesh::new();
    let _resolving = DnsSource::new().resolver(Oracle::default()).open(&mesh).await;
    // As a gateway does, whoever looks names up.
    mesh.resolve_names().await;
    assert_eq!(warnings.load(Ordering::Relaxed), 0);
    drop(DnsSource::new().resolver(Oracle::default()).open(&mesh).await);
    assert_eq!(warnings.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn the_resolving_ends_with_the_mesh() {
    let (mesh, oracle) = (Mesh::new(), Oracle::default());
    apply(&mesh, &entry("a.test", "DNS", ""));
    DnsSource::new().resolver(oracle.clone()).open(&mesh).await.detach();
    drop(mesh);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(oracle.asked("a.test"), [0]);
    assert_eq!(Arc::strong_count(&oracle.0), 1, "nobody holds the resolver any more");
}

#[tokio::test(start_paused = true)]
async fn addresses_of_ipv6_are_taken_where_there_are_no_others() {
    let six: IpAddr = "2001:db8::1".parse().unwrap();
    for (family, both, only_six) in [
        (DnsLookupFamily::V4Preferred, at(&["10.0.0.1:80"]), at(&["[2001:db8::1]:80"])),
        (DnsLookupFamily::V4Only, at(&["10.0.0.1:80"]), at(&[])),
        (DnsLookupFamily::V6Only, at(&["[2001:db8::1]:80"]), at(&["[2001:db8::1]:80"])),
        (DnsLookupFamily::All, at(&["10.0.0.1:80", "[2001:db8::1]:80"]), at(&["[2001:db8::1]:80"])),
    ] {
        let options = MeshOptions { dns_lookup_family: family, ..MeshOptions::default() };
        let (mesh, oracle) = (Mesh::builder().options(options).build(), Oracle::default());
        apply(&mesh, &(entry("a.test", "DNS", "") + &entry("b.test", "DNS", "")));
        oracle.say("a.test", Some(Answer::new([six, ip(1)])));
        oracle.say("b.test", Some(Answer::new([six])));
        let _resolving = DnsSource::new().resolver(oracle).open(&mesh).await;
        assert_eq!((addresses(&mesh, "a.test"), addresses(&mesh, "b.test")), (both, only_six), "{family:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_panics_has_not_answered_and_is_asked_again() {
    let (mesh, oracle) = (Mesh::new(), Oracle::default());
    apply(&mesh, &entry("a.test", "DNS", ""));
    oracle.say("a.test", answer(&[1]));
    let asked = oracle.clone();
    let resolver = move |name: Arc<str>| {
        let oracle = asked.clone();
        async move {
            let answer = oracle.resolve(name.clone()).await;
            assert!(oracle.asked(&name).len() != 2, "the second look-up panics");
            answer
        }
    };
    let _resolving = DnsSource::new().resolver(resolver).open(&mesh).await;
    sleep(Duration::from_secs(30)).await;
    assert_eq!(addresses(&mesh, "a.test"), at(&["10.0.0.1:80"]));
    oracle.say("a.test", answer(&[2]));
    sleep(Duration::from_secs(36)).await;
    assert_eq!(addresses(&mesh, "a.test"), at(&["10.0.0.2:80"]));
    assert_eq!(oracle.asked("a.test"), [0, 5, 65]);
}

#[tokio::test(start_paused = true)]
async fn names_are_not_asked_for_without_a_pause_whatever_the_options_say() {
    let options = MeshOptions { dns_refresh_rate: Duration::ZERO, ..MeshOptions::default() };
    let (mesh, oracle) = (Mesh::builder().options(options).build(), Oracle::default());
    apply(&mesh, &entry("a.test", "DNS", ""));
    let asked = oracle.clone();
    let resolver = move |name: Arc<str>| {
        let oracle = asked.clone();
        async move {
            let answer = oracle.resolve(name.clone()).await;
            if oracle.asked(&name).len() > 100 {
                std::future::pending::<()>().await;
            }
            answer
        }
    };
    let _resolving = DnsSource::new().resolver(resolver).open(&mesh).await;
    sleep(Duration::from_millis(20)).await;
    assert!(oracle.asked("a.test").len() <= 21, "{}", oracle.asked("a.test").len());
}
