//! What was decided about a request: [`RouteInfo`], an extension of the response.
//!
//! ```
//! use http::Response;
//! use mesh_router::service::RouteInfo;
//!
//! fn log(response: &Response<()>) -> String {
//!     match response.extensions().get::<RouteInfo>() {
//!         Some(info) => format!("{} {info}", response.status()),
//!         None => format!("{} passed through", response.status()),
//!     }
//! }
//! assert_eq!(log(&Response::new(())), "200 OK passed through");
//! ```

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::outcome::Outcome;
use crate::route::{Action, Route, RuleOrigin};
use crate::telemetry::ResponseFlags;
use crate::upstream::{Cluster, ClusterKey, Endpoint};

/// What was decided about a request and what came of it.
///
/// It stands in the extensions of every response but those of requests that were passed through; where another
/// [`MeshRouter`](super::MeshRouter) below took such a request, its own stays. It is made of reference counts: nothing is
/// formatted until it is asked for. Its `Display` is one line: flags, details, the rule with its place, the cluster, the
/// endpoint, and the number of tries.
#[derive(Clone)]
pub struct RouteInfo {
    pub(super) route: Option<Arc<Route>>,
    pub(super) cluster: Option<Arc<Cluster>>,
    /// Which of the rule's destinations was drawn.
    pub(super) destination: usize,
    pub(super) endpoint: Option<Arc<Endpoint>>,
    pub(super) attempts: u32,
    pub(super) flags: ResponseFlags,
    pub(super) details: &'static str,
    pub(super) cause: Option<Arc<dyn Error + Send + Sync>>,
}

/// Where a rule sends a request, as [`RouteInfo::destination`] tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Destination<'a> {
    /// The host (`destination.host`), in lower case; a short name is completed with the namespace of the rule.
    pub host: &'a str,
    /// The subset (`destination.subset`); empty for the whole host.
    pub subset: &'a str,
    /// The port: that of the rule (`destination.port`), else that of the cluster. `None` if neither is known.
    pub port: Option<u16>,
}

impl RouteInfo {
    /// The details of an answer that came from an endpoint.
    pub(super) const VIA_UPSTREAM: &'static str = "via_upstream";

    /// Whether it is about such an answer.
    pub(crate) fn is_by_upstream(&self) -> bool {
        self.details == Self::VIA_UPSTREAM
    }

    pub(super) fn new(flags: ResponseFlags, details: &'static str) -> Self {
        Self { route: None, cluster: None, destination: 0, endpoint: None, attempts: 0, flags, details, cause: None }
    }

    /// The name of the rule (`http[].name`), as Envoy's `%ROUTE_NAME%`; `None` if no rule took the request.
    pub fn route_name(&self) -> Option<&str> {
        self.route.as_ref().map(|route| &*route.name)
    }

    /// Where the rule was written: resource, path and place.
    pub fn rule(&self) -> Option<&RuleOrigin> {
        self.route.as_ref().map(|route| &route.origin)
    }

    /// The destination that was drawn, also if no cluster is known for it; `None` if no rule forwards the request.
    ///
    /// ```
    /// use mesh_router::service::RouteInfo;
    ///
    /// /// Which version of itself an application behind rules is asked for.
    /// fn subset<B>(request: &http::Request<B>) -> Option<&str> {
    ///     let destination = request.extensions().get::<RouteInfo>()?.destination()?;
    ///     Some(destination.subset).filter(|subset| !subset.is_empty())
    /// }
    /// assert_eq!(subset(&http::Request::new(())), None);
    /// ```
    pub fn destination(&self) -> Option<Destination<'_>> {
        let Action::Forward(forward) = &self.route.as_ref()?.action else { return None };
        let key = self.cluster();
        match (&forward.clusters.get(self.destination).name, key) {
            (Some(name), _) => {
                let port = name.port.or_else(|| key.map(|key| key.port));
                Some(Destination { host: &name.host, subset: &name.subset, port })
            }
            (None, Some(key)) => Some(Destination { host: &key.host, subset: &key.subset, port: Some(key.port) }),
            (None, None) => None,
        }
    }

    /// The cluster that was drawn; its `Display` is Envoy's name.
    pub fn cluster(&self) -> Option<&ClusterKey> {
        self.cluster.as_ref().map(|cluster| &cluster.key)
    }

    /// The endpoint of the last try.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_deref()
    }

    /// Tells outlier detection what the answer was worth to the application, which may know better than its status: one
    /// more outcome of the [endpoint](Self::endpoint) that gave it. Without an endpoint, or without `outlierDetection`,
    /// it says nothing.
    ///
    /// ```
    /// use http::{Response, StatusCode};
    /// use mesh_router::outcome::Outcome;
    /// use mesh_router::service::RouteInfo;
    ///
    /// /// A body that says the opposite of its status.
    /// fn judge(response: &Response<String>) {
    ///     if let Some(info) = response.extensions().get::<RouteInfo>()
    ///         && response.body().contains("database is gone")
    ///     {
    ///         info.report(Outcome::Status(StatusCode::SERVICE_UNAVAILABLE));
    ///     }
    /// }
    /// # judge(&Response::new(String::new()));
    /// ```
    pub fn report(&self, outcome: Outcome) {
        if let Some((cluster, endpoint)) = self.cluster.as_ref().zip(self.endpoint.as_ref()) {
            cluster.report(endpoint, outcome);
        }
    }

    /// How many tries were begun: 0 if the request was answered before the first. One of which nothing was sent counts too:
    /// one that had no connection, that a limit refused when it was to get one, or that was
    /// [aborted by itself](super::MeshRouter::with_faults_per_try).
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Envoy's response flags.
    pub fn flags(&self) -> ResponseFlags {
        self.flags
    }

    /// Envoy's response code details, for example `via_upstream` or `route_not_found`.
    pub fn details(&self) -> &'static str {
        self.details
    }

    /// The error of the inner service that this response stands for; `downcast_ref` works on it.
    pub fn cause(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.cause.as_deref()
    }
}

impl RouteInfo {
    /// Says which way a request went.
    pub(super) fn tell_way(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(rule) = self.rule() {
            write!(f, ", rule {rule}")?;
        }
        if let Some(cluster) = self.cluster() {
            write!(f, ", cluster {cluster}")?;
        }
        if let Some(endpoint) = self.endpoint() {
            write!(f, ", endpoint {}", endpoint.address)?;
        }
        match self.attempts {
            0 => Ok(()),
            1 => f.write_str(", 1 try"),
            tries => write!(f, ", {tries} tries"),
        }
    }
}

impl fmt::Display for RouteInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.flags)?;
        // Before an answer there are none.
        if !self.details.is_empty() {
            write!(f, " {}", self.details)?;
        }
        self.tell_way(f)
    }
}

/// As its `Display`, with the cause: a rule and its cluster would be pages.
impl fmt::Debug for RouteInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteInfo")
            .field("said", &format_args!("{self}"))
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}
