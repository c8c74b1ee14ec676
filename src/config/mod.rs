//! The words: Istio's resources, and what is needed of Kubernetes', as they are written.
//!
//! [`Config::from_files`] reads YAML. All that cannot be read of a resource is told at once, with its place and what
//! its author can do; such a resource is left out, and the others are not the worse for it. What is wrong with what can
//! be read is told when it is applied.
//!
//! ```
//! use mesh_router::config::Config;
//!
//! let text = "
//! apiVersion: networking.istio.io/v1
//! kind: VirtualService
//! metadata:
//!   name: reviews
//! spec:
//!   hosts: [reviews]
//!   http:
//!   - retry:
//!       attempts: 3
//!     timeout: 5
//! ";
//! let config = Config::from_yaml(text, "reviews.yaml")?;
//! let told: Vec<String> = config.problems.iter().map(ToString::to_string).collect();
//! assert_eq!(told, [
//!     "reviews.yaml:9:5: error: VirtualService default/reviews: spec.http[0].retry: \
//!      unknown field \"retry\" (did you mean \"retries\"?)",
//!     "reviews.yaml:11:5: error: VirtualService default/reviews: spec.http[0].timeout: \
//!      expected a duration, found the number 5 (a unit is missing: \"5s\" or \"5ms\")",
//! ]);
//! assert_eq!(config.rejected[0].to_string(), "VirtualService default/reviews");
//! # Ok::<(), mesh_router::Error>(())
//! ```

mod bounds;
mod check;
mod events;
mod half_read;
mod kinds;
mod leaf;
mod load;
mod message;
mod parts;
mod places;
mod resource;
mod scan;
mod schema;
mod syntax;
#[cfg(test)]
mod tests;
mod timestamp;
mod white_space;
mod yaml;

pub mod destination_rule;
pub mod gateway;
pub mod http_action;
pub mod kubernetes;
pub mod load_balancer;
pub mod mesh_config;
pub mod service_entry;
pub mod units;
pub mod virtual_service;
pub mod workload_entry;

pub use bounds::Bounds;
pub use destination_rule::*;
pub use gateway::*;
pub use http_action::*;
pub use kubernetes::*;
pub use load_balancer::*;
pub use mesh_config::*;
pub use parts::{Destination, Percent, PortSelector, StringMatch};
pub use resource::{Metadata, Resource};
pub use service_entry::*;
pub use virtual_service::*;
pub use workload_entry::*;
pub(crate) use yaml::{read, write_key};

use std::collections::BTreeMap;

use crate::error::{Error, Problem, ResourceName};

/// Everything that was read from a set of files.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The VirtualServices.
    pub virtual_services: Vec<Resource<VirtualService>>,
    /// The DestinationRules.
    pub destination_rules: Vec<Resource<DestinationRule>>,
    /// The Gateways.
    pub gateways: Vec<Resource<Gateway>>,
    /// The ServiceEntries.
    pub service_entries: Vec<Resource<ServiceEntry>>,
    /// The WorkloadEntries.
    pub workload_entries: Vec<Resource<WorkloadEntry>>,
    /// Kubernetes' Services.
    pub services: Vec<Resource<Service>>,
    /// Kubernetes' EndpointSlices.
    pub endpoint_slices: Vec<Resource<EndpointSlice>>,
    /// Kubernetes' Pods.
    pub pods: Vec<Resource<Pod>>,
    /// Kubernetes' Nodes.
    pub nodes: Vec<Resource<Node>>,
    /// Kubernetes' Secrets.
    pub secrets: Vec<Resource<Secret>>,
    /// Resources of these kinds that are there and could not be read: their last good version is wanted.
    pub rejected: Vec<ResourceName>,
    /// What could be read of some of these: what is wrong with that is told too.
    pub half_read: Option<Box<Config>>,
    /// How many resources of other kinds were left out.
    pub skipped: BTreeMap<String, usize>,
    /// What is wrong with the resources, in the order of the files.
    pub problems: Vec<Problem>,
}

impl Config {
    /// Reads one file, which may have several documents.
    ///
    /// # Errors
    /// The text is no YAML or over a [bound](Bounds). What is wrong with a resource is in [`Config::problems`] instead.
    pub fn from_yaml(text: &str, file: &str) -> Result<Config, Error> {
        Self::from_files([(file, text)])
    }

    /// Reads several files, given by name and text. Two resources of the same kind, namespace and name are an error in
    /// [`Config::problems`]; the first one stays.
    ///
    /// # Errors
    /// A text is no YAML or over a [bound](Bounds): every such file is named.
    pub fn from_files<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Config, Error> {
        Self::from_files_bounded(files, &Bounds::default())
    }

    /// Reads several files within other bounds.
    ///
    /// # Errors
    /// As [`Config::from_files`].
    pub fn from_files_bounded<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a str)>,
        bounds: &Bounds,
    ) -> Result<Config, Error> {
        load::load(files.into_iter().map(|(name, text)| (name, Some(text))), bounds)
    }

    /// Reads several files. One without a text is longer than [bounds leave](Bounds::left).
    #[cfg(feature = "file")]
    pub(crate) fn from_bounded<'a>(
        files: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
        bounds: &Bounds,
    ) -> Result<Config, Error> {
        load::load(files, bounds)
    }
}
