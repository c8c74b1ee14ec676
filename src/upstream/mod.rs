//! The living part: clusters, their endpoints and the balancers that choose among them.
//!
//! Everything else in a snapshot is immutable; here counts move. A [`Cluster`] publishes its endpoints, their states
//! and the balancer's prebuilt state together as one [`EndpointSet`], which a pick loads once. What must outlive a
//! change (active requests, [`EndpointId`]s, the position of ROUND_ROBIN) is found again by the [`Registry`] under the
//! cluster's key and the endpoint's address. There are no tasks here, nothing awaits, and no lock is waited for on the
//! way of a request. Failures eject endpoints for a while, and what a cluster admits at a time has limits: both are
//! shared by everything in the process that uses it.
//!
//! ```
//! use mesh_router::dice::Dice;
//! use mesh_router::upstream::{Choice, ClusterKey, ClusterSettings, EndpointConfig, Registry};
//!
//! let dice = Dice::seeded(7);
//! let registry = Registry::new(&dice);
//! let key = ClusterKey::new("reviews.default.svc.cluster.local", "v1", 9080);
//! assert_eq!(key.to_string(), "outbound|9080|v1|reviews.default.svc.cluster.local");
//!
//! let endpoint = EndpointConfig::new(([10, 0, 0, 1], 9080));
//! let cluster = registry.cluster(key, ClusterSettings::default(), vec![endpoint]);
//! let picked = cluster.pick(&mut dice.draws(), &Choice::default()).expect("one healthy endpoint");
//! assert_eq!(picked.endpoint().authority, "10.0.0.1:9080");
//! assert_eq!(cluster.view()[0].active, 1);
//! drop(picked);
//! assert_eq!(cluster.view()[0].active, 0);
//! ```

use std::time::Duration;

mod atomics;
mod balancer;
mod budget;
mod choice;
mod cluster;
mod connection;
mod endpoint;
mod endpoint_set;
mod given;
mod lasting;
mod least_request;
mod limits;
mod locality;
mod maglev;
mod names;
mod originals;
mod outlier;
mod priority;
mod random;
mod registry;
mod ring_hash;
mod round_robin;
mod schedule;
mod standing;
mod warmup;
mod weights;

pub use balancer::{Balancing, Policy};
pub use budget::RetryBudget;
pub use choice::Choice;
pub use cluster::{Cluster, ClusterKey, ClusterSettings};
pub use connection::{
    ConnectionSettings, Http2KeepAlive, Identity, Pem, Protocol, ProxyVersion, TcpKeepalive, TlsMode, TlsSettings,
};
pub(crate) use endpoint::Written;
pub use endpoint::{Address, Endpoint, EndpointConfig, EndpointId, EndpointView, Picked};
pub use endpoint_set::EndpointSet;
pub(crate) use given::Takes;
pub use limits::{InUse, LimitSettings, Limits, Permit};
pub use locality::{
    Distribute, Failover, FailoverLabel, FailoverPlaces, Locality, NETWORK_LABEL, PlaceShare, Placement, REGION_LABEL,
    SUBZONE_LABEL, ZONE_LABEL,
};
pub use names::{LogicalHost, NamedAddress, ResolvedName};
pub use originals::{Original, PassThrough};
pub use outlier::{Ejection, EjectionReason, OutlierSettings};
pub use registry::Registry;
pub use warmup::Warmup;

pub(crate) use names::{NamedEndpoint, NamedEndpoints, Names};
#[cfg(feature = "client")]
pub(crate) use standing::{Basis, Standing};

/// Nobody waits longer, and no clock runs out of numbers within it: a hundred years.
pub(crate) const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
