//! Headers of which Envoy keeps one line: what comes after the first joins it, behind a comma if both say something.
//!
//! Rules see the joined text: `user-agent: a` and `user-agent: b` are `a,b` and match no `exact: a`. All other headers
//! keep their lines, of which any may match.

use bytes::BytesMut;
use http::HeaderMap;
use http::header::{Entry, HeaderName, HeaderValue};

/// Which head a header stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Request,
    Response,
}

const OF_BOTH: [&str; 11] = [
    "cache-control",
    "connection",
    "content-encoding",
    "content-type",
    "keep-alive",
    "proxy-status",
    "upgrade",
    "via",
    "x-envoy-attempt-count",
    "x-envoy-decorator-operation",
    "x-request-id",
];

const OF_REQUESTS: [&str; 47] = [
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "cdn-loop",
    "expect",
    "grpc-accept-encoding",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "pragma",
    "proxy-connection",
    "referer",
    "te",
    "user-agent",
    "x-client-trace-id",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-internal",
    "x-envoy-ip-tags",
    "x-envoy-is-timeout-retry",
    "x-envoy-max-retries",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
];

const OF_RESPONSES: [&str; 22] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
    "age",
    "date",
    "etag",
    "expires",
    "grpc-message",
    "grpc-status",
    "last-modified",
    "location",
    "server",
    "vary",
    "x-envoy-degraded",
    "x-envoy-immediate-health-check-fail",
    "x-envoy-ratelimited",
    "x-envoy-upstream-canary",
    "x-envoy-upstream-healthchecked-cluster",
    "x-envoy-upstream-service-time",
];

fn is_one_line(name: &HeaderName, side: Side) -> bool {
    let of_side: &[&str] = match side {
        Side::Request => &OF_REQUESTS,
        Side::Response => &OF_RESPONSES,
    };
    OF_BOTH.contains(&name.as_str()) || of_side.contains(&name.as_str())
}

/// Joins the lines of those headers that came in several.
pub(crate) fn join(headers: &mut HeaderMap, side: Side) {
    if headers.len() == headers.keys_len() {
        return;
    }
    let repeated = |name: &&HeaderName| is_one_line(name, side) && headers.get_all(*name).iter().nth(1).is_some();
    let names: Vec<_> = headers.keys().filter(repeated).cloned().collect();
    for name in names {
        if let Some(line) = joined(headers.get_all(&name).iter()) {
            headers.insert(name, line);
        }
    }
}

/// Adds a line, which is a part of the one there is where only one can be.
pub(crate) fn append(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue, side: Side) {
    match headers.entry(name) {
        Entry::Vacant(none) => {
            none.insert(value);
        }
        Entry::Occupied(mut lines) if !is_one_line(name, side) => lines.append(value),
        Entry::Occupied(mut lines) => {
            if let Some(line) = joined(lines.iter().chain([&value])) {
                lines.insert(line);
            }
        }
    }
}

fn joined<'a>(lines: impl Iterator<Item = &'a HeaderValue>) -> Option<HeaderValue> {
    let mut text = BytesMut::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if !text.is_empty() {
            text.extend_from_slice(b",");
        }
        text.extend_from_slice(line.as_bytes());
    }
    HeaderValue::from_maybe_shared(text.freeze()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn lines(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn lines_are_joined_where_envoy_keeps_one() {
        let twice = [
            ("user-agent", "a"),
            ("x", "1"),
            ("user-agent", ""),
            ("user-agent", "b"),
            ("x", "2"),
            ("vary", "c"),
            ("vary", "d"),
        ];
        let mut request = headers(&twice);
        join(&mut request, Side::Request);
        assert_eq!(lines(&request), ["user-agent: a,b", "vary: c", "vary: d", "x: 1", "x: 2"]);
        let mut response = headers(&twice);
        join(&mut response, Side::Response);
        assert_eq!(lines(&response), ["user-agent: ", "user-agent: a", "user-agent: b", "vary: c,d", "x: 1", "x: 2"]);
    }

    #[test]
    fn what_is_added_joins_the_line_there_is() {
        let mut response = headers(&[("etag", "a"), ("set-cookie", "a")]);
        for name in ["etag", "set-cookie", "date"] {
            append(&mut response, &HeaderName::from_static(name), HeaderValue::from_static("b"), Side::Response);
        }
        assert_eq!(lines(&response), ["date: b", "etag: a,b", "set-cookie: a", "set-cookie: b"]);
        let mut request = headers(&[("x-forwarded-for", "a"), ("x-forwarded-for", "b")]);
        let name = HeaderName::from_static("x-forwarded-for");
        append(&mut request, &name, HeaderValue::from_static("c"), Side::Request);
        assert_eq!(lines(&request), ["x-forwarded-for: a,b,c"]);
    }
}
