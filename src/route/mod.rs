//! The meaning of the rules: hosts, matches, and what is done with a request, compiled, immutable, pure and
//! synchronous.
//!
//! A [`RouteTable`] is what one listener, or the mesh, knows. [`RouteTable::resolve`] goes host, port, first matching
//! rule; the same evaluator explains itself when it is given an [`Explanation`] instead of `()`.
//!
//! ```
//! use http::Request;
//! use mesh_router::request::{Origin, RequestView};
//! use mesh_router::route::{RouteIndex, RouteMatch, RuleSet, StringMatcher};
//!
//! let rules = RuleSet::new(vec![
//!     (RouteMatch::builder().uri(StringMatcher::exact("/login")).build(), RouteIndex(0)),
//!     (RouteMatch::builder().header("end-user", StringMatcher::exact("jason")).build(), RouteIndex(1)),
//!     (RouteMatch::builder().build(), RouteIndex(2)),
//! ]);
//! let request = Request::get("http://reviews/api").header("end-user", "jason").body(()).unwrap();
//! let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
//! assert_eq!(rules.first_match(&view, &mut ()), Some(RouteIndex(1)));
//! ```

mod action;
mod cors;
mod destination;
mod fault;
mod format;
mod hash_policy;
mod headers;
mod hosts;
mod index;
mod matcher;
mod mirror;
pub mod normalize;
pub(crate) mod one_line;
mod percent;
mod redirect;
mod regex;
mod retry;
mod rewrite;
mod rule;
mod server_names;
mod steering;
mod streams;
mod table;
mod trace;
mod trie;

pub use action::{Action, DirectResponse, Forward};
pub use cors::{Cors, CorsError, CorsGrant, CorsVerdict};
pub use destination::{ClusterChoice, ClusterIndex, DestinationName, WeightedCluster, WeightedClusters};
pub use fault::{Abort, Fault};
pub use format::{Format, FormatContext, FormatError, HeaderSource};
pub use hash_policy::{Client, HashCookie, HashPolicies, HashPolicy, Hashed};
pub use headers::{AuthorityRewrite, HeaderOpError, HeaderOps, HeaderOpsBuilder};
pub use hosts::HostIndex;
pub use index::RuleSet;
pub use matcher::StringMatcher;
pub use mirror::Mirror;
pub use percent::Percent;
pub use redirect::{Redirect, RedirectPort, RedirectScheme};
pub use regex::{RegexCache, RegexError};
pub use retry::{RetryOn, RetryPolicy};
pub(crate) use rewrite::{ORIGINAL_HOST, ORIGINAL_PATH};
pub use rewrite::{PathRewrite, PathRewriteError, Rewrite};
pub use rule::{RouteMatch, RouteMatchBuilder, Subject};
pub use server_names::ServerNameTable;
pub(crate) use steering::Steering;
pub use streams::{StreamRoute, StreamTable};
pub use table::{
    Ports, Resolution, Route, RouteIndex, RouteTable, RuleOrigin, RuleSetIndex, Unknown, VirtualHost, VirtualHostIndex,
};
pub use trace::{Explanation, Failed, FailedPredicate, HostFound, RuleTried, Trace};
