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
    pub(super) fn header(key: &str) -> Self {
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

/// The names and values of a query: split on `&`, then at the first `=`, nothing decoded.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// The value of the first parameter `name`.
pub(super) fn first_parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    parameters(query).find(|(key, _)| *key == name).map(|(_, value)| value)
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
mod tests;
