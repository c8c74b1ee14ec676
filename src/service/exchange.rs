//! A request that a rule took, from its head to the head of its response: [`Exchange`].

use std::error::Error;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue, RETRY_AFTER, SET_COOKIE};
use http::request::Parts;
use http::{Method, StatusCode, Version};
use tokio::time::Instant;

use super::admission::Admission;
use super::classify;
use super::completion::Taken;
use super::deadline::Deadline;
use super::extras::Extras;
use super::formats;
use super::https::Secured;
use super::local_reply::{Asked, LocalReply};
use super::names::{ATTEMPT_COUNT, UPSTREAM_SERVICE_TIME};
use super::request_body::Aim;
use super::route_info::RouteInfo;
use super::saved_head::SavedHead;
use super::spares::Spares;
use crate::dice::Draws;
use crate::outcome::Failure;
use crate::request::ListenerOrigin;
use crate::route::{Action, Forward, HeaderOps, RetryPolicy, Route, WeightedCluster};
use crate::telemetry::{RequestRecord, ResponseFlags};
use crate::upstream::{Choice, Cluster, Endpoint, EndpointId, LONGEST, Permit, Protocol};

/// What is known of a request. It holds no snapshot, only what was chosen of it.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) asked: Asked,
    /// The rule that took it; `None` if none did.
    pub(super) route: Option<Arc<Route>>,
    /// Which of the rule's destinations was drawn.
    pub(super) destination: usize,
    pub(super) draws: Draws,
    /// The cluster drawn; `None`: it is not known.
    pub(super) cluster: Option<Arc<Cluster>>,
    /// What is counted when it ends; `None` once the answer holds it.
    pub(super) record: Option<RequestRecord>,
    /// The listener that took it; `None`: it is the application's own.
    pub(super) listener: Option<Arc<ListenerOrigin>>,
    /// Whether its scheme there is `https`.
    pub(super) https: bool,
    /// Whether the application serves it itself, whatever its destination.
    pub(super) inbound: bool,
    /// Whether aborts are drawn for each try.
    pub(super) faults_per_try: bool,
    /// Whether the application lets it be sent more than once.
    pub(super) repeats: bool,
    /// The longest pause that an answer may ask for, if that is looked at.
    pub(super) longest_pause: Option<Duration>,
    /// What the client speaks.
    pub(super) version: Option<Version>,
    /// What was spoken with the endpoint of the last try; `None` if there was no connection to it.
    pub(super) spoken: Option<Version>,
    pub(super) secured: Secured,
    pub(super) flags: ResponseFlags,
    pub(super) attempts: u32,
    pub(super) deadline: Deadline,
    /// Where it was tried before.
    pub(super) tried: Vec<EndpointId>,
    /// Its place among the retries of the cluster, while it is one.
    pub(super) retry_place: Option<Permit>,
    /// When it had been read to its end, if it is told how long after that the answer came.
    pub(super) read_at: Option<Instant>,
    /// Whether the rule took the length of its body out of its head.
    pub(super) length_removed: bool,
    /// Whether it is a `CONNECT`.
    pub(super) connects: bool,
    /// Whether bytes of it may have come to an endpoint that then failed.
    pub(super) request_sent: bool,
    /// Whether the service may have it wait where the cluster admits no more.
    pub(super) waits: bool,
    /// The head as it is sent, for further tries, mirrors, and response headers that speak of the request.
    pub(super) saved: Option<SavedHead>,
    pub(super) hash: Option<u64>,
    pub(super) extras: Option<Box<Extras>>,
}

/// A number as it stands in a header; small ones, as most are, are not written anew each time.
fn number(number: u64) -> HeaderValue {
    const SMALL: [&str; 16] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"];
    let small = usize::try_from(number).ok().and_then(|number| SMALL.get(number));
    small.map_or_else(|| HeaderValue::from(number), |small| HeaderValue::from_static(small))
}

/// How many picks more there are for a try that goes beside another, each of which avoids that as any retry does.
const PICKS_BESIDE: u32 = 3;

thread_local! {
    static SPARES: Spares<Box<Exchange>> = const { Spares::new() };
}

impl Exchange {
    /// Nothing is known yet.
    fn blank() -> Self {
        Self {
            asked: Asked::default(),
            route: None,
            destination: 0,
            draws: Draws::default(),
            cluster: None,
            record: None,
            listener: None,
            https: false,
            inbound: false,
            faults_per_try: false,
            repeats: true,
            longest_pause: None,
            version: None,
            spoken: None,
            secured: Secured::No,
            flags: ResponseFlags::NONE,
            attempts: 0,
            deadline: Deadline::default(),
            tried: Vec::new(),
            retry_place: None,
            read_at: None,
            length_removed: false,
            connects: false,
            request_sent: false,
            waits: false,
            saved: None,
            hash: None,
            extras: None,
        }
    }

    /// A request that no rule took, as far as is known.
    ///
    /// It stands still while it is handed on: moving it from hand to hand would cost more than what is done with it. Its
    /// place is one of a few that each thread keeps.
    pub(super) fn unmatched(asked: Asked, record: RequestRecord) -> Box<Self> {
        let mut exchange = Spares::take(&SPARES).unwrap_or_else(|| Box::new(Self::blank()));
        (exchange.asked, exchange.record) = (asked, Some(record));
        exchange
    }

    /// Leaves its place to another. What it held ends now, and not with the next one. One that is dropped instead leaves
    /// none.
    fn end(mut self: Box<Self>) {
        *self = Self::blank();
        Spares::keep(&SPARES, self);
    }

    /// The answer has come: what is counted with the end of its body.
    pub(super) fn answered(&mut self, status: StatusCode, flags: ResponseFlags) -> Option<RequestRecord> {
        let mut record = self.record.take()?;
        record.answered(status, flags);
        Some(record)
    }

    /// The application that it is for failed, which whoever serves that may answer with this status.
    pub(super) fn failed(&mut self, status: StatusCode) {
        if let Some(record) = &mut self.record {
            record.failed(status, self.flags);
        }
    }

    /// Its client went away: that is what is counted of it, whatever the answer is that nobody reads.
    pub(super) fn client_left(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.add_flags(self.flags);
        }
    }

    /// A fault holds it back, which is counted also if its client goes away.
    pub(super) fn hold_back(&mut self) {
        self.flags |= ResponseFlags::DELAY_INJECTED;
        if let Some(record) = &mut self.record {
            record.add_flags(ResponseFlags::DELAY_INJECTED);
        }
    }

    /// What the rule says of forwarding, if it forwards.
    pub(super) fn forward(&self) -> Option<&Forward> {
        match &self.route.as_ref()?.action {
            Action::Forward(forward) => Some(forward),
            _ => None,
        }
    }

    pub(super) fn destination(&self) -> Option<&WeightedCluster> {
        self.forward().map(|forward| forward.clusters.get(self.destination))
    }

    /// How it may be tried again.
    pub(super) fn retry(&self) -> Option<&RetryPolicy> {
        self.judge_of_tries().filter(|retry| retry.attempts > 0)
    }

    /// What judges its tries: the same, also where a header of the rule leaves no further one, which is told as a limit
    /// that was met.
    pub(super) fn judge_of_tries(&self) -> Option<&RetryPolicy> {
        let own = self.extras.as_ref().and_then(|extras| extras.asks.retry.as_ref());
        own.or(self.forward()?.retry.as_ref()).filter(|_| !self.inbound)
    }

    /// Whether more than the first try may be sent: further ones, or copies.
    pub(super) fn may_send_more(&self) -> bool {
        self.retry().is_some() || !self.mirrors().is_empty() || self.hedge().is_some()
    }

    /// Remembers whether the head asks for a tunnel, which no timeout cuts off and whose body nobody waits for.
    pub(super) fn note_connect(&mut self, head: &Parts) {
        self.connects = head.method == Method::CONNECT;
    }

    /// Chooses an endpoint for one more try and points the head at it: one that was not tried if it goes `beside`
    /// another.
    pub(super) fn aim(&mut self, head: &mut Parts, beside: bool) -> Result<(Taken, Aim), LocalReply> {
        if self.faults_per_try
            && let Some(route) = self.route.clone()
            && let Err(reply) = self.abort(route.fault.as_ref())
        {
            self.attempts += 1;
            return Err(reply.of_a_try());
        }
        let (avoid_tried, remote_localities) =
            self.retry().map_or_else(Default::default, |retry| (retry.ignore_previous_hosts, retry.remote_localities));
        let Some(cluster) = &self.cluster else { return Err(LocalReply::no_cluster()) };
        let original = self.extras.as_ref().and_then(|extras| extras.original.as_ref());
        let (tried, avoid_tried) = (&*self.tried, avoid_tried || beside);
        let choice = Choice { hash: self.hash, tried, avoid_tried, remote_localities, original };
        let mut pick = || cluster.pick(&mut self.draws, &choice).ok_or_else(LocalReply::no_healthy_upstream);
        let mut picked = pick()?;
        // A pick by chance may come back to it each time.
        for _ in 0..if beside { PICKS_BESIDE } else { 0 } {
            if !tried.contains(&picked.endpoint().id) {
                break;
            }
            picked = pick()?;
        }
        let admission = Admission::of(picked.endpoint(), self.is_timed(cluster), self.waits)
            .ok_or_else(|| LocalReply::overflow(self.attempts > 0))?;
        self.attempts += 1;
        self.begin_copies();
        if self.attempts > 1 {
            self.announce(head, self.attempts);
        }
        let aim = self.point_at(head, picked.endpoint()).ok_or_else(LocalReply::bad_path)?;
        let mut aim = aim.with_admission(admission.clone());
        if picked.endpoint().connection().proxy_protocol.is_some()
            && let Some(listener) = &self.listener
            && let Some(client) = listener.ends()
        {
            aim.client = Some(Box::new(client));
            aim.client_open = listener.open.as_ref().map(Arc::downgrade);
        }
        if let Some(https) = aim.https.as_mut().filter(|https| https.is_whole) {
            https.tunnel = self.forward().and_then(|forward| forward.tunnel.clone());
        }
        self.deadline.begin_try(&admission);
        Ok((Taken { picked, admission }, aim))
    }

    /// Whether somebody asks when a try gets its connection: its own time, outlier detection that counts local failures
    /// apart, or, of one that the request's time may end before that, any, and what the rule tells of the response.
    fn is_timed(&self, cluster: &Cluster) -> bool {
        let tells = |operations: &HeaderOps| !operations.is_literal();
        let outlier = cluster.settings().outlier.as_ref();
        let asked = outlier.is_some()
            || self.route.as_ref().is_some_and(|route| tells(&route.response_headers))
            || self.destination().is_some_and(|destination| tells(&destination.response_headers));
        let apart = outlier.is_some_and(|outlier| outlier.local_failures.is_some());
        apart || self.deadline.bounds_tries() || !self.deadline.is_none() && asked
    }

    /// Tells the upstream which try it gets and how long that may take. Of the first try the rule may say otherwise.
    pub(super) fn announce(&self, head: &mut Parts, attempt: u32) {
        if self.listener.is_some() {
            head.headers.insert(ATTEMPT_COUNT, number(attempt.into()));
        }
        self.deadline.announce(&mut head.headers, self.asked.grpc, self.listener.is_some());
    }

    /// Points a head at an endpoint; `None` if what was sent makes no URI.
    pub(super) fn point_at(&self, head: &mut Parts, endpoint: &Arc<Endpoint>) -> Option<Aim> {
        // The clients of a gateway do not choose what its endpoints have to know.
        if self.listener.is_some()
            && head.version == Version::HTTP_2
            && endpoint.connection().protocol == Protocol::Sniffed
        {
            head.version = Version::HTTP_11;
        }
        let mut aim = self.secured.aim(head, endpoint)?;
        aim.says_https = self.https;
        Some(aim)
    }

    /// Operations on the response: the destination's, then the rule's, then what CORS allows, which wins.
    pub(super) fn finish_response(&self, status: StatusCode, headers: &mut HeaderMap, info: &RouteInfo) {
        let mut apply = |operations: &HeaderOps| {
            if !operations.is_empty() {
                formats::of_response(self, status, headers, info, operations);
            }
        };
        if let Some(destination) = self.destination() {
            apply(&destination.response_headers);
        }
        if let Some(route) = &self.route {
            apply(&route.response_headers);
        }
        let Some(extras) = &self.extras else { return };
        if let Some((grant, cors)) = extras.grant.as_ref().zip(self.forward().and_then(|forward| forward.cors.as_ref()))
        {
            grant.clone().apply(cors, headers);
        }
    }

    /// Gives the client what brings it back to the endpoint that answered.
    pub(super) fn set_cookies(&self, headers: &mut HeaderMap) {
        for cookie in self.extras.iter().flat_map(|extras| &extras.set_cookies) {
            headers.append(SET_COOKIE, cookie.clone());
        }
    }

    /// Who judges endpoints by bodies that break off; of what is sealed only its connection is judged.
    pub(super) fn judge(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref().filter(|cluster| cluster.settings().outlier.is_some() && self.secured != Secured::Whole)
    }

    /// Which failure an error is: what the application's classifier says, else what its types say.
    pub(super) fn classify(&self, error: &(dyn Error + Send + Sync + 'static)) -> Failure {
        classify::failure_by(self.classifier(), error)
    }

    /// How long an answer asks to wait, if that is looked at.
    pub(super) fn asked_pause(&self, headers: &HeaderMap) -> Option<Duration> {
        let longest = self.longest_pause?;
        let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds).min(longest).min(LONGEST))
    }

    /// How long to wait before the next try.
    pub(super) fn back_off(&mut self) -> Duration {
        let mut draws = mem::take(&mut self.draws);
        let pause = self.retry().map_or(Duration::ZERO, |retry| retry.backoff(self.attempts, &mut draws));
        self.draws = draws;
        pause
    }

    /// Says how long the answer took, as a gateway does: all tries of it, from the end of the request on. If it came
    /// before that end, what the upstream says stays.
    pub(super) fn service_time(&self, headers: &mut HeaderMap) {
        let Some(read_at) = self.read_at else { return };
        let milliseconds = u64::try_from(read_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        headers.insert(UPSTREAM_SERVICE_TIME, number(milliseconds));
    }

    /// When it came, if nothing has held it back since; else now.
    pub(super) fn arrived(&self) -> Instant {
        let held = self.faults_per_try || self.flags.contains(ResponseFlags::DELAY_INJECTED);
        let record = self.record.as_ref().filter(|_| !held);
        record.and_then(RequestRecord::started).unwrap_or_else(Instant::now)
    }

    /// Whether it is told when it had been read.
    pub(super) fn tells_service_time(&self) -> bool {
        self.listener.is_some()
    }

    /// What is told of it, with these details.
    pub(super) fn info(&self, flags: ResponseFlags, details: &'static str) -> RouteInfo {
        let (route, cluster) = (self.route.clone(), self.cluster.clone());
        RouteInfo { route, cluster, ..self.outcome(flags, details) }
    }

    /// The same without its route and cluster, which are still asked for their operations.
    pub(super) fn outcome(&self, flags: ResponseFlags, details: &'static str) -> RouteInfo {
        let (attempts, destination) = (self.attempts, self.destination);
        RouteInfo { attempts, destination, ..RouteInfo::new(self.flags | flags, details) }
    }

    /// The end of it: `info` gets its route and cluster.
    pub(super) fn tell(mut self: Box<Self>, info: &mut RouteInfo) {
        (info.route, info.cluster) = (self.route.take(), self.cluster.take());
        self.end();
    }
}
