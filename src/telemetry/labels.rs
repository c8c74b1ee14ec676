//! What requests and connections are counted under: who calls, who is called.

use std::collections::BTreeMap;

use metrics::Label;

use crate::options::Workload;

pub(super) const UNKNOWN: &str = "unknown";
/// The revision of what says none.
const LATEST: &str = "latest";

pub(super) fn source(labels: &BTreeMap<String, String>, namespace: &str) -> Vec<Label> {
    let peer = Peer::of(labels);
    own([
        ("reporter", "source"),
        ("source_workload", UNKNOWN),
        ("source_workload_namespace", namespace),
        ("source_principal", UNKNOWN),
        ("source_app", peer.app),
        ("source_version", peer.version),
        ("source_canonical_service", peer.canonical),
        ("source_canonical_revision", peer.revision),
        ("source_cluster", UNKNOWN),
    ])
}

/// Whoever it was that called.
pub(super) fn unknown_source() -> Vec<Label> {
    let mut labels = source(&BTreeMap::new(), UNKNOWN);
    labels[0] = Label::from_static_parts("reporter", "destination");
    labels
}

pub(super) fn destination(host: &str, name: &str, namespace: &str) -> Vec<Label> {
    let workload = own([
        ("destination_workload", UNKNOWN),
        ("destination_workload_namespace", UNKNOWN),
        ("destination_principal", UNKNOWN),
        ("destination_app", UNKNOWN),
        ("destination_version", UNKNOWN),
        ("destination_canonical_service", UNKNOWN),
        ("destination_canonical_revision", LATEST),
        ("destination_cluster", UNKNOWN),
        ("connection_security_policy", UNKNOWN),
    ]);
    [workload, service(host, name, namespace)].concat()
}

/// The workload that serves, which knows itself.
pub(super) fn receiver(workload: &Workload) -> Vec<Label> {
    let peer = Peer::of(&workload.labels);
    own([
        ("destination_workload", UNKNOWN),
        ("destination_workload_namespace", &workload.namespace),
        ("destination_principal", UNKNOWN),
        ("destination_app", peer.app),
        ("destination_version", peer.version),
        ("destination_canonical_service", peer.canonical),
        ("destination_canonical_revision", peer.revision),
        ("destination_cluster", UNKNOWN),
        ("connection_security_policy", UNKNOWN),
    ])
}

/// The labels that tell which service was asked for.
pub(super) const SERVICE: [&str; 3] =
    ["destination_service", "destination_service_name", "destination_service_namespace"];

pub(super) fn service(host: &str, name: &str, namespace: &str) -> Vec<Label> {
    let [of_host, of_name, of_namespace] = SERVICE;
    own([(of_host, host), (of_name, name), (of_namespace, namespace)])
}

/// What a workload's labels say of it.
struct Peer<'a> {
    app: &'a str,
    version: &'a str,
    canonical: &'a str,
    revision: &'a str,
}

impl<'a> Peer<'a> {
    fn of(labels: &'a BTreeMap<String, String>) -> Self {
        let of = |label: &str| labels.get(label).map(String::as_str);
        let app = of("app").unwrap_or(UNKNOWN);
        let revision = of("service.istio.io/canonical-revision").or(of("app.kubernetes.io/version")).or(of("version"));
        Self {
            app,
            version: of("version").unwrap_or(UNKNOWN),
            canonical: of("service.istio.io/canonical-name").or(of("app.kubernetes.io/name")).unwrap_or(app),
            revision: revision.unwrap_or(LATEST),
        }
    }
}

fn own<const N: usize>(labels: [(&'static str, &str); N]) -> Vec<Label> {
    labels.into_iter().map(|(name, value)| Label::new(name, value.to_owned())).collect()
}
