//! V3, V4 and VS1 to VS13.

use super::{good, http, lines, resource, routed, says};

const RULE: &str = "{route: [{destination: {host: b}}]}";

fn bound(hosts: &str, gateways: &str) -> String {
    resource("VirtualService", &format!("{{hosts: {hosts}, gateways: {gateways}, http: [{RULE}]}}"))
}

fn with_annotation(annotation: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {{name: a, annotations: {{{annotation}}}}}, \
         spec: {{hosts: [a], http: [{RULE}]}}}}"
    )
}

fn rules(rules: &str) -> String {
    resource("VirtualService", &format!("{{hosts: [a], http: [{rules}]}}"))
}

#[test]
fn v3_dry_run_is_for_authorization_policies() {
    says(&with_annotation("istio.io/dry-run: 'true'"), &["error V3 metadata.annotations[\"istio.io/dry-run\"]"]);
    good(&with_annotation("istio.io/other: 'true'"));
}

#[test]
fn v4_internal_annotations_are_istios_own() {
    for name in
        ["internal.istio.io/webhook-always-reject", "internal.istio.io/parents", "internal.istio.io/parent-namespace"]
    {
        says(&with_annotation(&format!("{name}: x")), &[&format!("error V4 metadata.annotations[\"{name}\"]")]);
    }
}

#[test]
fn vs1_a_delegate_has_http_rules_only() {
    good(&resource("VirtualService", &format!("{{http: [{RULE}]}}")));
    says(&resource("VirtualService", &format!("{{gateways: [g], http: [{RULE}]}}")), &["error VS1 spec.gateways"]);
    says(&resource("VirtualService", &format!("{{tcp: [{RULE}]}}")), &["error VS1 spec.tcp"]);
    says(
        &resource("VirtualService", "{tls: [{match: [{sniHosts: [a]}], route: [{destination: {host: b}}]}]}"),
        &["error VS1 spec.tls", "error VT3 spec.tls[0].match[0].sniHosts[0]"],
    );
}

#[test]
fn vs2_gateways_are_names() {
    good(&bound("[a.b]", "[ns/gw, gw2, mesh]"));
    says(&bound("[a.b]", "[ns/, /gw]"), &["error VS2 spec.gateways[0]", "error VS2 spec.gateways[1]"]);
    says(&bound("[a.b]", "[./gw]"), &["error VS2 spec.gateways[0]"]);
    says(&bound("[a.b]", "[ns/g.w]"), &["error VS2 spec.gateways[0]"]);
    says(&bound("[a.b]", "[g_w]"), &["error VS2 spec.gateways[0]"]);
    says(&bound("[a.b]", "[gw.ns.svc.cluster.local]"), &["warning VS2 spec.gateways[0]"]);
    assert!(lines(&bound("[a.b]", "[gw.ns]")).contains("(write `ns/gw`)"));
    // What stands behind the first name without a slash is not looked at, as in Istio.
    good(&bound("[a.b]", "[gw, ns/]"));
}

#[test]
fn vs3_claims_are_for_gateways() {
    let rule = "{match: [{headers: {'@request.auth.claims.sub': {exact: a}}}], route: [{destination: {host: b}}]}";
    says(&http(rule), &["error VS3 spec.http[0].match[0].headers[\"@request.auth.claims.sub\"]"]);
    let at =
        |gateways: &str| resource("VirtualService", &format!("{{hosts: [a.b], gateways: {gateways}, http: [{rule}]}}"));
    good(&at("[gw]"));
    says(&at("[gw, mesh]"), &["error VS3 spec.http[0].match[0].headers[\"@request.auth.claims.sub\"]"]);
    let without = rule.replace("headers", "withoutHeaders");
    says(&http(&without), &["error VS3 spec.http[0].match[0].withoutHeaders[\"@request.auth.claims.sub\"]"]);
}

#[test]
fn vs4_hosts_are_names_or_addresses() {
    good(&bound("[reviews, 'a.b.c.', '*.foo.com', '*foo.org', '*-x.foo.net', 10.0.0.1, '::1']", "[mesh]"));
    for bad in ["a_b", "a..b", "-a", "a.*.b", "foo.1", "a.b*", "''", "a/b"] {
        says(&bound(&format!("[{bad}]"), "[mesh]"), &["error VS4 spec.hosts[0]"]);
    }
    let long = "a".repeat(64);
    says(&bound(&format!("[{long}]"), "[mesh]"), &["error VS4 spec.hosts[0]"]);
    let sni = "tls: [{match: [{sniHosts: [outbound_.80_._.a.b]}], route: [{destination: {host: b}}]}]";
    good(&resource("VirtualService", &format!("{{hosts: [outbound_.80_._.a.b], gateways: [gw], {sni}}}")));
    says(&bound("[outbound_.80_._.a.b]", "[gw]"), &["error VS4 spec.hosts[0]"]);
    says(
        &resource(
            "VirtualService",
            &format!("{{hosts: [outbound_.x_._.a.b], gateways: [gw], {}}}", sni.replace(".80_", ".x_")),
        ),
        &["error VS4 spec.hosts[0]", "error VT2 spec.tls[0].match[0].sniHosts[0]"],
    );
}

#[test]
fn vs5_all_hosts_are_for_gateways() {
    says(&bound("['*']", "[]"), &["error VS5 spec.hosts[0]"]);
    says(&bound("['*']", "[mesh, gw]"), &["error VS5 spec.hosts[0]"]);
    good(&bound("['*']", "[gw]"));
}

#[test]
fn vs6_hosts_do_not_overlap() {
    good(&bound("[a.b, c.b, '*.c.b', '*.d']", "[gw]"));
    says(&bound("[a.b, c.b, a.b]", "[gw]"), &["error VS6 spec.hosts[2]"]);
    says(&bound("['*.b', x.b]", "[gw]"), &["error VS6 spec.hosts[1]"]);
    says(&bound("[x.y.b, '*.b']", "[gw]"), &["error VS6 spec.hosts[1]"]);
    says(&bound("['*.y.b', '*.b']", "[gw]"), &["error VS6 spec.hosts[1]"]);
    says(&bound("['*.b', '*.b']", "[gw]"), &["error VS6 spec.hosts[1]"]);
    says(&bound("['*', a.b]", "[gw]"), &["error VS6 spec.hosts[1]"]);
    says(&bound("['*foo.b', foo.b]", "[gw]"), &["error VS6 spec.hosts[1]"]);
    assert!(lines(&bound("[a.b, a.b]", "[gw]")).contains("duplicate host `a.b`"));
}

#[test]
fn vs7_a_virtual_service_has_rules() {
    says(&resource("VirtualService", "{hosts: [a]}"), &["error VS7 spec"]);
    good(&resource("VirtualService", &format!("{{hosts: [a], tcp: [{RULE}]}}")));
}

#[test]
fn vs9_export_to_names_namespaces_once() {
    let exported = |to: &str| resource("VirtualService", &format!("{{hosts: [a], exportTo: {to}, http: [{RULE}]}}"));
    for good_list in ["[]", "['*']", "[.]", "[., other]"] {
        good(&exported(good_list));
    }
    says(&exported("['~']"), &["error VS9 spec.exportTo[0]"]);
    says(&exported("[a_b]"), &["error VS9 spec.exportTo[0]"]);
    says(&exported("[b, b]"), &["error VS9 spec.exportTo[1]"]);
    says(&exported("[., default]"), &["error VS9 spec.exportTo[1]"]);
    says(&exported("[b, '*']"), &["error VS9 spec.exportTo[1]"]);
}

#[test]
fn vs10_only_the_last_rule_has_no_match() {
    says(&rules(&format!("{RULE}, {RULE}")), &["warning VS10 spec.http[1]"]);
    good(&rules(RULE));
}

#[test]
fn vs11_a_rule_behind_one_without_match_is_not_used() {
    let matching = "{match: [{uri: {exact: /a}}, {uri: {exact: /b}}], route: [{destination: {host: b}}]}";
    says(&rules(&format!("{RULE}, {matching}")), &["warning VS11 spec.http[1]"]);
    good(&rules(&format!("{matching}, {RULE}")));
    let tcp = format!("{{hosts: [a], tcp: [{RULE}, {{match: [{{port: 1}}], {}]}}", &RULE[1..]);
    says(&resource("VirtualService", &tcp), &["warning VS11 spec.tcp[1]"]);
    let behind = |taking: &str| {
        let taking = format!("{{match: [{taking}], route: [{{destination: {{host: b}}}}]}}");
        rules(&format!("{taking}, {matching}, {RULE}"))
    };
    for everything in ["{}", "{name: n}", "{uri: {prefix: /}}", "{uri: {regex: '.*'}}", "{uri: {exact: /c}}, {}"] {
        says(&behind(everything), &["warning VS11 spec.http[1]", "warning VS11 spec.http[2]"]);
    }
    for other in ["{uri: {exact: /}}", "{uri: {prefix: /}, port: 80}", "{method: {exact: GET}}"] {
        good(&behind(other));
    }
    let everything =
        format!("{{hosts: [a], tcp: [{{match: [{{}}], {}, {{match: [{{port: 1}}], {}]}}", &RULE[1..], &RULE[1..]);
    says(&resource("VirtualService", &everything), &["warning VS11 spec.tcp[1]"]);
}

#[test]
fn rules_behind_one_that_delegates_are_used() {
    let rule = |fields: &str| format!("{{{fields}}}");
    let (delegate, answer) = ("delegate: {name: child}", "directResponse: {status: 200}");
    for (first, second) in [
        ("", ""),
        ("match: [{uri: {prefix: /}}], ", "match: [{uri: {exact: /a}}], "),
        ("match: [{uri: {prefix: /a}}], ", "match: [{uri: {prefix: /a}}], "),
        ("match: [{uri: {prefix: /a}}], ", "match: [{uri: {prefix: /a/b}}], "),
    ] {
        let both = |one: &str, other: &str| rules(&format!("{}, {}", rule(one), rule(other)));
        good(&both(&format!("{first}{delegate}"), &format!("{second}{answer}")));
        good(&both(&format!("{first}{delegate}"), &format!("{second}{delegate}")));
        let before = lines(&both(&format!("{first}{answer}"), &format!("{second}{delegate}")));
        assert!(before.contains("spec.http[1]") && before.contains("never used"), "{first} before {second}: {before}");
    }
}

#[test]
fn vs12_the_same_match_twice_is_used_once() {
    let rule = |matches: &str| format!("{{match: [{matches}], route: [{{destination: {{host: b}}}}]}}");
    let one = "{uri: {exact: /a}, headers: {x: {regex: a}}}";
    let named = "{name: n, uri: {exact: /a}, headers: {x: {regex: a}}}";
    let other = "{uri: {exact: /a}, headers: {x: {prefix: a}}}";
    says(
        &rules(&format!("{}, {}", rule(one), rule(named))),
        &["warning VS12 spec.http[1].match[0]", "warning VS12 spec.http[1]"],
    );
    says(
        &rules(&format!("{}, {}", rule(one), rule(&format!("{one}, {other}")))),
        &["warning VS12 spec.http[1].match[0]"],
    );
    says(&rules(&rule(&format!("{one}, {one}"))), &["warning VS12 spec.http[0].match[1]"]);
    good(&rules(&format!("{}, {}", rule(one), rule(other))));
    let tls = |sni: &str| format!("{{match: [{{sniHosts: [{sni}]}}], route: [{{destination: {{host: b}}}}]}}");
    says(
        &resource("VirtualService", &format!("{{hosts: [a, b], tls: [{}, {}, {}]}}", tls("a"), tls("b"), tls("a"))),
        &["warning VS12 spec.tls[2].match[0]", "warning VS12 spec.tls[2]"],
    );
}

#[test]
fn vs13_a_narrower_match_behind_a_wider_one_is_not_used() {
    let rule = |request: &str| format!("{{match: [{request}], route: [{{destination: {{host: b}}}}]}}");
    let two = |one: &str, other: &str| rules(&format!("{}, {}", rule(one), rule(other)));
    let covered = &["warning VS13 spec.http[1].match[0].uri"];
    says(&two("{uri: {prefix: /a}}", "{uri: {prefix: /a/b}}"), covered);
    says(&two("{uri: {prefix: /a}}", "{uri: {prefix: /a/b}, method: {exact: POST}}"), covered);
    says(&two("{uri: {prefix: /a}, port: 1}", "{uri: {prefix: /ab}, port: 1}"), covered);
    says(&two("{uri: {prefix: /a}, headers: {x: {}}}", "{uri: {prefix: /ab}, headers: {x: {}}}"), covered);
    good(&two("{uri: {prefix: /a/b}}", "{uri: {prefix: /a}}"));
    good(&two("{uri: {prefix: /a}}", "{uri: {prefix: /b}}"));
    good(&two("{uri: {prefix: /a}, method: {exact: GET}}", "{uri: {prefix: /a/b}}"));
    good(&two("{uri: {prefix: /a}, port: 1}", "{uri: {prefix: /a/b}}"));
    good(&two("{uri: {prefix: /a}, headers: {x: {}}}", "{uri: {prefix: /ab}, headers: {y: {}}}"));
    good(&two("{uri: {prefix: /a}, ignoreUriCase: true}", "{uri: {prefix: /ab}}"));
    good(&two("{uri: {exact: /a}}", "{uri: {prefix: /ab}}"));
    says(&two("{uri: {prefix: /a}}", "{uri: {exact: /a}}"), covered);
    says(&two("{uri: {prefix: /a}}", "{uri: {exact: /a/b}, method: {exact: POST}}"), covered);
    says(&two("{uri: {exact: /a}}", "{uri: {exact: /a}, method: {exact: POST}}"), covered);
    says(&two("{uri: {regex: /a.}}", "{uri: {regex: /a.}, method: {exact: POST}}"), covered);
    says(&two("{headers: {x: {}}}", "{uri: {exact: /a}, headers: {x: {}}}"), covered);
    says(&two("{uri: {prefix: /}, headers: {x: {}}}", "{headers: {x: {}}}"), &["warning VS13 spec.http[1].match[0]"]);
    good(&two("{uri: {prefix: /a}, method: {exact: POST}}", "{uri: {exact: /a}}"));
    good(&two("{uri: {exact: /a}}", "{uri: {exact: /a/b}}"));
    good(&two("{uri: {prefix: /a}}", "{uri: {regex: /a}}"));
    good(&two("{uri: {exact: /a.}}", "{uri: {regex: /a.}}"));
    let took = lines(&two("{uri: {prefix: /a}}", "{uri: {exact: /ab}}"));
    assert!(took.contains("the prefix `/a` of rule 0 takes the path `/ab`"), "{took}");
    // The shortest prefix stands for those that it covers.
    let three = format!(
        "{}, {}, {}",
        rule("{uri: {prefix: /a/b}}"),
        rule("{uri: {prefix: /a}}"),
        rule("{uri: {prefix: /a/c}}")
    );
    says(&rules(&three), &["warning VS13 spec.http[2].match[0].uri"]);
    // What leads to a delegate may exclude the wider match, and with it its rule, and not the narrower one.
    for wider in ["{uri: {prefix: /}}", "{uri: {prefix: /a}}"] {
        let narrower = rule("{uri: {prefix: /a/b}}");
        good(&resource("VirtualService", &format!("{{http: [{}, {narrower}]}}", rule(wider))));
    }
    says(&resource("VirtualService", &format!("{{http: [{RULE}, {RULE}]}}")), &["warning VS10 spec.http[1]"]);
    good(&routed("name: only"));
}
