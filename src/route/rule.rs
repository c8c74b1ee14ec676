//! One compiled match of a rule (`http[].match[]`): [`RouteMatch`].

use std::fmt;

use http::header::{HeaderName, HeaderValue};

use super::matcher::Kind;
use super::{Failed, StringMatcher, Trace};
use crate::request::RequestView;

/// What of a request a predicate looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// The path without its query.
    Uri,
    /// The method; also the header key `:method`.
    Method,
    /// The scheme; also the header key `:scheme`.
    Scheme,
    /// The authority as sent, with its port; also the header keys `:authority` and `host`.
    Authority,
    /// The header key `:path`: the path with its query.
    PathAndQuery,
    /// A header; each of its lines is looked at by itself.
    Header(HeaderName),
    /// A key that no header can have: never there.
    NoHeader(Box<str>),
    /// The first query parameter of this name, undecoded.
    Query(Box<str>),
}

impl Subject {
    /// What the key of a header match names, in any case.
    fn header(key: &str) -> Self {
        match key.to_ascii_lowercase().as_str() {
            ":method" => Subject::Method,
            ":scheme" => Subject::Scheme,
            ":authority" | "host" => Subject::Authority,
            ":path" => Subject::PathAndQuery,
            name => match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) => Subject::Header(name),
                Err(_) => Subject::NoHeader(name.into()),
            },
        }
    }

    /// What the request has there, for people to read.
    pub(super) fn values(&self, request: &RequestView<'_>) -> Vec<String> {
        match self {
            Subject::PathAndQuery => match request.query() {
                Some(query) => vec![format!("{}?{query}", request.path())],
                None => vec![request.path().to_owned()],
            },
            Subject::Header(name) => {
                let lines = request.headers().get_all(name).iter();
                lines.map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned()).collect()
            }
            single => single.value(request).map(str::to_owned).into_iter().collect(),
        }
    }

    /// The value of a subject that has at most one and is one piece of the request.
    #[inline]
    pub(super) fn value<'a>(&self, request: &RequestView<'a>) -> Option<&'a str> {
        match self {
            Subject::Uri => Some(request.path()),
            Subject::Method => Some(request.method().as_str()),
            Subject::Scheme => Some(request.scheme()),
            Subject::Authority => Some(request.authority()).filter(|authority| !authority.is_empty()),
            Subject::Query(name) => first_parameter(request.query()?, name),
            Subject::PathAndQuery | Subject::Header(_) | Subject::NoHeader(_) => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Uri => f.write_str("uri"),
            Subject::Method => f.write_str("method"),
            Subject::Scheme => f.write_str("scheme"),
            Subject::Authority => f.write_str("authority"),
            Subject::PathAndQuery => f.write_str("header :path"),
            Subject::Header(name) => write!(f, "header {name}"),
            Subject::NoHeader(key) => write!(f, "header {key:?}"),
            Subject::Query(name) => write!(f, "query parameter {name}"),
        }
    }
}

/// The value of the first parameter `name`: split on `&`, then at the first `=`, nothing decoded.
fn first_parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| {
        let after = pair.strip_prefix(name)?;
        if after.is_empty() { Some(after) } else { after.strip_prefix('=') }
    })
}

/// One condition besides the uri.
#[derive(Clone, Debug)]
pub(super) struct Predicate {
    pub(super) subject: Subject,
    pub(super) matcher: StringMatcher,
    pub(super) inverted: bool,
}

impl Predicate {
    fn holds(&self, request: &RequestView<'_>) -> bool {
        let found = match &self.subject {
            Subject::Header(name) => self.any_line(name, request),
            Subject::PathAndQuery => match request.query() {
                Some(query) => self.matcher.matches_joined(request.path(), query),
                None => self.matcher.matches(request.path().as_bytes()),
            },
            single => match single.value(request) {
                Some(value) => self.matcher.matches(value.as_bytes()),
                None => self.absent(),
            },
        };
        found != self.inverted
    }

    fn any_line(&self, name: &HeaderName, request: &RequestView<'_>) -> bool {
        let mut lines = request.headers().get_all(name).iter().map(HeaderValue::as_bytes);
        match lines.next() {
            Some(first) => self.matcher.matches(first) || lines.any(|line| self.matcher.matches(line)),
            None => self.absent(),
        }
    }

    /// Where a value must not match, an absent one counts as empty, unless presence is asked for.
    fn absent(&self) -> bool {
        self.inverted && !self.matcher.is_present() && self.matcher.matches(b"")
    }

    /// A rank by what it costs to evaluate.
    fn cost(&self) -> u8 {
        let subject = match self.subject {
            Subject::Uri | Subject::Method | Subject::Scheme | Subject::Authority | Subject::NoHeader(_) => 0,
            Subject::Header(_) => 1,
            Subject::Query(_) => 2,
            Subject::PathAndQuery => 3,
        };
        subject + if self.matcher.is_regex() { 4 } else { 0 }
    }
}

/// One compiled match: all its conditions must hold.
///
/// Built by [`RouteMatch::builder`]. The cheapest conditions are tried first; the order makes no difference to the
/// meaning.
#[derive(Clone, Debug)]
pub struct RouteMatch {
    uri: StringMatcher,
    others: Box<[Predicate]>,
}

impl RouteMatch {
    /// A match without conditions yet: every path that begins with `/`.
    pub fn builder() -> RouteMatchBuilder {
        RouteMatchBuilder::default()
    }

    /// Whether `request` fulfils every condition; tells `trace` of the first that it does not.
    #[inline]
    pub fn matches<T: Trace>(&self, request: &RequestView<'_>, trace: &mut T) -> bool {
        let uri_last = self.uri.is_regex();
        if !uri_last && !self.uri_matches(request, trace) {
            return false;
        }
        for predicate in &self.others {
            if !predicate.holds(request) {
                if T::RECORDS {
                    let Predicate { subject, matcher, inverted } = predicate;
                    trace.failed(Failed { subject, matcher, inverted: *inverted, request });
                }
                return false;
            }
        }
        !uri_last || self.uri_matches(request, trace)
    }

    #[inline]
    fn uri_matches<T: Trace>(&self, request: &RequestView<'_>, trace: &mut T) -> bool {
        let matches = self.uri.matches(request.path().as_bytes());
        if T::RECORDS && !matches {
            trace.failed(Failed { subject: &Subject::Uri, matcher: &self.uri, inverted: false, request });
        }
        matches
    }

    /// Whether Istio takes it for one that every request matches: prefix `/` or regex `.*`, and nothing else. What
    /// stands after it in a VirtualService is not compiled. (`prefix: ""` is none, although it matches everything.)
    pub fn is_catch_all(&self) -> bool {
        let every_uri = match &self.uri.0 {
            Kind::Prefix(text) | Kind::PrefixIgnoreCase(text) => &**text == "/",
            Kind::Regex(regex) => regex.pattern() == ".*",
            _ => false,
        };
        every_uri && self.others.is_empty()
    }

    /// The condition on the path.
    pub fn uri(&self) -> &StringMatcher {
        &self.uri
    }

    pub(super) fn others(&self) -> &[Predicate] {
        &self.others
    }
}

/// Collects the conditions of a [`RouteMatch`].
///
/// ```
/// use mesh_router::route::{RouteMatch, StringMatcher};
///
/// let canary = RouteMatch::builder()
///     .uri(StringMatcher::prefix("/api/"))
///     .method(StringMatcher::exact("GET"))
///     .header("x-canary", StringMatcher::present())
///     .without_header("x-internal", StringMatcher::exact("true"))
///     .query("v", StringMatcher::exact("2"))
///     .build();
/// assert!(!canary.is_catch_all());
/// ```
#[derive(Clone, Debug, Default)]
pub struct RouteMatchBuilder {
    uri: Option<StringMatcher>,
    others: Vec<Predicate>,
}

impl RouteMatchBuilder {
    /// The path, without its query (`uri`). Without it the path must begin with `/`.
    #[must_use]
    pub fn uri(mut self, matcher: StringMatcher) -> Self {
        self.uri = Some(matcher);
        self
    }

    /// The scheme (`scheme`).
    #[must_use]
    pub fn scheme(self, matcher: StringMatcher) -> Self {
        self.with(Subject::Scheme, matcher, false)
    }

    /// The method (`method`).
    #[must_use]
    pub fn method(self, matcher: StringMatcher) -> Self {
        self.with(Subject::Method, matcher, false)
    }

    /// The authority as sent, with its port (`authority`).
    #[must_use]
    pub fn authority(self, matcher: StringMatcher) -> Self {
        self.with(Subject::Authority, matcher, false)
    }

    /// A header, or `:method`, `:path`, `:scheme`, `:authority`, `host` (`headers`). The key is taken in any case; one
    /// that no header can have is never there. An absent header matches nothing, not even an empty value.
    #[must_use]
    pub fn header(self, key: &str, matcher: StringMatcher) -> Self {
        self.with(Subject::header(key), matcher, false)
    }

    /// A header that must not match (`withoutHeaders`). With [`StringMatcher::present`] it must be absent; with
    /// another matcher an absent header counts as an empty one.
    #[must_use]
    pub fn without_header(self, key: &str, matcher: StringMatcher) -> Self {
        self.with(Subject::header(key), matcher, true)
    }

    /// A query parameter (`queryParams`): the first of this name, undecoded; `?key` has the value "".
    #[must_use]
    pub fn query(self, name: &str, matcher: StringMatcher) -> Self {
        self.with(Subject::Query(name.into()), matcher, false)
    }

    /// The match.
    pub fn build(mut self) -> RouteMatch {
        self.others.sort_by_key(Predicate::cost);
        RouteMatch { uri: self.uri.unwrap_or_else(|| StringMatcher::prefix("/")), others: self.others.into() }
    }

    fn with(mut self, subject: Subject, matcher: StringMatcher, inverted: bool) -> Self {
        self.others.push(Predicate { subject, matcher, inverted });
        self
    }
}

#[cfg(test)]
mod tests {
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
        assert!(!matches(regex("a.")) && !matches(regex("a.*")), "bytes that are no UTF-8 match nothing");
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
}
