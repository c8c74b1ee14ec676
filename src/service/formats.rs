//! What the commands of header values read: the request and its response, as far as they are known.

use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, StatusCode};

use super::exchange::Exchange;
use super::grpc;
use super::route_info::RouteInfo;
use super::saved_head::SavedHead;
use crate::route::{FormatContext, HeaderOps, HeaderSource};
use crate::telemetry::ResponseFlags;
use crate::upstream::Written;

impl HeaderSource for SavedHead {
    fn first(&self, name: &HeaderName) -> Option<&[u8]> {
        self.first(name)
    }
}

/// Changes the headers of a request.
pub(super) fn of_request(exchange: &Exchange, head: &mut Parts, operations: &HeaderOps) {
    if operations.is_literal() {
        return operations.apply_request(&mut head.headers, &FormatContext::default());
    }
    let host = head.headers.get(HOST).cloned();
    let uri = head.uri.clone();
    let authority = uri.authority().map(|authority| authority.as_str());
    let context = FormatContext {
        method: head.method.as_str(),
        path_and_query: uri.path_and_query().map_or("/", PathAndQuery::as_str),
        authority: authority.or_else(|| host.as_ref()?.to_str().ok()).unwrap_or(""),
        version: Some(head.version),
        // A fault may have delayed it.
        flags: &exchange.flags,
        attempts: 1,
        ..context(exchange)
    };
    let context = FormatContext { cluster: exchange.cluster.as_ref().map(|cluster| &cluster.key as _), ..context };
    operations.apply_request(&mut head.headers, &context);
}

/// Changes the headers of a response.
pub(super) fn of_response(
    exchange: &Exchange,
    status: StatusCode,
    headers: &mut HeaderMap,
    info: &RouteInfo,
    operations: &HeaderOps,
) {
    if operations.is_literal() {
        return operations.apply_response(headers, &FormatContext::default());
    }
    let saved = exchange.saved.as_ref();
    let host = saved.and_then(|saved| std::str::from_utf8(saved.first(&HOST)?).ok());
    // Of gRPC is what the rule has made of the request.
    let asked = saved.filter(|_| info.is_by_upstream() && operations.needs_request());
    let grpc = asked.and_then(|saved| saved.first(&CONTENT_TYPE)).is_some_and(grpc::is_of_grpc);
    let upstream = info.endpoint.as_ref().map(|endpoint| Written(&endpoint.address));
    let context = FormatContext {
        request: saved.map_or(&() as &dyn HeaderSource, |saved| saved),
        method: saved.map_or("", |saved| saved.method.as_str()),
        path_and_query: saved.map_or("", SavedHead::path_and_query),
        authority: saved.and_then(SavedHead::authority).or(host).unwrap_or(""),
        version: exchange.version,
        upstream_version: exchange.spoken,
        grpc_status: grpc.then(|| grpc::status_of(status, headers)),
        status: Some(status),
        code: info.is_by_upstream().then_some(status),
        details: info.details,
        flags: &info.flags,
        upstream: upstream.as_ref().map(|address| address as _),
        cluster: exchange.cluster.as_ref().map(|cluster| &cluster.key as _),
        // Envoy counts the try for which it found no endpoint.
        attempts: exchange.attempts + u32::from(info.flags.contains(ResponseFlags::NO_HEALTHY_UPSTREAM)),
        ..context(exchange)
    };
    operations.apply_response(headers, &context);
}

/// What is the same before and after.
fn context(exchange: &Exchange) -> FormatContext<'_> {
    let listener = exchange.listener.as_deref();
    FormatContext {
        scheme: if exchange.https { "https" } else { "http" },
        peer: listener.and_then(|listener| listener.peer),
        direct_peer: listener.and_then(|listener| listener.direct_peer),
        tls: listener.and_then(|listener| listener.secured.as_deref()),
        local: listener.and_then(|listener| listener.local),
        since_start: exchange.since_start(),
        route: exchange.route.as_ref().map_or("", |route| &route.name),
        ..FormatContext::default()
    }
}
