//! VH1 to VH6, VH12, VH25, VH38, VH39.

use super::{good, http, lines, resource, routed, says};

fn to(destination: &str) -> String {
    http(&format!("{{route: [{{destination: {destination}}}]}}"))
}

#[test]
fn vh1_a_root_rule_neither_routes_nor_redirects() {
    good(&http("{delegate: {name: d}, timeout: 1s}"));
    says(&routed("delegate: {name: d}"), &["error VH1 spec.http[0].route"]);
    says(&http("{delegate: {name: d}, redirect: {uri: /x}}"), &["error VH1 spec.http[0].redirect"]);
}

#[test]
fn vh2_a_delegate_does_not_delegate() {
    says(&resource("VirtualService", "{http: [{delegate: {name: d}}]}"), &["error VH2 spec.http[0].delegate"]);
}

#[test]
fn vh3_a_redirect_stands_alone() {
    good(&http("{redirect: {uri: /x}, headers: {response: {set: {a: b}}}}"));
    says(&routed("redirect: {uri: /x}"), &["error VH3 spec.http[0].route"]);
    says(
        &http(
            "{redirect: {uri: /x}, fault: {delay: {fixedDelay: 1s}}, rewrite: {uri: /y}, directResponse: {status: 200}}",
        ),
        &["error VH3 spec.http[0].fault", "error VH3 spec.http[0].rewrite", "error VH3 spec.http[0].directResponse"],
    );
    assert!(lines(&routed("redirect: {uri: /x}")).contains("`redirect` and `route` cannot be in one rule [VH3]"));
}

#[test]
fn vh4_a_direct_response_stands_alone() {
    good(&http("{directResponse: {status: 200}}"));
    says(
        &routed("directResponse: {status: 200}, fault: {delay: {fixedDelay: 1s}}, rewrite: {uri: /y}"),
        &["error VH4 spec.http[0].route", "error VH4 spec.http[0].fault", "error VH4 spec.http[0].rewrite"],
    );
}

#[test]
fn vh5_a_rule_does_something() {
    says(&http("{match: [{uri: {prefix: /}}]}"), &["error VH5 spec.http[0]"]);
    says(&resource("VirtualService", "{http: [{name: x}]}"), &["error VH5 spec.http[0]"]);
    good(&routed("name: x"));
}

#[test]
fn vh6_mirrors_are_written_one_way() {
    says(&routed("mirror: {host: c}, mirrors: [{destination: {host: d}}]"), &["error VH6 spec.http[0].mirrors"]);
    good(&routed("mirror: {host: c}"));
    good(&routed("mirrors: [{destination: {host: d}}]"));
    let rule = "{mirror: {host: c}, mirrors: [{destination: {host: d}}], delegate: {name: x}}";
    good(&http(rule));
    says(
        &resource("VirtualService", &format!("{{http: [{rule}]}}")),
        &["error VH6 spec.http[0].mirrors", "error VH2 spec.http[0].delegate"],
    );
}

#[test]
fn vh12_header_operations_have_names_and_values() {
    good(&routed("headers: {request: {set: {Host: x, x-a: '%REQ(x)% 100%%'}, add: {y: ''}, remove: [z]}}"));
    good(&routed("headers: {request: {set: {':authority': x}}}"));
    good(&routed("headers: {request: {set: {x: '%START_TIME(%Y-%m-%dT%H:%M:%E3S%Ez %k %Q)%'}}}"));
    let cases = [
        ("request: {set: {':path': x}}", "request.set.:path"),
        ("request: {add: {'': x}}", "request.add[\"\"]"),
        ("request: {remove: [host]}", "request.remove[0]"),
        ("request: {remove: [a, ':path']}", "request.remove[1]"),
        ("response: {set: {host: x}}", "response.set.host"),
        ("response: {add: {':authority': x}}", "response.add.:authority"),
        ("response: {remove: ['']}", "response.remove[0]"),
        ("request: {set: {x: 'a%b'}}", "request.set.x"),
        ("response: {set: {x: '%START_TIME%%'}}", "response.set.x"),
        ("response: {set: {x: '%START_TIME(%Y%n)%'}}", "response.set.x"),
        ("request: {set: {x: '%REQ(y) %'}}", "request.set.x"),
        ("request: {add: {x: \"a\\nb\"}}", "request.add.x"),
    ];
    for (headers, path) in cases {
        says(&routed(&format!("headers: {{{headers}}}")), &[&format!("error VH12 spec.http[0].headers.{path}")]);
        let inner = http(&format!("{{route: [{{destination: {{host: b}}, headers: {{{headers}}}}}]}}"));
        says(&inner, &[&format!("error VH12 spec.http[0].route[0].headers.{path}")]);
    }
}

#[test]
fn vh25_destinations_are_hosts_subsets_and_ports() {
    good(&to("{host: '*.b.c', subset: v1, port: {number: 80}}"));
    says(&to("{host: '*'}"), &["error VH25 spec.http[0].route[0].destination.host"]);
    says(&to("{host: ''}"), &["error VH25 spec.http[0].route[0].destination.host"]);
    says(&to("{host: a_b}"), &["error VH25 spec.http[0].route[0].destination.host"]);
    says(&to("{host: 10.0.0.1}"), &["error VH25 spec.http[0].route[0].destination.host"]);
    says(&to("{host: b, subset: v.1}"), &["error VH25 spec.http[0].route[0].destination.subset"]);
    says(&to("{host: b, port: {number: 0}}"), &["error VH25 spec.http[0].route[0].destination.port.number"]);
    says(&to("{host: b, port: {number: 65536}}"), &["error VH25 spec.http[0].route[0].destination.port.number"]);
    says(&routed("mirror: {host: '*'}"), &["error VH25 spec.http[0].mirror.host"]);
    says(&routed("mirrors: [{destination: {host: '*'}}]"), &["error VH25 spec.http[0].mirrors[0].destination.host"]);
}

#[test]
fn vh38_a_route_has_destinations_and_weights() {
    says(&http("{route: [{weight: 1}]}"), &["error VH38 spec.http[0].route[0]"]);
    says(
        &http("{route: [{destination: {host: b}, weight: -5}, {destination: {host: c}, weight: 105}]}"),
        &["error VH38 spec.http[0].route[0].weight"],
    );
    good(&http("{route: [{destination: {host: b}, weight: 5}, {destination: {host: c}, weight: 5}]}"));
}

#[test]
fn vh39_weights_do_not_sum_up_to_nothing() {
    says(&http("{route: [{destination: {host: b}}, {destination: {host: c}}]}"), &["error VH39 spec.http[0].route"]);
    good(&http("{route: [{destination: {host: b}, weight: 0}]}"));
    good(&http(
        "{route: [{destination: {host: b}, weight: 2147483647}, {destination: {host: c}, weight: 2147483647}]}",
    ));
}
