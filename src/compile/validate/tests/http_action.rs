//! VH13, VH26 to VH31, VH36, VH37, and V1 in actions.

use super::{good, http, lines, routed, says};

fn redirect(redirect: &str) -> String {
    http(&format!("{{redirect: {redirect}}}"))
}

fn rewrite(rewrite: &str) -> String {
    routed(&format!("rewrite: {rewrite}"))
}

#[test]
fn v1_oneofs_of_actions_have_one_member() {
    says(&redirect("{port: 80, derivePort: FROM_REQUEST_PORT}"), &["error V1 spec.http[0].redirect.derivePort"]);
    says(
        &http("{directResponse: {status: 200, body: {string: a, bytes: YQ==}}}"),
        &["error V1 spec.http[0].directResponse.body.bytes"],
    );
}

#[test]
fn vh13_the_authority_is_set_once() {
    let at = |path: &str| format!("error VH13 spec.http[0].headers.request.{path}");
    says(&routed("rewrite: {authority: x}, headers: {request: {set: {Host: y}}}"), &[&at("set.Host")]);
    says(&routed("headers: {request: {set: {Host: y}, add: {':authority': z}}}"), &[&at("add.:authority")]);
    says(&routed("headers: {request: {set: {Host: y, ':authority': z}}}"), &[&at("set.Host")]);
    good(&routed("rewrite: {authority: x}, headers: {request: {set: {x-host: y}}}"));
    good(&http("{rewrite: {authority: x}, route: [{destination: {host: b}, headers: {request: {set: {host: y}}}}]}"));
}

#[test]
fn vh26_a_redirect_writes_the_path_one_way() {
    says(&redirect("{uri: /a, prefixRewrite: /b}"), &["error VH26 spec.http[0].redirect.prefixRewrite"]);
    good(&redirect("{prefixRewrite: /b}"));
}

#[test]
fn vh27_a_prefix_rewrite_needs_prefixes() {
    let matching =
        |uri: &str| http(&format!("{{match: [{{port: 1}}, {{uri: {uri}}}], redirect: {{prefixRewrite: /b}}}}"));
    says(&matching("{exact: /a}"), &["error VH27 spec.http[0].redirect.prefixRewrite"]);
    says(&matching("{}"), &["error VH27 spec.http[0].redirect.prefixRewrite"]);
    good(&matching("{prefix: /a}"));
}

#[test]
fn vh28_a_redirect_leads_somewhere() {
    says(&redirect("{}"), &["error VH28 spec.http[0].redirect"]);
    says(&redirect("{redirectCode: 302}"), &["error VH28 spec.http[0].redirect"]);
    for somewhere in ["authority: x", "scheme: https", "port: 80", "derivePort: FROM_PROTOCOL_DEFAULT", "uri: /"] {
        good(&redirect(&format!("{{{somewhere}}}")));
    }
}

#[test]
fn vh29_a_redirect_has_a_code_a_scheme_and_a_port() {
    for code in [301, 302, 303, 307, 308] {
        good(&redirect(&format!("{{uri: /, redirectCode: {code}}}")));
    }
    for code in [200, 300, 304, 305, 399, 400] {
        says(
            &redirect(&format!("{{uri: /, redirectCode: {code}}}")),
            &["error VH29 spec.http[0].redirect.redirectCode"],
        );
    }
    says(&redirect("{scheme: HTTPS}"), &["error VH29 spec.http[0].redirect.scheme"]);
    says(&redirect("{port: 65536}"), &["error VH29 spec.http[0].redirect.port"]);
}

#[test]
fn vh30_bodies_are_small() {
    let body =
        |size: usize| http(&format!("{{directResponse: {{status: 200, body: {{string: {}}}}}}}", "a".repeat(size)));
    good(&body(100 * 1024));
    says(&body(100 * 1024 + 1), &["warning VH30 spec.http[0].directResponse.body"]);
    let bytes = "A".repeat(4 * (350 * 1024));
    says(
        &http(&format!("{{directResponse: {{status: 200, body: {{bytes: {bytes}}}}}}}")),
        &["error VH30 spec.http[0].directResponse.body"],
    );
}

#[test]
fn vh31_a_direct_response_has_a_status() {
    says(&http("{directResponse: {}}"), &["error VH31 spec.http[0].directResponse"]);
    for status in [100, 199, 601] {
        let path = "error VH31 spec.http[0].directResponse.status";
        says(&http(&format!("{{directResponse: {{status: {status}}}}}")), &[path]);
    }
    good(&http("{directResponse: {status: 599}}"));
}

#[test]
fn vh36_a_rewrite_rewrites_one_way() {
    says(&rewrite("{}"), &["error VH36 spec.http[0].rewrite"]);
    says(
        &rewrite("{uri: /, uriRegexRewrite: {match: a, rewrite: b}}"),
        &["error VH36 spec.http[0].rewrite.uriRegexRewrite"],
    );
    good(&rewrite("{authority: x}"));
}

#[test]
fn vh37_a_regex_rewrite_has_a_regex_and_what_to_write() {
    good(&rewrite("{uriRegexRewrite: {match: '^/a/(.*)', rewrite: '/\\1'}}"));
    for bad in ["{match: a}", "{rewrite: a}"] {
        says(&rewrite(&format!("{{uriRegexRewrite: {bad}}}")), &["error VH37 spec.http[0].rewrite.uriRegexRewrite"]);
    }
    let path = "error VH37 spec.http[0].rewrite.uriRegexRewrite.match";
    says(&rewrite("{uriRegexRewrite: {match: 'a(', rewrite: b}}"), &[path]);
    let long = "a".repeat(1025);
    says(&rewrite(&format!("{{uriRegexRewrite: {{match: {long}, rewrite: b}}}}")), &[path]);
    assert!(lines(&rewrite("{uriRegexRewrite: {match: 'a(', rewrite: b}}")).contains("regex"));
}
