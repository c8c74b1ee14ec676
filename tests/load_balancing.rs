//! What a DestinationRule's loadBalancer comes to: the settings of clusters, and what routes hash.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use mesh_router::Mesh;
use mesh_router::config::Config;
use mesh_router::options::{MeshOptions, Workload};
use mesh_router::request::{Origin, RequestView};
use mesh_router::route::{Action, HashCookie, HashPolicies, HashPolicy, Resolution};
use mesh_router::upstream::{Balancing, Cluster, Distribute, Failover, Placement, Policy, Warmup};

const SERVICE: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: all}
spec:
  hosts: [all.test, other.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: more, protocol: HTTP}]
  endpoints:
  - {address: 10.0.0.1, labels: {version: v1}, locality: eu/z1/s1}
  - {address: 10.0.0.2, labels: {version: v2}, locality: us/z1/s1}
---
";

struct Case {
    workload: Workload,
    options: MeshOptions,
}

impl Default for Case {
    fn default() -> Self {
        let labels = [("app".to_owned(), "client".to_owned())].into();
        let workload = Workload { labels, locality: "eu/z1/s1".to_owned(), ..Workload::default() };
        Self { workload, options: MeshOptions::default() }
    }
}

impl Case {
    fn mesh(self, text: &str) -> Mesh {
        let mesh = Mesh::builder().workload(self.workload).options(self.options).build();
        let report = mesh.apply(Config::from_yaml(&format!("{SERVICE}{text}"), "it.yaml").unwrap()).unwrap();
        assert_eq!(report.errors().count(), 0, "{report}");
        mesh
    }

    /// The settings of the whole cluster of all.test at port 80.
    fn balancing(self, policy: &str) -> Balancing {
        cluster(&self.mesh(&rule(policy)), "outbound|80||all.test").settings().balancing.clone()
    }
}

fn cluster(mesh: &Mesh, key: &str) -> Arc<Cluster> {
    mesh.snapshot().clusters().find(|cluster| cluster.key.to_string() == key).expect(key).clone()
}

fn rule(policy: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: all}}
spec:
  host: all.test
  trafficPolicy: {policy}
"
    )
}

fn policy(load_balancer: &str) -> Policy {
    Case::default().balancing(&format!("{{loadBalancer: {load_balancer}}}")).policy
}

#[test]
fn lb1_the_algorithm_is_the_one_that_is_named() {
    for (words, expected) in [
        ("{simple: ROUND_ROBIN}", Policy::RoundRobin),
        ("{simple: LEAST_REQUEST}", Policy::LeastRequest),
        ("{simple: LEAST_CONN}", Policy::LeastRequest),
        ("{simple: UNSPECIFIED}", Policy::LeastRequest),
        ("{simple: RANDOM}", Policy::Random),
        ("{simple: PASSTHROUGH}", Policy::PassThrough),
        ("{localityLbSetting: {enabled: true}}", Policy::LeastRequest),
        ("{consistentHash: {useSourceIp: true}}", Policy::RING_HASH),
        ("{consistentHash: {httpHeaderName: a, minimumRingSize: 7}}", Policy::RingHash { minimum_size: 7 }),
        ("{consistentHash: {httpHeaderName: a, ringHash: {minimumRingSize: 8}}}", Policy::RingHash { minimum_size: 8 }),
        ("{consistentHash: {httpHeaderName: a, ringHash: {}}}", Policy::RING_HASH),
        ("{consistentHash: {httpHeaderName: a, maglev: {tableSize: 101}}}", Policy::Maglev { table_size: 101 }),
        // Without a key it is a ring all the same, and requests are spread at random.
        ("{consistentHash: {maglev: {tableSize: 101}}}", Policy::Maglev { table_size: 101 }),
    ] {
        assert_eq!(policy(words), expected, "{words}");
    }
}

#[test]
fn lb2_where_a_host_passes_through_its_subsets_do() {
    let of_subset = |words: &str, own: &str| {
        let subsets =
            format!("{}  subsets: [{{name: v1, labels: {{version: v1}}, trafficPolicy: {own}}}]\n", rule(words));
        let of =
            |port: u16| format!("{{destination: {{host: all.test, subset: v1, port: {{number: {port}}}}}, weight: 1}}");
        let mesh = Case::default().mesh(&(subsets + "---" + &route(&format!("[{}, {}]", of(80), of(81)))));
        [80, 81].map(|port| cluster(&mesh, &format!("outbound|{port}|v1|all.test")).settings().balancing.policy)
    };
    let subset = |words: &str| of_subset(words, "{loadBalancer: {simple: RANDOM}}");
    let (passed, random) = (Policy::PassThrough, Policy::Random);
    assert_eq!(subset("{loadBalancer: {simple: ROUND_ROBIN}}"), [random, random]);
    assert_eq!(subset("{loadBalancer: {simple: PASSTHROUGH}}"), [passed, passed]);
    let port = "{portLevelSettings: [{port: {number: 81}, loadBalancer: {simple: PASSTHROUGH}}]}";
    assert_eq!(subset(port), [random, passed]);
    // A subset does by its own word, whatever it says of a port.
    let random = port.replace("PASSTHROUGH", "RANDOM");
    let own = format!("{{loadBalancer: {{simple: PASSTHROUGH}}, {}", random.trim_start_matches('{'));
    assert_eq!(of_subset("{loadBalancer: {simple: RANDOM}}", &own), [passed, passed]);
}

#[test]
fn wu_warmup_goes_before_the_deprecated_one() {
    let warmup = |words: &str| Case::default().balancing(&format!("{{loadBalancer: {words}}}")).warmup;
    let minute = Warmup::new(Duration::from_secs(60));
    assert_eq!(warmup("{simple: ROUND_ROBIN}"), None);
    assert_eq!(warmup("{warmup: {duration: 60s}}"), Some(minute));
    assert_eq!((minute.minimum_percent, minute.aggression), (10.0, 1.0));
    assert_eq!(warmup("{warmupDurationSecs: 60s}"), Some(minute));
    let exact = Warmup { minimum_percent: 0.0, aggression: 2.5, ..minute };
    assert_eq!(
        warmup("{warmupDurationSecs: 5s, warmup: {duration: 60s, minimumPercent: 0, aggression: 2.5}}"),
        Some(exact)
    );
}

#[test]
fn pr4_the_threshold_is_the_minimum_of_health() {
    let threshold = |words: &str| Case::default().balancing(words).panic_threshold;
    assert_eq!(threshold("{loadBalancer: {simple: RANDOM}}"), 0);
    assert_eq!(threshold("{outlierDetection: {}}"), 0);
    assert_eq!(threshold("{outlierDetection: {minHealthPercent: 30}}"), 30);
}

fn placement(words: &str) -> Placement {
    Case::default().balancing(words).placement
}

fn failover(placement: Placement) -> Failover {
    match placement {
        Placement::Failover(failover) => failover,
        other => panic!("{other:?}"),
    }
}

#[test]
fn ll2_outlier_detection_turns_failover_on() {
    assert_eq!(placement("{loadBalancer: {simple: RANDOM}}"), Placement::Anywhere);
    assert_eq!(placement("{loadBalancer: {localityLbSetting: {enabled: true}}}"), Placement::Anywhere);
    let off = "{outlierDetection: {}, loadBalancer: {localityLbSetting: {enabled: false}}}";
    assert_eq!(placement(off), Placement::Anywhere);
    let by_default = failover(placement("{outlierDetection: {}}"));
    let places = by_default.places.clone().unwrap();
    assert_eq!((&*places.own, places.to, places.regions_only), ("eu/z1/s1", None, false));
    assert!(by_default.labels.is_empty() && !by_default.weighted);
}

#[test]
fn the_own_place_is_told_else_of_the_labels_else_of_the_node() {
    let node = "
apiVersion: v1
kind: Node
metadata:
  name: n1
  labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: z1}
---
";
    let own = |told: &str, label: Option<&str>, expected: &str| {
        let mut case = Case::default();
        case.workload.locality = told.to_owned();
        case.workload.node = "n1".to_owned();
        case.workload.labels.extend(label.map(|label| ("istio-locality".to_owned(), label.to_owned())));
        let mesh = case.mesh(&format!("{node}{}", rule("{outlierDetection: {}}")));
        let placement = cluster(&mesh, "outbound|80||all.test").settings().balancing.placement.clone();
        assert_eq!(&*failover(placement).places.unwrap().own, expected, "{told} {label:?}");
    };
    own("us/z2", Some("ap.z3"), "us/z2");
    own("", Some("ap.z3.s3"), "ap/z3/s3");
    own("", None, "eu/z1");
    // Dots stand for slashes only where there is none.
    own("", Some("ap.south/z3"), "ap.south/z3");
}

#[test]
fn ll1_the_mesh_speaks_where_the_rule_does_not() {
    let with = |change: fn(&mut MeshOptions), words: &str| {
        let mut case = Case::default();
        change(&mut case.options);
        case.balancing(words).placement
    };
    assert_eq!(with(|options| options.locality_lb_setting = None, "{outlierDetection: {}}"), Placement::Anywhere);
    let disable = |options: &mut MeshOptions| {
        options.locality_lb_setting.as_mut().unwrap().enabled = Some(false);
    };
    assert_eq!(with(disable, "{outlierDetection: {}}"), Placement::Anywhere);
    let of_rule = "{outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [app]}}}";
    assert!(failover(with(disable, of_rule)).weighted);
    let zones: fn(&mut MeshOptions) = |options| options.zone_aware_lb_setting = Some(Default::default());
    assert!(failover(with(zones, "{loadBalancer: {simple: RANDOM}}")).places.unwrap().regions_only);
    assert!(failover(with(zones, of_rule)).places.is_none());
}

#[test]
fn ll3_a_region_may_have_a_successor() {
    let words = |pairs: &str| {
        let policy = format!("{{outlierDetection: {{}}, loadBalancer: {{localityLbSetting: {{failover: {pairs}}}}}}}");
        failover(placement(&policy))
    };
    let to = words("[{from: us, to: eu}, {from: eu, to: ap}, {from: eu, to: us}]");
    assert_eq!(to.places.unwrap().to.as_deref(), Some("ap"));
    assert!(to.weighted);
    assert_eq!(words("[{from: us, to: eu}]").places.unwrap().to, None);
}

#[test]
fn ll5_labels_are_compared_with_the_own_ones() {
    let words = |list: &str| {
        let policy =
            format!("{{outlierDetection: {{}}, loadBalancer: {{localityLbSetting: {{failoverPriority: {list}}}}}}}");
        let mut case = Case::default();
        case.workload.node = "node-7".to_owned();
        failover(case.balancing(&policy).placement)
    };
    let compared = |list: &str| {
        let labels: Vec<_> = words(list).labels.iter().map(|label| format!("{} {}", label.name, label.value)).collect();
        labels
    };
    assert_eq!(compared("[app, version]"), ["app client", "version "]);
    assert_eq!(compared("['app=other', app]"), ["app other", "app other"]);
    assert_eq!(compared("['app=a=b']"), ["app client"]);
    let derived = "[topology.kubernetes.io/region, topology.kubernetes.io/zone, topology.istio.io/subzone, \
                    kubernetes.io/hostname]";
    let expected = [
        "topology.kubernetes.io/region eu",
        "topology.kubernetes.io/zone z1",
        "topology.istio.io/subzone s1",
        "kubernetes.io/hostname node-7",
    ];
    assert_eq!(compared(derived), expected);
    assert_eq!(words("[app]").places, None);
}

#[test]
fn ll5_a_process_without_labels_has_nothing_to_compare() {
    let case = Case { workload: Workload::default(), options: MeshOptions::default() };
    let words = "{outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [app]}}}";
    assert!(failover(case.balancing(words).placement).labels.is_empty());
}

#[test]
fn ll6_the_first_entry_for_the_own_place_is_taken() {
    let words = |list: &str| placement(&format!("{{loadBalancer: {{localityLbSetting: {{distribute: {list}}}}}}}"));
    let shares = |placement: Placement| match placement {
        Placement::Distribute(Distribute { shares }) => {
            shares.map(|shares| shares.iter().map(|share| (share.to.to_string(), share.weight)).collect::<Vec<_>>())
        }
        other => panic!("{other:?}"),
    };
    let both = "[{from: us/*, to: {us: 100}}, {from: eu/z1/*, to: {'eu/z1/*': 80, 'eu/z2/*': 20}}]";
    assert_eq!(shares(words(both)).unwrap(), [("eu/z1/*".to_owned(), 80), ("eu/z2/*".to_owned(), 20)]);
    assert_eq!(shares(words("[{from: us/*, to: {us: 100}}]")), None);
}

#[test]
fn ll9_zones_go_by_region_without_outlier_detection() {
    let words = |setting: &str| placement(&format!("{{loadBalancer: {{zoneAwareLbSetting: {setting}}}}}"));
    assert_eq!(words("{enabled: false}"), Placement::Anywhere);
    let zones = failover(words("{failover: [{from: eu, to: us}], failoverPriority: [app]}"));
    let places = zones.places.unwrap();
    assert_eq!((places.to.as_deref(), places.regions_only), (Some("us"), true));
    assert_eq!((zones.labels.len(), zones.weighted), (1, false));
}

const KUBERNETES: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: default, annotations: {networking.istio.io/traffic-distribution: ANNOTATION}}
spec:
  ports: [{name: http, port: 80}]
  trafficDistribution: 'DISTRIBUTION'
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.1.0.1], conditions: {ready: true}, nodeName: far}
- {addresses: [10.1.0.2], conditions: {ready: true}, nodeName: same-zone}
- {addresses: [10.1.0.3], conditions: {ready: READY}, nodeName: here}
---
apiVersion: v1
kind: Node
metadata: {name: far, labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: z2}}
---
apiVersion: v1
kind: Node
metadata: {name: same-zone, labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: z1}}
---
apiVersion: v1
kind: Node
metadata: {name: here, labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: z1}}
";

/// The last numbers of the addresses that are picked, for a process on the node `here`.
fn picked(distribution: &str, ready: &str) -> Vec<String> {
    let workload = Workload { node: "here".to_owned(), ..Workload::default() };
    let (field, annotation) = distribution.split_once(' ').unwrap_or((distribution, "any"));
    let text = KUBERNETES.replace("DISTRIBUTION", field).replace("ANNOTATION", annotation).replace("READY", ready);
    let mesh = Case { workload, options: MeshOptions::default() }.mesh(&text);
    let cluster = cluster(&mesh, "outbound|80||web.default.svc.cluster.local");
    let dice = mesh_router::dice::Dice::seeded(1);
    let mut counts = BTreeMap::new();
    for _ in 0..500 {
        let picked = cluster.pick(&mut dice.draws(), &Default::default()).unwrap();
        *counts.entry(picked.endpoint().address.to_string()).or_insert(0) += 1;
    }
    counts.into_keys().map(|address| address["10.1.0.".len()..].trim_end_matches(":8080").to_owned()).collect()
}

#[test]
fn k5_a_service_may_prefer_its_near_endpoints() {
    assert_eq!(picked("", "true"), ["1", "2", "3"]);
    assert_eq!(picked("PreferClose", "true"), ["2", "3"]);
    assert_eq!(picked("PreferSameZone", "true"), ["2", "3"]);
    assert_eq!(picked("PreferSameNode", "true"), ["3"]);
    // The annotation stands in for the field.
    assert_eq!(picked(" prefersamenode", "true"), ["3"]);
    assert_eq!(picked(" elsewhere", "true"), ["1", "2", "3"]);
    assert_eq!(picked("PreferClose PreferSameNode", "true"), ["2", "3"]);
    // One that is not ready is known, and left for those farther away.
    assert_eq!(picked("PreferSameNode", "false, terminating: false"), ["2"]);
}

#[test]
fn k5_where_near_endpoints_are_preferred_there_is_no_panic() {
    let rule = "
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web.default.svc.cluster.local, trafficPolicy: {outlierDetection: {minHealthPercent: 80}}}
";
    for (field, threshold, known) in [("", 80, 2), ("PreferClose", 0, 3)] {
        let text = KUBERNETES.replace("DISTRIBUTION", field).replace("READY", "false, terminating: false");
        let cluster = cluster(&Case::default().mesh(&(text + rule)), "outbound|80||web.default.svc.cluster.local");
        let endpoints = cluster.endpoints().endpoints().len();
        assert_eq!((cluster.settings().balancing.panic_threshold, endpoints), (threshold, known), "{field}");
    }
}

#[test]
fn k5_the_annotation_is_for_service_entries_as_well() {
    let entry = |annotation: &str| {
        format!(
            "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: near, annotations: {{networking.istio.io/traffic-distribution: {annotation}}}}}
spec:
  hosts: [near.test]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 10.0.0.1}}]
"
        )
    };
    let placement = |annotation: &str| {
        let mesh = Case::default().mesh(&entry(annotation));
        cluster(&mesh, "outbound|80||near.test").settings().balancing.placement.clone()
    };
    let labels = |annotation: &str| failover(placement(annotation)).labels.len();
    assert_eq!((labels("PreferClose"), labels("prefersamenode")), (3, 5));
    assert_eq!(placement("elsewhere"), Placement::Anywhere);
}

fn hashes(rules: &str, uri: &str) -> HashPolicies {
    let mesh = Case::default().mesh(rules);
    let snapshot = mesh.snapshot();
    let request = Request::get(uri).body(()).unwrap();
    let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
    let Resolution::Route(index) = snapshot.resolve(&Origin::Mesh, &view) else { panic!("no route") };
    match &snapshot.route(&Origin::Mesh, &view, index).unwrap().action {
        Action::Forward(forward) => forward.hash.clone(),
        other => panic!("{other:?}"),
    }
}

fn header(name: &str) -> HashPolicy {
    HashPolicy::header(name)
}

fn by_header(name: &str) -> String {
    format!("{{loadBalancer: {{consistentHash: {{httpHeaderName: {name}}}}}}}")
}

const EVERYWHERE: &str = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: all}
spec:
  host: all.test
  trafficPolicy:
    loadBalancer: {consistentHash: {httpHeaderName: top}}
    portLevelSettings:
    - {port: {number: 81}, loadBalancer: {consistentHash: {httpHeaderName: port}}}
  subsets:
  - name: v1
    labels: {version: v1}
    trafficPolicy:
      loadBalancer: {consistentHash: {httpHeaderName: subset}}
      portLevelSettings:
      - {port: {number: 81}, loadBalancer: {consistentHash: {httpHeaderName: subset-port}}}
  - name: v2
    labels: {version: v2}
    trafficPolicy:
      loadBalancer: {simple: RANDOM}
---
";

fn route(destinations: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: vs}}
spec:
  hosts: [vs.test]
  http: [{{route: {destinations}}}]
"
    )
}

#[test]
fn ch1_the_most_particular_word_is_hashed() {
    for (destination, expected) in [
        ("{host: all.test}", "top"),
        ("{host: all.test, port: {number: 80}}", "top"),
        ("{host: all.test, port: {number: 81}}", "port"),
        ("{host: all.test, subset: v1}", "subset"),
        ("{host: all.test, subset: v1, port: {number: 80}}", "subset"),
        ("{host: all.test, subset: v1, port: {number: 81}}", "subset-port"),
        // Only what is hashed is looked at, whatever balancer the subset has.
        ("{host: all.test, subset: v2}", "top"),
        ("{host: all.test, subset: v2, port: {number: 81}}", "port"),
    ] {
        let rules = format!("{EVERYWHERE}{}", route(&format!("[{{destination: {destination}}}]")));
        let expected = HashPolicies::new([header(expected)]).of_sole_destination();
        assert_eq!(hashes(&rules, "http://vs.test/"), expected, "{destination}");
    }
}

#[test]
fn ch1_a_service_without_rules_hashes_by_its_port() {
    for (uri, expected) in [("http://all.test/", "top"), ("http://all.test:81/", "port")] {
        assert_eq!(hashes(EVERYWHERE, uri), HashPolicies::new([header(expected)]));
    }
    assert!(hashes(EVERYWHERE, "http://other.test/").is_empty());
}

#[test]
fn ch4_every_weighted_destination_adds_its_own() {
    let destinations = "[{destination: {host: all.test}, weight: 1}, {destination: {host: all.test, subset: v1}, \
                         weight: 1}, {destination: {host: all.test, port: {number: 81}}, weight: 0}, {destination: \
                         {host: other.test}, weight: 1}]";
    let found = hashes(&format!("{EVERYWHERE}{}", route(destinations)), "http://vs.test/");
    assert_eq!(found, HashPolicies::new([header("top"), header("subset")]));
    assert!(!found.is_of_sole_destination());
}

#[test]
fn ch2_keys_are_of_four_kinds() {
    let sole = |policy: Option<HashPolicy>| HashPolicies::new(policy).of_sole_destination();
    let cookie = HashCookie {
        name: "sess".into(),
        ttl: Some(Duration::from_secs(60)),
        path: "/app".into(),
        attributes: [("SameSite".into(), "Lax".into())].into(),
    };
    let bare = HashCookie { name: "sess".into(), ..HashCookie::default() };
    for (words, expected) in [
        ("httpHeaderName: X-User", Some(header("x-user"))),
        ("httpQueryParameterName: uid", Some(HashPolicy::Query("uid".into()))),
        ("useSourceIp: true", Some(HashPolicy::SourceIp)),
        ("useSourceIp: false", None),
        ("maglev: {tableSize: 101}", None),
        (
            "httpCookie: {name: sess, ttl: 60s, path: /app, attributes: [{name: SameSite, value: Lax}]}",
            Some(HashPolicy::Cookie(cookie)),
        ),
        ("httpCookie: {name: sess}", Some(HashPolicy::Cookie(bare))),
    ] {
        let rules = rule(&format!("{{loadBalancer: {{consistentHash: {{{words}}}}}}}"));
        let rules = format!("{rules}---{}", route("[{destination: {host: all.test}}]"));
        assert_eq!(hashes(&rules, "http://vs.test/"), sole(expected), "{words}");
    }
    let none = format!("{}---{}", rule(&by_header("a")), route("[{destination: {host: other.test}}]"));
    assert_eq!(hashes(&none, "http://vs.test/"), HashPolicies::default());
}
