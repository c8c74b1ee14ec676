//! The rules of matching, each named after its number in the reference.

use http::Request;

use super::*;
use crate::request::Origin;

type Line = (&'static str, &'static str);

fn check(rule: &RouteMatchBuilder, method: &str, uri: &str, headers: &[Line]) -> bool {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let request = request.body(()).unwrap();
    let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
    rule.clone().build().matches(&view, &mut ())
}

fn path(rule: StringMatcher, path: &str) -> bool {
    check(&RouteMatch::builder().uri(rule), "GET", path, &[])
}

fn headers(rule: &RouteMatchBuilder, lines: &[Line]) -> bool {
    check(rule, "GET", "http://a.test/p?q=1", lines)
}

fn query(matcher: StringMatcher, uri: &str) -> bool {
    check(&RouteMatch::builder().query("k", matcher), "GET", uri, &[])
}

fn exact(text: &str) -> StringMatcher {
    StringMatcher::exact(text)
}

fn prefix(text: &str) -> StringMatcher {
    StringMatcher::prefix(text)
}

fn regex(text: &str) -> StringMatcher {
    StringMatcher::regex(text).unwrap()
}

fn present() -> StringMatcher {
    StringMatcher::present()
}

fn has(key: &str, matcher: StringMatcher) -> RouteMatchBuilder {
    RouteMatch::builder().header(key, matcher)
}

fn without(key: &str, matcher: StringMatcher) -> RouteMatchBuilder {
    RouteMatch::builder().without_header(key, matcher)
}

#[test]
fn path_vectors() {
    for (matcher, uri, wanted) in [
        (prefix("/foo"), "/foo/bar?x=1", true),
        (prefix("/foo/"), "/foo/bar", true),
        (prefix("/foo"), "/foobar", true),
        (StringMatcher::prefix_ignore_case("/foo"), "/FOO/a", true),
        (exact("/foo"), "/foo?q", true),
        (exact("/foo"), "/foo/", false),
        (regex("/a/[0-9]+"), "/a/12?q=1", true),
        (regex("/a"), "/ab", false),
        (prefix("/"), "/b/b/", true),
        (prefix(""), "/any", true),
    ] {
        assert_eq!(path(matcher.clone(), uri), wanted, "{matcher} {uri}");
    }
    assert!(check(&RouteMatch::builder(), "GET", "/x", &[]));
}

#[test]
fn m1_the_query_is_not_part_of_the_path() {
    assert!(path(exact("/a"), "/a?/a"));
    assert!(!path(regex(".*q.*"), "/a?q"));
}

#[test]
fn m2_exact_is_byte_equality() {
    assert!(path(exact("/a%2Fb"), "/a%2Fb"));
    assert!(!path(exact("/a%2Fb"), "/a%2fb"));
    assert!(!path(exact("/A"), "/a"));
}

#[test]
fn m3_a_prefix_knows_no_segments() {
    assert!(path(prefix("/foo"), "/foobar"));
    assert!(!path(prefix("/foo/"), "/foo"));
    assert!(path(prefix(""), "/anything"));
    assert!(check(&RouteMatch::builder().uri(prefix("")), "OPTIONS", "*", &[]));
}

#[test]
fn m4_a_regex_matches_the_whole_path() {
    assert!(path(regex("/a/[0-9]+"), "/a/12"));
    assert!(!path(regex("/a/[0-9]+"), "/a/12/b"));
    assert!(!path(regex("a/[0-9]+"), "/a/12"));
    assert!(path(regex("/a|/ab"), "/ab"), "the longer alternative is found although the shorter comes first");
}

#[test]
fn m5_case_of_the_uri_can_be_ignored() {
    assert!(path(StringMatcher::exact_ignore_case("/Foo"), "/fOO"));
    assert!(path(StringMatcher::prefix_ignore_case("/Foo"), "/fOO/x"));
    assert!(path(regex("(?i)/Foo"), "/fOO"));
}

#[test]
fn m6_without_uri_the_path_begins_with_a_slash() {
    assert!(check(&RouteMatch::builder(), "GET", "/x", &[]));
    assert!(!check(&RouteMatch::builder(), "OPTIONS", "*", &[]));
    assert!(!check(&RouteMatch::builder(), "CONNECT", "a.test:80", &[]));
}

#[test]
fn m7_conditions_are_anded() {
    let rule = RouteMatch::builder()
        .uri(regex("/p.*"))
        .method(exact("GET"))
        .scheme(exact("http"))
        .authority(exact("a.test"))
        .header("x", exact("1"))
        .without_header("y", present())
        .query("q", exact("1"));
    assert!(headers(&rule, &[("x", "1")]));
    assert!(!headers(&rule, &[("x", "1"), ("y", "")]));
    assert!(!headers(&rule, &[]));
    assert!(!check(&rule, "POST", "http://a.test/p?q=1", &[("x", "1")]));
    assert!(!check(&rule, "GET", "https://a.test/p?q=1", &[("x", "1")]));
    assert!(!check(&rule, "GET", "http://a.test:80/p?q=1", &[("x", "1")]), "the port is part of the authority");
    assert!(!check(&rule, "GET", "http://A.test/p?q=1", &[("x", "1")]), "case counts");
    assert!(!check(&rule, "GET", "http://a.test/p?q=2", &[("x", "1")]));
    assert!(!check(&rule, "GET", "http://a.test/q?q=1", &[("x", "1")]));
}

#[test]
fn m11_keys_are_in_any_case_and_pseudo_headers_work() {
    assert!(headers(&has("X-User", exact("a")), &[("x-user", "a")]));
    assert!(headers(&has(":method", exact("GET")), &[]));
    assert!(headers(&has(":scheme", exact("http")), &[]));
    assert!(headers(&has(":authority", exact("a.test")), &[]));
    assert!(headers(&has("Host", exact("a.test")), &[]));
    assert!(headers(&has(":path", exact("/p?q=1")), &[]), "with the query");
    assert!(headers(&has(":Path", regex("/p.q=.")), &[]));
    assert!(check(&has(":path", exact("/p")), "GET", "/p", &[]));
    assert!(!headers(&has(":path", exact("/p")), &[]));
    assert!(!headers(&has("uri", present()), &[]), "a plain name");
}

#[test]
fn m11_a_key_that_no_header_can_have_is_never_there() {
    for key in [":unknown", "a b", "@request.auth.claims.x", ""] {
        assert!(!headers(&has(key, present()), &[]), "{key}");
        assert!(headers(&without(key, present()), &[]), "{key}");
        assert!(!headers(&without(key, exact("")), &[]), "{key}");
    }
}

#[test]
fn m12_presence() {
    assert!(headers(&has("x", present()), &[("x", "")]));
    assert!(!headers(&has("x", present()), &[]));
    assert!(!check(&has("host", present()), "GET", "/p", &[]));
}

#[test]
fn m13_each_line_is_matched() {
    let lines = [("x", "a"), ("x", "b")];
    assert!(headers(&has("x", exact("a")), &lines));
    assert!(headers(&has("x", exact("b")), &lines));
    assert!(!headers(&has("x", exact("a,b")), &lines));
    assert!(headers(&has("x", regex("b")), &lines));
    assert!(!headers(&without("x", exact("b")), &lines));
    assert!(headers(&without("x", exact("a,b")), &lines));
}

#[test]
fn m14_an_absent_header_matches_nothing() {
    for matcher in [exact(""), prefix(""), regex(".*"), regex(""), present()] {
        assert!(!headers(&has("x", matcher.clone()), &[]), "{matcher}");
    }
    assert!(headers(&has("x", exact("")), &[("x", "")]));
}

#[test]
fn m15_keys_are_anded() {
    let rule = has("x", exact("1")).header("y", exact("2"));
    assert!(headers(&rule, &[("x", "1"), ("y", "2")]));
    assert!(!headers(&rule, &[("x", "1")]));
}

#[test]
fn m17_without_presence_the_header_must_be_absent() {
    assert!(headers(&without("x", present()), &[]));
    assert!(!headers(&without("x", present()), &[("x", "")]));
    assert!(!headers(&without(":method", present()), &[]));
}

#[test]
fn m18_where_a_value_must_not_match_an_absent_header_counts_as_empty() {
    assert!(headers(&without("x", exact("a")), &[]));
    assert!(headers(&without("x", exact("a")), &[("x", "b")]));
    assert!(!headers(&without("x", exact("a")), &[("x", "a")]));
    assert!(!headers(&without("x", regex(".*")), &[]));
    assert!(!headers(&without("x", exact("")), &[]));
    assert!(headers(&without("x", exact("")), &[("x", "a")]));
    assert!(headers(&without("x", regex(".+")), &[]));
}

#[test]
fn m19_none_of_several_may_match() {
    let rule = without("x", exact("1")).without_header("y", exact("2"));
    assert!(headers(&rule, &[("x", "2"), ("y", "1")]));
    assert!(!headers(&rule, &[("x", "2"), ("y", "2")]));
}

#[test]
fn m20_query_parameters_are_undecoded_and_the_first_counts() {
    assert!(query(exact("1"), "/?k=1&k=2"));
    assert!(!query(exact("2"), "/?k=1&k=2"));
    assert!(query(exact("a%20b"), "/?x=y&k=a%20b"));
    assert!(!query(exact("a b"), "/?k=a%20b"));
    assert!(query(exact("b=c"), "/?k=b=c"));
    assert!(!query(present(), "/?K=1"));
    assert!(!query(present(), "/?%6B=1"));
    assert!(!query(present(), "/?kk=1"));
    assert!(!query(present(), "/?x=k=1"));
    assert!(query(exact(""), "/?k&k=1"));
    assert!(query(exact("1?k=2"), "/?k=1?k=2"));
    for name in ["k=v", "k=", "=v"] {
        let named = RouteMatch::builder().query(name, present());
        assert!(!check(&named, "GET", &format!("/?{name}"), &[]), "no parameter has a `=` in its name: {name}");
    }
}

#[test]
fn m21_empty_present_and_absent_parameters() {
    for uri in ["/?k", "/?k=", "/?a&k&b"] {
        assert!(query(exact(""), uri), "{uri}");
        assert!(query(present(), uri), "{uri}");
    }
    for uri in ["/", "/?", "/?a=k"] {
        assert!(!query(present(), uri), "{uri}");
        assert!(!query(exact(""), uri), "{uri}");
        assert!(!query(regex(".*"), uri), "{uri}");
    }
    assert!(query(prefix("ab"), "/?k=abc"));
    assert!(!query(regex("ab"), "/?k=abc"));
}

#[test]
fn header_values_need_not_be_utf8() {
    let mut request = Request::get("/").body(()).unwrap();
    request.headers_mut().insert("x", HeaderValue::from_bytes(b"a\xff").unwrap());
    let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
    let matches = |matcher| has("x", matcher).build().matches(&view, &mut ());
    assert!(matches(prefix("a")) && matches(present()));
    assert!(matches(regex("a.")) && matches(regex("a.*")) && !matches(regex("a")));
}

#[test]
fn t11_a_catch_all_is_slash_or_dot_star_and_nothing_else() {
    let all = |builder: RouteMatchBuilder| builder.build().is_catch_all();
    assert!(all(RouteMatch::builder()));
    assert!(all(RouteMatch::builder().uri(prefix("/"))));
    assert!(all(RouteMatch::builder().uri(regex(".*"))));
    assert!(!all(RouteMatch::builder().uri(prefix(""))));
    assert!(!all(RouteMatch::builder().uri(exact("/"))));
    assert!(!all(RouteMatch::builder().uri(regex("/.*"))));
    assert!(!all(RouteMatch::builder().method(exact("GET"))));
    assert!(!all(RouteMatch::builder().authority(present())));
    assert!(!all(RouteMatch::builder().scheme(exact("http"))));
    assert!(!all(has("x", present())));
    assert!(!all(without("x", present())));
    assert!(!all(RouteMatch::builder().query("x", present())));
}
