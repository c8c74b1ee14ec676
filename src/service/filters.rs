//! What comes before an endpoint is chosen, once for a request: faults and CORS, then what the rule changes.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};

use super::deadline_budget::DeadlineBudget;
use super::decide::{with_authority, with_path_and_query};
use super::exchange::Exchange;
use super::formats;
use super::https::authority;
use super::local_reply::LocalReply;
use super::saved_head::SavedHead;
use crate::dice::Draws;
use crate::request::{Origin, RequestView};
use crate::route::{
    Abort, Action, Client, CorsVerdict, Fault, Forward, Hashed, ORIGINAL_HOST, ORIGINAL_PATH, PathRewrite, Rewrite,
    Route, Steering,
};
use crate::upstream::{Cluster, Original};

/// What is hashed of a request as its head stands.
pub(super) fn hashed(forward: &Forward, head: &Parts, origin: &Origin, draws: &mut Draws) -> Hashed {
    let client = match origin {
        Origin::Listener(listener) => Client { ip: listener.peer.map(|peer| peer.ip()), connection: listener.ends() },
        Origin::Mesh | Origin::Gateway(_) => Client::default(),
    };
    let view = RequestView::new(&head.method, &head.uri, &head.headers, origin);
    forward.hash.hash(&view, client, draws)
}

/// The authority that the client connected to, with the port where that is the one of `https`.
fn dialed(head: &Parts) -> Option<Authority> {
    let authority = authority(head)?;
    if authority.port_u16().is_some() || head.uri.scheme() != Some(&Scheme::HTTPS) {
        return Some(authority);
    }
    format!("{}:443", authority.host()).parse().ok()
}

/// Rewrites the path and tells the old one. `None`: there is no such URI.
fn rewrite_path(head: &mut Parts, rewrite: &PathRewrite) -> Option<()> {
    let original = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let original = HeaderValue::from_str(original).ok();
    if let Some(path) = rewrite.apply_before(head.uri.path(), head.uri.query()) {
        with_path_and_query(head, path)?;
    }
    if let Some(original) = original {
        head.headers.insert(ORIGINAL_PATH, original);
    }
    Some(())
}

impl Exchange {
    /// Aborts by fault, answers preflights, changes the head as the rule says: all that comes before an endpoint is
    /// chosen, once.
    pub(super) fn admit(&mut self, route: &Route, head: &mut Parts) -> Result<(), LocalReply> {
        let Action::Forward(forward) = &route.action else {
            let reply = self.extras.as_mut().and_then(|extras| extras.reply.take());
            return Err(self.answer(route, reply.unwrap_or_else(LocalReply::no_cluster), head));
        };
        let judged = self.filters(route, forward, head);
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
            original.dialed = dialed(head);
        }
        self.announce(head, 1);
        self.change(route, forward, head).ok_or_else(LocalReply::bad_path)?;
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

    /// The same once a pause is over.
    pub(super) fn admit_delayed(&mut self, head: &mut Parts) -> Result<(), LocalReply> {
        match self.route.clone() {
            Some(route) => self.admit(&route, head),
            None => Err(LocalReply::no_route()),
        }
    }

    /// Remembers where it leads by itself, if a cluster passes through.
    pub(super) fn lead_itself(&mut self, head: &Parts) {
        if self.passes_through() {
            self.extras().original = Some(Original { dialed: dialed(head), named: authority(head) });
        }
    }

    /// Whether it may go where it leads by itself.
    fn passes_through(&self) -> bool {
        let passes = |cluster: &Arc<Cluster>| cluster.pass_through().is_some();
        self.cluster.as_ref().is_some_and(passes) || self.mirrors().iter().any(|mirror| passes(&mirror.cluster))
    }

    /// The filters in front of the router, in Envoy's order: fault, then CORS.
    fn filters(&mut self, route: &Route, forward: &Forward, head: &Parts) -> Result<(), LocalReply> {
        if !self.faults_per_try {
            self.abort(route.fault.as_ref())?;
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

    /// Draws whether a fault holds it back, and for how long.
    pub(super) fn delay(&mut self, route: &Route, head: &Parts) -> Option<Duration> {
        let fault = route.fault.as_ref().filter(|fault| fault.delay.is_some())?;
        let delay = fault.delayed(self.draws.next_u64())?;
        self.hold_back();
        // What is spent is spent: it is not waited for any longer.
        let budget = head.extensions.get::<DeadlineBudget>().filter(|_| !self.inbound);
        Some(budget.map_or(delay, |budget| delay.min(budget.left())))
    }

    /// What is said where a rule sends nothing on: `reply`, unless a fault aborts.
    pub(super) fn answer(&mut self, route: &Route, reply: LocalReply, head: &mut Parts) -> LocalReply {
        if let Err(aborted) = self.abort(route.fault.as_ref()) {
            return aborted.untouched();
        }
        // The operations on the answer see the request as Envoy's router has it then.
        if route.response_headers.needs_request()
            && let Action::Redirect(redirect) = &route.action
            && let Some(rewrite) = redirect.path_rewrite()
        {
            // What makes no URI stays as it was asked for.
            rewrite_path(head, rewrite);
        }
        self.save_for_reply(head);
        reply
    }

    /// Draws whether a fault aborts.
    pub(super) fn abort(&mut self, fault: Option<&Fault>) -> Result<(), LocalReply> {
        match fault.filter(|fault| fault.abort.is_some()).and_then(|fault| fault.aborted(self.draws.next_u64())) {
            None => Ok(()),
            Some(Abort::Http(status)) => Err(LocalReply::abort(status)),
            Some(Abort::Grpc(status)) => Err(LocalReply::abort_grpc(status)),
        }
    }

    /// Header operations, then host and path, as the rule and its destination say. `None`: there is no such URI.
    fn change(&mut self, route: &Route, forward: &Forward, head: &mut Parts) -> Option<()> {
        let destination = forward.clusters.get(self.destination);
        let steers = destination.request_headers.steers() || route.request_headers.steers();
        if steers {
            Steering::forget(&mut head.headers);
        }
        for operations in [&destination.request_headers, &route.request_headers] {
            if !operations.is_empty() {
                let said = operations.removes(&CONTENT_LENGTH) && head.headers.contains_key(CONTENT_LENGTH);
                formats::of_request(self, head, operations);
                self.length_removed |= said && !head.headers.contains_key(CONTENT_LENGTH);
            }
        }
        if steers {
            self.steer(Steering::take(&mut head.headers, forward.retry.as_ref()));
        }
        let Rewrite { path, authority } = &forward.rewrite;
        if let Some(rewrite) = forward.authority(destination) {
            // That of a destination among others is not told, but it is what the rule's own replaces.
            if authority.is_some() {
                let before = destination.request_headers.authority().map(|before| before.host.clone());
                let asked = || head.uri.authority().and_then(|asked| HeaderValue::from_str(asked.as_str()).ok());
                if let Some(original) = before.or_else(asked).or_else(|| head.headers.get(HOST).cloned()) {
                    head.headers.insert(ORIGINAL_HOST, original);
                }
            }
            head.headers.insert(HOST, rewrite.host.clone());
            if head.uri.authority().is_some() {
                with_authority(head, rewrite.uri.clone())?;
            }
        }
        match path {
            Some(path) => rewrite_path(head, path),
            None => Some(()),
        }
    }

    /// Hashes what balancing by hash goes by: the request as it is sent.
    fn hash(&mut self, forward: &Forward, head: &Parts) {
        let origin = match &self.listener {
            Some(listener) => Origin::Listener(Arc::clone(listener)),
            None => Origin::Mesh,
        };
        let hashed = hashed(forward, head, &origin, &mut self.draws);
        self.hash = hashed.hash;
        // A cookie is for a balancer that looks at it.
        let looked_at = self.cluster.as_ref().is_some_and(|cluster| cluster.settings().balancing.policy.is_by_hash());
        if looked_at && !hashed.set_cookies.is_empty() {
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
}
