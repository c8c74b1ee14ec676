//! VirtualService: which requests go where, and what happens to them on the way.
//!
//! ```
//! use mesh_router::config::{HttpMatchRequest, HttpRoute, StringMatch, VirtualService};
//!
//! let prefix = StringMatch { prefix: Some("/reviews".into()), ..StringMatch::default() };
//! let rule = HttpRoute {
//!     matches: vec![HttpMatchRequest { uri: Some(prefix), ..HttpMatchRequest::default() }],
//!     ..HttpRoute::default()
//! };
//! let spec = VirtualService { hosts: vec!["reviews".into()], http: vec![rule], ..VirtualService::default() };
//! assert_eq!(spec.http[0].matches[0].uri.as_ref().unwrap().prefix.as_deref(), Some("/reviews"));
//! ```

use std::collections::BTreeMap;

use super::message::{enumeration, message};
use super::units::{Bytes, Duration};

message! {
    /// The `spec` of a VirtualService.
    pub struct VirtualService {
        /// The hosts whose requests it routes: short names, full names, wildcards, addresses. Empty: it is a delegate.
        pub hosts: Vec<String> = "hosts",
        /// The gateways it is bound to; `mesh` stands for all clients in the mesh. Empty: `mesh` alone.
        pub gateways: Vec<String> = "gateways",
        /// The rules for HTTP, tried in order; the first that matches decides.
        pub http: Vec<HttpRoute> = "http",
        /// The rules for TLS that is passed on unopened, chosen by SNI.
        pub tls: Vec<TlsRoute> = "tls",
        /// The rules for plain TCP.
        pub tcp: Vec<TcpRoute> = "tcp",
        /// The namespaces it is visible in: `*`, `.` or names. Empty: the mesh's default, which is `*`.
        pub export_to: Vec<String> = "exportTo" | "export_to",
    }
}

message! {
    /// A service to send to.
    pub struct Destination {
        /// The host: a short name is completed in the namespace of the resource. Required.
        pub host: String = "host",
        /// The subset, which a DestinationRule defines. Empty: all endpoints.
        pub subset: String = "subset",
        /// The port of the service. Unset: its only port, or the port that the request came to.
        pub port: Option<PortSelector> = "port",
    }
}

message! {
    /// One rule for HTTP.
    pub struct HttpRoute {
        /// The name, for logs and metrics only.
        pub name: String = "name",
        /// The conditions, any of which is enough. Empty: every request.
        pub matches: Vec<HttpMatchRequest> = "match",
        /// The destinations, with the shares of the requests that they get.
        pub route: Vec<HttpRouteDestination> = "route",
        /// Answers with a redirect instead of routing.
        pub redirect: Option<HttpRedirect> = "redirect",
        /// Answers with a fixed response instead of routing.
        pub direct_response: Option<HttpDirectResponse> = "directResponse" | "direct_response",
        /// The VirtualService that has the further rules.
        pub delegate: Option<Delegate> = "delegate",
        /// What becomes of the path and the authority before the request is sent.
        pub rewrite: Option<HttpRewrite> = "rewrite",
        /// How long the whole request may take, all tries included. Unset or zero: without limit.
        pub timeout: Option<Duration> = "timeout",
        /// Which failures are tried again. Unset: the mesh's default policy, two more tries.
        pub retries: Option<HttpRetry> = "retries",
        /// Delays and aborts for tests.
        pub fault: Option<HttpFaultInjection> = "fault",
        /// Where a copy of the request is sent, whose answer is dropped.
        pub mirror: Option<Destination> = "mirror",
        /// Several such places, each with its share.
        pub mirrors: Vec<HttpMirrorPolicy> = "mirrors",
        /// The share of the requests that is mirrored, in percent. Deprecated for `mirrorPercentage`.
        pub mirror_percent: Option<u32> = "mirrorPercent" | "mirror_percent",
        /// The share of the requests that is mirrored. Unset: all.
        pub mirror_percentage: Option<Percent> = "mirrorPercentage" | "mirror_percentage",
        /// Which browsers' scripts of other origins may call.
        pub cors_policy: Option<CorsPolicy> = "corsPolicy" | "cors_policy",
        /// What becomes of the headers, for all destinations of the rule.
        pub headers: Option<Headers> = "headers",
    }
}

message! {
    /// The VirtualService that a rule hands over to.
    pub struct Delegate {
        /// Its name.
        pub name: String = "name",
        /// Its namespace. Empty: that of the resource.
        pub namespace: String = "namespace",
    }
}

message! {
    /// What becomes of the headers.
    pub struct Headers {
        /// Of the request, before it is sent.
        pub request: Option<HeaderOperations> = "request",
        /// Of the response, before it is handed on.
        pub response: Option<HeaderOperations> = "response",
    }
}

message! {
    /// Operations on headers.
    pub struct HeaderOperations {
        /// Replaces the header's values by this one.
        pub set: BTreeMap<String, String> = "set",
        /// Adds this value to the header's.
        pub add: BTreeMap<String, String> = "add",
        /// Removes the header.
        pub remove: Vec<String> = "remove",
    }
}

message! {
    /// One rule for TLS that is passed on unopened.
    pub struct TlsRoute {
        /// The conditions, any of which is enough. Required.
        pub matches: Vec<TlsMatchAttributes> = "match",
        /// The destinations.
        pub route: Vec<RouteDestination> = "route",
    }
}

message! {
    /// One rule for TCP.
    pub struct TcpRoute {
        /// The conditions, any of which is enough. Empty: every connection.
        pub matches: Vec<L4MatchAttributes> = "match",
        /// The destinations.
        pub route: Vec<RouteDestination> = "route",
    }
}

message! {
    /// Conditions on an HTTP request, all of which must hold.
    pub struct HttpMatchRequest {
        /// The name, which is put behind the rule's.
        pub name: String = "name",
        /// The path without its query. Unset: every path.
        pub uri: Option<StringMatch> = "uri",
        /// The scheme, `http` or `https`.
        pub scheme: Option<StringMatch> = "scheme",
        /// The method, in its case.
        pub method: Option<StringMatch> = "method",
        /// The authority as it was sent, port included.
        pub authority: Option<StringMatch> = "authority",
        /// Headers by name. A value without a kind, or none (null), asks only that the header is there.
        pub headers: BTreeMap<String, Option<StringMatch>> = "headers",
        /// The port that the request came to. 0: every port.
        pub port: u32 = "port",
        /// Labels that the client must have.
        pub source_labels: BTreeMap<String, String> = "sourceLabels" | "source_labels",
        /// The gateways for which the condition holds, instead of the rule's.
        pub gateways: Vec<String> = "gateways",
        /// Query parameters by name, like `headers`.
        pub query_params: BTreeMap<String, Option<StringMatch>> = "queryParams" | "query_params",
        /// Whether an exact or prefix `uri` is compared without regard to case. Default: false.
        pub ignore_uri_case: bool = "ignoreUriCase" | "ignore_uri_case",
        /// Headers that must not match, like `headers`.
        pub without_headers: BTreeMap<String, Option<StringMatch>> = "withoutHeaders" | "without_headers",
        /// The namespace that the client must be in.
        pub source_namespace: String = "sourceNamespace" | "source_namespace",
        /// A prefix for statistics of its own.
        pub stat_prefix: String = "statPrefix" | "stat_prefix",
    }
}

message! {
    /// A destination and its share of the requests.
    pub struct HttpRouteDestination {
        /// Where to send. Required.
        pub destination: Option<Destination> = "destination",
        /// The share, relative to the sum of the weights. Of no matter where there is one destination.
        pub weight: i32 = "weight",
        /// What becomes of the headers with this destination.
        pub headers: Option<Headers> = "headers",
    }
}

message! {
    /// A destination of a TLS or TCP rule and its share of the connections.
    pub struct RouteDestination {
        /// Where to send. Required.
        pub destination: Option<Destination> = "destination",
        /// The share, relative to the sum of the weights.
        pub weight: i32 = "weight",
    }
}

message! {
    /// Conditions on a TCP connection, all of which must hold.
    pub struct L4MatchAttributes {
        /// Addresses or networks of the destination.
        pub destination_subnets: Vec<String> = "destinationSubnets" | "destination_subnets",
        /// The port. 0: every port.
        pub port: u32 = "port",
        /// An address or network of the client. Not honored by Istio.
        pub source_subnet: String = "sourceSubnet" | "source_subnet",
        /// Labels that the client must have.
        pub source_labels: BTreeMap<String, String> = "sourceLabels" | "source_labels",
        /// The gateways for which the condition holds, instead of the resource's.
        pub gateways: Vec<String> = "gateways",
        /// The namespace that the client must be in.
        pub source_namespace: String = "sourceNamespace" | "source_namespace",
    }
}

message! {
    /// Conditions on a TLS connection, all of which must hold.
    pub struct TlsMatchAttributes {
        /// The server names that are asked for, wildcards included. Required.
        pub sni_hosts: Vec<String> = "sniHosts" | "sni_hosts",
        /// Addresses or networks of the destination.
        pub destination_subnets: Vec<String> = "destinationSubnets" | "destination_subnets",
        /// The port. 0: every port.
        pub port: u32 = "port",
        /// Labels that the client must have.
        pub source_labels: BTreeMap<String, String> = "sourceLabels" | "source_labels",
        /// The gateways for which the condition holds, instead of the resource's.
        pub gateways: Vec<String> = "gateways",
        /// The namespace that the client must be in.
        pub source_namespace: String = "sourceNamespace" | "source_namespace",
    }
}

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
    /// A condition on a text: at most one of its fields.
    pub struct StringMatch {
        /// The text is this.
        pub exact: Option<String> = "exact",
        /// The text begins with this.
        pub prefix: Option<String> = "prefix",
        /// The whole text matches this expression, in RE2's syntax.
        pub regex: Option<String> = "regex",
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
        /// Whether further tries avoid the endpoints that were tried. Unset: true.
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
        /// The share of the requests in percent. Deprecated for `percentage`.
        pub percent: i32 = "percent",
        /// The length of the pause.
        pub fixed_delay: Option<Duration> = "fixedDelay" | "fixed_delay",
        /// Not implemented by Istio.
        pub exponential_delay: Option<Duration> = "exponentialDelay" | "exponential_delay",
        /// The share of the requests. Unset: all.
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
        /// The share of the requests. Unset: all.
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

message! {
    /// A port of a service.
    pub struct PortSelector {
        /// Its number.
        pub number: u32 = "number",
    }
}

message! {
    /// A share.
    pub struct Percent {
        /// From 0 to 100.
        pub value: f64 = "value",
    }
}
