//! WorkloadEntry: one endpoint that Kubernetes does not know, such as a virtual machine.
//!
//! ```
//! use mesh_router::config::WorkloadEntry;
//!
//! let spec = WorkloadEntry { address: "2.2.2.2".into(), weight: 3, ..WorkloadEntry::default() };
//! assert!(spec.ports.is_empty());
//! ```

use std::collections::BTreeMap;

use super::message::message;

message! {
    /// The `spec` of a WorkloadEntry, and an endpoint of a ServiceEntry.
    pub struct WorkloadEntry {
        /// The address: an IP address, a DNS name, or `unix:///path`. Required; one with a `network`
        /// alone is left out.
        pub address: String = "address",
        /// Ports by the names of the service's ports, where they are others.
        pub ports: BTreeMap<String, u32> = "ports",
        /// Labels, for subsets and selectors.
        pub labels: BTreeMap<String, String> = "labels",
        /// The network. Not honored, but as a label for `failoverPriority`.
        pub network: String = "network",
        /// `region/zone/subzone`.
        pub locality: String = "locality",
        /// The share of the requests. 0: 1.
        pub weight: u32 = "weight",
        /// The service account. Not honored.
        pub service_account: String = "serviceAccount" | "service_account",
    }
}
