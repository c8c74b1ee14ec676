//! From a request head to what is done with it: [`Verdict`].

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;

use http::header::HOST;
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::local_reply::{Asked, LocalReply};
use super::request_body::Aim;
use super::router::Routing;
use crate::request::{Origin, RequestView};
use crate::route::{Action, AuthorityRewrite, FormatContext, Resolution, Route, Unknown, WeightedCluster, normalize};
use crate::snapshot::Snapshot;
use crate::telemetry::{ClusterMetrics, RequestRecord};
use crate::upstream::{Cluster, Endpoint, Picked};

/// What is done with a request.
pub(super) enum Verdict {
    /// No rule takes it: the inner service gets it as it came.
    PassThrough(RequestRecord),
    /// It is answered here.
    Reply(Refusal),
    /// It goes to an endpoint; the head is ready.
    Try(Attempt, Aim),
}

/// A request that is answered here.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reply: LocalReply,
    pub(super) asked: Asked,
    pub(super) record: RequestRecord,
}

/// The first try of a request, and what is needed once it is over. It holds no snapshot, only what was chosen of it.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) rule: Chosen,
    pub(super) cluster: Arc<Cluster>,
    pub(super) picked: Picked,
    pub(super) asked: Asked,
    /// At a listener the headers are added that a gateway adds.
    pub(super) at_listener: bool,
    pub(super) record: RequestRecord,
}

/// The rule that took a request, and the draw that says which of its destinations: the same for all that follows.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) route: Arc<Route>,
    draw: u64,
}

impl Chosen {
    fn destination(&self) -> Option<&WeightedCluster> {
        match &self.route.action {
            Action::Forward(forward) => Some(forward.clusters.pick(self.draw)),
            _ => None,
        }
    }

    /// Those of the destination, then those of the rule.
    pub(super) fn apply_response_headers(&self, headers: &mut HeaderMap) {
        if let Some(destination) = self.destination() {
            destination.response_headers.apply_response(headers, &FormatContext::default());
        }
        self.route.response_headers.apply_response(headers, &FormatContext::default());
    }
}

impl Routing {
    /// Decides by one snapshot, read once.
    pub(super) fn decide(&self, head: &mut Parts) -> Verdict {
        let asked = Asked::new(&head.method, &head.headers);
        let snapshot = self.mesh.load();
        let origin = head.extensions.get::<Origin>().unwrap_or(&self.origin);
        let at_listener = matches!(origin, Origin::Listener(_));
        let pass_through = || Verdict::PassThrough(RequestRecord::new(&self.metrics.pass_through, asked.grpc));
        let not_found = || refuse(LocalReply::no_route(), asked, &self.metrics.no_route);
        if !at_listener && is_opaque(head) {
            return pass_through();
        }
        let Some(table) = snapshot.table(origin) else { return not_found() };
        let path = match head.uri.path() {
            "*" | "" => Cow::Borrowed(head.uri.path()),
            path => match normalize::path(snapshot.path_normalization, path) {
                Ok(path) => path,
                Err(_) => return refuse(LocalReply::bad_path(), asked, &self.metrics.no_route),
            },
        };
        let view = RequestView::new(&head.method, &head.uri, &head.headers, origin).with_path(&path);
        let port = view.port();
        let route = match table.resolve(&view, &mut ()) {
            Resolution::Route(index) => table.route(index),
            Resolution::Unknown(Unknown::PassThrough) => return pass_through(),
            Resolution::Unknown(Unknown::Refuse) => {
                return refuse(LocalReply::refused_host(), asked, &self.metrics.black_hole);
            }
            Resolution::Unknown(Unknown::NotFound) | Resolution::NoRoute => None,
        };
        let Some(route) = route else { return not_found() };
        let normalized = match path {
            Cow::Owned(path) => Some(path),
            Cow::Borrowed(_) => None,
        };
        self.forward(&snapshot, route, Arrival { asked, at_listener, port, normalized }, head)
    }

    fn forward(&self, snapshot: &Snapshot, route: &Arc<Route>, arrival: Arrival, head: &mut Parts) -> Verdict {
        let Arrival { asked, at_listener, port, normalized } = arrival;
        let mut draws = self.mesh.dice().draws();
        let rule = Chosen { route: route.clone(), draw: draws.next_u64() };
        let Some(destination) = rule.destination() else {
            return refuse(LocalReply::not_honored().of_rule(rule, None), asked, &self.metrics.no_route);
        };
        let Some(entry) = destination.destination.for_port(port).and_then(|index| snapshot.entry(index)) else {
            return refuse(LocalReply::no_cluster().of_rule(rule, None), asked, &self.metrics.no_route);
        };
        destination.request_headers.apply_request(&mut head.headers, &FormatContext::default());
        route.request_headers.apply_request(&mut head.headers, &FormatContext::default());
        let cluster = entry.cluster.clone();
        let Some(picked) = cluster.pick(&mut draws, &[]) else {
            return refuse(LocalReply::no_healthy_upstream().of_rule(rule, Some(cluster)), asked, &entry.metrics);
        };
        let rewrite = route.request_headers.authority().or(destination.request_headers.authority());
        let Some(aim) = aim(head, picked.endpoint(), rewrite, normalized) else {
            return refuse(LocalReply::bad_path().of_rule(rule, Some(cluster)), asked, &entry.metrics);
        };
        if at_listener {
            head.headers.insert(HeaderName::from_static("x-envoy-attempt-count"), HeaderValue::from_static("1"));
        }
        let record = RequestRecord::new(&entry.metrics, asked.grpc);
        Verdict::Try(Attempt { rule, cluster, picked, asked, at_listener, record }, aim)
    }
}

/// How a request came in.
struct Arrival {
    asked: Asked,
    at_listener: bool,
    port: u16,
    /// The path, where it had to be changed.
    normalized: Option<String>,
}

fn refuse(reply: LocalReply, asked: Asked, metrics: &ClusterMetrics) -> Verdict {
    Verdict::Reply(Refusal { reply, asked, record: RequestRecord::new(metrics, asked.grpc) })
}

/// A request that the http rules of a client do not see: TLS that the application opens itself, and tunnels.
fn is_opaque(head: &Parts) -> bool {
    head.uri.scheme() == Some(&Scheme::HTTPS) || head.method == Method::CONNECT
}

/// Points the URI at `endpoint` and keeps the authority in `Host`; `None` if what was sent makes neither.
fn aim(
    head: &mut Parts,
    endpoint: &Arc<Endpoint>,
    rewrite: Option<&AuthorityRewrite>,
    normalized: Option<String>,
) -> Option<Aim> {
    let mut uri = mem::take(&mut head.uri).into_parts();
    if let Some(path) = normalized {
        uri.path_and_query = Some(with_query(path, uri.path_and_query.as_ref())?);
    } else if uri.path_and_query.is_none() {
        uri.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    // TLS towards the upstream is the transport's; to others it is plain.
    uri.scheme = Some(Scheme::HTTP);
    let original = uri.authority.replace(endpoint.authority.clone());
    head.uri = Uri::from_parts(uri).ok()?;
    if let Some(rewrite) = rewrite {
        head.headers.insert(HOST, rewrite.host.clone());
        return Some(Aim::new(endpoint.clone(), Some(rewrite.uri.clone())));
    }
    let authority = match original {
        Some(original) => match original.as_str().bytes().rposition(|byte| byte == b'@') {
            Some(at) => Some(original.as_str()[at + 1..].parse().ok()?),
            None => Some(original),
        },
        None => None,
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
