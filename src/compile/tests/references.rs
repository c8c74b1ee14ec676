//! References to what is not there.

use super::*;
use crate::error::Severity;
use crate::request::GatewayOrigin;

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec: {servers: [{port: {number: 80, name: h, protocol: HTTP}, hosts: ['*']}]}
---
";

#[test]
fn gateways_that_matches_name_are_looked_for_as_those_of_the_virtual_service() {
    let route = "route: [{destination: {host: a.test}}]";
    let there = "front, default/front, ./front, front.default.svc.cluster.local, mesh, web/own";
    let rules = format!(
        "hosts: [it.test]
gateways: [{there}]
http:
- {{match: [{{uri: {{prefix: /x}}}}, {{gateways: [{there}]}}, {{gateways: [mesh, frond]}}], {route}}}
- {{match: [{{gateways: [other/front]}}], {route}}}
tls: [{{match: [{{sniHosts: [it.test], gateways: [gone]}}], {route}}}]
tcp: [{{match: [{{port: 80}}, {{gateways: [gone, front]}}], {route}}}]"
    );
    let delegate = format!("http: [{{match: [{{gateways: [web/gone]}}], {route}}}]");
    let mesh = Mesh::new();
    mesh.serve_gateway(&GatewayOrigin::new("web/own"));
    let documents = virtual_service("it", &rules) + &virtual_service("child", &delegate);
    let config = Config::from_yaml(&format!("{SERVICES}{GATEWAY}{documents}"), "it.yaml").unwrap();
    let report = mesh.apply(config).unwrap();
    let dangling = report.problems().iter().filter(|problem| problem.severity == Severity::Reference);
    let dangling: Vec<_> = dangling.map(|problem| (problem.path.as_str(), problem.message.as_str())).collect();
    let expected = [
        ("spec.http[0].match[2].gateways[1]", "there is no Gateway default/frond"),
        ("spec.http[1].match[0].gateways[0]", "there is no Gateway other/front"),
        ("spec.tls[0].match[0].gateways[0]", "there is no Gateway default/gone"),
        ("spec.tcp[0].match[1].gateways[0]", "there is no Gateway default/gone"),
        ("spec.http[0].match[0].gateways[0]", "there is no Gateway web/gone"),
    ];
    assert_eq!(dangling, expected, "{report}");
    let misspelled = report.problems().iter().find(|problem| problem.path == expected[0].0).unwrap();
    assert_eq!(misspelled.help.as_deref(), Some("did you mean default/front?"));
    assert!(report.fails_check() && !report.refuses_start());
}
