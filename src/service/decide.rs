//! From a request head to what is done with it: [`Verdict`].

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;

use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderName, HeaderValue, Method, Uri};

use super::local_reply::{Asked, LocalReply};
use super::request_body::Aim;
use crate::mesh::Mesh;
use crate::request::{Origin, RequestView};
use crate::route::{Action, ClusterChoice, Resolution, Route, RouteTable, Unknown, normalize};
use crate::snapshot::Snapshot;
use crate::telemetry::{ClusterMetrics, RequestRecord};
use crate::upstream::{Cluster, Endpoint, Picked};

/// What is done with a request.
pub(super) enum Verdict {
    /// No rule takes it: the inner service gets it as it came.
    PassThrough(RequestRecord),
    /// It is answered here.
    Reply(LocalReply, Asked, RequestRecord),
    /// It goes to an endpoint; the head is ready.
    Try(Attempt, Aim),
}

/// The first try of a request, and what is needed once it is over. It holds no snapshot, only what was chosen of it.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) route: Arc<Route>,
    pub(super) cluster: Arc<Cluster>,
    pub(super) picked: Picked,
    pub(super) asked: Asked,
    /// At a listener the headers are added that a gateway adds.
    pub(super) at_listener: bool,
    pub(super) record: RequestRecord,
}

/// Decides by one snapshot, read once.
pub(super) fn decide(mesh: &Mesh, own: &Origin, head: &mut Parts) -> Verdict {
    let asked = Asked::new(&head.method, &head.headers);
    let snapshot = mesh.load();
    let metrics = &snapshot.mesh_metrics;
    let reply = |reply, metrics: &ClusterMetrics| Verdict::Reply(reply, asked, RequestRecord::new(metrics, asked.grpc));
    let origin = head.extensions.get::<Origin>().unwrap_or(own);
    let at_listener = matches!(origin, Origin::Listener(_));
    if !at_listener && is_opaque(head) {
        return Verdict::PassThrough(RequestRecord::new(&metrics.pass_through, asked.grpc));
    }
    let Some(table) = table(&snapshot, origin) else { return reply(LocalReply::no_route(), &metrics.no_route) };
    let path = match head.uri.path() {
        "*" | "" => Cow::Borrowed(head.uri.path()),
        path => match normalize::path(snapshot.path_normalization, path) {
            Ok(path) => path,
            Err(_) => return reply(LocalReply::bad_path(), &metrics.no_route),
        },
    };
    let view = RequestView::new(&head.method, &head.uri, &head.headers, origin).with_path(&path);
    let port = view.port();
    let index = match table.resolve(&view, &mut ()) {
        Resolution::Route(index) => index,
        Resolution::Unknown(Unknown::PassThrough) => {
            return Verdict::PassThrough(RequestRecord::new(&metrics.pass_through, asked.grpc));
        }
        Resolution::Unknown(Unknown::Refuse) => return reply(LocalReply::refused_host(), &metrics.black_hole),
        Resolution::Unknown(Unknown::NotFound) | Resolution::NoRoute => {
            return reply(LocalReply::no_route(), &metrics.no_route);
        }
    };
    let route = &table.routes[index.0 as usize];
    let normalised = match path {
        Cow::Owned(path) => Some(path),
        Cow::Borrowed(_) => None,
    };
    forward(Forwarding { mesh, snapshot: &snapshot, route, asked, at_listener, port }, normalised, head)
}

/// A request that the http rules of a client do not see: TLS that the application opens itself, and tunnels.
fn is_opaque(head: &Parts) -> bool {
    head.uri.scheme() == Some(&Scheme::HTTPS) || head.method == Method::CONNECT
}

fn table<'a>(snapshot: &'a Snapshot, origin: &Origin) -> Option<&'a RouteTable> {
    match origin {
        Origin::Mesh => Some(&snapshot.mesh),
        Origin::Listener(at) => {
            snapshot.listeners.iter().find(|listener| listener.name == at.listener).map(|listener| &listener.table)
        }
    }
}

struct Forwarding<'a> {
    mesh: &'a Mesh,
    snapshot: &'a Snapshot,
    route: &'a Arc<Route>,
    asked: Asked,
    at_listener: bool,
    port: u16,
}

fn forward(to: Forwarding<'_>, normalised: Option<String>, head: &mut Parts) -> Verdict {
    let Forwarding { snapshot, route, asked, .. } = to;
    let reply = |mut reply: LocalReply, cluster: Option<&Arc<Cluster>>, metrics: &ClusterMetrics| {
        reply.info.route = Some(route.clone());
        reply.info.cluster = cluster.cloned();
        Verdict::Reply(reply, asked, RequestRecord::new(metrics, asked.grpc))
    };
    let clusters = match &route.action {
        Action::Forward(clusters) => clusters,
        Action::NotHonored { .. } => {
            return reply(LocalReply::not_honored(), None, &snapshot.mesh_metrics.no_route);
        }
    };
    let mut draws = to.mesh.draws();
    let destination = &clusters.pick(draws.next_u64()).destination;
    let index = match destination {
        ClusterChoice::Fixed(index) => Some(*index),
        ClusterChoice::ByPort(ports) => ports.iter().find(|(port, _)| *port == to.port).map(|(_, index)| *index),
        ClusterChoice::Missing => None,
    };
    let Some(index) = index.map(|index| index.0 as usize) else {
        return reply(LocalReply::no_cluster(), None, &snapshot.mesh_metrics.no_route);
    };
    let (cluster, metrics) = (&snapshot.clusters[index], &snapshot.cluster_metrics[index]);
    route.request_headers.apply(&mut head.headers);
    let Some(picked) = cluster.pick(&mut draws, &[]) else {
        return reply(LocalReply::no_healthy_upstream(), Some(cluster), metrics);
    };
    let Some(aim) = aim(head, picked.endpoint(), route.request_headers.authority(), normalised) else {
        return reply(LocalReply::bad_path(), Some(cluster), metrics);
    };
    if to.at_listener {
        head.headers.insert(HeaderName::from_static("x-envoy-attempt-count"), HeaderValue::from_static("1"));
    }
    let record = RequestRecord::new(metrics, asked.grpc);
    let (route, cluster) = (route.clone(), cluster.clone());
    Verdict::Try(Attempt { route, cluster, picked, asked, at_listener: to.at_listener, record }, aim)
}

/// Points the URI at `endpoint` and keeps the authority in `Host`; `None` if the path makes no URI.
fn aim(
    head: &mut Parts,
    endpoint: &Arc<Endpoint>,
    rewritten: Option<&Authority>,
    normalised: Option<String>,
) -> Option<Aim> {
    let mut uri = mem::take(&mut head.uri).into_parts();
    if let Some(path) = normalised {
        uri.path_and_query = Some(with_query(path, uri.path_and_query.as_ref())?);
    } else if uri.path_and_query.is_none() {
        uri.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    // Rules for TLS towards the upstream are the transport's; to others it is plain.
    uri.scheme = Some(Scheme::HTTP);
    let original = uri.authority.replace(endpoint.authority.clone());
    head.uri = Uri::from_parts(uri).ok()?;
    let authority = match (rewritten, original) {
        (Some(rewritten), _) => Some(rewritten.clone()),
        (None, Some(original)) if original.as_str().contains('@') => {
            let (_, host) = original.as_str().rsplit_once('@')?;
            Authority::try_from(host).ok()
        }
        (None, original) => original,
    };
    if let Some(authority) = &authority
        && head.headers.get(HOST).is_none_or(|host| host.as_bytes() != authority.as_str().as_bytes())
    {
        head.headers.insert(HOST, HeaderValue::from_str(authority.as_str()).ok()?);
    }
    Some(Aim::new(endpoint.clone(), authority))
}

fn with_query(mut path: String, original: Option<&PathAndQuery>) -> Option<PathAndQuery> {
    if let Some(query) = original.and_then(PathAndQuery::query) {
        path.push('?');
        path.push_str(query);
    }
    PathAndQuery::try_from(path).ok()
}
