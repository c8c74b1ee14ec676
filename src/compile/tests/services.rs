//! Which of several definitions of one host is the service.

use super::*;
use crate::options::Workload;

/// A ServiceEntry for `api.test` with an endpoint at `address`.
fn entry(namespace: &str, name: &str, address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  hosts: [api.test]\n  resolution: STATIC\n  ports: [{{number: 80, name: http, protocol: HTTP}}]\n  \
         endpoints: [{{address: {address}}}]\n---\n"
    )
}

#[test]
fn of_one_host_and_age_the_namespace_decides_before_the_name() {
    let all = [entry("b", "aaa", "10.0.0.2"), entry("a", "zzz", "10.0.0.1")];
    for documents in [all.concat(), all.iter().rev().cloned().collect()] {
        let workload = Workload { namespace: "c".into(), ..Workload::default() };
        let mesh = Mesh::builder().workload(workload).build();
        mesh.apply(Config::from_yaml(&documents, "it.yaml").unwrap()).unwrap();
        let route = route(&mesh.snapshot(), "http://api.test/").unwrap();
        assert_eq!((&*route.origin.resource.namespace, &*route.origin.resource.name), ("a", "zzz"));
    }
}
