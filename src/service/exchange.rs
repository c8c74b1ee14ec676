//! A request that a rule took, from its head to the head of its response: [`Exchange`].

use std::error::Error;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{StatusCode, Uri, Version};
use tokio::time::Instant;

use super::admission::Admission;
use super::classify::{self, Classifier};
use super::completion::Taken;
use super::deadline::Deadline;
use super::decide::with_path_and_query;
use super::formats;
use super::https::{Secured, authority};
use super::local_reply::{Asked, LocalReply};
use super::mirror_body::{self, MirrorBody, MirrorSlot, Tap};
use super::request_body::Aim;
use super::request_policy::Asks;
use super::route_info::RouteInfo;
use super::saved_head::SavedHead;
use crate::dice::Draws;
use crate::outcome::Failure;
use crate::request::{ListenerOrigin, Origin, RequestView};
use crate::route::{
    Abort, Action, Client, CorsGrant, CorsVerdict, Fault, Forward, Hashed, RetryPolicy, Rewrite, Route, WeightedCluster,
};
use crate::telemetry::{ClusterMetrics, RequestRecord, ResponseFlags};
use crate::upstream::{Choice, Cluster, EndpointId, Original};

const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");

/// What is known of a request. It holds no snapshot, only what was chosen of it.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) asked: Asked,
    /// The rule that took it; `None` if none did.
    pub(super) route: Option<Arc<Route>>,
    /// 64 random bits that say which destination and whether to mirror: the same for all that follows.
    pub(super) draw: u64,
    pub(super) draws: Draws,
    /// The cluster drawn; `None`: it is not known.
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) record: RequestRecord,
    /// The listener that took it; `None`: it is the application's own.
    pub(super) listener: Option<Arc<ListenerOrigin>>,
    /// Whether the application serves it itself, whatever its destination.
    pub(super) inbound: bool,
    /// Whether aborts are drawn for each try.
    pub(super) faults_per_try: bool,
    /// What the client speaks.
    pub(super) version: Option<Version>,
    pub(super) secured: Secured,
    pub(super) flags: ResponseFlags,
    pub(super) attempts: u32,
    pub(super) deadline: Deadline,
    /// The head as it is sent, for further tries, mirrors, and response headers that speak of the request.
    pub(super) saved: Option<SavedHead>,
    pub(super) hash: Option<u64>,
    extras: Option<Box<Extras>>,
}

/// What few requests have, apart so that the others are light.
#[derive(Debug, Default)]
struct Extras {
    mirrors: Vec<MirrorTarget>,
    /// Where it leads by itself, if a cluster passes through.
    original: Option<Original>,
    /// Cookies that keep the client with its endpoint.
    set_cookies: Vec<HeaderValue>,
    grant: Option<CorsGrant>,
    classifier: Option<Classifier>,
    asks: Asks,
}

/// What is hashed of a request as its head stands.
pub(super) fn hashed(forward: &Forward, head: &Parts, origin: &Origin, draws: &mut Draws) -> Hashed {
    let client = match origin {
        Origin::Listener(listener) => {
            Client { ip: listener.peer.map(|peer| peer.ip()), connection: listener.peer.zip(listener.local) }
        }
        Origin::Mesh | Origin::Gateway(_) => Client::default(),
    };
    let view = RequestView::new(&head.method, &head.uri, &head.headers, origin);
    forward.hash.hash(&view, client, draws)
}

/// A cluster that gets a copy of the request.
#[derive(Debug)]
pub(super) struct MirrorTarget {
    pub(super) cluster: Arc<Cluster>,
    pub(super) metrics: ClusterMetrics,
    pub(super) slot: MirrorSlot,
    /// Its copy of the body, if there is one.
    pub(super) body: Option<MirrorBody>,
}

impl Exchange {
    /// A request that no rule took, as far as is known.
    pub(super) fn unmatched(asked: Asked, record: RequestRecord) -> Self {
        Self {
            asked,
            route: None,
            draw: 0,
            draws: Draws::default(),
            cluster: None,
            record,
            listener: None,
            inbound: false,
            faults_per_try: false,
            version: None,
            secured: Secured::No,
            flags: ResponseFlags::NONE,
            attempts: 0,
            deadline: Deadline::default(),
            saved: None,
            hash: None,
            extras: None,
        }
    }

    fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// The clusters that get a copy.
    pub(super) fn mirrors(&self) -> &[MirrorTarget] {
        self.extras.as_ref().map_or(&[], |extras| &extras.mirrors)
    }

    pub(super) fn set_mirrors(&mut self, mirrors: Vec<MirrorTarget>) {
        if !mirrors.is_empty() {
            self.extras().mirrors = mirrors;
        }
    }

    /// Gives every mirror a copy of the body; what is returned feeds them.
    pub(super) fn copies(&mut self) -> Vec<Tap> {
        let mirrors = self.extras.as_mut().map_or(&mut [][..], |extras| &mut extras.mirrors);
        let pairs = mirrors.iter_mut().map(|target| {
            let (tap, body) = mirror_body::copy(target.slot.load());
            target.body = Some(body);
            tap
        });
        pairs.collect()
    }

    pub(super) fn take_mirrors(&mut self) -> Vec<MirrorTarget> {
        self.extras.as_mut().map(|extras| std::mem::take(&mut extras.mirrors)).unwrap_or_default()
    }

    /// Where it leads by itself, if a cluster passes through.
    pub(super) fn original(&self) -> Option<&Original> {
        self.extras.as_ref()?.original.as_ref()
    }

    /// What the application says about errors.
    pub(super) fn set_classifier(&mut self, classifier: Option<&Classifier>) {
        if let Some(classifier) = classifier {
            self.extras().classifier = Some(classifier.clone());
        }
    }

    /// What the rule says of forwarding, if it forwards.
    pub(super) fn forward(&self) -> Option<&Forward> {
        match &self.route.as_ref()?.action {
            Action::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    fn destination(&self) -> Option<&WeightedCluster> {
        self.forward().map(|forward| forward.clusters.pick(self.draw))
    }

    /// How it may be tried again.
    pub(super) fn retry(&self) -> Option<&RetryPolicy> {
        let own = self.extras.as_ref().and_then(|extras| extras.asks.retry.as_ref());
        let retry = own.or(self.forward()?.retry.as_ref());
        retry.filter(|retry| !self.inbound && retry.attempts > 0)
    }

    pub(super) fn set_asks(&mut self, asks: Asks) {
        self.extras().asks = asks;
    }

    /// Whether the request itself says that it may be sent more than once, or not.
    pub(super) fn idempotent(&self) -> Option<bool> {
        self.extras.as_ref()?.asks.idempotent
    }

    /// Whether more than the first try may be sent: further ones, or copies.
    pub(super) fn may_send_more(&self) -> bool {
        self.retry().is_some() || !self.mirrors().is_empty()
    }

    /// Aborts by fault, answers preflights, changes the head as the rule says: all that comes before an endpoint is
    /// chosen, once.
    pub(super) fn admit(&mut self, head: &mut Parts) -> Result<(), LocalReply> {
        let Some(route) = self.route.clone() else { return Err(LocalReply::no_route()) };
        let Action::Forward(forward) = &route.action else { return Err(LocalReply::no_cluster()) };
        let judged = self.filters(forward, head);
        if judged.is_err() || (self.cluster.is_none() && !self.inbound) {
            self.save_for_reply(head);
            judged?;
            return Err(LocalReply::no_cluster());
        }
        if let Err(spent) = self.bound(forward, head) {
            self.save_for_reply(head);
            return Err(spent);
        }
        let mut original = self.passes_through().then(Original::default);
        if let Some(original) = &mut original
            && self.listener.is_none()
        {
            original.dialled = authority(head);
        }
        self.change(forward, head).ok_or_else(LocalReply::bad_path)?;
        if let Some(original) = &mut original {
            original.named = authority(head);
        }
        if original.is_some() {
            self.extras().original = original;
        }
        if self.hash.is_none() && !forward.hash.is_empty() {
            self.hash(forward, head);
        }
        if self.may_send_more() || self.answers_with_request() {
            self.saved = Some(SavedHead::new(head));
        }
        Ok(())
    }

    /// Remembers where it leads by itself, if a cluster passes through.
    pub(super) fn lead_itself(&mut self, head: &Parts) {
        if self.passes_through() {
            self.extras().original = Some(Original { dialled: authority(head), named: authority(head) });
        }
    }

    /// Whether it may go where it leads by itself.
    fn passes_through(&self) -> bool {
        let mut clusters = self.cluster.iter().chain(self.mirrors().iter().map(|mirror| &mirror.cluster));
        clusters.any(|cluster| cluster.pass_through().is_some())
    }

    /// The filters in front of the router, in Envoy's order: fault, then CORS.
    fn filters(&mut self, forward: &Forward, head: &Parts) -> Result<(), LocalReply> {
        if !self.faults_per_try {
            self.abort(forward.fault.as_ref())?;
        }
        match forward.cors.as_ref().map(|cors| cors.judge(&head.method, &head.headers)) {
            None | Some(CorsVerdict::None) => Ok(()),
            Some(CorsVerdict::Actual(grant)) => {
                self.extras().grant = Some(grant);
                Ok(())
            }
            Some(CorsVerdict::Preflight(headers)) => Err(LocalReply::preflight(headers)),
        }
    }

    /// Draws whether a fault aborts.
    fn abort(&mut self, fault: Option<&Fault>) -> Result<(), LocalReply> {
        match fault.filter(|fault| fault.abort.is_some()).and_then(|fault| fault.aborted(self.draws.next_u64())) {
            None => Ok(()),
            Some(Abort::Http(status)) => Err(LocalReply::abort(status)),
            Some(Abort::Grpc(status)) => Err(LocalReply::abort_grpc(status)),
        }
    }

    /// Header operations, then host and path, as the rule and its destination say. `None`: there is no such URI.
    fn change(&self, forward: &Forward, head: &mut Parts) -> Option<()> {
        let (route, destination) = (self.route.as_deref()?, forward.clusters.pick(self.draw));
        for operations in [&destination.request_headers, &route.request_headers] {
            if !operations.is_empty() {
                formats::of_request(self, head, operations);
            }
        }
        let Rewrite { path, authority } = &forward.rewrite;
        if let Some(rewrite) = forward.authority(destination) {
            // That of a destination among others is not told.
            if authority.is_some() {
                let original =
                    head.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
                if let Some(original) = original.or_else(|| head.headers.get(HOST).cloned()) {
                    head.headers.insert(ORIGINAL_HOST, original);
                }
            }
            head.headers.insert(HOST, rewrite.host.clone());
            if head.uri.authority().is_some() {
                let mut uri = mem::take(&mut head.uri).into_parts();
                uri.authority = Some(rewrite.uri.clone());
                uri.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
                head.uri = Uri::from_parts(uri).ok()?;
            }
        }
        if let Some(path) = path {
            let original = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
            let original = HeaderValue::from_str(original).ok();
            if let Some(path) = path.apply_before(head.uri.path(), head.uri.query()) {
                with_path_and_query(head, path)?;
            }
            if let Some(original) = original {
                head.headers.insert(ORIGINAL_PATH, original);
            }
        }
        Some(())
    }

    /// Hashes what balancing by hash goes by: the request as it is sent.
    fn hash(&mut self, forward: &Forward, head: &Parts) {
        let origin = match &self.listener {
            Some(listener) => Origin::Listener(Arc::clone(listener)),
            None => Origin::Mesh,
        };
        let hashed = hashed(forward, head, &origin, &mut self.draws);
        self.hash = hashed.hash;
        if !hashed.set_cookies.is_empty() {
            self.extras().set_cookies = hashed.set_cookies;
        }
    }

    /// Whether an operation on the response asks for something of the request.
    fn answers_with_request(&self) -> bool {
        let of_destination = self.destination().is_some_and(|to| to.response_headers.needs_request());
        of_destination || self.route.as_ref().is_some_and(|route| route.response_headers.needs_request())
    }

    /// Keeps the head for an answer made here, if that speaks of it.
    pub(super) fn save_for_reply(&mut self, head: &Parts) {
        if self.answers_with_request() {
            self.saved = Some(SavedHead::new(head));
        }
    }

    /// Chooses an endpoint for one more try and points the head at it.
    pub(super) fn aim(&mut self, head: &mut Parts, tried: &[EndpointId]) -> Result<(Taken, Aim), LocalReply> {
        if self.faults_per_try
            && let Some(route) = self.route.clone()
            && let Action::Forward(Forward { fault, .. }) = &route.action
            && let Err(reply) = self.abort(fault.as_ref())
        {
            self.attempts += 1;
            return Err(reply.of_a_try());
        }
        let Some(cluster) = &self.cluster else { return Err(LocalReply::no_cluster()) };
        let original = self.extras.as_ref().and_then(|extras| extras.original.as_ref());
        let mut choice = Choice { hash: self.hash, tried, original, ..Choice::default() };
        if let Some(retry) = self.retry() {
            (choice.avoid_tried, choice.remote_localities) = (retry.ignore_previous_hosts, retry.remote_localities);
        }
        let picked = cluster.pick(&mut self.draws, &choice).ok_or_else(LocalReply::no_healthy_upstream)?;
        let admission =
            Admission::of(cluster.limits(), self.deadline.bounds_tries()).ok_or_else(LocalReply::overflow)?;
        self.attempts += 1;
        if self.listener.is_some() {
            head.headers.insert(ATTEMPT_COUNT, HeaderValue::from(self.attempts));
        }
        self.deadline.announce(&mut head.headers, self.asked.grpc, self.listener.is_some());
        let aim = self.secured.aim(head, picked.endpoint()).ok_or_else(LocalReply::bad_path)?;
        let mut aim = aim.with_admission(admission.clone());
        aim.client = self.listener.as_ref().and_then(|listener| listener.peer.zip(listener.local));
        self.deadline.begin_try(&admission);
        Ok((Taken { picked, admission }, aim))
    }

    /// Operations on the response: the destination's, then the rule's, then what CORS allows, which wins.
    pub(super) fn finish_response(&self, status: StatusCode, headers: &mut HeaderMap, info: &RouteInfo) {
        let destination = self.destination().map(|destination| &destination.response_headers);
        let rule = self.route.as_ref().map(|route| &route.response_headers);
        for operations in [destination, rule].into_iter().flatten() {
            if !operations.is_empty() {
                formats::of_response(self, status, headers, info, operations);
            }
        }
        let Some(extras) = &self.extras else { return };
        if let Some((grant, cors)) = extras.grant.as_ref().zip(self.forward().and_then(|forward| forward.cors.as_ref()))
        {
            grant.clone().apply(cors, headers);
        }
        for cookie in &extras.set_cookies {
            headers.append(http::header::SET_COOKIE, cookie.clone());
        }
    }

    /// Which failure an error is: what the application's classifier says, else what its types say.
    pub(super) fn classify(&self, error: &(dyn Error + Send + Sync + 'static)) -> Failure {
        let classifier = self.extras.as_ref().and_then(|extras| extras.classifier.as_ref());
        let said = classifier.and_then(|classifier| classifier.classify(error));
        said.unwrap_or_else(|| classify::failure(error))
    }

    /// How long to wait before the next try.
    pub(super) fn back_off(&mut self) -> Duration {
        let own = self.extras.as_ref().and_then(|extras| extras.asks.retry.as_ref());
        let retry = own.or_else(|| match &self.route.as_ref()?.action {
            Action::Forward(forward) => forward.retry.as_ref(),
            _ => None,
        });
        retry.map_or(Duration::ZERO, |retry| retry.backoff(self.attempts, &mut self.draws))
    }

    /// Says how long the upstream took, as a gateway does.
    pub(super) fn service_time(&self, sent: Instant, headers: &mut HeaderMap) {
        let milliseconds = u64::try_from(sent.elapsed().as_millis()).unwrap_or(u64::MAX);
        headers.insert(SERVICE_TIME, HeaderValue::from(milliseconds));
    }

    /// What is told of it, with these details.
    pub(super) fn info(&self, flags: ResponseFlags, details: &'static str) -> RouteInfo {
        RouteInfo {
            route: self.route.clone(),
            cluster: self.cluster.clone(),
            attempts: self.attempts,
            ..RouteInfo::new(self.flags | flags, details)
        }
    }
}
