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

use super::http_action::{
    CorsPolicy, HttpDirectResponse, HttpFaultInjection, HttpMirrorPolicy, HttpRedirect, HttpRetry, HttpRewrite,
};
use super::message::message;
use super::parts::{Destination, Percent, StringMatch};
use super::units::Duration;

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
