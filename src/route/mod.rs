//! The meaning of the rules: hosts, matches, splits and header operations, compiled, immutable, pure and synchronous.
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
mod hash_policy;
mod headers;
mod hosts;
mod index;
mod matcher;
pub mod normalize;
mod regex;
mod rule;
mod table;
mod trace;
mod trie;

pub use action::{Action, ClusterChoice, ClusterIndex, WeightedCluster, WeightedClusters};
pub use hash_policy::{Client, HashCookie, HashPolicies, HashPolicy, Hashed};
pub use headers::{AuthorityRewrite, HeaderOpError, HeaderOps, HeaderOpsBuilder};
pub use hosts::HostIndex;
pub use index::RuleSet;
pub use matcher::StringMatcher;
pub use regex::{RegexCache, RegexError};
pub use rule::{RouteMatch, RouteMatchBuilder, Subject};
pub use table::{
    Ports, Resolution, Route, RouteIndex, RouteTable, RuleOrigin, RuleSetIndex, Unknown, VirtualHost, VirtualHostIndex,
};
pub use trace::{Explanation, Failed, FailedPredicate, HostFound, RuleTried, Trace};
