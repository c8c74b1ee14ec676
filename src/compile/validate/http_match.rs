//! One match block of an http rule (VH7 to VH11).

use std::collections::BTreeMap;

use super::{CheckRegex, Findings, names, numbers, strings};
use crate::compile::path::Path;
use crate::config::{HttpMatchRequest, StringMatch};

/// The regular expression that asks for mere presence, in `withoutHeaders` only.
const PRESENT: &str = "*";

/// Judges one match block.
pub(crate) fn request(request: &HttpMatchRequest, path: &Path<'_>, check: &CheckRegex<'_>, findings: &mut Findings) {
    let HttpMatchRequest { uri, scheme, method, authority, headers, without_headers, query_params, .. } = request;
    if let Some(uri) = uri {
        strings::uri_match("VH9", &path.field("uri"), (uri, strings::PRESENT), check, findings);
    }
    for (name, matcher) in [("scheme", scheme), ("method", method), ("authority", authority)] {
        if let Some(matcher) = matcher {
            strings::string_match("VH9", &path.field(name), matcher, check, findings);
        }
    }
    self::headers(headers, &path.field("headers"), check, findings);
    self::without_headers(without_headers, &path.field("withoutHeaders"), check, findings);
    for (name, matcher) in query_params {
        if let Some(matcher) = matcher {
            strings::string_match("VH9", &path.entry("queryParams", name), matcher, check, findings);
        }
    }
    source(request, path, findings);
}

type Matchers = BTreeMap<String, Option<StringMatch>>;

fn headers(headers: &Matchers, path: &Path<'_>, check: &CheckRegex<'_>, findings: &mut Findings) {
    for (name, matcher) in headers {
        let path = path.key(name);
        strings::matched_header("VH8", &path, name, findings);
        match matcher {
            Some(matcher) => strings::string_match("VH9", &path, matcher, check, findings),
            None => findings
                .error("VH7", &path, format!("the match of the header `{name}` is null"))
                .help("write `{}` for mere presence"),
        }
    }
}

fn without_headers(headers: &Matchers, path: &Path<'_>, check: &CheckRegex<'_>, findings: &mut Findings) {
    for (name, matcher) in headers {
        let path = path.key(name);
        strings::matched_header("VH8", &path, name, findings);
        match matcher {
            Some(StringMatch { exact: None, prefix: None, regex: Some(regex) }) if regex == PRESENT => {}
            Some(matcher) => strings::string_match("VH9", &path, matcher, check, findings),
            None => {}
        }
    }
}

/// What is asked of where the request comes from.
fn source(request: &HttpMatchRequest, path: &Path<'_>, findings: &mut Findings) {
    numbers::port_or_unset("VH10", &path.field("port"), request.port, findings);
    names::labels("VH11", &path.field("sourceLabels"), &request.source_labels, findings);
    let namespace = &request.source_namespace;
    if !namespace.is_empty() && !names::is_dns_label(namespace) {
        findings.error("VH11", &path.field("sourceNamespace"), names::bad_dns_label(namespace, "a namespace"));
    }
    names::gateways("VH11", &path.field("gateways"), &request.gateways, findings);
}
