//! Where endpoints come from, by the rules of Istio's discovery (SE*, K*, ES*).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod endpoint_slices;
mod kubernetes_services;
mod pass_through;
mod service_entries;

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Request;
use mesh_router::Mesh;
use mesh_router::config::Config;
use mesh_router::mesh::Report;
use mesh_router::options::Workload;
use mesh_router::request::{Origin, RequestView};
use mesh_router::route::Resolution;
use mesh_router::upstream::{Cluster, Endpoint};

/// What was published of some YAML, for a process in the namespace `default`.
struct Published {
    mesh: Mesh,
    report: Report,
}

fn publish(text: &str) -> Published {
    publish_for(Workload::default(), text)
}

fn publish_for(workload: Workload, text: &str) -> Published {
    let mesh = Mesh::builder().workload(workload).build();
    let report = mesh.apply(Config::from_yaml(text, "mesh.yaml").unwrap()).unwrap();
    let errors: Vec<_> = report.errors().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    Published { mesh, report }
}

impl Published {
    fn cluster(&self, key: &str) -> Option<Arc<Cluster>> {
        let snapshot = self.mesh.snapshot();
        snapshot.clusters().find(|cluster| cluster.key.to_string() == key).cloned()
    }

    fn endpoints(&self, key: &str) -> Vec<Arc<Endpoint>> {
        self.cluster(key)
            .unwrap_or_else(|| panic!("no {key}: {:#?}", self.mesh.snapshot()))
            .endpoints()
            .endpoints()
            .to_vec()
    }

    /// The addresses of the endpoints of a cluster, those that are not ready in brackets; `None` without a cluster.
    fn addresses(&self, key: &str) -> Option<Vec<String>> {
        self.cluster(key)?;
        let show = |endpoint: &Arc<Endpoint>| match endpoint.healthy {
            true => endpoint.address.to_string(),
            false => format!("({})", endpoint.address),
        };
        Some(self.endpoints(key).iter().map(show).collect())
    }

    /// The labels of the first endpoint of a cluster.
    fn labels(&self, key: &str) -> BTreeMap<String, String> {
        (*self.endpoints(key)[0].labels).clone()
    }

    /// The resource whose route takes a request for `authority`.
    fn taken_by(&self, authority: &str) -> Option<String> {
        let snapshot = self.mesh.snapshot();
        let request = Request::get(format!("http://{authority}/")).body(()).unwrap();
        let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
        match snapshot.resolve(&Origin::Mesh, &view) {
            Resolution::Route(index) => {
                snapshot.route(&Origin::Mesh, &view, index).map(|route| route.origin.resource.to_string())
            }
            _ => None,
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.report.problems().iter().map(ToString::to_string).collect()
    }
}

fn list(addresses: &[&str]) -> Option<Vec<String>> {
    Some(addresses.iter().map(|address| (*address).to_owned()).collect())
}
