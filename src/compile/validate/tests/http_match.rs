//! VH7 to VH11, and V1 in matches.

use super::{good, http, lines, routed, says};

fn matching(request: &str) -> String {
    http(&format!("{{match: [{request}], route: [{{destination: {{host: b}}}}]}}"))
}

#[test]
fn v1_a_string_match_is_of_one_kind() {
    says(&matching("{uri: {exact: /a, prefix: /b}}"), &["error V1 spec.http[0].match[0].uri.prefix"]);
    says(&matching("{headers: {x: {exact: a, regex: b}}}"), &["error V1 spec.http[0].match[0].headers.x.regex"]);
    good(&matching("{uri: {}}"));
}

#[test]
fn vh7_a_header_is_not_matched_by_null() {
    says(&matching("{headers: {x: null}}"), &["error VH7 spec.http[0].match[0].headers.x"]);
    good(&matching("{headers: {x: {}}, withoutHeaders: {y: null}, queryParams: {z: null}}"));
}

#[test]
fn vh8_matched_headers_have_names() {
    good(&matching("{headers: {X-a_b: {}, ':method': {exact: GET}, ':path': {prefix: /}}}"));
    good(&matching("{headers: {'x-a,x-b': {}}}"));
    says(&matching("{headers: {'a b': {}}}"), &["error VH8 spec.http[0].match[0].headers.a b"]);
    says(&matching("{headers: {'': {}}}"), &["error VH8 spec.http[0].match[0].headers[\"\"]"]);
    says(&matching("{headers: {':foo': {}}}"), &["error VH8 spec.http[0].match[0].headers.:foo"]);
    says(&matching("{withoutHeaders: {'a/b': {}}}"), &["error VH8 spec.http[0].match[0].withoutHeaders.a/b"]);
}

#[test]
fn vh9_prefixes_are_not_empty_and_regexes_are_re2() {
    good(&matching("{uri: {prefix: ''}, headers: {x: {exact: ''}}, withoutHeaders: {y: {regex: '*'}}}"));
    for field in ["scheme", "method", "authority"] {
        says(
            &matching(&format!("{{{field}: {{prefix: ''}}}}")),
            &[&format!("error VH9 spec.http[0].match[0].{field}.prefix")],
        );
    }
    for field in ["headers", "withoutHeaders", "queryParams"] {
        for (kind, value) in [("prefix", ""), ("regex", ""), ("regex", "a(b"), ("regex", "(?=a)")] {
            let path = format!("error VH9 spec.http[0].match[0].{field}.x.{kind}");
            says(&matching(&format!("{{{field}: {{x: {{{kind}: '{value}'}}}}}}")), &[&path]);
        }
    }
    for field in ["headers", "queryParams"] {
        let path = format!("error VH9 spec.http[0].match[0].{field}.x.regex");
        says(&matching(&format!("{{{field}: {{x: {{regex: '*'}}}}}}")), &[&path]);
    }
    let fits = "a".repeat(1024);
    good(&matching(&format!("{{uri: {{regex: {fits}}}}}")));
    says(&matching(&format!("{{uri: {{regex: {fits}a}}}}")), &["error VH9 spec.http[0].match[0].uri.regex"]);
    assert!(lines(&matching("{uri: {regex: '/a(b'}}")).contains("`/a(b` is not a regex: "));
    assert!(lines(&matching("{headers: {x: {regex: '*'}}}")).contains("write `{}` for mere presence"));
}

#[test]
fn vh10_the_matched_port_is_one() {
    says(&matching("{port: 65536}"), &["error VH10 spec.http[0].match[0].port"]);
    good(&matching("{port: 0}"));
    good(&matching("{port: 65535}"));
}

#[test]
fn vh11_sources_have_labels_namespaces_and_gateways() {
    good(&matching("{sourceLabels: {app.kubernetes.io/name: a_b.c, x: ''}, sourceNamespace: ns, gateways: [ns/gw]}"));
    says(&matching("{sourceLabels: {'a b': c}}"), &["error VH11 spec.http[0].match[0].sourceLabels.a b"]);
    says(&matching("{sourceLabels: {a: '-b'}}"), &["error VH11 spec.http[0].match[0].sourceLabels.a"]);
    says(&matching("{sourceLabels: {a_b/c: d}}"), &["error VH11 spec.http[0].match[0].sourceLabels.a_b/c"]);
    says(&matching("{sourceNamespace: a.b}"), &["error VH11 spec.http[0].match[0].sourceNamespace"]);
    says(&matching("{gateways: [ns/]}"), &["error VH11 spec.http[0].match[0].gateways[0]"]);
    says(&matching("{gateways: [gw.ns]}"), &["warning VH11 spec.http[0].match[0].gateways[0]"]);
}

#[test]
fn what_to_write_for_a_star_is_taken() {
    let places = [
        ("match: [{uri: VALUE}]", true),
        ("match: [{method: VALUE}]", true),
        ("match: [{headers: {x: VALUE}}]", true),
        ("match: [{queryParams: {x: VALUE}}]", true),
        ("corsPolicy: {allowOrigins: [VALUE]}", false),
    ];
    for (place, may_be_present) in places {
        let with = |value: &str| routed(&place.replace("VALUE", value));
        let told = lines(&with("{regex: '*'}"));
        assert!(told.contains("write `{}`") == may_be_present && told.contains("`.*`"), "{told}");
        good(&with("{regex: '.*'}"));
        if may_be_present {
            good(&with("{}"));
        }
    }
    let rewritten = |regex: &str| routed(&format!("rewrite: {{uriRegexRewrite: {{match: '{regex}', rewrite: /}}}}"));
    assert!(lines(&rewritten("*")).contains("(write `.*`)"));
    good(&rewritten(".*"));
}
