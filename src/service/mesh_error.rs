//! Failures as errors instead of answers: [`MeshError`], for those who ask for it by [`ErrorMode::Return`].
//!
//! ```
//! use mesh_router::BoxError;
//! use mesh_router::service::MeshError;
//!
//! /// Whether it may help to come back later.
//! fn is_passing(error: &BoxError) -> bool {
//!     error.downcast_ref::<MeshError>().is_some_and(|error| error.status().is_server_error())
//! }
//! assert!(!is_passing(&"another error".into()));
//! ```

use std::error::Error;
use std::fmt;

use http::StatusCode;

use super::body_error::timed_out;
use super::route_info::RouteInfo;
use crate::telemetry::ResponseFlags;

/// What becomes of a request that fails before an upstream has answered it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorMode {
    /// The answer that Envoy would give, with a [`RouteInfo`] in its extensions.
    #[default]
    Respond,
    /// An error, which downcasts to a [`MeshError`].
    Return,
}

/// A request that no upstream answered, and no rule: what stands in place of Envoy's local reply where
/// [`ErrorMode::Return`] asks for it.
///
/// Its `Display` is one line for a log: the status, Envoy's response flags and details, then the rule, the cluster, the
/// endpoint and the number of tries as far as it came to them. Its source is the error of the inner service, if it was
/// one that ended the last try; of a timeout, an `io::Error` of the kind `TimedOut`.
#[derive(Clone)]
pub struct MeshError {
    status: StatusCode,
    info: RouteInfo,
}

impl MeshError {
    pub(super) fn new(status: StatusCode, info: RouteInfo) -> Self {
        Self { status, info }
    }

    /// What was decided about the request and what came of it, as the answer would have it in its extensions.
    pub fn info(&self) -> &RouteInfo {
        &self.info
    }

    /// The status of the answer that Envoy would give: 404 without a rule, 502 for a host that `REGISTRY_ONLY` refuses
    /// and for an upstream that does not speak HTTP, 504 after a timeout, 503 for most else. A caller of gRPC would get
    /// it as a `grpc-status`.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl fmt::Display for MeshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = &self.info;
        write!(f, "{} {} {}", self.status.as_u16(), info.flags(), info.details())?;
        // Envoy's details of a host that is refused are those of any answer of a rule, which is no error.
        if info.details() == "direct_response" {
            f.write_str(", the host is not in the registry")?;
        }
        info.tell_way(f)
    }
}

/// As its `Display`, with the source: a rule and its cluster would be pages.
impl fmt::Debug for MeshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshError")
            .field("said", &format_args!("{self}"))
            .field("source", &self.info.cause())
            .finish_non_exhaustive()
    }
}

impl Error for MeshError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let timed_out = || self.info.flags().contains(ResponseFlags::UPSTREAM_REQUEST_TIMEOUT).then(timed_out);
        self.info.cause().map(|cause| cause as _).or_else(|| timed_out().map(|error| error as _))
    }
}
