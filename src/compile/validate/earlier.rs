//! Which requests a match takes, and whether an earlier one has them all.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Bound;

use crate::config::{HttpMatchRequest, StringMatch};

pub(super) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Matches in their order, as far as they may take all requests of later ones.
#[derive(Default)]
pub(crate) struct Earlier<'a> {
    /// Those that ask for nothing but the uri: with its case, and without.
    open: [Uris<'a>; 2],
    alike: Map<Beside<'a>, Uris<'a>>,
}

impl<'a> Earlier<'a> {
    /// The rule of one that takes all requests of this match, and the uri by which it does.
    pub(crate) fn find(&self, request: &'a HttpMatchRequest) -> Option<(usize, Uri<'a>)> {
        let uri = Uri::of(request);
        let open = &self.open[usize::from(request.ignore_uri_case)];
        open.find(uri).or_else(|| self.alike.get(&Beside(request))?.find(uri))
    }

    /// Adds a match of rule number `rule` of which none takes all.
    pub(crate) fn add(&mut self, request: &'a HttpMatchRequest, rule: usize) {
        let uris = match is_unconditional(request) {
            true => &mut self.open[usize::from(request.ignore_uri_case)],
            false => self.alike.entry(Beside(request)).or_default(),
        };
        uris.insert(Uri::of(request), rule);
    }
}

/// What a match asks of the path.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Uri<'a> {
    Exact(&'a str),
    Prefix(&'a str),
    Regex(&'a str),
}

impl<'a> Uri<'a> {
    /// Without a condition it is every path.
    pub(super) fn of(request: &'a HttpMatchRequest) -> Self {
        match &request.uri {
            Some(StringMatch { exact: Some(exact), .. }) => Self::Exact(exact),
            Some(StringMatch { prefix: Some(prefix), .. }) => Self::Prefix(prefix),
            Some(StringMatch { regex: Some(regex), .. }) => Self::Regex(regex),
            _ => Self::Prefix("/"),
        }
    }
}

impl fmt::Display for Uri<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "the path `{path}`"),
            Self::Prefix(prefix) => write!(f, "the prefix `{prefix}`"),
            Self::Regex(regex) => write!(f, "the expression `{regex}`"),
        }
    }
}

/// Conditions on the path, and the rules that they are of.
#[derive(Default)]
struct Uris<'a> {
    /// Prefixes of which none begins with another.
    prefixes: BTreeMap<&'a str, usize>,
    others: Map<Uri<'a>, usize>,
}

impl<'a> Uris<'a> {
    /// The one that takes all that `uri` does. Between the prefix of a text and that text in order only what begins with
    /// the prefix could stand, so it is the last one that is not greater.
    fn find(&self, uri: Uri<'a>) -> Option<(usize, Uri<'a>)> {
        let same = self.others.get(&uri).map(|rule| (*rule, uri));
        same.or_else(|| {
            let (Uri::Exact(text) | Uri::Prefix(text)) = uri else { return None };
            let (prefix, rule) =
                self.prefixes.range::<str, _>((Bound::Unbounded, Bound::Included(text))).next_back()?;
            text.starts_with(prefix).then_some((*rule, Uri::Prefix(prefix)))
        })
    }

    /// Adds one of which none takes all; prefixes that begin with it are of no more use.
    fn insert(&mut self, uri: Uri<'a>, rule: usize) {
        let Uri::Prefix(prefix) = uri else {
            self.others.insert(uri, rule);
            return;
        };
        while let Some((longer, _)) = self.prefixes.range::<str, _>((Bound::Excluded(prefix), Bound::Unbounded)).next()
        {
            if !longer.starts_with(prefix) {
                break;
            }
            let longer = *longer;
            self.prefixes.remove(longer);
        }
        self.prefixes.insert(prefix, rule);
    }
}

/// A match, compared by its conditions beside the uri.
struct Beside<'a>(&'a HttpMatchRequest);

impl Hash for Beside<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        feed_beside(self.0, state);
    }
}

impl PartialEq for Beside<'_> {
    fn eq(&self, other: &Self) -> bool {
        beside(self.0) == beside(other.0)
    }
}

impl Eq for Beside<'_> {}

/// Whether every request has what is asked for: no rule after one with such a match is compiled.
pub(super) fn takes_everything(request: &HttpMatchRequest) -> bool {
    let every_path = match Uri::of(request) {
        Uri::Prefix(prefix) => prefix == "/",
        Uri::Regex(regex) => regex == ".*",
        Uri::Exact(_) => false,
    };
    every_path && is_unconditional(request)
}

/// Whether nothing but the uri is asked for.
fn is_unconditional(request: &HttpMatchRequest) -> bool {
    let plain = HttpMatchRequest { ignore_uri_case: request.ignore_uri_case, ..HttpMatchRequest::default() };
    beside(request) == beside(&plain)
}

/// The conditions beside the uri.
pub(super) fn beside(request: &HttpMatchRequest) -> impl PartialEq + '_ {
    let HttpMatchRequest {
        name: _,
        uri: _,
        scheme,
        method,
        authority,
        headers,
        port,
        source_labels,
        gateways,
        query_params,
        ignore_uri_case,
        without_headers,
        source_namespace,
        stat_prefix: _,
    } = request;
    let texts = (scheme, method, authority, headers, query_params, without_headers);
    (texts, port, source_labels, gateways, ignore_uri_case, source_namespace)
}

pub(super) fn feed_beside(request: &HttpMatchRequest, state: &mut impl Hasher) {
    for matcher in [&request.scheme, &request.method, &request.authority] {
        feed_text(matcher.as_ref(), state);
    }
    for map in [&request.headers, &request.query_params, &request.without_headers] {
        map.len().hash(state);
        for (name, matcher) in map {
            name.hash(state);
            feed_text(matcher.as_ref(), state);
        }
    }
    (request.port, request.ignore_uri_case).hash(state);
    (&request.source_labels, &request.gateways, &request.source_namespace).hash(state);
}

pub(super) fn feed_text(matcher: Option<&StringMatch>, state: &mut impl Hasher) {
    matcher.map(|StringMatch { exact, prefix, regex }| (exact, prefix, regex)).hash(state);
}
