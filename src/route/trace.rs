//! What the evaluator tells of its way: [`Trace`], and the recording one, [`Explanation`].

use std::fmt;
use std::sync::Arc;

use super::{Resolution, Route, RouteIndex, RouteTable, RuleSetIndex, StringMatcher, Subject, Unknown, VirtualHost};
use crate::request::RequestView;

/// What the evaluator tells while it goes. `()` hears nothing and costs nothing.
pub trait Trace {
    /// Whether anything is kept: if so every rule before the hit is tried in order, none is left out by the index.
    const RECORDS: bool;

    /// The host was looked up.
    fn host(&mut self, found: HostFound) {
        let _ = found;
    }

    /// The rule that leads to `route` is tried; if no [`Trace::failed`] follows, it matched.
    fn rule(&mut self, route: RouteIndex) {
        let _ = route;
    }

    /// The rule that is being tried fails on this.
    fn failed(&mut self, failed: Failed<'_>) {
        let _ = failed;
    }
}

impl Trace for () {
    const RECORDS: bool = false;
}

/// The predicate that a rule failed on, lent.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// What of the request is looked at.
    pub subject: &'a Subject,
    /// What it is compared with.
    pub matcher: &'a StringMatcher,
    /// Whether it must not match (`withoutHeaders`).
    pub inverted: bool,
    /// The request.
    pub request: &'a RequestView<'a>,
}

/// What the lookup of the host found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostFound {
    /// The host that was asked for.
    pub host: String,
    /// The port that was addressed.
    pub port: u16,
    /// The virtual host, if one covers the host.
    pub virtual_host: Option<String>,
    /// Its rules for the port, if it has some.
    pub rules: Option<RuleSetIndex>,
}

impl HostFound {
    pub(super) fn new(request: &RequestView<'_>, found: Option<&VirtualHost>, rules: Option<RuleSetIndex>) -> Self {
        Self {
            host: request.host().to_owned(),
            port: request.port(),
            virtual_host: found.map(|host| host.name.clone().into()),
            rules,
        }
    }
}

/// Keeps everything the evaluator tells: the host, and every rule up to the first that matches.
///
/// ```
/// use http::Request;
/// use mesh_router::request::{Origin, RequestView};
/// use mesh_router::route::{Explanation, RouteIndex, RouteMatch, RuleSet, StringMatcher};
///
/// let rules = RuleSet::new(vec![
///     (RouteMatch::builder().uri(StringMatcher::prefix("/v2")).build(), RouteIndex(0)),
///     (RouteMatch::builder().build(), RouteIndex(1)),
/// ]);
/// let request = Request::get("http://reviews/v1").body(()).unwrap();
/// let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
/// let mut explanation = Explanation::default();
/// rules.first_match(&view, &mut explanation);
/// let failed = explanation.rules()[0].failed.as_ref().unwrap();
/// assert_eq!(failed.to_string(), "uri is not prefix \"/v2\": \"/v1\"");
/// assert!(explanation.rules()[1].failed.is_none());
/// ```
///
/// Its `Display` has a line for each rule that was tried, and one that says what happens if none of them matched.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    host: Option<HostFound>,
    rules: Vec<RuleTried>,
    resolution: Option<Resolution>,
}

impl Explanation {
    /// What the lookup of the host found; `None` if no host was looked up.
    pub fn host(&self) -> Option<&HostFound> {
        self.host.as_ref()
    }

    /// The rules that were tried, in their order; if one matched it is the last.
    pub fn rules(&self) -> &[RuleTried] {
        &self.rules
    }

    /// What came of it, as [`Snapshot::explain`](crate::snapshot::Snapshot::explain) knows.
    pub fn resolution(&self) -> Option<Resolution> {
        self.resolution
    }

    /// Adds what came of it, and what the rules of `table` are.
    pub(crate) fn conclude(&mut self, resolution: Resolution, table: Option<&RouteTable>) {
        self.resolution = Some(resolution);
        for tried in &mut self.rules {
            tried.rule = table.and_then(|table| table.route(tried.route)).cloned();
        }
    }

    /// Says what happens where no rule takes the request.
    fn tell_end(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.resolution, &self.host) {
            (None | Some(Resolution::Route(_)), _) => Ok(()),
            (Some(Resolution::NoRoute), Some(HostFound { virtual_host: Some(host), port, .. })) => {
                write!(f, "no rule of {host} for port {port} matches: 404")
            }
            (Some(Resolution::NoRoute), _) => f.write_str("no rule is asked: 404"),
            (Some(Resolution::NoPath), _) => f.write_str("the path has no slash to begin with, no rule is asked: 404"),
            (Some(Resolution::BadPath), _) => f.write_str("the path cannot be normalized: 400"),
            (Some(Resolution::HttpsOnly), _) => f.write_str("the host is for https only: 301"),
            (Some(Resolution::Unknown(_)), None) => f.write_str("there is no such listener or gateway: 404"),
            (Some(Resolution::Unknown(unknown)), Some(HostFound { host, port, .. })) => {
                let end = match unknown {
                    Unknown::PassThrough => "it goes on as it is",
                    Unknown::Refuse => "502",
                    Unknown::NotFound => "404",
                };
                write!(f, "nothing is known of {host}:{port}: {end}")
            }
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, rule) in self.rules.iter().enumerate() {
            let line = if number > 0 { "\n" } else { "" };
            write!(f, "{line}{rule}")?;
        }
        if !self.rules.is_empty() && !matches!(self.resolution, None | Some(Resolution::Route(_))) {
            f.write_str("\n")?;
        }
        self.tell_end(f)
    }
}

impl Trace for Explanation {
    const RECORDS: bool = true;

    fn host(&mut self, found: HostFound) {
        self.host = Some(found);
    }

    fn rule(&mut self, route: RouteIndex) {
        self.rules.push(RuleTried { route, rule: None, failed: None });
    }

    fn failed(&mut self, failed: Failed<'_>) {
        if let Some(rule) = self.rules.last_mut() {
            rule.failed = Some(FailedPredicate {
                subject: failed.subject.clone(),
                matcher: failed.matcher.clone(),
                inverted: failed.inverted,
                found: failed.subject.values(failed.request),
            });
        }
    }
}

/// A rule that was tried.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RuleTried {
    /// The route it leads to.
    pub route: RouteIndex,
    /// What that is and where it was written, as [`Snapshot::explain`](crate::snapshot::Snapshot::explain) knows.
    pub rule: Option<Arc<Route>>,
    /// The predicate it failed on; `None`: it matched.
    pub failed: Option<FailedPredicate>,
}

/// `RULE: matched`, or the predicate that failed.
impl fmt::Display for RuleTried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            Some(rule) => write!(f, "{}: ", rule.origin)?,
            None => write!(f, "route {}: ", self.route.0)?,
        }
        match &self.failed {
            Some(failed) => write!(f, "{failed}"),
            None => f.write_str("matched"),
        }
    }
}

/// The predicate that a rule failed on.
///
/// Predicates are tried cheapest first, so it need not be the first one its author wrote.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FailedPredicate {
    /// What of the request was looked at.
    pub subject: Subject,
    /// What it was compared with.
    pub matcher: StringMatcher,
    /// Whether it must not match (`withoutHeaders`).
    pub inverted: bool,
    /// What the request has there: nothing, or a value a line.
    pub found: Vec<String>,
}

impl fmt::Display for FailedPredicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.inverted { "is" } else { "is not" };
        write!(f, "{} {verb} {}: ", self.subject, self.matcher)?;
        if self.found.is_empty() {
            return f.write_str("absent");
        }
        for (number, value) in self.found.iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{value:?}")?;
        }
        Ok(())
    }
}
