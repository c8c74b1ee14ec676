//! Publishing: one swap, the last good version of a bad resource, and nothing lost that did not change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use http::Request;
use mesh_router::Mesh;
use mesh_router::config::Config;
use mesh_router::dice::Dice;
use mesh_router::error::Severity;
use mesh_router::mesh::Report;
use mesh_router::request::{Origin, RequestView};
use mesh_router::route::{Action, Resolution};
use mesh_router::service::MeshRouter;
use mesh_router::snapshot::Snapshot;
use mesh_router::upstream::{Choice, EndpointConfig};

fn reviews(rule: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: reviews}}
spec:
  hosts: [reviews.test]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:
  - {{address: 10.0.0.1, labels: {{version: v1}}}}
  - {{address: 10.0.0.2, labels: {{version: v1}}}}
  - {{address: 10.0.0.3, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews}}
spec:
  host: reviews.test
  trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN}}}}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews.test]
  http:
{rule}"
    )
}

const TO_V1: &str = "  - route: [{destination: {host: reviews.test, subset: v1}}]\n";
const TO_V2: &str = "  - route: [{destination: {host: reviews.test, subset: v2}}]\n";
const NOWHERE: &str = "  - match: [{uri: {regex: '/a('}}]\n    route: [{destination: {host: reviews.test}}]\n";

fn config(text: &str) -> Config {
    Config::from_yaml(text, "mesh.yaml").unwrap()
}

/// The cluster that `GET /` of reviews goes to.
fn destination(snapshot: &Snapshot) -> Option<String> {
    let request = Request::get("http://reviews.test/").body(()).unwrap();
    let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
    let Resolution::Route(index) = snapshot.resolve(&Origin::Mesh, &view) else { return None };
    let Action::Forward(forward) = &snapshot.route(&Origin::Mesh, &view, index)?.action else { return None };
    let cluster = forward.clusters.pick(0).destination.for_port(80)?;
    Some(snapshot.cluster(cluster)?.key.to_string())
}

/// The addresses of all endpoints of all clusters.
fn addresses(mesh: &Mesh) -> String {
    let snapshot = mesh.snapshot();
    let views: Vec<_> = snapshot.clusters().flat_map(|cluster| cluster.view()).collect();
    format!("{:?}", views.iter().map(|endpoint| &endpoint.address).collect::<Vec<_>>())
}

#[test]
fn a_publication_is_seen_at_once_and_old_snapshots_stay_what_they_were() {
    let mesh = Mesh::new();
    let versions = mesh.subscribe();
    assert_eq!(mesh.apply(config(&reviews(TO_V1))).unwrap().errors().next(), None);
    let before = mesh.snapshot();
    let report = mesh.apply(config(&reviews(TO_V2))).unwrap();
    assert_eq!((report.version(), *versions.borrow(), mesh.snapshot().version()), (2, 2, 2));
    assert_eq!(destination(&before).as_deref(), Some("outbound|80|v1|reviews.test"));
    assert_eq!(destination(&mesh.snapshot()).as_deref(), Some("outbound|80|v2|reviews.test"));
}

#[test]
fn a_hundred_publications_leave_clusters_endpoints_counts_and_positions_alone() {
    let mesh = Mesh::builder().dice(Dice::seeded(1)).build();
    assert_eq!(mesh.apply(config(&reviews(TO_V1))).unwrap().errors().next(), None);
    let cluster = |mesh: &Mesh| mesh.snapshot().clusters().find(|c| &*c.key.subset == "v1").unwrap().clone();
    let first = cluster(&mesh);
    let ids: Vec<_> = first.view().iter().map(|endpoint| endpoint.id).collect();
    let mut draws = mesh.dice().draws();
    let held = first.pick(&mut draws, &Choice::default()).unwrap();
    let mut picked = vec![held.endpoint().id];
    for round in 0..100 {
        assert_eq!(
            mesh.apply(config(&reviews(if round % 2 == 0 { TO_V2 } else { TO_V1 }))).unwrap().errors().next(),
            None
        );
        if round % 2 == 1 {
            picked.push(cluster(&mesh).pick(&mut draws, &Choice::default()).unwrap().endpoint().id);
        }
    }
    let last = cluster(&mesh);
    assert_eq!(last.view().iter().map(|endpoint| endpoint.id).collect::<Vec<_>>(), ids);
    assert_eq!(last.view().iter().map(|endpoint| endpoint.active).sum::<u32>(), 1, "what is in flight stays counted");
    assert!(picked.windows(2).all(|pair| pair[0] != pair[1]), "the rotation goes on: {picked:?}");
    drop(held);
    assert_eq!(last.view().iter().map(|endpoint| endpoint.active).sum::<u32>(), 0);
}

#[test]
fn the_same_cluster_is_the_same_object_while_it_is_named() {
    let mesh = Mesh::new();
    assert_eq!(mesh.apply(config(&reviews(TO_V1))).unwrap().errors().next(), None);
    let of_subset = |mesh: &Mesh| mesh.snapshot().clusters().find(|c| &*c.key.subset == "v1").unwrap().clone();
    let first = of_subset(&mesh);
    assert_eq!(mesh.apply(config(&reviews(TO_V1))).unwrap().errors().next(), None);
    assert!(Arc::ptr_eq(&first, &of_subset(&mesh)));
    let other = reviews(TO_V1).replace("ROUND_ROBIN", "RANDOM");
    assert_eq!(mesh.apply(config(&other)).unwrap().errors().next(), None);
    assert!(!Arc::ptr_eq(&first, &of_subset(&mesh)), "other settings make another cluster");
    let same: Vec<_> = first.view().iter().map(|endpoint| endpoint.id).collect();
    assert_eq!(of_subset(&mesh).view().iter().map(|endpoint| endpoint.id).collect::<Vec<_>>(), same);
}

#[test]
fn a_bad_resource_keeps_its_last_good_version_and_the_others_apply() {
    let mesh = Mesh::new();
    assert_eq!(mesh.apply(config(&reviews(TO_V1))).unwrap().errors().next(), None);
    let text = reviews(NOWHERE).replace("10.0.0.2", "10.0.0.9");
    let report = mesh.apply(config(&text)).unwrap();
    let quarantined = report.quarantined();
    assert_eq!(quarantined.len(), 1, "{report}");
    assert_eq!(quarantined[0].resource.to_string(), "VirtualService default/reviews");
    assert!(quarantined[0].last_good_serves);
    let error = report.errors().next().unwrap();
    assert_eq!(error.path, "spec.http[0].match[0].uri.regex");
    assert!(error.to_string().starts_with("mesh.yaml:"), "{error}");
    assert_eq!(destination(&mesh.snapshot()).as_deref(), Some("outbound|80|v1|reviews.test"));
    let addresses = addresses(&mesh);
    assert!(addresses.contains("10.0.0.9") && !addresses.contains("10.0.0.2"), "the ServiceEntry applied");
    // Mended, it applies; removed while it is bad, it is gone.
    assert_eq!(mesh.apply(config(&reviews(TO_V2))).unwrap().errors().next(), None);
    assert_eq!(destination(&mesh.snapshot()).as_deref(), Some("outbound|80|v2|reviews.test"));
    assert_eq!(mesh.apply(Config::default()).unwrap().errors().next(), None);
    assert_eq!(destination(&mesh.snapshot()), None);
}

#[test]
fn a_resource_that_was_never_good_is_left_out() {
    let mesh = Mesh::new();
    let report = mesh.apply(config(&reviews(NOWHERE))).unwrap();
    assert!(!report.quarantined()[0].last_good_serves);
    assert_eq!(destination(&mesh.snapshot()).as_deref(), Some("outbound|80||reviews.test"), "the service itself");
}

#[test]
fn a_resource_that_does_not_decode_is_quarantined_too() {
    let mesh = Mesh::new();
    assert_eq!(mesh.apply(config(&reviews(TO_V1))).unwrap().errors().next(), None);
    let report = mesh.apply(config(&reviews("  - timeout: 5 parsecs\n"))).unwrap();
    assert!(report.quarantined()[0].last_good_serves, "{report}");
    assert_eq!(destination(&mesh.snapshot()).as_deref(), Some("outbound|80|v1|reviews.test"));
}

#[test]
fn strict_changes_nothing_when_there_is_anything_to_refuse() {
    let mesh = Mesh::new();
    assert!(!mesh.apply_strict(config(&reviews(TO_V1))).unwrap().fails_check());
    for bad in [NOWHERE, "  - rout: []\n    route: [{destination: {host: reviews.test, subset: v2}}]\n"] {
        let error = mesh.apply_strict(config(&reviews(bad))).unwrap_err();
        assert!(error.is_invalid());
        assert!(error.to_string().contains("mesh.yaml:"), "{error}");
        assert_eq!(mesh.snapshot().version(), 1);
    }
    let dangling = "  - route: [{destination: {host: reviews.test, subset: v9}}]\n";
    let report = mesh.apply_strict(config(&reviews(dangling))).unwrap();
    assert!(report.fails_check(), "a dangling subset is Istio's 503, which check names");
    assert!(report.to_string().contains("v9"), "{report}");
}

#[test]
fn check_publishes_nothing_and_disturbs_no_cluster() {
    let mesh = Mesh::new();
    assert_eq!(mesh.apply(config(&reviews(TO_V1))).unwrap().errors().next(), None);
    let report = mesh.check(config(&reviews(NOWHERE).replace("10.0.0.1", "10.9.9.9")));
    assert!(report.fails_check());
    assert_eq!(mesh.snapshot().version(), 1);
    assert!(!addresses(&mesh).contains("10.9.9.9"));
}

#[test]
fn check_says_all_problems_of_a_resource_not_the_first_kind() {
    let rule = "  - match: [{uri: {regex: '/a('}}]\n    route: [{destination: {host: reviews.test, subset: v9}}]\n";
    let report = Mesh::new().check(config(&reviews(rule)));
    let paths: Vec<_> = report.problems().iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["spec.http[0].match[0].uri.regex", "spec.http[0].route[0].destination.subset"], "{report}");
}

#[test]
fn check_says_once_that_a_destination_is_none() {
    let route = |at: usize, field: &str| format!("spec.http[0].route[{at}]{field}");
    let rule =
        "  - route: [{weight: 1}, {destination: {}}, {destination: {host: a_b}}, {destination: {host: gone.test}}]
    mirrors: [{percentage: {value: 1}}]\n";
    let report = Mesh::new().check(config(&reviews(rule)));
    let said: Vec<_> = report.problems().iter().map(|problem| (problem.path.clone(), problem.severity)).collect();
    let expected = [
        (route(0, ""), Severity::Error),
        (route(1, ".destination.host"), Severity::Error),
        (route(2, ".destination.host"), Severity::Error),
        (route(3, ".destination.host"), Severity::Reference),
        ("spec.http[0].mirrors[0]".to_owned(), Severity::Error),
    ];
    assert_eq!(said, expected, "{report}");
}

#[test]
fn check_names_what_is_not_honored_in_a_resource_that_is_kept_back_too() {
    let text = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec: {servers: [{name: a, port: {number: 80, name: h, protocol: HTTP, targetPort: 81}, hosts: ['*']}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec: {hosts: [a.test], http: [{headers: {response: {set: {a: '%FOO%'}}}, directResponse: {status: 200}}]}
";
    let report = Mesh::new().check(config(text));
    let said: Vec<_> = report.problems().iter().map(|problem| (problem.path.as_str(), problem.is_error())).collect();
    // What is refused is not said to be left out as well.
    let header = ("spec.http[0].headers.response.set.a", true);
    let expected = [("spec.servers[0].name", false), ("spec.servers[0].port.targetPort", true), header];
    assert_eq!(said, expected, "{report}");
}

#[test]
fn check_says_what_publishing_would_say_now() {
    let mesh = Mesh::new();
    let _front = MeshRouter::inbound(&mesh, "web/front");
    mesh.set_endpoints("given.test", 80, vec![EndpointConfig::new(([10, 0, 0, 7], 80))]);
    let said = |report: &Report| (report.problems().to_vec(), report.quarantined().to_vec());
    // Of a gateway that the application stands for, and of a host whose endpoints the program gives.
    let good = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec:
  hosts: [app.test]
  gateways: [web/front]
  http: [{directResponse: {status: 200}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: given}
spec: {host: given.test, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
";
    for text in [good, &good.replace("200", "9999"), &good.replace("RANDOM", "NONE_SUCH")] {
        let checked = mesh.check(config(text));
        assert_eq!(checked.problems().is_empty(), text == good, "{checked}");
        assert_eq!(said(&checked), said(&mesh.apply(config(text)).unwrap()));
    }
    let checked = mesh.check(config(&good.replace("200", "9999")));
    assert!(checked.quarantined()[0].last_good_serves, "{checked}");
    assert_eq!(mesh.snapshot().version(), mesh.report().version(), "nothing was published by it");
}

#[test]
fn the_report_is_true_of_gateways_and_endpoints_that_come_later() {
    let mesh = Mesh::new();
    let text = "
{apiVersion: v1, kind: ConfigMap, metadata: {name: skipped}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front}
spec: {hosts: [app.test], gateways: [web/front], http: [{route: [{destination: {host: app}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: given}
spec: {host: given.test, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bad}
spec: {hosts: [bad.test], http: [{}]}
";
    let report = mesh.apply(config(text)).unwrap();
    let places = |report: &Report| {
        report.problems().iter().map(|problem| problem.place.as_ref().unwrap().line).collect::<Vec<_>>()
    };
    assert_eq!(places(&report), [7, 7, 12, 17], "{report}");
    let _front = MeshRouter::inbound(&mesh, "web/front");
    assert_eq!(places(&mesh.report()), [12, 17], "{}", mesh.report());
    mesh.set_endpoints("given.test", 80, vec![EndpointConfig::new(([10, 0, 0, 7], 80))]);
    let now = mesh.report();
    assert_eq!(places(&now), [17], "{now}");
    assert_eq!((now.quarantined(), now.skipped()), (report.quarantined(), report.skipped()));
    assert_eq!(now.version(), mesh.snapshot().version());
    mesh.unset_endpoints("given.test", 80);
    assert_eq!(places(&mesh.report()), [12, 17], "{}", mesh.report());
}

/// A ServiceEntry for `NAME.test` and an address that all of them have.
fn entry(name: &str, more: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.test]
  addresses: [240.0.0.1]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 10.0.0.1, network: n}}]
  {more}
---
"
    )
}

#[test]
fn a_resource_that_is_kept_back_keeps_what_it_has() {
    let mesh = Mesh::new();
    let owner = || {
        let (snapshot, request) = (mesh.snapshot(), Request::get("http://240.0.0.1/").body(()).unwrap());
        let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
        let Resolution::Route(index) = snapshot.resolve(&Origin::Mesh, &view) else { panic!("no route") };
        snapshot.route(&Origin::Mesh, &view, index).unwrap().origin.resource.name.to_string()
    };
    let other = entry("other", "");
    for (text, errors) in [(entry("one", ""), 0), (entry("one", "exportTo: ['**']"), 1)] {
        for text in [text.clone() + &other, other.clone() + &text] {
            assert_eq!(mesh.apply(config(&text)).unwrap().errors().count(), errors);
            assert_eq!(owner(), "one", "{text}");
        }
    }
}

#[test]
fn of_a_last_good_version_the_report_names_no_places() {
    let mesh = Mesh::new();
    let said = |text: &str| {
        let report = mesh.apply(config(text)).unwrap();
        let problems = report.problems().iter();
        problems.map(|problem| (problem.place.as_ref().map(|place| place.line), problem.message.clone())).collect()
    };
    let good: Vec<_> = said(&entry("one", ""));
    assert_eq!(good, [(Some(10), "not yet honored".to_owned())]);
    let bad: Vec<_> = said(&entry("one", "exportTo: ['**']").replace(", network: n", "").replace("spec:", "spec:\n"));
    let [(None, warning), (Some(12), _)] = bad.as_slice() else { panic!("{bad:?}") };
    assert_eq!(warning, "of the last good version, which serves: not yet honored");
}

fn rule(name: &str, fields: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec: {fields}\n"
    )
}

fn headers(name: &str, count: usize) -> String {
    let entries: Vec<_> = (0..count).map(|n| format!("{{headers: {{{name}{n}: {{exact: a}}}}}}")).collect();
    entries.join(", ")
}

/// A VirtualService with this many matches that leads to a delegate with so many, and `more` rules of it.
fn multiplied_and(roots: usize, own: usize, more: &str) -> String {
    let root = format!("{{match: [{}], delegate: {{name: own}}}}{more}", headers("r", roots));
    let own = format!("{{match: [{}], directResponse: {{status: 200}}}}", headers("o", own));
    rule("root", &format!("{{hosts: [a.test], http: [{root}]}}")) + &rule("own", &format!("{{http: [{own}]}}"))
}

fn multiplied(roots: usize, own: usize) -> String {
    multiplied_and(roots, own, "")
}

fn merged_rule_answers(mesh: &Mesh) -> bool {
    let (snapshot, request) = (mesh.snapshot(), Request::get("http://a.test/"));
    let request = request.header("r0", "a").header("o0", "a").body(()).unwrap();
    let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
    matches!(snapshot.resolve(&Origin::Mesh, &view), Resolution::Route(_))
}

fn quarantined(report: &Report) -> Vec<(String, bool)> {
    let each = report.quarantined().iter().map(|kept| (kept.resource.name.to_string(), kept.last_good_serves));
    each.collect()
}

#[test]
fn rules_that_multiply_too_much_are_kept_back() {
    let mesh = Mesh::new();
    let both = |serve| [("root".to_owned(), serve), ("own".to_owned(), serve)];
    let answers = || merged_rule_answers(&mesh);
    assert!(mesh.apply_strict(config(&multiplied(101, 100))).unwrap_err().is_invalid());
    let report = mesh.apply(config(&multiplied(101, 100))).unwrap();
    assert_eq!((report.errors().count(), quarantined(&report), answers()), (1, both(false).into(), false), "{report}");
    assert_eq!(mesh.apply_strict(config(&multiplied(100, 100))).unwrap().problems(), []);
    // Whichever of them has grown.
    for text in [multiplied(101, 100), multiplied(100, 101)] {
        let checked = mesh.check(config(&text));
        let report = mesh.apply(config(&text)).unwrap();
        assert_eq!((report.errors().count(), quarantined(&report)), (1, both(true).into()), "{report}");
        assert_eq!((checked.problems(), checked.quarantined()), (report.problems(), report.quarantined()));
        assert!(answers());
    }
    // One was kept back for something else, and what serves of it is too much for the other.
    assert_eq!(mesh.apply(config(&multiplied(50, 200))).unwrap().problems(), []);
    let text = multiplied(60, 150).replace("status: 200", "status: 9999");
    let report = mesh.apply(config(&text)).unwrap();
    let kept = [("own".to_owned(), true), ("root".to_owned(), true)];
    assert_eq!((report.errors().count(), quarantined(&report), answers()), (2, kept.into(), true), "{report}");
}

#[test]
fn a_delegate_that_goes_takes_no_other_with_it() {
    let mesh = Mesh::new();
    // As many rules as this are written, and multiply with none: more may be merged of the others.
    let rules = (0..10_000).map(|n| format!("{{match: [{{uri: {{exact: /{n}}}}}], directResponse: {{status: 200}}}}"));
    let more = rule("more", &format!("{{http: [{}]}}", rules.collect::<Vec<_>>().join(", ")));
    let without = multiplied_and(51, 200, ", {match: [{uri: {exact: /q}}], delegate: {name: more}}");
    assert_eq!(mesh.apply(config(&format!("{without}{more}"))).unwrap().errors().next(), None);
    assert!(merged_rule_answers(&mesh));
    for _ in 0..2 {
        let report = mesh.apply(config(&without)).unwrap();
        let kept = vec![("root".to_owned(), true), ("own".to_owned(), true)];
        assert_eq!((quarantined(&report), merged_rule_answers(&mesh)), (kept, true), "{report}");
        let told = report.errors().filter(|problem| problem.message.contains("merged matches"));
        assert_eq!(told.count(), 1, "{report}");
    }
}
