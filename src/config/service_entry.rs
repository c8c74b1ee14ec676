//! ServiceEntry: a service that the mesh would not know by itself.
//!
//! ```
//! use mesh_router::config::{Resolution, ServiceEntry};
//!
//! let spec = ServiceEntry {
//!     hosts: vec!["api.example.com".into()],
//!     resolution: Resolution::Dns,
//!     ..ServiceEntry::default()
//! };
//! assert_eq!(spec.resolution.as_str(), "DNS");
//! ```

use std::collections::BTreeMap;

use super::message::{enumeration, message};
use super::workload_entry::WorkloadEntry;

message! {
    /// The `spec` of a ServiceEntry.
    pub struct ServiceEntry {
        /// The hosts, each a service of its own. Required.
        pub hosts: Vec<String> = "hosts",
        /// Virtual addresses, or networks, of the service.
        pub addresses: Vec<String> = "addresses",
        /// The ports.
        pub ports: Vec<ServiceEntryPort> = "ports",
        /// Whether it is outside of the mesh.
        pub location: Location = "location",
        /// Where its endpoints come from.
        pub resolution: Resolution = "resolution",
        /// Its endpoints. At most one of it and `workloadSelector`.
        pub endpoints: Vec<WorkloadEntry> = "endpoints",
        /// The WorkloadEntries and Pods of the namespace that are its endpoints.
        pub workload_selector: Option<WorkloadSelector> = "workloadSelector" | "workload_selector",
        /// The namespaces it is visible in: `*`, `.`, `~` or names. Empty: the mesh's default, which is `*`.
        pub export_to: Vec<String> = "exportTo" | "export_to",
        /// The names of which its servers must have one.
        pub subject_alt_names: Vec<String> = "subjectAltNames" | "subject_alt_names",
    }
}

message! {
    /// A port of a service.
    pub struct ServiceEntryPort {
        /// Its number. Required.
        pub number: u32 = "number",
        /// Its protocol: `HTTP`, `HTTP2`, `GRPC`, `GRPC-WEB`, `HTTPS`, `TLS`, `TCP`, `MONGO`, `REDIS` or `MYSQL`, in
        /// any case. Empty: found out.
        pub protocol: String = "protocol",
        /// Its name. Required.
        pub name: String = "name",
        /// The port of the endpoints. 0: `number`.
        pub target_port: u32 = "targetPort" | "target_port",
    }
}

message! {
    /// The workloads that are endpoints of a ServiceEntry.
    pub struct WorkloadSelector {
        /// Labels that a workload must have.
        pub labels: BTreeMap<String, String> = "labels",
    }
}

enumeration! {
    /// Whether a service is outside of the mesh.
    pub enum Location {
        /// It is: no mutual TLS by itself.
        MeshExternal = "MESH_EXTERNAL",
        /// It is not.
        MeshInternal = "MESH_INTERNAL",
    }
}

enumeration! {
    /// Where the endpoints of a service come from.
    pub enum Resolution {
        /// There is one: the address that the client dialed.
        None = "NONE",
        /// They are listed by address.
        Static = "STATIC",
        /// They are looked up; every address of an answer is one.
        Dns = "DNS",
        /// They are looked up; new connections go to the first address of the latest answer.
        DnsRoundRobin = "DNS_ROUND_ROBIN",
        /// The requested host is looked up.
        DynamicDns = "DYNAMIC_DNS",
    }
}
