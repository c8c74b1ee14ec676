//! From a request head to what is done with it: [`Verdict`].

use std::borrow::Cow;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, StatusCode, Uri, Version};

use super::exchange::Exchange;
use super::extras::MirrorTarget;
use super::filters::hashed;
use super::grpc;
use super::hop::join_cookies;
use super::https::{self, OpaqueRules, Secured, is_unserved};
use super::local_reply::{Asked, LocalReply};
use super::request_policy::RequestPolicy;
use super::router::Routing;
use crate::dice::Draws;
use crate::request::{Origin, RequestView};
use crate::route::{Action, ClusterChoice, Forward, HeaderOps, Redirect, Resolution, Route, Unknown};
use crate::snapshot::{ClusterEntry, Snapshot};
use crate::telemetry::{ClusterMetrics, RequestRecord};

/// What is done with a request.
pub(super) enum Verdict {
    /// No rule takes it: the inner service gets it as it came, with the cookies of HTTP/2 in one line.
    PassThrough(RequestRecord),
    /// It is answered here.
    Reply(Refusal),
    /// It goes to an endpoint.
    Forward(Box<Exchange>),
    /// The same after a pause, or an answer made here.
    Delay(Box<Exchange>, Duration),
}

/// A request that is answered here.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reply: LocalReply,
    pub(super) exchange: Box<Exchange>,
}

impl Routing {
    /// Decides by one snapshot, read once.
    pub(super) fn decide(&self, head: &mut Parts) -> Verdict {
        let asked = Asked::new(head, self.settings.error_mode);
        let snapshot = self.mesh.load();
        let own = head.extensions.get::<Origin>().cloned();
        let own = self.led_round(&snapshot, own.as_ref()).or(own);
        let origin = own.as_ref().unwrap_or(&self.origin);
        let pass_through = || Verdict::PassThrough(RequestRecord::new(&self.metrics.pass_through, asked.grpc));
        let refuse = |reply, metrics: &ClusterMetrics| {
            let record = RequestRecord::new(metrics, asked.grpc);
            Verdict::Reply(Refusal { reply, exchange: Exchange::unmatched(asked, record) })
        };
        let not_found = || refuse(LocalReply::no_route(), &self.metrics.no_route);
        settle_cookies(head);
        let opaque = matches!(origin, Origin::Mesh) && https::is_opaque(head);
        let (table, secured) = match opaque.then(|| self.opaque_rules(&snapshot, head)) {
            Some(OpaqueRules::Http(table)) => (Some(table), Secured::Routed),
            Some(OpaqueRules::Tls(route)) => return self.forward_whole(&snapshot, route, asked, head),
            Some(OpaqueRules::None) => return pass_through(),
            None => (snapshot.table(origin), Secured::No),
        };
        let Some(table) = table else { return not_found() };
        let view = RequestView::new(&head.method, &head.uri, &head.headers, origin);
        let Ok(path) = snapshot.normalized(view.path()) else {
            return refuse(LocalReply::bad_path(), &self.metrics.no_route);
        };
        let view = view.with_path(&path);
        let (port, https) = (view.port(), matches!(origin, Origin::Listener(_)) && view.scheme() == "https");
        let route = match table.resolve(&view, &mut ()) {
            Resolution::Route(index) => table.route(index),
            Resolution::Unknown(Unknown::PassThrough) => return pass_through(),
            Resolution::Unknown(Unknown::Refuse) => {
                return refuse(LocalReply::refused_host(), &self.metrics.black_hole);
            }
            Resolution::HttpsOnly => return refuse(to_https(&view), &self.metrics.no_route),
            Resolution::NoPath => return refuse(LocalReply::no_path(), &self.metrics.no_route),
            Resolution::BadPath => return refuse(LocalReply::bad_path(), &self.metrics.no_route),
            Resolution::Unknown(Unknown::NotFound) | Resolution::NoRoute => None,
        };
        let Some(route) = route else { return not_found() };
        if let Cow::Owned(path) = path
            && with_path(head, path).is_none()
        {
            return refuse(LocalReply::bad_path(), &self.metrics.no_route);
        }
        if asked.is_of_web() {
            grpc::from_web(&mut head.headers);
        }
        match &route.action {
            Action::Forward(forward) => {
                self.forward(&snapshot, route, forward, Arrival { asked, origin, port, https, secured }, head)
            }
            _ if is_unserved(head) => refuse(LocalReply::unserved_upgrade(), &self.metrics.no_route),
            action => {
                let reply = reply_of(action, &RequestView::new(&head.method, &head.uri, &head.headers, origin));
                self.answer(route, reply, Arrival { asked, origin, port, https, secured }, head)
            }
        }
    }

    /// Where a request comes in if not where it came by: asked of the snapshot that decides about it, as another one may
    /// have listeners that this one has not.
    fn led_round(&self, snapshot: &Snapshot, own: Option<&Origin>) -> Option<Origin> {
        self.detour.as_ref()?.taken(snapshot, own.unwrap_or(&self.origin))
    }

    fn forward(
        &self,
        snapshot: &Snapshot,
        route: &Arc<Route>,
        forward: &Forward,
        arrival: Arrival<'_>,
        head: &mut Parts,
    ) -> Verdict {
        let mut draws = self.mesh.dice().draws();
        let draw = match self.sticky_draw(forward, &arrival, head) {
            Some(draw) => draw,
            None => draws.next_u64(),
        };
        let port = arrival.port;
        let mut exchange = self.drawn(snapshot, route, (forward, draw), arrival, head);
        exchange.draws = draws;
        if is_unserved(head) {
            exchange.save_for_reply(head);
            return Verdict::Reply(Refusal { reply: LocalReply::unserved_upgrade(), exchange });
        }
        if !forward.mirrors.is_empty() {
            let mirrors = match self.copies.go(route) {
                true => self.mirrors(snapshot, forward, draw, port, head),
                false => Vec::new(),
            };
            exchange.set_mirrors(mirrors);
        }
        if let Some(delay) = exchange.delay(route, head) {
            return Verdict::Delay(exchange, delay);
        }
        match exchange.admit(route, head) {
            Ok(()) => Verdict::Forward(exchange),
            Err(reply) => Verdict::Reply(Refusal { reply, exchange }),
        }
    }

    /// What a rule answers that sends nothing on; faults come before it.
    fn answer(&self, route: &Arc<Route>, reply: LocalReply, arrival: Arrival<'_>, head: &mut Parts) -> Verdict {
        let Arrival { asked, origin, https, .. } = arrival;
        let mut exchange = self.exchange(route, asked, origin, None, &self.metrics.no_route);
        (exchange.version, exchange.https) = (Some(head.version), https);
        if route.fault.is_some() {
            exchange.draws = self.mesh.dice().draws();
            if route.response_headers.needs_start() {
                exchange.start();
            }
            if let Some(delay) = exchange.delay(route, head) {
                exchange.extras().reply = Some(reply);
                return Verdict::Delay(exchange, delay);
            }
        }
        let reply = exchange.answer(route, reply, head);
        Verdict::Reply(Refusal { reply, exchange })
    }

    /// A request whose TLS goes where a rule says, untouched.
    fn forward_whole(&self, snapshot: &Snapshot, route: &Arc<Route>, asked: Asked, head: &Parts) -> Verdict {
        let Action::Forward(forward) = &route.action else {
            let exchange = self.exchange(route, asked, &Origin::Mesh, None, &self.metrics.no_route);
            return Verdict::Reply(Refusal { reply: LocalReply::no_cluster(), exchange });
        };
        let mut draws = self.mesh.dice().draws();
        let draw = draws.next_u64();
        let port = RequestView::new(&head.method, &head.uri, &head.headers, &Origin::Mesh).port();
        let arrival = Arrival { asked, origin: &Origin::Mesh, port, https: false, secured: Secured::Whole };
        let mut exchange = self.drawn(snapshot, route, (forward, draw), arrival, head);
        (exchange.draws, exchange.faults_per_try) = (draws, false);
        exchange.lead_itself(head);
        Verdict::Forward(exchange)
    }

    /// The request with the destination that `draw` falls on.
    fn drawn(
        &self,
        snapshot: &Snapshot,
        route: &Arc<Route>,
        (forward, draw): (&Forward, u64),
        arrival: Arrival<'_>,
        head: &Parts,
    ) -> Box<Exchange> {
        let Arrival { asked, origin, port, https, secured } = arrival;
        let number = forward.clusters.number(draw);
        let destination = forward.clusters.get(number);
        let mut entry = destination.destination.for_port(port).and_then(|index| snapshot.entry(index));
        if secured != Secured::Whole
            && !matches!(origin, Origin::Gateway(_))
            && let Some(subset) = RequestPolicy::asked_subset(head)
        {
            entry = entry.and_then(|entry| snapshot.subset(&entry.cluster, subset));
        }
        let metrics = entry.map_or(&self.metrics.no_route, |entry| self.metrics.of(&entry.metrics));
        let mut exchange = self.exchange(route, asked, origin, entry, metrics);
        (exchange.destination, exchange.secured) = (number, secured);
        (exchange.version, exchange.https) = (Some(head.version), https);
        let headers = [&route.request_headers, &route.response_headers];
        let of_destination = [&destination.request_headers, &destination.response_headers];
        if headers.into_iter().chain(of_destination).any(HeaderOps::needs_start) {
            exchange.start();
        }
        exchange.repeats = self.settings.retry_safety.repeats(&head.method);
        exchange
    }

    /// Which of several destinations a client always gets, if it is to stay with one.
    fn sticky_draw(&self, forward: &Forward, arrival: &Arrival<'_>, head: &Parts) -> Option<u64> {
        if !self.settings.sticky_weights || forward.hash.is_empty() {
            return None;
        }
        let hash = RequestPolicy::asked_hash(head).or_else(|| {
            // A cookie that is yet to be made says nothing of the client.
            let hashed = hashed(forward, head, arrival.origin, &mut Draws::default());
            hashed.hash.filter(|_| hashed.set_cookies.is_empty())
        })?;
        // Mixed, so that it does not go along with the hash that picks the endpoint.
        Some(Draws::of(hash).next_u64())
    }

    fn exchange(
        &self,
        route: &Arc<Route>,
        asked: Asked,
        origin: &Origin,
        entry: Option<&ClusterEntry>,
        metrics: &ClusterMetrics,
    ) -> Box<Exchange> {
        let mut exchange = Exchange::unmatched(asked, RequestRecord::new(metrics, asked.grpc));
        exchange.route = Some(Arc::clone(route));
        exchange.cluster = entry.map(|entry| Arc::clone(&entry.cluster));
        match origin {
            Origin::Mesh => {}
            Origin::Listener(listener) => exchange.listener = Some(Arc::clone(listener)),
            Origin::Gateway(_) => exchange.inbound = true,
        }
        exchange.faults_per_try = self.settings.faults_per_try;
        exchange.longest_pause = self.settings.retry_after;
        exchange.waits = self.waits.may();
        exchange.set_classifier(self.settings.classifier.as_ref());
        exchange
    }

    /// The clusters that get a copy: one draw decides for all of them. What asks for nothing but a tunnel has none, of an
    /// upgrade it is the request alone. A mirror that is no known cluster is left out, and so is one for which there is
    /// no room.
    fn mirrors(&self, snapshot: &Snapshot, forward: &Forward, draw: u64, port: u16, head: &Parts) -> Vec<MirrorTarget> {
        if head.method == Method::CONNECT || self.mirrors.is_closed() {
            return Vec::new();
        }
        let suffixed = self.mesh.options().shadow_host_suffix;
        let drawn = forward.mirrors.iter().filter(|mirror| mirror.takes(draw));
        let target = |choice: &ClusterChoice| {
            let cluster = snapshot.cluster(choice.for_port(port)?)?.clone();
            let (slot, published) = (self.mirrors.enter()?, self.mesh.subscribe());
            Some(MirrorTarget { cluster, slot, suffixed, published, body: None, waits: Arc::clone(&self.waits) })
        };
        drawn.filter_map(|mirror| target(&mirror.destination)).collect()
    }
}

/// How a request came in.
struct Arrival<'a> {
    asked: Asked,
    origin: &'a Origin,
    port: u16,
    https: bool,
    secured: Secured,
}

/// The answer of a rule that does not forward.
fn reply_of(action: &Action, view: &RequestView<'_>) -> LocalReply {
    match action {
        Action::Redirect(redirect) => match redirect.location(view) {
            Some(location) => LocalReply::redirect(redirect.status(), location),
            None => LocalReply::bad_path(),
        },
        Action::Respond(response) => {
            let reply = LocalReply::direct(response.status, response.body.clone());
            // As Envoy does with every answer that may say where to look.
            let located = response.status == StatusCode::CREATED || response.status.is_redirection();
            match located.then(|| Redirect::default().location(view)).flatten() {
                Some(location) => reply.located(location),
                None => reply,
            }
        }
        Action::Forward(_) => LocalReply::no_cluster(),
    }
}

/// The same URI with the scheme `https` and the authority as it came, port included.
fn to_https(view: &RequestView<'_>) -> LocalReply {
    let query = view.query().map_or_else(String::new, |query| format!("?{query}"));
    match HeaderValue::try_from(format!("https://{}{}{query}", view.authority(), view.path())) {
        Ok(location) => LocalReply::redirect(StatusCode::MOVED_PERMANENTLY, location),
        Err(_) => LocalReply::bad_path(),
    }
}

/// Makes one line of the cookies that HTTP/2 may spread.
fn settle_cookies(head: &mut Parts) {
    if head.version == Version::HTTP_2 {
        join_cookies(&mut head.headers);
    }
}

/// Puts `path` in place of the URI's, whose query stays; `None` if it is none.
fn with_path(head: &mut Parts, mut path: String) -> Option<()> {
    if let Some(query) = head.uri.query() {
        path.push('?');
        path.push_str(query);
    }
    with_path_and_query(head, path)
}

/// Puts `path` in place of the URI's path and query; `None` if it is none.
pub(super) fn with_path_and_query(head: &mut Parts, path: String) -> Option<()> {
    let path = PathAndQuery::try_from(path).ok()?;
    let mut uri = mem::take(&mut head.uri).into_parts();
    uri.path_and_query = Some(path);
    head.uri = Uri::from_parts(uri).ok()?;
    Some(())
}

/// Puts `authority` in place of the URI's, which then has a path; `None` if that is none.
pub(super) fn with_authority(head: &mut Parts, authority: Authority) -> Option<()> {
    let mut uri = mem::take(&mut head.uri).into_parts();
    uri.authority = Some(authority);
    uri.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    head.uri = Uri::from_parts(uri).ok()?;
    Some(())
}
