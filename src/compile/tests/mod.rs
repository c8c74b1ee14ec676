//! From words to routes: what rules of a VirtualService come to.

mod actions;
mod at_gateways;
mod called_ports;
mod claims;
mod connections;
mod credentials;
mod delegates;
mod idle_rules;
mod levels;
mod listeners;
mod mesh_hosts;
mod names;
mod policies;
mod references;
mod rule_search;
mod services;
mod tunnels;

use std::sync::Arc;

use http::{HeaderMap, Method, Uri};

use crate::config::Config;
use crate::mesh::{Mesh, Report};
use crate::options::MeshOptions;
use crate::request::{Origin, RequestView};
use crate::route::{Action, Forward, Redirect, Resolution, Route};
use crate::snapshot::Snapshot;

/// The services that rules here lead to.
const SERVICES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: services}
spec:
  hosts: [a.test, b.test, plain.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
---
";

/// A VirtualService `name` of namespace `default` with `fields` in its spec.
fn virtual_service(name: &str, fields: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}}}\nspec:\n  {}\n---\n",
        fields.trim().replace('\n', "\n  ")
    )
}

/// What `documents` come to beside the services.
fn published(documents: &str, options: MeshOptions) -> (Arc<Snapshot>, Report) {
    let mesh = Mesh::builder().options(options).build();
    let report = mesh.apply(Config::from_yaml(&format!("{SERVICES}{documents}"), "it.yaml").unwrap()).unwrap();
    (mesh.snapshot(), report)
}

/// The rules for `it.test`, published without a problem.
fn of_rules(rules: &str) -> Arc<Snapshot> {
    let rules = virtual_service("it", &format!("hosts: [it.test]\nhttp:\n{}", rules.trim_start_matches('\n')));
    let (snapshot, report) = published(&rules, MeshOptions::default());
    assert_eq!(report.problems(), []);
    snapshot
}

/// The only rule for `it.test`.
fn of_rule(rule: &str) -> Arc<Snapshot> {
    of_rules(&format!("- {rule}"))
}

/// The route that `GET uri` takes; `None` for none.
fn route(snapshot: &Snapshot, uri: &str) -> Option<Arc<Route>> {
    let (uri, headers): (Uri, _) = (uri.parse().unwrap(), HeaderMap::new());
    let view = RequestView::new(&Method::GET, &uri, &headers, &Origin::Mesh);
    match snapshot.resolve(&Origin::Mesh, &view) {
        Resolution::Route(index) => snapshot.route(&Origin::Mesh, &view, index).cloned(),
        _ => None,
    }
}

fn forward(route: &Route) -> &Forward {
    match &route.action {
        Action::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

fn redirect(route: &Route) -> &Redirect {
    match &route.action {
        Action::Redirect(redirect) => redirect,
        other => panic!("{other:?}"),
    }
}

/// The host that the first draw sends to.
fn destination(snapshot: &Snapshot, route: &Route) -> String {
    let cluster = forward(route).clusters.pick(0).destination.for_port(80).unwrap();
    snapshot.cluster(cluster).unwrap().key.host.to_string()
}

/// The name and destination of every rule of `it.test`, in order, as far as `GET uri` sees them.
fn names(snapshot: &Snapshot) -> Vec<String> {
    let of_it = |route: &&Arc<Route>| &*route.origin.resource.kind == "VirtualService";
    snapshot.mesh.routes.iter().filter(of_it).map(|route| route.name.to_string()).collect()
}
