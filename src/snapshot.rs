//! What one request sees: the routes and the clusters, published together as a [`Snapshot`].
//!
//! ```
//! use http::Request;
//! use mesh_router::config::Config;
//! use mesh_router::mesh::Mesh;
//! use mesh_router::request::{Origin, RequestView};
//! use mesh_router::route::{Resolution, Unknown};
//!
//! let mesh = Mesh::new();
//! let snapshot = mesh.snapshot();
//! let request = Request::get("http://nobody.knows/").body(())?;
//! let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
//! assert!(matches!(snapshot.resolve(&Origin::Mesh, &view), Resolution::Unknown(Unknown::PassThrough)));
//! # Ok::<(), http::Error>(())
//! ```

mod living;
mod server_tls;

use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use living::NewEndpoints;
pub use server_tls::{ClientCertificates, ServerTls, TlsVersion};

use crate::error::{Place, ResourceName};
use crate::options::PathNormalization;
use crate::request::{GatewayOrigin, Origin, RequestView};
use crate::route::normalize::{self, BadPath};
use crate::route::{
    ClusterIndex, Explanation, HostIndex, Resolution, Route, RouteIndex, RouteTable, ServerNameTable, StreamTable,
    Trace, Unknown,
};
use crate::telemetry::ClusterMetrics;
use crate::upstream::{Cluster, EndpointConfig, NamedEndpoints, ResolvedName, Takes};

/// One published meaning of a configuration. It never changes, only the endpoints of its clusters do.
pub struct Snapshot {
    pub(crate) version: u64,
    pub(crate) mesh: RouteTable,
    /// The http rules for ports on which clients of the mesh open TLS: nobody's, unless an application asks for them.
    pub(crate) mesh_https: RouteTable,
    /// Where the TLS of clients of the mesh goes.
    pub(crate) mesh_tls: ServerNameTable,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) inbound: Vec<Inbound>,
    pub(crate) clusters: Vec<ClusterEntry>,
    /// The clusters in the order of their keys.
    pub(crate) by_key: Box<[ClusterIndex]>,
    /// The names of endpoints in the order of the alphabet, each once for every cluster that needs it.
    pub(crate) by_name: Box<[(Arc<ResolvedName>, ClusterIndex)]>,
    pub(crate) path_normalization: PathNormalization,
}

/// The rules of a gateway that an application stands for.
pub(crate) struct Inbound {
    pub(crate) origin: GatewayOrigin,
    pub(crate) table: RouteTable,
}

/// A cluster with the handles its requests are counted by.
pub(crate) struct ClusterEntry {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) metrics: ClusterMetrics,
    /// What its endpoints become when this is published, if it was in use before.
    pub(crate) endpoints: Option<Vec<EndpointConfig>>,
    /// Its endpoints as written, where some of them are names.
    pub(crate) named: Option<NamedEndpoints>,
    /// What it takes of the endpoints that the program gives, where the program does.
    pub(crate) given: Option<Takes>,
    /// The generation of the cluster that all of this holds for.
    pub(crate) generation: u64,
}

/// Where a listener of a gateway listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bind {
    /// An address and port.
    Tcp(SocketAddr),
    /// A unix domain socket.
    Unix(PathBuf),
}

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ListenerProtocol {
    /// HTTP/1.1 or HTTP/2, told from the first bytes; in TLS where the listener has [`Listener::tls`].
    Http,
    /// Any bytes, which are passed on; TLS is ended first where the listener has [`Listener::tls`].
    Tcp,
    /// TLS, which is passed on as it is by the server name that the client asks for.
    Tls,
}

/// One listener of the gateways that this process stands for.
///
/// All plaintext HTTP servers of one port and bind address share one listener and its route table. Of those in TLS each
/// has its own: on one port they are told apart by the server name that the client asks for.
pub struct Listener {
    /// `http.8080`, or `http.8080.127.0.0.1` where the server names a `bind` address; in TLS
    /// `https.8443.PORT_NAME.GATEWAY.NAMESPACE`. `tcp` and `tls` stand there for other protocols.
    pub name: Arc<str>,
    /// Where to listen: the `bind` address (all addresses if there is none) and the port.
    pub bind: Bind,
    /// The `server.port.number` that rules see.
    pub port: u16,
    /// What is spoken.
    pub protocol: ListenerProtocol,
    /// Whether requests of gRPC-Web are made requests of gRPC, and their answers the reverse (`GRPC-WEB`).
    pub grpc_web: bool,
    /// The Gateway that asked for it first.
    pub gateway: ResourceName,
    /// Where that Gateway says so.
    pub place: Option<Place>,
    /// How TLS is ended here. `None`: it is not.
    pub tls: Option<Arc<ServerTls>>,
    /// The server names it is for, `*.suffix` and `*` among them. Empty in plaintext.
    pub server_names: Box<[Box<str>]>,
    pub(crate) table: RouteTable,
    pub(crate) streams: StreamTable,
}

impl Listener {
    /// Whether clients begin with a TLS handshake.
    pub fn is_secured(&self) -> bool {
        self.tls.is_some() || self.protocol == ListenerProtocol::Tls
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut listener = f.debug_struct("Listener");
        listener.field("name", &self.name).field("bind", &self.bind).field("port", &self.port);
        listener
            .field("protocol", &self.protocol)
            .field("grpc_web", &self.grpc_web)
            .field("gateway", &self.gateway)
            .field("tls", &self.tls);
        listener.field("server_names", &self.server_names).field("table", &self.table);
        listener.field("streams", &self.streams).finish()
    }
}

/// The listeners that share an address.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) bind: Bind,
    /// The one in plaintext.
    plain: Option<usize>,
    /// Those in TLS, by server name.
    named: HostIndex<usize>,
}

/// The order of the keys of `clusters`.
pub(crate) fn by_key(clusters: &[ClusterEntry]) -> Box<[ClusterIndex]> {
    let mut order: Box<[_]> = (0..).map(ClusterIndex).take(clusters.len()).collect();
    order.sort_unstable_by_key(|index| clusters.get(index.0 as usize).map(|entry| &entry.cluster.key));
    order
}

/// The names of `clusters` in the order of the alphabet.
pub(crate) fn by_name(clusters: &[ClusterEntry]) -> Box<[(Arc<ResolvedName>, ClusterIndex)]> {
    let named = (0..).map(ClusterIndex).zip(clusters).filter_map(|(index, entry)| Some((index, entry.named.as_ref()?)));
    let mut names: Vec<_> =
        named.flat_map(|(index, named)| named.names().map(move |name| (name.clone(), index))).collect();
    names.sort_unstable_by(|(one, at), (other, place)| one.name().cmp(other.name()).then(at.0.cmp(&place.0)));
    names.dedup_by(|(one, at), (other, place)| at == place && one.name() == other.name());
    names.into()
}

/// The sockets of `listeners`, in their order. Of two listeners in plaintext, or with one server name, the first has
/// it.
pub(crate) fn sockets(listeners: &[Listener]) -> Vec<Socket> {
    let mut sockets: Vec<Socket> = Vec::new();
    for (number, listener) in listeners.iter().enumerate() {
        let known = sockets.iter().position(|socket| socket.bind == listener.bind);
        let at = known.unwrap_or_else(|| {
            sockets.push(Socket { bind: listener.bind.clone(), plain: None, named: HostIndex::new() });
            sockets.len() - 1
        });
        let socket = &mut sockets[at];
        if listener.is_secured() {
            for name in &listener.server_names {
                socket.named.insert(name, number);
            }
        } else {
            socket.plain.get_or_insert(number);
        }
    }
    sockets
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clusters: Vec<_> = self.clusters().collect();
        let mut snapshot = f.debug_struct("Snapshot");
        snapshot.field("version", &self.version).field("path_normalization", &self.path_normalization);
        snapshot.field("mesh", &self.mesh).field("mesh_https", &self.mesh_https);
        snapshot
            .field("mesh_tls", &self.mesh_tls)
            .field("listeners", &self.listeners)
            .field("clusters", &clusters)
            .finish()
    }
}

impl Snapshot {
    /// The number of the publication, from 1; 0 is the empty snapshot a mesh begins with.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The listeners of the gateways.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Whether connections to an address are taken at all.
    #[cfg(feature = "gateway")]
    pub(crate) fn listens_at(&self, bind: &Bind) -> bool {
        self.sockets.iter().any(|socket| socket.bind == *bind)
    }

    /// The listener that takes connections to an address in plaintext.
    pub fn plain_listener(&self, bind: &Bind) -> Option<&Listener> {
        let socket = self.sockets.iter().find(|socket| socket.bind == *bind)?;
        self.listeners.get(socket.plain?)
    }

    /// The listener that takes a connection to an address whose client asks for `server_name` in its TLS handshake: the
    /// one with the most specific name. `None`: the connection is closed.
    pub fn secured_listener(&self, bind: &Bind, server_name: Option<&str>) -> Option<&Listener> {
        let socket = self.sockets.iter().find(|socket| socket.bind == *bind)?;
        // No name at all is one that only `*` stands for.
        self.listeners.get(*socket.named.get(server_name.unwrap_or_default())?)
    }

    /// Every cluster a rule can reach, and the other subsets of their hosts, which a request may ask for by its
    /// [`RequestPolicy`](crate::service::RequestPolicy::subset).
    pub fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        self.clusters.iter().map(|entry| &entry.cluster)
    }

    /// The cluster a route names.
    pub fn cluster(&self, index: ClusterIndex) -> Option<&Arc<Cluster>> {
        self.entry(index).map(|entry| &entry.cluster)
    }

    pub(crate) fn entry(&self, index: ClusterIndex) -> Option<&ClusterEntry> {
        self.clusters.get(index.0 as usize)
    }

    /// The cluster of another subset of the same host, at the same port.
    pub(crate) fn subset(&self, cluster: &Cluster, subset: &str) -> Option<&ClusterEntry> {
        let sought = (&*cluster.key.host, subset, cluster.key.port);
        let key = |index: &ClusterIndex| {
            let key = &self.entry(*index)?.cluster.key;
            Some((&*key.host, &*key.subset, key.port))
        };
        let at = self.by_key.binary_search_by(|index| key(index).cmp(&Some(sought))).ok()?;
        self.entry(*self.by_key.get(at)?)
    }

    /// Every name that has to be looked up for the endpoints of a cluster, once, in the order of the alphabet.
    pub fn names(&self) -> Vec<Arc<ResolvedName>> {
        let mut names: Vec<_> = self.by_name.iter().map(|(name, _)| name.clone()).collect();
        names.dedup_by(|one, other| one.name() == other.name());
        names
    }

    /// The clusters that need `name`, with what is known of it.
    fn in_need_of(&self, name: &str) -> &[(Arc<ResolvedName>, ClusterIndex)] {
        let from = self.by_name.partition_point(|(known, _)| **known.name() < *name);
        let rest = self.by_name.get(from..).unwrap_or_default();
        let count = rest.iter().take_while(|(known, _)| **known.name() == *name).count();
        rest.get(..count).unwrap_or_default()
    }

    /// The name, if a cluster needs it.
    pub(crate) fn name(&self, name: &str) -> Option<&Arc<ResolvedName>> {
        self.in_need_of(name).first().map(|(name, _)| name)
    }

    /// Whether every name was looked up.
    #[cfg(any(feature = "client", feature = "dns", feature = "file"))]
    pub(crate) fn is_looked_up(&self) -> bool {
        self.by_name.iter().all(|(name, _)| name.is_looked_up())
    }

    /// Whether there is a cluster for a host and port.
    pub(crate) fn has_cluster(&self, host: &str, port: u16) -> bool {
        self.clusters().any(|cluster| *cluster.key.host == *host && cluster.key.port == port)
    }

    /// The routes that hold for requests from `origin`, those of the mesh in plaintext; `None` for a listener that is
    /// gone.
    pub fn table(&self, origin: &Origin) -> Option<&RouteTable> {
        match origin {
            Origin::Mesh => Some(&self.mesh),
            Origin::Listener(from) => {
                self.listeners.iter().find(|listener| listener.name == from.listener).map(|listener| &listener.table)
            }
            Origin::Gateway(from) => {
                self.inbound.iter().find(|inbound| inbound.origin == **from).map(|inbound| &inbound.table)
            }
        }
    }

    /// The routes that http rules have for one request: those for the port on which clients open TLS, if it is one.
    fn table_for(&self, origin: &Origin, request: &RequestView<'_>) -> Option<&RouteTable> {
        let is_https = *origin == Origin::Mesh && request.is_tls();
        if is_https && self.mesh_https.knows(request.host(), request.port()) {
            return Some(&self.mesh_https);
        }
        self.table(origin)
    }

    /// A path as it is matched.
    pub(crate) fn normalized<'p>(&self, path: &'p str) -> Result<Cow<'p, str>, BadPath> {
        match path {
            "*" | "" => Ok(Cow::Borrowed(path)),
            path => normalize::path(self.path_normalization, path),
        }
    }

    /// What the http rules do with a request from `origin`, its path normalized. A listener that is gone answers as a
    /// host that is unknown.
    ///
    /// A [`MeshRouter`](crate::service::MeshRouter) does not ask them about `https` and `CONNECT` requests of the
    /// application itself ([`Origin::Mesh`]), unless
    /// [`with_https_routed`](crate::service::MeshRouter::with_https_routed) says so: these pass through, or go where `tls`
    /// rules say. This tells what the rules would do if they saw them.
    pub fn resolve(&self, origin: &Origin, request: &RequestView<'_>) -> Resolution {
        self.resolve_traced(origin, request, &mut ())
    }

    /// The same, telling `trace` every step.
    pub fn resolve_traced(&self, origin: &Origin, request: &RequestView<'_>, trace: &mut impl Trace) -> Resolution {
        let Some(table) = self.table_for(origin, request) else { return Resolution::Unknown(Unknown::NotFound) };
        match self.normalized(request.path()) {
            Ok(path) => table.resolve(&request.with_path(&path), trace),
            Err(_) => Resolution::BadPath,
        }
    }

    /// Why a request goes where it goes: every rule up to the one that matched, with the predicate that failed. Of `https`
    /// it says what [`Self::resolve`] does.
    pub fn explain(&self, origin: &Origin, request: &RequestView<'_>) -> Explanation {
        let mut explanation = Explanation::default();
        let resolution = self.resolve_traced(origin, request, &mut explanation);
        explanation.conclude(resolution, self.table_for(origin, request));
        explanation
    }

    /// The route that the resolution of a request from `origin` names.
    pub fn route(&self, origin: &Origin, request: &RequestView<'_>, index: RouteIndex) -> Option<&Arc<Route>> {
        self.table_for(origin, request).and_then(|table| table.route(index))
    }
}
