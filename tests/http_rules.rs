//! Every field of an http rule changes what is published, and none of them is named as not honored.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use mesh_router::Mesh;
use mesh_router::config::Config;
use mesh_router::dice::Dice;
use mesh_router::error::Severity;

/// What the rules refer to.
const MESH: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: all}
spec:
  hosts: [all.test, other.test]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: more, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: child}
spec: {http: [{route: [{destination: {host: other.test}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: child, namespace: far}
spec: {http: [{redirect: {uri: /far}}]}
---
";

const ROUTE: &str = "route: [{destination: {host: all.test}}]";
const SPLIT: &str = "route: [{destination: {host: all.test}, weight: 1}, {destination: {host: other.test}, weight: 1}]";

/// A rule, and the same with one field more or another value of it; both without the destination that follows.
const FIELDS: &[(&str, &[(&str, &str)])] = &[
    (
        ROUTE,
        &[
            ("", "name: a"),
            ("", "match: [{uri: {prefix: /a}}]"),
            ("", "match: [{name: a}]"),
            ("", "timeout: 1s"),
            ("", "retries: {attempts: 0}"),
            ("retries: {attempts: 1}", "retries: {attempts: 2}"),
            ("retries: {attempts: 1}", "retries: {attempts: 1, perTryTimeout: 1s}"),
            ("retries: {attempts: 1}", "retries: {attempts: 1, retryOn: 5xx}"),
            ("retries: {attempts: 1, retryOn: '503'}", "retries: {attempts: 1, retryOn: '504'}"),
            ("retries: {attempts: 1}", "retries: {attempts: 1, retryRemoteLocalities: true}"),
            ("retries: {attempts: 1}", "retries: {attempts: 1, retryIgnorePreviousHosts: false}"),
            ("retries: {attempts: 1}", "retries: {attempts: 1, backoff: 1s}"),
            ("", "rewrite: {uri: /a}"),
            ("", "rewrite: {authority: a.test}"),
            ("", "rewrite: {uriRegexRewrite: {match: a, rewrite: b}}"),
            (
                "rewrite: {uriRegexRewrite: {match: a, rewrite: b}}",
                "rewrite: {uriRegexRewrite: {match: b, rewrite: b}}",
            ),
            (
                "rewrite: {uriRegexRewrite: {match: a, rewrite: b}}",
                "rewrite: {uriRegexRewrite: {match: a, rewrite: c}}",
            ),
            ("", "fault: {delay: {fixedDelay: 1s, percentage: {value: 10}}}"),
            ("", "fault: {delay: {fixedDelay: 1s, percent: 10}}"),
            (
                "fault: {delay: {fixedDelay: 1s, percentage: {value: 10}}}",
                "fault: {delay: {fixedDelay: 2s, percentage: {value: 10}}}",
            ),
            (
                "fault: {delay: {fixedDelay: 1s, percentage: {value: 10}}}",
                "fault: {delay: {fixedDelay: 1s, percentage: {value: 20}}}",
            ),
            ("", "fault: {abort: {httpStatus: 503, percentage: {value: 10}}}"),
            (
                "fault: {abort: {httpStatus: 503, percentage: {value: 10}}}",
                "fault: {abort: {grpcStatus: UNAVAILABLE, percentage: {value: 10}}}",
            ),
            (
                "fault: {abort: {httpStatus: 503, percentage: {value: 10}}}",
                "fault: {abort: {httpStatus: 503, percentage: {value: 20}}}",
            ),
            ("", "mirror: {host: other.test, port: {number: 80}}"),
            ("mirror: {host: other.test, port: {number: 80}}", "mirror: {host: other.test, port: {number: 81}}"),
            ("mirror: {host: other.test}", "mirror: {host: other.test}, mirrorPercentage: {value: 10}"),
            ("mirror: {host: other.test}", "mirror: {host: other.test}, mirrorPercent: 10"),
            ("", "mirrors: [{destination: {host: other.test}}]"),
            (
                "mirrors: [{destination: {host: other.test}}]",
                "mirrors: [{destination: {host: other.test}, percentage: {value: 10}}]",
            ),
            ("", "corsPolicy: {}"),
            ("corsPolicy: {}", "corsPolicy: {allowOrigin: [a]}"),
            ("corsPolicy: {}", "corsPolicy: {allowOrigins: [{exact: a}]}"),
            ("corsPolicy: {}", "corsPolicy: {allowMethods: [GET]}"),
            ("corsPolicy: {}", "corsPolicy: {allowHeaders: [x-a]}"),
            ("corsPolicy: {}", "corsPolicy: {exposeHeaders: [x-a]}"),
            ("corsPolicy: {}", "corsPolicy: {maxAge: 1m}"),
            ("corsPolicy: {}", "corsPolicy: {allowCredentials: true}"),
            ("corsPolicy: {}", "corsPolicy: {unmatchedPreflights: IGNORE}"),
            ("", "headers: {request: {set: {x: '%REQ(y)%'}}}"),
            ("", "headers: {request: {add: {x: y}}}"),
            ("", "headers: {request: {remove: [x]}}"),
            ("", "headers: {response: {set: {x: y}}}"),
        ],
    ),
    (SPLIT, &[("", "mirror: {host: other.test}"), ("", "rewrite: {authority: a.test}")]),
    (
        "",
        &[
            ("redirect: {uri: /a}", "redirect: {uri: /b}"),
            ("redirect: {uri: /a}", "redirect: {uri: /a, authority: a.test}"),
            ("redirect: {uri: /a}", "redirect: {uri: /a, port: 81}"),
            ("redirect: {uri: /a}", "redirect: {uri: /a, derivePort: FROM_REQUEST_PORT}"),
            ("redirect: {uri: /a}", "redirect: {uri: /a, scheme: https}"),
            ("redirect: {uri: /a}", "redirect: {uri: /a, redirectCode: 302}"),
            ("redirect: {scheme: https}", "redirect: {scheme: https, prefixRewrite: /a}"),
            ("redirect: {uri: /a}", "redirect: {uri: /a}, headers: {response: {set: {x: y}}}"),
            ("directResponse: {status: 200}", "directResponse: {status: 404}"),
            ("directResponse: {status: 200}", "directResponse: {status: 200, body: {string: a}}"),
            ("directResponse: {status: 200, body: {string: a}}", "directResponse: {status: 200, body: {bytes: AAEC}}"),
            ("redirect: {uri: /a}", "delegate: {name: child}"),
            ("delegate: {name: child}", "delegate: {name: child, namespace: far}"),
            ("delegate: {name: child}", "delegate: {name: child}, timeout: 1s"),
        ],
    ),
];

/// What a rule comes to.
fn published(rule: &str) -> String {
    let text = format!(
        "{MESH}apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: it}}\n\
         spec: {{hosts: [it.test], http: [{{{rule}}}]}}\n"
    );
    let mesh = Mesh::builder().dice(Dice::seeded(1)).build();
    let report = mesh.apply(Config::from_yaml(&text, "it.yaml").unwrap()).unwrap();
    // What is deprecated is a warning of Istio's validation, which has a rule.
    let wrong = |severity, rule: Option<&str>| severity != Severity::Warning || rule.is_none();
    assert!(!report.problems().iter().any(|problem| wrong(problem.severity, problem.rule)), "{rule}: {report}");
    let snapshot = format!("{:#?}", mesh.snapshot());
    let stable = snapshot.lines().filter(|line| !line.contains("line:") && !line.contains("column:"));
    stable.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_field_of_a_rule_is_honored() {
    for (route, pairs) in FIELDS {
        for (before, after) in *pairs {
            let rule = |words: &str| {
                [words, route].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(", ")
            };
            assert_ne!(published(&rule(before)), published(&rule(after)), "{before} and {after}");
        }
    }
}
