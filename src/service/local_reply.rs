//! Answers made here, in Envoy's form: [`LocalReply`].
//!
//! | event | status | body | flag | details |
//! |---|---|---|---|---|
//! | no virtual host, no rule | 404 | | `NR` | `route_not_found` |
//! | unknown host, `REGISTRY_ONLY` | 502 | | | `direct_response` |
//! | the destination is no known cluster | 503 | | `NC` | `cluster_not_found` |
//! | no healthy endpoint | 503 | `no healthy upstream` | `UH` | `no_healthy_upstream` |
//! | a timeout | 504 | `upstream request timeout` | `UT` | `upstream_per_try_timeout`, `response_timeout` |
//! | another [`Failure`] | 503, a protocol error 502 | `upstream connect error ...` | of the failure | `upstream_reset_before_response_started{..}` |
//! | a path that cannot be normalised | 400 | | | `path_normalization_failed` |
//! | an action that is not honored yet | 500 | | | `action_not_honored` |

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::completion::Completion;
use super::decide::Chosen;
use super::response_body::ResponseBody;
use super::route_info::RouteInfo;
use crate::error::BoxError;
use crate::outcome::Failure;
use crate::telemetry::{RequestRecord, ResponseFlags};
use crate::upstream::{Cluster, Endpoint};

/// What an answer depends on after the request is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) head: bool,
    pub(super) grpc: bool,
}

impl Asked {
    pub(super) fn new(method: &Method, headers: &HeaderMap) -> Self {
        Self { head: method == Method::HEAD, grpc: headers.get(CONTENT_TYPE).is_some_and(is_grpc) }
    }
}

/// `application/grpc` or `application/grpc+...`; `application/grpc-web` is none.
fn is_grpc(content_type: &HeaderValue) -> bool {
    match content_type.as_bytes().strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    }
}

/// An answer made here.
#[derive(Debug)]
pub(super) struct LocalReply {
    status: StatusCode,
    body: Bytes,
    overloaded: bool,
    rule: Option<Chosen>,
    info: RouteInfo,
}

impl LocalReply {
    fn new(status: StatusCode, body: &'static str, flags: ResponseFlags, details: &'static str) -> Self {
        let info = RouteInfo::new(flags, details);
        Self { status, body: Bytes::from_static(body.as_bytes()), overloaded: false, rule: None, info }
    }

    pub(super) fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "", ResponseFlags::NO_ROUTE, "route_not_found")
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

    pub(super) fn not_honored() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", ResponseFlags::NONE, "action_not_honored")
    }

    /// The answer for a try that came to `failure` by `cause`.
    pub(super) fn failure(failure: Failure, cause: BoxError) -> Self {
        let (status, flags, details) = failure_reply(failure);
        let body = if failure.is_timeout() {
            Bytes::from_static(b"upstream request timeout")
        } else {
            Bytes::from(reset_body(failure, &*cause))
        };
        let mut info = RouteInfo::new(flags, details);
        info.cause = Some(Arc::from(cause));
        Self { status, body, overloaded: failure == Failure::Overflow, rule: None, info }
    }

    /// Names the rule that took the request; its response operations apply.
    #[must_use]
    pub(super) fn of_rule(mut self, rule: Chosen, cluster: Option<Arc<Cluster>>) -> Self {
        self.info.cluster = cluster;
        self.rule = Some(rule);
        self
    }

    /// Names the endpoint that was tried.
    #[must_use]
    pub(super) fn after_tries(mut self, attempts: u32, endpoint: Option<Arc<Endpoint>>) -> Self {
        self.info.attempts = attempts;
        self.info.endpoint = endpoint;
        self
    }

    /// The response to what was asked; `record` is told, and ends with the body.
    pub(super) fn into_response<B>(mut self, asked: Asked, mut record: RequestRecord) -> Response<ResponseBody<B>> {
        record.answered(self.status, self.info.flags);
        let mut headers = HeaderMap::new();
        if asked.grpc {
            grpc_headers(&mut headers, self.status, &self.body);
        }
        if let Some(rule) = &self.rule {
            rule.apply_response_headers(&mut headers);
        }
        if self.overloaded {
            headers.insert(HeaderName::from_static("x-envoy-overloaded"), HeaderValue::from_static("true"));
        }
        let body = if asked.grpc {
            headers.remove(CONTENT_LENGTH);
            Bytes::new()
        } else {
            body_headers(&mut headers, &self.body);
            if asked.head { Bytes::new() } else { self.body }
        };
        self.info.route = self.rule.map(|rule| rule.route);
        record.trailers(&headers);
        let mut response = Response::new(ResponseBody::local(body, Completion::new(None, record)));
        *response.status_mut() = if asked.grpc { StatusCode::OK } else { self.status };
        *response.headers_mut() = headers;
        response.extensions_mut().insert(self.info);
        response
    }
}

/// Status, flag and details of the answer for a failure.
pub(super) fn failure_reply(failure: Failure) -> (StatusCode, ResponseFlags, &'static str) {
    use ResponseFlags as Flags;
    let (flags, details) = match failure {
        Failure::ConnectRefused => {
            (Flags::UPSTREAM_CONNECTION_FAILURE, "upstream_reset_before_response_started{remote_connection_failure}")
        }
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

/// What is said of a try that was reset.
fn reset_body(failure: Failure, cause: &(dyn std::error::Error + 'static)) -> String {
    let mut body = String::from("upstream connect error or disconnect/reset before headers. reset reason: ");
    body.push_str(failure.reason());
    if failure == Failure::ConnectRefused {
        body.push_str(", transport failure reason: ");
        body.push_str(&root(cause).to_string());
    }
    body
}

/// The error at the end of the chain.
fn root<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error)
}

fn body_headers(headers: &mut HeaderMap, body: &Bytes) {
    if body.is_empty() {
        headers.remove(CONTENT_LENGTH);
        headers.remove(CONTENT_TYPE);
    } else {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain"));
    }
}

/// A trailers-only response: all of it is in the headers.
fn grpc_headers(headers: &mut HeaderMap, status: StatusCode, message: &[u8]) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(grpc_status(status)));
    if !message.is_empty()
        && let Ok(message) = HeaderValue::try_from(percent_encoded(message))
    {
        headers.insert(HeaderName::from_static("grpc-message"), message);
    }
}

fn grpc_status(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => 2,
    }
}

fn percent_encoded(message: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(message.len());
    for &byte in message {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_the_content_type() {
        for (value, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&HeaderValue::from_static(value)), expected, "{value}");
        }
    }

    #[test]
    fn statuses_become_those_of_grpc() {
        let table = [(400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14), (500, 2)];
        for (http, grpc) in table {
            assert_eq!(grpc_status(StatusCode::from_u16(http).unwrap()), grpc, "{http}");
        }
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encoded("100% ö\n".as_bytes()), "100%25 %C3%B6%0A");
    }
}
