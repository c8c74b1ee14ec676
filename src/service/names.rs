//! Names of headers of which more than one file speaks.

use http::HeaderName;

pub(super) const OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
pub(super) const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
pub(crate) const UPSTREAM_SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
