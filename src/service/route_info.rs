//! What was decided about a request: [`RouteInfo`], an extension of the response.
//!
//! ```
//! use http::Response;
//! use mesh_router::service::RouteInfo;
//!
//! fn log(response: &Response<()>) -> String {
//!     match response.extensions().get::<RouteInfo>() {
//!         Some(info) => format!("{} {} {}", response.status(), info.flags(), info.details()),
//!         None => format!("{} passed through", response.status()),
//!     }
//! }
//! assert_eq!(log(&Response::new(())), "200 OK passed through");
//! ```

use std::error::Error;
use std::sync::Arc;

use crate::route::{Route, RuleOrigin};
use crate::telemetry::ResponseFlags;
use crate::upstream::{Cluster, ClusterKey, Endpoint};

/// What was decided about a request and what came of it.
///
/// It stands in the extensions of every response but those of requests that were passed through. It is made of
/// reference counts: nothing is formatted until it is asked for.
#[derive(Clone, Debug)]
pub struct RouteInfo {
    pub(super) route: Option<Arc<Route>>,
    pub(super) cluster: Option<Arc<Cluster>>,
    pub(super) endpoint: Option<Arc<Endpoint>>,
    pub(super) attempts: u32,
    pub(super) flags: ResponseFlags,
    pub(super) details: &'static str,
    pub(super) cause: Option<Arc<dyn Error + Send + Sync>>,
}

impl RouteInfo {
    pub(super) fn new(flags: ResponseFlags, details: &'static str) -> Self {
        Self { route: None, cluster: None, endpoint: None, attempts: 0, flags, details, cause: None }
    }

    /// The name of the rule (`http[].name`), as Envoy's `%ROUTE_NAME%`; `None` if no rule took the request.
    pub fn route_name(&self) -> Option<&str> {
        self.route.as_ref().map(|route| &*route.name)
    }

    /// Where the rule was written: resource, path and place.
    pub fn rule(&self) -> Option<&RuleOrigin> {
        self.route.as_ref().map(|route| &route.origin)
    }

    /// The cluster that was drawn; its `Display` is Envoy's name.
    pub fn cluster(&self) -> Option<&ClusterKey> {
        self.cluster.as_ref().map(|cluster| &cluster.key)
    }

    /// The endpoint of the last try.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.endpoint.as_deref()
    }

    /// How many tries were sent: 0 if the request was answered here.
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
