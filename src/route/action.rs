//! What a matched rule does: [`Action`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use super::{
    AuthorityRewrite, Cors, HashPolicies, Mirror, Redirect, RetryPolicy, Rewrite, WeightedCluster, WeightedClusters,
};
use crate::request::Tunnel;

/// What a matched rule does.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "nearly every rule forwards, and each stands behind a pointer")]
pub enum Action {
    /// The request goes to a cluster (`http[].route`).
    Forward(Forward),
    /// The request is answered with another address to ask (`http[].redirect`).
    Redirect(Redirect),
    /// The request is answered with fixed words (`http[].directResponse`).
    Respond(DirectResponse),
}

/// Everything a rule says about the requests that it sends on.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Where they go.
    pub clusters: WeightedClusters,
    /// What becomes of path and authority before they go.
    pub rewrite: Rewrite,
    /// How long a request may take from its end to the end of the response, all tries included (`timeout`). `None`:
    /// without limit, which is the default.
    pub timeout: Option<Duration>,
    /// Which failures are tried again (`retries`, else the mesh's default policy). `None`: none.
    pub retry: Option<RetryPolicy>,
    /// Which scripts of other origins may call (`corsPolicy`).
    pub cors: Option<Cors>,
    /// Where copies go (`mirror`, `mirrors`). All of one request share one draw.
    pub mirrors: Box<[Mirror]>,
    /// What of a request is hashed, so that requests alike go to one endpoint (`consistentHash` of the destinations'
    /// DestinationRules).
    pub hash: HashPolicies,
    /// What the endpoint, a forward proxy, is asked for first (`tunnel` of the DestinationRule): only of `tls` rules.
    pub tunnel: Option<Arc<Tunnel>>,
}

impl Forward {
    /// Requests to `clusters`, with everything else off.
    pub fn new(clusters: WeightedClusters) -> Self {
        Self {
            clusters,
            rewrite: Rewrite::default(),
            timeout: None,
            retry: None,
            cors: None,
            mirrors: Box::default(),
            hash: HashPolicies::default(),
            tunnel: None,
        }
    }

    /// The authority that the upstream is to see, if it is not the client's: that of the rule, else that of the
    /// destination that was drawn.
    ///
    /// Envoy tells the upstream the client's authority in `x-envoy-original-host` for the rule's only, which is where
    /// [`Rewrite::authority`] is set.
    pub fn authority<'a>(&'a self, destination: &'a WeightedCluster) -> Option<&'a AuthorityRewrite> {
        self.rewrite.authority.as_ref().or(destination.request_headers.authority())
    }
}

/// A fixed answer (`http[].directResponse`).
///
/// An empty body goes without `content-type` and `content-length`; another is `text/plain` unless the rule's operations
/// on the response say otherwise. A 201 or 3xx says as its `location` what was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectResponse {
    /// The status, 200 to 599.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}
