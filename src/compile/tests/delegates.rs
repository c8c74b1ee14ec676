//! Rules that stand in another VirtualService (G1 to G7).

use std::time::Duration;

use super::idle_rules::{idle, said};
use super::*;
use crate::error::Severity;

/// A root with `rules`, and the delegate `child` with `own`.
fn delegated(rules: &str, own: &str) -> (Arc<Snapshot>, Report) {
    let root = virtual_service("it", &format!("hosts: [it.test]\nhttp:\n{}", rules.trim_matches('\n')));
    let child = virtual_service("child", &format!("http:\n{}", own.trim_matches('\n')));
    published(&format!("{root}{child}"), MeshOptions::default())
}

/// Where `GET uri` goes: the host, or a dash.
fn to(snapshot: &Snapshot, uri: &str) -> String {
    route(snapshot, &format!("http://it.test{uri}"))
        .map_or_else(|| "-".to_owned(), |route| destination(snapshot, &route))
}

#[test]
fn g4_the_rules_of_the_delegate_stand_in_place_of_the_root_rule() {
    let (snapshot, report) = delegated(
        "
- {name: first, match: [{uri: {exact: /1}}], route: [{destination: {host: b.test}}]}
- {name: root, match: [{name: m, uri: {prefix: /d}}], delegate: {name: child}}
- {name: last, route: [{destination: {host: b.test}}]}
",
        "
- {name: own, match: [{name: n, uri: {prefix: /d/x}}, {uri: {exact: /d/y}}], route: [{destination: {host: a.test}}]}
- {match: [{uri: {prefix: /d/z}}], route: [{destination: {host: a.test}}]}
",
    );
    assert_eq!(report.problems(), []);
    assert_eq!(names(&snapshot), ["first", "root-own.m-n", "root-own.m", "root.m", "last"]);
    for (uri, host) in
        [("/1", "b.test"), ("/d/x", "a.test"), ("/d/y", "a.test"), ("/d/zz", "a.test"), ("/d/y/", "b.test")]
    {
        assert_eq!(to(&snapshot, uri), host, "{uri}");
    }
    let origin = &route(&snapshot, "http://it.test/d/y").unwrap().origin;
    assert_eq!((&*origin.resource.name, origin.path.as_str()), ("child", "spec.http[0].match[1]"));
    assert!(origin.place.is_some());
}

#[test]
fn g4_either_may_have_no_match() {
    let plain = "- route: [{destination: {host: a.test}}]";
    let (snapshot, _) = delegated("- {match: [{uri: {prefix: /d}}], delegate: {name: child}}", plain);
    assert_eq!((to(&snapshot, "/d/x"), to(&snapshot, "/e")), ("a.test".to_owned(), "-".to_owned()));
    let matched = "- {match: [{uri: {prefix: /d}}], route: [{destination: {host: a.test}}]}";
    let (snapshot, _) = delegated("- delegate: {name: child}", matched);
    assert_eq!((to(&snapshot, "/d/x"), to(&snapshot, "/e")), ("a.test".to_owned(), "-".to_owned()));
    let (snapshot, _) = delegated("- delegate: {name: child}", plain);
    assert_eq!(to(&snapshot, "/any"), "a.test");
}

#[test]
fn g4_policies_are_inherited_whole() {
    let (snapshot, report) = delegated(
        "
- match: [{uri: {prefix: /d}}]
  timeout: 1s
  retries: {attempts: 9}
  rewrite: {uri: /root}
  fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
  mirror: {host: b.test}
  mirrorPercentage: {value: 25}
  corsPolicy: {allowOrigins: [{exact: 'https://a'}]}
  headers: {request: {set: {x-root: '1', host: root.test}}, response: {set: {x-root: '1'}}}
  delegate: {name: child}
",
        "
- match: [{uri: {prefix: /d/own}}]
  timeout: 2s
  retries: {attempts: 0}
  rewrite: {authority: own.test}
  fault: {delay: {fixedDelay: 1s, percentage: {value: 100}}}
  mirrors: [{destination: {host: b.test}}]
  corsPolicy: {allowOrigins: [{exact: 'https://b'}]}
  headers: {request: {set: {x-own: '1'}}}
  route: [{destination: {host: a.test}}]
- route: [{destination: {host: a.test}}]
",
    );
    assert_eq!(report.problems(), []);
    let inherited = route(&snapshot, "http://it.test/d/x").unwrap();
    let forward_inherited = forward(&inherited);
    assert_eq!(forward_inherited.timeout, Some(Duration::from_secs(1)));
    assert_eq!(forward_inherited.retry.as_ref().unwrap().attempts, 9);
    let rewrite = &forward_inherited.rewrite;
    assert_eq!(rewrite.path.as_ref().unwrap().apply("/d/x").as_deref(), Some("/root/x"));
    assert_eq!(rewrite.authority.as_ref().unwrap().uri, "root.test");
    assert!(inherited.fault.as_ref().unwrap().abort.is_some());
    assert!(forward_inherited.cors.is_some());
    assert_eq!(forward_inherited.mirrors.len(), 1);
    assert!(!inherited.request_headers.is_empty() && !inherited.response_headers.is_empty());

    let own = route(&snapshot, "http://it.test/d/own").unwrap();
    let forward_own = forward(&own);
    assert_eq!(forward_own.timeout, Some(Duration::from_secs(2)));
    assert_eq!(forward_own.retry, None);
    assert!(forward_own.rewrite.path.is_none());
    assert_eq!(forward_own.rewrite.authority.as_ref().unwrap().uri, "own.test");
    let fault = own.fault.as_ref().unwrap();
    assert!(fault.abort.is_none() && fault.delay.is_some());
    // `mirror` and `mirrors` are two fields: the one is inherited beside the other.
    assert_eq!(forward_own.mirrors.len(), 2);
    assert!(!own.request_headers.is_empty() && own.response_headers.is_empty());
    assert!(own.request_headers.authority().is_none());
}

/// Nothing else leaves a rule with several actions: a redirect counts before a direct response, that before
/// destinations.
#[test]
fn g4_and_t14_actions_are_the_delegates_but_for_a_direct_response() {
    let (snapshot, _) = delegated(
        "- {directResponse: {status: 418}, delegate: {name: child}}",
        "
- {match: [{uri: {prefix: /r}}], redirect: {uri: /x}}
- route: [{destination: {host: a.test}}]
",
    );
    assert!(matches!(route(&snapshot, "http://it.test/r").unwrap().action, Action::Redirect(_)));
    let Action::Respond(response) = &route(&snapshot, "http://it.test/").unwrap().action else { panic!() };
    assert_eq!(response.status, 418);
}

/// How many of the pairs of two lists of matches make routes.
fn pairs(root: &str, own: &str) -> usize {
    let (snapshot, report) = delegated(
        &format!("- {{match: [{root}], delegate: {{name: child}}}}"),
        &format!("- {{match: [{own}], route: [{{destination: {{host: a.test}}}}]}}"),
    );
    assert!(report.errors().next().is_none(), "{report}");
    names(&snapshot).len()
}

#[test]
fn g5_matches_that_exclude_each_other_make_no_route() {
    for (root, own, expected) in [
        ("{uri: {prefix: /a}}", "{uri: {prefix: /a/b}}", 1),
        ("{uri: {prefix: /a}}", "{uri: {exact: /a/b}}", 1),
        ("{uri: {prefix: /a}}", "{uri: {exact: /b}}", 0),
        ("{uri: {prefix: /a/b}}", "{uri: {prefix: /a}}", 0),
        ("{uri: {exact: /a}}", "{uri: {exact: /a}}", 1),
        ("{uri: {exact: /a}}", "{uri: {exact: /b}}", 0),
        ("{uri: {exact: /a}}", "{uri: {prefix: /a}}", 0),
        ("{uri: {regex: /a.*}}", "{uri: {prefix: /a}}", 0),
        ("{uri: {prefix: /a}}", "{uri: {regex: /a.*}}", 0),
        ("{uri: {regex: /a}}", "{uri: {regex: /a}}", 0),
        ("{uri: {regex: /a}}", "{method: {exact: GET}}", 1),
        ("{uri: {prefix: /a}}, {uri: {prefix: /b}}", "{uri: {prefix: /b/c}}", 1),
        ("{uri: {prefix: /a}}, {uri: {prefix: /b}}", "{uri: {prefix: /a/c}}, {uri: {prefix: /c}}", 0),
        ("{uri: {prefix: /a}}, {uri: {prefix: /b}}", "{method: {exact: GET}}, {method: {exact: PUT}}", 4),
        ("{headers: {x: {exact: '1'}}}", "{headers: {y: {exact: '1'}}}", 1),
        ("{headers: {x: {exact: '1'}}}", "{headers: {x: {exact: '2'}}}", 0),
        ("{headers: {x: {}}}", "{headers: {x: {}}}", 0),
        ("{withoutHeaders: {x: {exact: '1'}}}", "{withoutHeaders: {x: {exact: '2'}}}", 0),
        ("{withoutHeaders: {x: {exact: '1'}}}", "{headers: {x: {exact: '2'}}}", 1),
        ("{queryParams: {q: {exact: '1'}}}", "{queryParams: {q: {prefix: '1'}}}", 0),
        ("{uri: {prefix: /a}, ignoreUriCase: true}", "{uri: {prefix: /a/b}}", 0),
        ("{uri: {prefix: /a}, port: 80}", "{method: {exact: GET}, port: 81}", 0),
        ("{method: {exact: GET}, port: 80}", "{uri: {prefix: /a}}", 1),
        ("{method: {exact: GET}, sourceNamespace: default}", "{uri: {prefix: /a}}", 0),
        ("{uri: {prefix: /a}}", "{method: {exact: GET}, sourceNamespace: default}", 1),
        ("{method: {exact: GET}, sourceLabels: {a: b}}", "{uri: {prefix: /a}, sourceLabels: {a: c}}", 0),
        ("{method: {exact: GET}, gateways: [mesh]}", "{uri: {prefix: /a}}", 1),
        ("{method: {exact: GET}, gateways: [mesh]}", "{uri: {prefix: /a}, gateways: [mesh]}", 1),
        ("{method: {exact: GET}, gateways: [other]}", "{uri: {prefix: /a}, gateways: [mesh]}", 0),
    ] {
        assert_eq!(pairs(root, own), expected, "{root} with {own}");
    }
}

#[test]
fn g6_a_merged_match_asks_for_everything() {
    let (snapshot, _) = delegated(
        "- {match: [{uri: {prefix: /a}, queryParams: {p: {exact: '1'}}}], delegate: {name: child}}",
        "- {match: [{uri: {prefix: /a/b}, queryParams: {q: {exact: '2'}}}], route: [{destination: {host: a.test}}]}",
    );
    for (uri, expected) in
        [("/a/b?p=1&q=2", "a.test"), ("/a/b?p=1", "-"), ("/a/b?q=2", "-"), ("/a?p=1&q=2", "-"), ("/a/b", "-")]
    {
        assert_eq!(to(&snapshot, uri), expected, "{uri}");
    }
}

#[test]
fn g3_a_rule_without_its_delegate_goes_and_is_named_by_check() {
    let get = "match: [{method: {exact: GET}}]";
    let rest = "- route: [{destination: {host: b.test}}]";
    let own = "- route: [{destination: {host: a.test}}]";
    let (snapshot, report) = delegated(&format!("- {{{get}, delegate: {{name: chidl}}}}\n{rest}"), own);
    assert_eq!(to(&snapshot, "/"), "b.test");
    let [problem] = report.problems() else { panic!("{report}") };
    assert_eq!((problem.severity, problem.path.as_str()), (Severity::Reference, "spec.http[0].delegate"));
    assert_eq!(problem.help.as_deref(), Some("did you mean default/child?"));
    let (snapshot, report) =
        delegated(&format!("- {{{get}, delegate: {{name: child, namespace: other}}}}\n{rest}"), own);
    assert_eq!(to(&snapshot, "/"), "b.test");
    assert!(report.fails_check());
    let (snapshot, report) = delegated(&format!("- {{{get}, delegate: {{name: it}}}}\n{rest}"), own);
    assert_eq!(to(&snapshot, "/"), "b.test");
    assert!(report.problems()[0].message.contains("has hosts"), "{report}");
}

#[test]
fn g3_a_delegate_must_be_exported_to_its_root() {
    let document = |namespace: &str, name: &str, spec: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {spec}\n---\n"
        )
    };
    for (export_to, expected) in [
        ("", "a.test"),
        ("exportTo: ['*'], ", "a.test"),
        ("exportTo: [default], ", "a.test"),
        ("exportTo: ['.'], ", "-"),
    ] {
        let root = "{hosts: [it.test], http: [{delegate: {name: child, namespace: far}}]}";
        let own = format!("{{{export_to}http: [{{route: [{{destination: {{host: a.test}}}}]}}]}}");
        let documents = document("default", "it", root) + &document("far", "child", &own);
        let (snapshot, report) = published(&documents, MeshOptions::default());
        assert_eq!(to(&snapshot, "/"), expected, "{export_to}");
        assert_eq!(report.fails_check(), expected == "-", "{report}");
    }
}

#[test]
fn g1_and_g2_a_delegate_does_nothing_by_itself_and_does_not_delegate() {
    let child = virtual_service("child", "http: [{route: [{destination: {host: a.test}}]}]");
    let (snapshot, report) = published(&child, MeshOptions::default());
    assert_eq!((names(&snapshot).len(), report.problems().len()), (0, 0), "{report}");
    let (_, report) = delegated("- delegate: {name: child}", "- delegate: {name: other}");
    assert!(report.errors().any(|problem| problem.path == "spec.http[0].delegate"), "{report}");
}

#[test]
fn n5_short_names_are_those_of_the_delegates_namespace() {
    let service =
        "apiVersion: v1\nkind: Service\nmetadata: {name: api, namespace: far}\nspec: {ports: [{port: 80}]}\n---\n";
    let documents = format!(
        "{service}apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: child, namespace: far}}\n\
         spec: {{http: [{{route: [{{destination: {{host: api}}}}]}}]}}\n---\n{}",
        virtual_service("it", "hosts: [it.test]\nhttp: [{delegate: {name: child, namespace: far}}]")
    );
    let (snapshot, _) = published(&documents, MeshOptions::default());
    assert_eq!(to(&snapshot, "/"), "api.far.svc.cluster.local");
}

#[test]
fn g7_several_roots_may_have_one_delegate() {
    let root = |name: &str, prefix: &str| {
        virtual_service(
            name,
            &format!(
                "hosts: [{name}.test]\nhttp: [{{match: [{{uri: {{prefix: {prefix}}}}}], delegate: {{name: child}}}}]"
            ),
        )
    };
    let child =
        virtual_service("child", "http: [{match: [{method: {exact: GET}}], route: [{destination: {host: a.test}}]}]");
    let (snapshot, report) = published(&(root("one", "/1") + &root("two", "/2") + &child), MeshOptions::default());
    assert_eq!(report.problems(), []);
    for (uri, found) in [("http://one.test/1", true), ("http://one.test/2", false), ("http://two.test/2", true)] {
        assert_eq!(route(&snapshot, uri).is_some(), found, "{uri}");
    }
}

/// A root with `rules` rules that lead to `child`, each with `matches` matches, and as many in the child.
fn multiplied(rules: usize, matches: usize) -> (Arc<Snapshot>, Report) {
    let list = |header: &str, action: &str| -> String {
        let rule = |rule: usize| {
            let entry = |entry: usize| format!("{{headers: {{{header}: {{exact: '{rule}-{entry}'}}}}}}");
            let entries: Vec<_> = (0..matches).map(entry).collect();
            format!("- {{match: [{}], {action}}}\n", entries.join(", "))
        };
        (0..rules).map(rule).collect()
    };
    let last = "- route: [{destination: {host: b.test}}]";
    delegated(&(list("x", "delegate: {name: child}") + last), &list("y", "route: [{destination: {host: a.test}}]"))
}

#[test]
fn rules_that_multiply_are_bounded() {
    let (snapshot, report) = multiplied(100, 1);
    assert_eq!(report.problems(), [], "exactly as many as there may be");
    assert_eq!(names(&snapshot).len(), 10_001);
    // 101 rules with 101 each: the hundredth root rule is the first with too many.
    let (snapshot, report) = multiplied(101, 1);
    let [problem] = report.problems() else { panic!("{report}") };
    assert_eq!((problem.severity, problem.path.as_str()), (Severity::Error, "spec.http[99].delegate"));
    assert!(problem.message.contains("more than 10000 merged matches") && problem.place.is_some(), "{problem}");
    assert_eq!(names(&snapshot).len(), 0, "nothing of it is used");
    // One rule with as many matches counts as much.
    let (snapshot, report) = multiplied(1, 101);
    assert_eq!((report.errors().count(), names(&snapshot).len()), (1, 0), "{report}");
}

#[test]
fn rules_that_do_not_multiply_have_no_bound() {
    let rule = |n| format!("- {{match: [{{uri: {{exact: /{n}}}}}], route: [{{destination: {{host: a.test}}}}]}}\n");
    let own: String = (0..=10_000).map(rule).collect();
    for root in ["", "match: [{method: {exact: GET}}], ", "match: [{uri: {prefix: /1}}], "] {
        let (snapshot, report) = delegated(&format!("- {{{root}delegate: {{name: child}}}}"), &own);
        assert_eq!((report.errors().count(), to(&snapshot, "/10000")), (0, "a.test".to_owned()), "{root}");
    }
}

#[test]
fn a_rule_that_every_root_excludes_is_named() {
    let root = |name: &str, prefixes: &str| {
        let rule = |prefix| format!("{{match: [{{uri: {{prefix: {prefix}}}}}], delegate: {{name: it}}}}");
        let rules: Vec<_> = prefixes.split(' ').map(rule).collect();
        virtual_service(name, &format!("hosts: [{name}.test]\nhttp: [{}]", rules.join(", ")))
    };
    let own = |matches: &str| {
        let to = "route: [{destination: {host: a.test}}]";
        virtual_service("it", &format!("http:\n- {{match: [{matches}], {to}}}\n- {to}"))
    };
    let two = own("{uri: {prefix: /a/b}}, {uri: {prefix: /c}}");
    let why = |root: &str, number: usize| {
        let why =
            format!("VirtualService default/{root} spec.http[{number}], which leads here, excludes one of its matches");
        [said("it", "spec.http[0]", &why)]
    };
    assert_eq!(idle(&(root("one", "/a") + &two)), why("one", 0));
    assert_eq!(idle(&(root("one", "/b /a") + &root("two", "/c") + &two)), why("one", 0), "the first is named, once");
    let one = own("{uri: {prefix: /c/d}}");
    for roots in ["/a /c", "/c /a"] {
        assert_eq!(idle(&(root("one", roots) + &one)), [], "{roots}");
    }
    assert_eq!(idle(&(root("one", "/a") + &root("two", "/c") + &one)), []);
}
