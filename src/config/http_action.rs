//! What an http rule of a VirtualService does with the requests that it takes.
//!
//! ```
//! use mesh_router::config::{HttpRoute, HttpRewrite};
//!
//! let rewrite = HttpRewrite { uri: "/v1".into(), ..HttpRewrite::default() };
//! let rule = HttpRoute { rewrite: Some(rewrite), ..HttpRoute::default() };
//! assert!(rule.redirect.is_none());
//! ```

use super::message::{enumeration, message};
use super::parts::{Destination, Percent, StringMatch};
use super::units::{Bytes, Duration};

message! {
    /// A redirect as the answer.
    pub struct HttpRedirect {
        /// The new path. Empty: the request's.
        pub uri: String = "uri",
        /// The new authority. Empty: the request's.
        pub authority: String = "authority",
        /// The new port. At most one of it and `derivePort`.
        pub port: Option<u32> = "port",
        /// Where the new port comes from.
        pub derive_port: Option<RedirectPortSelection> = "derivePort" | "derive_port",
        /// The new scheme. Empty: the request's.
        pub scheme: String = "scheme",
        /// The status. 0: 301.
        pub redirect_code: u32 = "redirectCode" | "redirect_code",
        /// What replaces the matched prefix of the path.
        pub prefix_rewrite: String = "prefixRewrite" | "prefix_rewrite",
    }
}

enumeration! {
    /// Where the port of a redirect comes from.
    pub enum RedirectPortSelection {
        /// The default port of the scheme.
        FromProtocolDefault = "FROM_PROTOCOL_DEFAULT",
        /// The port of the request.
        FromRequestPort = "FROM_REQUEST_PORT",
    }
}

message! {
    /// A fixed answer.
    pub struct HttpDirectResponse {
        /// The status. Required.
        pub status: u32 = "status",
        /// The body. Unset: empty.
        pub body: Option<HttpBody> = "body",
    }
}

message! {
    /// A body: at most one of its fields.
    pub struct HttpBody {
        /// As text.
        pub string: Option<String> = "string",
        /// As bytes.
        pub bytes: Option<Bytes> = "bytes",
    }
}

message! {
    /// What becomes of the path and the authority.
    pub struct HttpRewrite {
        /// What replaces the matched prefix, or the whole path where it was matched exactly.
        pub uri: String = "uri",
        /// What replaces the authority.
        pub authority: String = "authority",
        /// What replaces the parts of the path that an expression finds.
        pub uri_regex_rewrite: Option<RegexRewrite> = "uriRegexRewrite" | "uri_regex_rewrite",
    }
}

message! {
    /// An expression and what replaces it.
    pub struct RegexRewrite {
        /// The expression, in RE2's syntax.
        pub matches: String = "match",
        /// The replacement; `\1` is the first group.
        pub rewrite: String = "rewrite",
    }
}

message! {
    /// When and how a failed request is tried again.
    pub struct HttpRetry {
        /// The most tries after the first. 0: none.
        pub attempts: i32 = "attempts",
        /// How long each try may take, the first included. Unset: the route's `timeout`.
        pub per_try_timeout: Option<Duration> = "perTryTimeout" | "per_try_timeout",
        /// The conditions, separated by commas, and status codes. Empty: Istio's default list.
        pub retry_on: String = "retryOn" | "retry_on",
        /// Whether further tries may go to other localities.
        pub retry_remote_localities: Option<bool> = "retryRemoteLocalities" | "retry_remote_localities",
        /// Whether further tries avoid the endpoints that were tried. Unset: true, unless the only destination is
        /// balanced by a hash.
        pub retry_ignore_previous_hosts: Option<bool> = "retryIgnorePreviousHosts" | "retry_ignore_previous_hosts",
        /// The first pause between tries, which doubles. Unset: 25 ms.
        pub backoff: Option<Duration> = "backoff",
    }
}

message! {
    /// Which scripts of other origins may call.
    pub struct CorsPolicy {
        /// The origins, exactly. Deprecated for `allowOrigins`.
        pub allow_origin: Vec<String> = "allowOrigin" | "allow_origin",
        /// The origins.
        pub allow_origins: Vec<StringMatch> = "allowOrigins" | "allow_origins",
        /// The methods, for `access-control-allow-methods`.
        pub allow_methods: Vec<String> = "allowMethods" | "allow_methods",
        /// The request headers, for `access-control-allow-headers`.
        pub allow_headers: Vec<String> = "allowHeaders" | "allow_headers",
        /// The response headers, for `access-control-expose-headers`.
        pub expose_headers: Vec<String> = "exposeHeaders" | "expose_headers",
        /// How long the answer to a preflight may be kept.
        pub max_age: Option<Duration> = "maxAge" | "max_age",
        /// Whether credentials may be sent. Unset: not said.
        pub allow_credentials: Option<bool> = "allowCredentials" | "allow_credentials",
        /// What becomes of a preflight of another origin.
        pub unmatched_preflights: UnmatchedPreflights = "unmatchedPreflights" | "unmatched_preflights",
    }
}

enumeration! {
    /// What becomes of a preflight whose origin is not allowed.
    pub enum UnmatchedPreflights {
        /// As `Forward`.
        Unspecified = "UNSPECIFIED",
        /// It is sent to the destination.
        Forward = "FORWARD",
        /// It is answered with 200 and no CORS header.
        Ignore = "IGNORE",
    }
}

message! {
    /// Faults for tests.
    pub struct HttpFaultInjection {
        /// A pause before the request is sent.
        pub delay: Option<FaultDelay> = "delay",
        /// An answer in place of the destination's.
        pub abort: Option<FaultAbort> = "abort",
    }
}

message! {
    /// A pause before the request is sent; at most one kind.
    pub struct FaultDelay {
        /// The share of the requests in percent. Unset: none. Deprecated for `percentage`.
        pub percent: i32 = "percent",
        /// The length of the pause.
        pub fixed_delay: Option<Duration> = "fixedDelay" | "fixed_delay",
        /// Not implemented by Istio.
        pub exponential_delay: Option<Duration> = "exponentialDelay" | "exponential_delay",
        /// The share of the requests. Unset: `percent`.
        pub percentage: Option<Percent> = "percentage",
    }
}

message! {
    /// An answer in place of the destination's; at most one kind.
    pub struct FaultAbort {
        /// The status of the answer.
        pub http_status: Option<i32> = "httpStatus" | "http_status",
        /// The gRPC status of the answer, by name or number.
        pub grpc_status: Option<String> = "grpcStatus" | "grpc_status",
        /// Not implemented by Istio.
        pub http2_error: Option<String> = "http2Error" | "http2_error",
        /// The share of the requests. Unset: none.
        pub percentage: Option<Percent> = "percentage",
    }
}

message! {
    /// A place that copies of the requests are sent to.
    pub struct HttpMirrorPolicy {
        /// The place. Required.
        pub destination: Option<Destination> = "destination",
        /// The share of the requests. Unset: all.
        pub percentage: Option<Percent> = "percentage",
    }
}
