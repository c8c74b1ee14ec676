//! Requests that the application wants secured, and where those of all kinds are pointed: [`Secured`].

use std::mem;
use std::sync::Arc;

use http::header::{HOST, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Method, Uri};

use super::request_body::{Aim, Https};
use super::router::Routing;
use crate::request::{Origin, RequestView};
use crate::route::{Route, RouteTable};
use crate::snapshot::Snapshot;
use crate::upstream::Endpoint;

/// What the application itself asks of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Secured {
    /// Nothing: TLS is the endpoint's matter.
    #[default]
    No,
    /// TLS (`https`), and http rules apply before it.
    Routed,
    /// TLS from end to end, into which no rule looks.
    Whole,
}

/// What holds for a request that is `https` or a tunnel.
pub(super) enum OpaqueRules<'s> {
    /// These http rules.
    Http(&'s RouteTable),
    /// This tls rule.
    Tls(&'s Arc<Route>),
    /// None.
    None,
}

impl Routing {
    /// Which rules hold for a request of the application that a sidecar could not read: where http rules may, those
    /// written for the port first, then tls rules, then what holds for a service that no rule speaks of.
    pub(super) fn opaque_rules<'s>(&self, snapshot: &'s Snapshot, head: &Parts) -> OpaqueRules<'s> {
        if head.method == Method::CONNECT {
            return OpaqueRules::None;
        }
        let view = RequestView::new(&head.method, &head.uri, &head.headers, &Origin::Mesh);
        let (host, port) = (view.host(), view.port());
        let routed = self.settings.https_routed;
        if routed && snapshot.mesh_https.knows(host, port) {
            return OpaqueRules::Http(&snapshot.mesh_https);
        }
        match snapshot.mesh_tls.find(host, port) {
            Some(route) => OpaqueRules::Tls(route),
            None if routed => OpaqueRules::Http(&snapshot.mesh),
            None => OpaqueRules::None,
        }
    }
}

/// The authority that a head names: of the URI, else `Host`.
pub(super) fn authority(head: &Parts) -> Option<Authority> {
    let named = || Authority::try_from(head.headers.get(HOST)?.as_bytes()).ok();
    head.uri.authority().cloned().or_else(named)
}

/// Whether a head asks for a tunnel.
pub(super) fn is_upgrade(head: &Parts) -> bool {
    head.method == Method::CONNECT || head.headers.contains_key(UPGRADE)
}

/// In the extensions of a request that asks for a tunnel of which nothing is known: the rule that takes it refuses it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnservedUpgrade;

/// Whether it asks for a tunnel that nobody here can make.
pub(super) fn is_unserved(head: &Parts) -> bool {
    head.extensions.get::<UnservedUpgrade>().is_some()
}

/// Whether the http rules of a client do not see a request: TLS that the application opens itself, and tunnels.
pub(super) fn is_opaque(head: &Parts) -> bool {
    head.uri.scheme() == Some(&Scheme::HTTPS) || head.method == Method::CONNECT
}

impl Secured {
    /// Points a request at `endpoint`; `None` if what was sent makes no URI.
    ///
    /// The URI names the endpoint and the `Host` header the authority. What no rule may look into stays as it is: only
    /// the aim says where it goes.
    pub(super) fn aim(self, head: &mut Parts, endpoint: &Arc<Endpoint>) -> Option<Aim> {
        let (authority, https) = match self {
            // TLS towards the endpoint is the transport's; to others it is plain.
            Self::No => (point_at(head, &endpoint.authority, Scheme::HTTP)?, None),
            // It never leaves in plain text: another client that is sent here asks for a certificate.
            Self::Routed => {
                let authority = point_at(head, &endpoint.authority, Scheme::HTTPS)?;
                let https = Https::new(authority.as_ref()?.host(), false);
                (authority, Some(https))
            }
            Self::Whole => {
                let named = bare(head.uri.authority()?.clone())?;
                let https = Https::new(named.host(), true);
                // The application's own `Host` stays.
                (Some(named).filter(|_| !head.headers.contains_key(HOST)), Some(https))
            }
        };
        Some(Aim { https: https.map(Box::new), ..Aim::new(endpoint.clone(), authority) })
    }
}

/// Points the URI at `endpoint` and keeps the authority in `Host`; `None` if what was sent makes neither.
fn point_at(head: &mut Parts, endpoint: &Authority, scheme: Scheme) -> Option<Option<Authority>> {
    let mut uri = mem::take(&mut head.uri).into_parts();
    if uri.path_and_query.is_none() {
        uri.path_and_query = Some(PathAndQuery::from_static("/"));
    }
    uri.scheme = Some(scheme);
    let original = uri.authority.replace(endpoint.clone());
    head.uri = Uri::from_parts(uri).ok()?;
    let authority = match original {
        Some(original) => Some(bare(original)?),
        None => None,
    };
    if let Some(authority) = &authority
        && head.headers.get(HOST).is_none_or(|host| host.as_bytes() != authority.as_str().as_bytes())
    {
        head.headers.insert(HOST, HeaderValue::from_str(authority.as_str()).ok()?);
    }
    Some(authority)
}

/// An authority without its user information, which is nobody's name; `None` if nothing is left that is one.
pub(crate) fn bare(authority: Authority) -> Option<Authority> {
    match authority.as_str().bytes().rposition(|byte| byte == b'@') {
        Some(at) => authority.as_str().get(at + 1..)?.parse().ok(),
        None => Some(authority),
    }
}
