//! Endpoints seen from the program: all that there are, and those that the program gives itself.

use crate::upstream::{Address, EndpointConfig, EndpointView};

use super::Mesh;

impl Mesh {
    /// Every endpoint of every cluster as it is now, with its requests and, if it is ejected, why and how long.
    ///
    /// An endpoint of several clusters (the whole host and a subset, several ports) is in it once for each.
    pub fn endpoints(&self) -> Vec<EndpointView> {
        self.snapshot().clusters().flat_map(|cluster| cluster.view()).collect()
    }

    /// Gives the endpoints of a host's port, for programs that discover them by themselves.
    ///
    /// `host` is the name of a Kubernetes Service or a host of a ServiceEntry, and `port` its service port; a short
    /// name is completed with the workload's namespace. What is given takes the place of everything that the
    /// configuration or DNS says of that port's endpoints, also after reloads, until [`Self::unset_endpoints`]. Rules
    /// and policies go on: subsets select by the labels of what is given, localities and weights count. Endpoints
    /// found again by their address keep their connections, counts and ejections.
    ///
    /// The first call for a port publishes a snapshot; later ones change the endpoints of the snapshots that are out.
    /// It waits for publications, never for requests.
    ///
    /// Says whether there is a cluster for it now. If there is none, as before the configuration that names the host,
    /// the endpoints are kept for when there is one.
    pub fn set_endpoints(&self, host: &str, port: u16, endpoints: Vec<EndpointConfig>) -> bool {
        self.change_given(host, port, |given| *given = Some(endpoints))
    }

    /// Goes back to the endpoints that are discovered, if others were [given](Self::set_endpoints). Says whether there
    /// is a cluster for the port now.
    pub fn unset_endpoints(&self, host: &str, port: u16) -> bool {
        self.change_given(host, port, |given| *given = None)
    }

    /// The endpoints that the program gives for a host's port, one by one; see [`Self::set_endpoints`].
    ///
    /// Nothing is given, and the discovered endpoints serve, until the first call on it.
    pub fn endpoints_handle(&self, host: &str, port: u16) -> EndpointsHandle {
        EndpointsHandle { mesh: self.clone(), host: host.into(), port }
    }

    fn change_given(&self, host: &str, port: u16, change: impl FnOnce(&mut Option<Vec<EndpointConfig>>)) -> bool {
        let mut publication = self.lock();
        let current = self.snapshot();
        let changed = publication.give(host, port, change, &current);
        let snapshot = match changed {
            Some((snapshot, report)) => {
                self.store(snapshot, report);
                self.snapshot()
            }
            None => current,
        };
        snapshot.has_cluster(&publication.full_name(host), port)
    }
}

/// The endpoints that a program gives for a host's port, to be changed one by one, as discovery tells of them.
///
/// ```
/// use mesh_router::config::Config;
/// use mesh_router::mesh::Mesh;
/// use mesh_router::upstream::EndpointConfig;
///
/// let mesh = Mesh::new();
/// let report = mesh.apply(Config::from_yaml(
///     "
/// apiVersion: networking.istio.io/v1
/// kind: ServiceEntry
/// metadata: {name: ratings}
/// spec:
///   hosts: [ratings.test]
///   resolution: STATIC
///   ports: [{number: 80, name: http, protocol: HTTP}]
/// ",
///     "ratings.yaml",
/// )?)?;
/// assert_eq!(report.errors().next(), None);
/// // A task that watches a registry holds it; clones are the same.
/// let ratings = mesh.endpoints_handle("ratings.test", 80);
/// ratings.insert(EndpointConfig::new(([10, 0, 0, 7], 9080)));
/// ratings.insert(EndpointConfig::new(([10, 0, 0, 8], 9080)).with_weight(2));
/// ratings.remove(&([10, 0, 0, 7], 9080).into());
/// let endpoints = mesh.endpoints();
/// assert_eq!(endpoints.len(), 1);
/// assert_eq!(endpoints[0].address.to_string(), "10.0.0.8:9080");
/// # Ok::<(), mesh_router::Error>(())
/// ```
///
/// It keeps the mesh. Dropping it changes nothing: [`Mesh::unset_endpoints`] does.
#[derive(Clone, Debug)]
pub struct EndpointsHandle {
    mesh: Mesh,
    host: Box<str>,
    port: u16,
}

impl EndpointsHandle {
    /// Adds an endpoint, or replaces the one with its address. Says whether there is a cluster for it now.
    pub fn insert(&self, endpoint: EndpointConfig) -> bool {
        self.change(|endpoints| match endpoints.iter_mut().find(|known| known.address == endpoint.address) {
            Some(known) => *known = endpoint,
            None => endpoints.push(endpoint),
        })
    }

    /// Takes the endpoint with this address out. Its requests end as they would have, its idle connections at once.
    pub fn remove(&self, address: &Address) -> bool {
        self.change(|endpoints| endpoints.retain(|known| known.address != *address))
    }

    /// Gives these and no others.
    pub fn replace(&self, endpoints: Vec<EndpointConfig>) -> bool {
        self.mesh.set_endpoints(&self.host, self.port, endpoints)
    }

    fn change(&self, change: impl FnOnce(&mut Vec<EndpointConfig>)) -> bool {
        self.mesh.change_given(&self.host, self.port, |given| change(given.get_or_insert_default()))
    }
}
