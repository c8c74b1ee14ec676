//! Answers made here, in Envoy's form: [`LocalReply`].
//!
//! | event | status | body | flag | details |
//! |---|---|---|---|---|
//! | no virtual host, no rule | 404 | | `NR` | `route_not_found` |
//! | a path without its slash (`*`) | 404 | | | `absolute_path_rejected` |
//! | unknown host, `REGISTRY_ONLY` | 502 | | | `direct_response` |
//! | the destination is no known cluster | 503 | | `NC` | `cluster_not_found` |
//! | no healthy endpoint | 503 | `no healthy upstream` | `UH` | `no_healthy_upstream` |
//! | a [`Failure`] | 503, a protocol error 502 | `upstream connect error ...` | of the failure | `upstream_reset_before_response_started{..}` |
//! | a path that cannot be normalized | 400 | | | `path_normalization_failed` |
//! | an upgrade that is not served | 403 | | | `upgrade_failed` |
//! | a redirect or direct response | of the rule | of the rule | | `direct_response` |
//! | a fault aborts | of the rule | `fault filter abort` | `FI` | `fault_filter_abort` |
//! | a preflight | 200 | | | `direct_response` |
//! | a timeout | 504, or 204 and no body if the rule sets `x-envoy-upstream-rq-timeout-alt-response` | `upstream request timeout` | `UT` | `response_timeout`, `upstream_per_try_timeout` |
//! | a limit of the connection pool | 503 | `upstream connect error ...` | `UO` | `upstream_reset_before_response_started{overflow}` |
//! | the body outgrew the buffer before a retry | 507 | `exceeded request buffer limit while retrying upstream` | | `request_payload_exceeded_retry_buffer_limit` |
//!
//! Of a connection that was refused, or had no way to its host, the details say that: they end with
//! `|delayed_connect_error:_Connection_refused}` or `..:_No_route_to_host}`.
//!
//! All but what a rule says (redirect, direct response, abort, preflight) are errors where [`ErrorMode::Return`] asks
//! for them.

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::body_error::BodyError;
use super::classify::{self, NoConnection};
use super::completion::Completion;
use super::deadline::Expired;
use super::exchange::Exchange;
use super::grpc::{OfWeb, grpc_headers, is_of_grpc};
use super::mesh_error::{ErrorMode, MeshError};
use super::names::OVERLOADED;
use super::response_body::ResponseBody;
use super::route_info::RouteInfo;
use super::upload::Lost;
use crate::error::BoxError;
use crate::outcome::{Failure, GRPC_STATUS, grpc_status};
use crate::telemetry::ResponseFlags;
use crate::upstream::{Address, Endpoint};

/// Details of a connection that did not come about, and the same with what Envoy's socket says of it.
const NO_CONNECTION: &str = "upstream_reset_before_response_started{remote_connection_failure}";
const NO_CONNECTION_REFUSED: &str =
    "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}";
const NO_CONNECTION_NO_ROUTE: &str =
    "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_No_route_to_host}";

/// What an answer depends on after the request is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) head: bool,
    pub(super) grpc: bool,
    /// Whether it is answered in gRPC where it is answered here.
    told_in_grpc: bool,
    /// What a failure is given as.
    mode: ErrorMode,
}

impl Asked {
    pub(super) fn new(head: &Parts, mode: ErrorMode) -> Self {
        let kind = head.headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let told_in_grpc = is_of_grpc(kind);
        let grpc =
            told_in_grpc || kind.starts_with(b"application/grpc-web") && head.extensions.get::<OfWeb>().is_some();
        Self { head: head.method == Method::HEAD, grpc, told_in_grpc, mode }
    }

    /// Whether it is gRPC that came as gRPC-Web.
    pub(super) fn is_of_web(self) -> bool {
        self.grpc && !self.told_in_grpc
    }
}

/// An answer made here. It is rare, and light to hand on.
#[derive(Debug)]
pub(super) struct LocalReply(Box<Said>);

#[derive(Debug)]
struct Said {
    status: StatusCode,
    body: Bytes,
    /// What it says beside what every such answer says.
    headers: HeaderMap,
    /// The status of gRPC, where the rule names one.
    grpc: Option<u16>,
    flags: ResponseFlags,
    details: &'static str,
    endpoint: Option<Arc<Endpoint>>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
    /// Whether it stands for the answer of one try, which may be followed by another.
    of_a_try: bool,
    /// Whether a rule says that this is the answer: no failure.
    of_a_rule: bool,
    /// Whether the rule's operations are not for it.
    untouched: bool,
    /// Whether it stays as it is, whatever the rule does to responses and whoever asked.
    finished: bool,
}

impl LocalReply {
    fn new(status: StatusCode, body: &'static str, flags: ResponseFlags, details: &'static str) -> Self {
        Self(Box::new(Said {
            status,
            body: Bytes::from_static(body.as_bytes()),
            headers: HeaderMap::new(),
            grpc: None,
            flags,
            details,
            endpoint: None,
            cause: None,
            of_a_try: false,
            of_a_rule: false,
            untouched: false,
            finished: false,
        }))
    }

    /// The same for one try.
    #[must_use]
    pub(super) fn of_a_try(mut self) -> Self {
        self.0.of_a_try = true;
        self
    }

    /// The same, to which the rule's operations do nothing: they are for what the rule itself answers.
    #[must_use]
    pub(super) fn untouched(mut self) -> Self {
        self.0.untouched = true;
        self
    }

    /// The status to judge the try by that it stands for.
    pub(super) fn status_of_try(&self) -> Option<StatusCode> {
        self.0.of_a_try.then_some(self.0.status)
    }

    pub(super) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "", ResponseFlags::NO_ROUTE, "route_not_found")
    }

    /// Of `*`, about which no rule is asked.
    pub(super) fn no_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "", ResponseFlags::NONE, "absolute_path_rejected")
    }

    pub(super) fn refused_host() -> Self {
        Self::new(StatusCode::BAD_GATEWAY, "", ResponseFlags::NONE, "direct_response")
    }

    pub(super) fn no_cluster() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "", ResponseFlags::NO_CLUSTER_FOUND, "cluster_not_found")
    }

    pub(super) fn no_healthy_upstream() -> Self {
        let flags = ResponseFlags::NO_HEALTHY_UPSTREAM;
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no healthy upstream", flags, "no_healthy_upstream")
    }

    pub(super) fn bad_path() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "", ResponseFlags::NONE, "path_normalization_failed")
    }

    pub(super) fn unserved_upgrade() -> Self {
        Self::new(StatusCode::FORBIDDEN, "", ResponseFlags::NONE, "upgrade_failed")
    }

    /// The status and body of a rule.
    pub(super) fn direct(status: StatusCode, body: Bytes) -> Self {
        let mut reply = Self::new(status, "", ResponseFlags::NONE, "direct_response");
        reply.0.body = body;
        reply.0.of_a_rule = true;
        reply
    }

    /// Another address to ask.
    pub(super) fn redirect(status: StatusCode, location: HeaderValue) -> Self {
        Self::direct(status, Bytes::new()).located(location)
    }

    /// The same, which says where to look.
    #[must_use]
    pub(super) fn located(mut self, location: HeaderValue) -> Self {
        self.0.headers.insert(LOCATION, location);
        self
    }

    /// A preflight that is answered with these headers, and no more: the rule's operations are for what it forwards.
    pub(super) fn preflight(headers: HeaderMap) -> Self {
        let mut reply = Self::direct(StatusCode::OK, Bytes::new());
        (reply.0.headers, reply.0.finished) = (headers, true);
        reply
    }

    pub(super) fn abort(status: StatusCode) -> Self {
        let mut reply = Self::new(status, "fault filter abort", ResponseFlags::FAULT_INJECTED, "fault_filter_abort");
        reply.0.of_a_rule = true;
        reply
    }

    /// An abort that names a status of gRPC; a client that does not speak gRPC sees 200.
    pub(super) fn abort_grpc(status: u16) -> Self {
        let mut reply = Self::abort(StatusCode::OK);
        reply.0.grpc = Some(status);
        reply
    }

    /// The answer when time ran out.
    pub(super) fn expired(expired: Expired) -> Self {
        Self::of_failure(expired.failure(), false)
    }

    /// The same as no error: 204.
    #[must_use]
    pub(super) fn without_content(mut self) -> Self {
        (self.0.status, self.0.body) = (StatusCode::NO_CONTENT, Bytes::new());
        self
    }

    /// A limit of the cluster; `retried`: it was not the first try that met it.
    pub(super) fn overflow(retried: bool) -> Self {
        Self::of_failure(Failure::Overflow, retried)
    }

    /// The answer where no further try can be made, for the body of the request is lost.
    pub(super) fn lost(lost: Lost, retried: bool) -> Self {
        match lost {
            Lost::Outgrown => Self::outgrown(),
            Lost::Broken => Self::failure(Failure::LocalReset, BodyError::broken_off().into(), retried),
        }
    }

    fn outgrown() -> Self {
        let details = "request_payload_exceeded_retry_buffer_limit";
        let body = "exceeded request buffer limit while retrying upstream";
        Self::new(StatusCode::INSUFFICIENT_STORAGE, body, ResponseFlags::NONE, details)
    }

    /// The answer for a try that came to `failure` by `cause`; `retried`: it was not the first.
    pub(super) fn failure(failure: Failure, cause: BoxError, retried: bool) -> Self {
        let cause: Arc<dyn Error + Send + Sync> = Arc::from(cause);
        let mut reply = Self::of_failure(failure, retried);
        reply.0.cause = Some(cause);
        reply
    }

    /// What lies below the failure is told to the application alone, in the [`RouteInfo`].
    fn of_failure(failure: Failure, retried: bool) -> Self {
        let (status, flags, details) = failure_reply(failure);
        let mut reply = Self::new(status, "upstream request timeout", flags, details);
        if !failure.is_timeout() {
            let mut body = String::from("upstream connect error or disconnect/reset before headers. ");
            body.push_str(if retried { "retried and the latest reset reason: " } else { "reset reason: " });
            body.push_str(failure.reason());
            reply.0.body = Bytes::from(body);
        }
        if failure == Failure::Overflow {
            reply.0.headers.insert(OVERLOADED, HeaderValue::from_static("true"));
        }
        reply
    }

    /// Names the endpoint that was tried, and why there was no connection to it.
    #[must_use]
    pub(super) fn tried_at(mut self, endpoint: Option<Arc<Endpoint>>) -> Self {
        // Of a socket in the file system Envoy knows at once, and says its address too.
        let remote = endpoint.as_ref().is_some_and(|endpoint| !matches!(endpoint.address, Address::Unix(_)));
        if remote && self.0.details == NO_CONNECTION {
            let cause = self.0.cause.as_ref().and_then(|cause| classify::no_connection(&**cause));
            self.0.details = match cause {
                Some(NoConnection::Refused) => NO_CONNECTION_REFUSED,
                Some(NoConnection::NoRoute) => NO_CONNECTION_NO_ROUTE,
                None => NO_CONNECTION,
            };
        }
        self.0.endpoint = endpoint;
        self
    }

    /// The response to what was asked.
    pub(super) fn into_response<B>(self, exchange: Box<Exchange>) -> Response<ResponseBody<B>> {
        let (mut response, info) = self.told(exchange);
        response.extensions_mut().insert(info);
        response
    }

    /// The same, or an error if it is a failure and those are asked for.
    pub(super) fn into_result<B>(self, exchange: Box<Exchange>) -> Result<Response<ResponseBody<B>>, BoxError> {
        if exchange.asked.mode == ErrorMode::Respond || self.0.of_a_rule {
            return Ok(self.into_response(exchange));
        }
        let status = self.0.status;
        // What is counted of an answer is counted of the error in its place.
        let (_, info) = self.told::<B>(exchange);
        Err(MeshError::new(status, info).into())
    }

    /// The response without what is told of it, and that.
    fn told<B>(self, mut exchange: Box<Exchange>) -> (Response<ResponseBody<B>>, RouteInfo) {
        let Said { status, body, mut headers, grpc, flags, details, endpoint, cause, untouched, finished, .. } =
            *self.0;
        let Asked { head, told_in_grpc, .. } = exchange.asked;
        let by_grpc = told_in_grpc && !finished;
        let mut info = RouteInfo { endpoint, cause, ..exchange.outcome(flags, details) };
        let told_as = if by_grpc { StatusCode::OK } else { status };
        let mut record = exchange.answered(told_as, info.flags);
        if !finished && !untouched {
            // Said after the rule's word: no rule hides it.
            let overloaded = headers.remove(&OVERLOADED);
            exchange.finish_response(status, &mut headers, &info);
            if let Some(overloaded) = overloaded {
                headers.append(OVERLOADED, overloaded);
            }
        }
        let body = if by_grpc {
            // Whatever the rule says it is: of that only a status stays.
            let said = headers.remove(&GRPC_STATUS).filter(|said| !said.is_empty());
            let said = said.unwrap_or_else(|| grpc.unwrap_or_else(|| grpc_status(status)).into());
            grpc_headers(&mut headers, said, if head { &[] } else { &body });
            headers.remove(CONTENT_LENGTH);
            Bytes::new()
        } else {
            body_headers(&mut headers, body.len());
            if head { Bytes::new() } else { body }
        };
        if let Some(record) = &mut record {
            record.trailers(&headers);
        }
        exchange.tell(&mut info);
        let mut response = Response::new(ResponseBody::local(body, Completion::new(None, record)));
        *response.status_mut() = told_as;
        *response.headers_mut() = headers;
        (response, info)
    }
}

/// Status, flag and details of the answer for a failure.
pub(super) fn failure_reply(failure: Failure) -> (StatusCode, ResponseFlags, &'static str) {
    use ResponseFlags as Flags;
    let (flags, details) = match failure {
        Failure::ConnectRefused => (Flags::UPSTREAM_CONNECTION_FAILURE, NO_CONNECTION),
        Failure::ConnectLocal => {
            (Flags::UPSTREAM_CONNECTION_FAILURE, "upstream_reset_before_response_started{local_connection_failure}")
        }
        Failure::ConnectTimeout => {
            (Flags::UPSTREAM_CONNECTION_FAILURE, "upstream_reset_before_response_started{connection_timeout}")
        }
        Failure::ConnectionTermination => {
            (Flags::UPSTREAM_CONNECTION_TERMINATION, "upstream_reset_before_response_started{connection_termination}")
        }
        Failure::RemoteReset => (Flags::UPSTREAM_REMOTE_RESET, "upstream_reset_before_response_started{remote_reset}"),
        Failure::RefusedStream => {
            (Flags::UPSTREAM_REMOTE_RESET, "upstream_reset_before_response_started{remote_refused_stream_reset}")
        }
        Failure::LocalReset => (Flags::LOCAL_RESET, "upstream_reset_before_response_started{local_reset}"),
        Failure::ProtocolError => {
            (Flags::UPSTREAM_PROTOCOL_ERROR, "upstream_reset_before_response_started{protocol_error}")
        }
        Failure::Overflow => (Flags::UPSTREAM_OVERFLOW, "upstream_reset_before_response_started{overflow}"),
        Failure::PerTryTimeout => (Flags::UPSTREAM_REQUEST_TIMEOUT, "upstream_per_try_timeout"),
        Failure::Timeout => (Flags::UPSTREAM_REQUEST_TIMEOUT, "response_timeout"),
    };
    let status = match failure {
        Failure::ProtocolError => StatusCode::BAD_GATEWAY,
        _ if failure.is_timeout() => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, flags, details)
}

pub(super) fn body_headers(headers: &mut HeaderMap, length: usize) {
    if length == 0 {
        headers.remove(CONTENT_LENGTH);
        headers.remove(CONTENT_TYPE);
    } else {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain"));
    }
}
