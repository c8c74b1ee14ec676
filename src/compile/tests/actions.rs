//! Redirects, direct responses, rewrites and header operations.

use http::StatusCode;

use super::*;
use crate::route::{DestinationName, FormatContext};

fn location(rule: &str, uri: &str, host: &str) -> String {
    let snapshot = of_rule(rule);
    let route = route(&snapshot, &format!("http://it.test{uri}")).unwrap();
    let (uri, mut headers): (Uri, _) = (uri.parse().unwrap(), HeaderMap::new());
    headers.insert("host", host.parse().unwrap());
    let view = RequestView::new(&Method::GET, &uri, &headers, &Origin::Mesh);
    redirect(&route).location(&view).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn r2_words_of_a_redirect_make_the_vectors() {
    for (words, expected) in [
        ("uri: /n", "http://a.com:8080/n?y=1"),
        ("uri: n", "http://a.com:8080/n?y=1"),
        ("uri: '/n?z=2'", "http://a.com:8080/n?z=2"),
        ("authority: b.com", "http://b.com/x?y=1"),
        ("authority: b.com, port: 81", "http://b.com:81/x?y=1"),
        ("scheme: https", "https://a.com:8080/x?y=1"),
        ("port: 9090", "http://a.com:9090/x?y=1"),
        ("port: 80", "http://a.com:8080/x?y=1"),
        ("derivePort: FROM_REQUEST_PORT, scheme: https", "https://a.com:8080/x?y=1"),
        ("derivePort: FROM_REQUEST_PORT, authority: b.com", "http://b.com:8080/x?y=1"),
        ("derivePort: FROM_PROTOCOL_DEFAULT, authority: b.com", "http://b.com/x?y=1"),
    ] {
        assert_eq!(location(&format!("redirect: {{{words}}}"), "/x?y=1", "a.com:8080"), expected, "{words}");
    }
    let prefixed = "{match: [{uri: {prefix: /x}}], redirect: {prefixRewrite: /p}}";
    assert_eq!(location(prefixed, "/x?y=1", "a.com:8080"), "http://a.com:8080/p?y=1");
    assert_eq!(location(prefixed, "/x/old", "a.com"), "http://a.com/p/old");
    let anything = "redirect: {prefixRewrite: /p/}";
    assert_eq!(location(anything, "/x", "a.com"), "http://a.com/p/x");
    assert_eq!(location("redirect: {scheme: https}", "/x", "a.com:80"), "https://a.com/x");
}

#[test]
fn r1_a_redirect_has_a_code() {
    for (words, status) in [("", 301), (", redirectCode: 302", 302), (", redirectCode: 308", 308)] {
        let snapshot = of_rule(&format!("redirect: {{uri: /n{words}}}"));
        assert_eq!(redirect(&route(&snapshot, "http://it.test/").unwrap()).status().as_u16(), status);
    }
    let rules = "hosts: [it.test]\nhttp: [{redirect: {uri: /n, redirectCode: 304}}]";
    let (snapshot, report) = published(&virtual_service("it", rules), MeshOptions::default());
    assert!(route(&snapshot, "http://it.test/").is_none());
    assert!(report.errors().any(|problem| problem.path == "spec.http[0].redirect.redirectCode"), "{report}");
}

#[test]
fn dr1_a_direct_response_has_status_and_body() {
    for (words, status, body) in [
        ("status: 503", 503, &b""[..]),
        ("status: 404, body: {string: 'no, sorry'}", 404, b"no, sorry"),
        ("status: 200, body: {bytes: AAEC}", 200, &[0, 1, 2]),
    ] {
        let snapshot = of_rule(&format!("directResponse: {{{words}}}"));
        let route = route(&snapshot, "http://it.test/").unwrap();
        let Action::Respond(response) = &route.action else { panic!("{route:?}") };
        assert_eq!((response.status.as_u16(), &*response.body), (status, body), "{words}");
    }
}

#[test]
fn w1_words_of_a_rewrite_make_the_vectors() {
    for (matched, rewrite, path, expected) in [
        ("uri: {prefix: /foo}", "uri: /", "/foo/bar", "//bar"),
        ("uri: {prefix: /foo/}", "uri: /", "/foo/bar", "/bar"),
        ("uri: {prefix: /foo}", "uri: /v1", "/foobar", "/v1bar"),
        ("uri: {prefix: /foo}, ignoreUriCase: true", "uri: /v1", "/FOO/a", "/v1/a"),
        ("uri: {exact: /foo}", "uri: /bar", "/foo", "/bar"),
        ("uri: {exact: /foo}, ignoreUriCase: true", "uri: /bar", "/FOO", "/bar"),
        ("uri: {regex: '/a/[0-9]+'}", "uri: /n", "/a/12", "/n"),
        ("uri: {prefix: ''}", "uri: /v1", "/x", "/v1/x"),
        ("method: {exact: GET}", "uri: /v1", "/x", "/v1x"),
        ("method: {exact: GET}", "uri: /v1/", "/x", "/v1/x"),
        ("uri: {prefix: /}", "uriRegexRewrite: {match: /b/, rewrite: /c/}", "/b/b/", "/c/b/"),
        ("uri: {prefix: /}", r"uriRegexRewrite: {match: '^/api/(v[0-9]+)/', rewrite: '/\1/'}", "/api/v2/x", "/v2/x"),
        ("uri: {prefix: /}", "uriRegexRewrite: {match: '/+', rewrite: /}", "//a///b", "/a/b"),
    ] {
        let rule =
            format!("{{match: [{{{matched}}}], rewrite: {{{rewrite}}}, route: [{{destination: {{host: a.test}}}}]}}");
        let snapshot = of_rule(&rule);
        let route = route(&snapshot, &format!("http://it.test{path}")).unwrap();
        let rewrite = forward(&route).rewrite.path.as_ref().unwrap();
        assert_eq!(rewrite.apply(path).as_deref(), Some(expected), "{rule}");
    }
    let all = of_rule("{rewrite: {uri: /v1}, route: [{destination: {host: a.test}}]}");
    let route = route(&all, "http://it.test/x").unwrap();
    assert_eq!(forward(&route).rewrite.path.as_ref().unwrap().apply("/x").as_deref(), Some("/v1x"));
}

#[test]
fn w7_a_replacement_that_cannot_be_is_said_and_changes_nothing() {
    let rules = "hosts: [it.test]\nhttp:\n- rewrite: {uriRegexRewrite: {match: a, rewrite: '\\1'}}\n  \
                 route: [{destination: {host: a.test}}]";
    let (snapshot, report) = published(&virtual_service("it", rules), MeshOptions::default());
    assert_eq!(report.problems().len(), 1, "{report}");
    assert_eq!(report.problems()[0].path, "spec.http[0].rewrite.uriRegexRewrite");
    assert!(!report.fails_check());
    assert!(forward(&route(&snapshot, "http://it.test/").unwrap()).rewrite.path.is_none());
}

/// The authority that each of the destinations is asked for, and whether it is the rule's.
fn authorities(rule: &str) -> Vec<(Option<String>, bool)> {
    let snapshot = of_rule(rule);
    let route = route(&snapshot, "http://it.test/").unwrap();
    let forward = forward(&route);
    let each = forward.clusters.iter().map(|(_, destination)| {
        let authority = forward.authority(destination).map(|authority| authority.uri.to_string());
        (authority, forward.rewrite.authority.is_some())
    });
    each.collect()
}

#[test]
fn w9_and_h8_the_authority_of_the_rule_comes_first() {
    let some = |text: &str, of_rule| (Some(text.to_owned()), of_rule);
    let own = "headers: {request: {set: {host: own.test}}}";
    let rule = "headers: {request: {add: {':authority': rule.test}}}";
    for (words, expected) in [
        ("route: [{destination: {host: a.test}}]".to_owned(), vec![(None, false)]),
        (
            "rewrite: {authority: 'r.test:81'}, route: [{destination: {host: a.test}}]".to_owned(),
            vec![some("r.test:81", true)],
        ),
        (format!("{rule}, route: [{{destination: {{host: a.test}}}}]"), vec![some("rule.test", true)]),
        (format!("{rule}, route: [{{destination: {{host: a.test}}, {own}}}]"), vec![some("rule.test", true)]),
        (
            format!("rewrite: {{authority: r.test}}, route: [{{destination: {{host: a.test}}, {own}}}]"),
            vec![some("r.test", true)],
        ),
        (format!("route: [{{destination: {{host: a.test}}, {own}}}]"), vec![some("own.test", true)]),
        (
            format!(
                "route: [{{destination: {{host: a.test}}, weight: 1, {own}}}, {{destination: {{host: b.test}}, weight: 1}}]"
            ),
            vec![some("own.test", false), (None, false)],
        ),
        (
            format!(
                "{rule}, route: [{{destination: {{host: a.test}}, weight: 1, {own}}}, \
                 {{destination: {{host: b.test}}, weight: 1}}]"
            ),
            vec![some("rule.test", true), some("rule.test", true)],
        ),
    ] {
        assert_eq!(authorities(&format!("{{{words}}}")), expected, "{words}");
    }
}

#[test]
fn h3_and_h4_operations_that_cannot_be_keep_the_rule_back() {
    for (words, path) in [
        ("set: {x: '%NO_SUCH_COMMAND%'}", "set.x"),
        ("add: {x: '%BYTES_SENT(a)%'}", "add.x"),
        ("set: {x: '%START_TIME(%n)%'}", "set.x"),
        ("set: {host: 'a b'}", "set.host"),
    ] {
        let rules = format!(
            "hosts: [it.test]\nhttp: [{{headers: {{request: {{{words}}}}}, route: [{{destination: {{host: a.test}}}}]}}]"
        );
        let (snapshot, report) = published(&virtual_service("it", &rules), MeshOptions::default());
        let path = format!("spec.http[0].headers.request.{path}");
        let problem = report.errors().find(|problem| problem.path == path).unwrap_or_else(|| panic!("{report}"));
        assert!(problem.place.is_some(), "{report}");
        assert!(route(&snapshot, "http://it.test/").is_none(), "{words}");
    }
}

#[test]
fn operations_on_what_is_no_header_are_left_out_alone() {
    let rules = "hosts: [it.test]\nhttp: [{headers: {request: {set: {'a b': x, y: z}, remove: ['c d']}}, \
                 route: [{destination: {host: a.test}}]}]";
    let (snapshot, report) = published(&virtual_service("it", rules), MeshOptions::default());
    assert_eq!((report.errors().count(), report.refuses_start()), (0, false), "{report}");
    let left_out = report.problems().iter().filter(|problem| problem.message.starts_with("left out: "));
    let paths: Vec<&str> = left_out.map(|problem| problem.path.as_str()).collect();
    let request = "spec.http[0].headers.request";
    assert_eq!(paths, [format!("{request}.set.a b"), format!("{request}.remove[0]")]);
    let mut headers = HeaderMap::new();
    route(&snapshot, "http://it.test/").unwrap().request_headers.apply_request(&mut headers, &FormatContext::default());
    assert_eq!(headers["y"], "z");
}

#[test]
fn h4_commands_in_values_are_read() {
    let snapshot = of_rule(
        "{headers: {response: {set: {x-to: '%REQ(:authority)% %RESPONSE_CODE%', x-plain: '50%%'}}}, \
         directResponse: {status: 200}}",
    );
    let route = route(&snapshot, "http://it.test/").unwrap();
    assert!(route.response_headers.needs_request() && !route.response_headers.is_literal());
    let code = Some(StatusCode::OK);
    let mut headers = HeaderMap::new();
    let context = FormatContext { authority: "it.test", code, ..FormatContext::default() };
    route.response_headers.apply_response(&mut headers, &context);
    assert_eq!((&headers["x-to"], &headers["x-plain"]), (&"it.test 200".parse().unwrap(), &"50%".parse().unwrap()));
}

#[test]
fn headers_that_steer_nothing_and_commands_that_say_nothing_are_named() {
    for (name, said) in [
        ("X-Envoy-Upstream-Rq-Timeout-Ms", Some("without effect")),
        ("x-envoy-hedge-on-per-try-timeout", Some("without effect")),
        ("x-envoy-upstream-stream-duration-ms", Some("not yet honored")),
        ("x-envoy-retry-on", None),
        ("x-connection: '%CONNECTION_ID%', x", Some("not yet honored: %CONNECTION_ID%")),
    ] {
        let rule =
            format!("headers: {{request: {{add: {{{name}: '1'}}}}}}, route: [{{destination: {{host: a.test}}}}]");
        let rules = format!("hosts: [it.test]\nhttp: [{{{rule}}}]");
        let (_, report) = published(&virtual_service("it", &rules), MeshOptions::default());
        let path = format!("spec.http[0].headers.request.add.{}", name.split(':').next().unwrap_or_default());
        let problem = report.problems().iter().find(|problem| problem.path == path);
        let begins = |said: &str| problem.is_some_and(|problem| problem.message.starts_with(said));
        assert!(said.map_or(problem.is_none(), begins), "{name}: {report}");
    }
}

#[test]
fn entries_that_name_the_same_destination_share_its_name() {
    let (first, second) = ("{destination: {host: nowhere, subset: v1}", "{destination: {host: a.test}, weight: 1}");
    let rules = format!(
        "hosts: [it.test]\nhttp:\n- match: [{{uri: {{prefix: /a}}}}]\n  route: [{first}, weight: 1}}, {second}]\n- route: [{first}}}]"
    );
    let (snapshot, _) = published(&virtual_service("it", &rules), MeshOptions::default());
    let named = |uri, number| {
        let route = route(&snapshot, uri).unwrap();
        forward(&route).clusters.get(number).name.clone().unwrap()
    };
    let (first, second) = (named("http://it.test/a", 0), named("http://it.test/", 0));
    assert!(Arc::ptr_eq(&first, &second));
    assert_eq!(*first, DestinationName::new("nowhere.default.svc.cluster.local", "v1", None));
    assert_eq!(&*named("http://it.test/a", 1).host, "a.test");
    let of_service = route(&snapshot, "http://plain.test/").unwrap();
    assert!(forward(&of_service).clusters.get(0).name.is_none(), "no rule names it");
}
