//! A resource: its metadata, its word, and where each of its fields stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::kubernetes::Condition;
use super::message::message;
use super::places::Places;
use super::units::Timestamp;
use crate::error::{Place, ResourceName};

message! {
    /// What Kubernetes says of every resource.
    pub struct Metadata {
        /// The name.
        pub name: String = "name",
        /// The namespace. Unset: `default`, or none for what has none.
        pub namespace: Option<String> = "namespace",
        /// Labels.
        pub labels: BTreeMap<String, String> = "labels",
        /// Annotations.
        pub annotations: BTreeMap<String, String> = "annotations",
        /// When it was created. Of two resources that claim the same host the older one wins.
        pub creation_timestamp: Option<Timestamp> = "creationTimestamp",
        /// When it was asked to end. A Pod that was is no endpoint any more.
        pub deletion_timestamp: Option<Timestamp> = "deletionTimestamp",
        /// The version that the API server gave it.
        pub resource_version: Option<String> = "resourceVersion",
    }
}

/// A resource: its metadata, its word, and where each of its fields stands.
///
/// ```
/// use mesh_router::config::{Config, Resource, ServiceEntry};
///
/// let made = Resource::new("api", Some("shop"), ServiceEntry::default());
/// assert_eq!(made.name_of("ServiceEntry").to_string(), "ServiceEntry shop/api");
/// assert_eq!(made.place("spec.hosts"), None);
///
/// let text = "apiVersion: networking.istio.io/v1
/// kind: ServiceEntry
/// metadata: {name: api}
/// spec: {hosts: [api.example.com]}";
/// let config = Config::from_yaml(text, "mesh.yaml").unwrap();
/// let place = config.service_entries[0].place("spec.hosts[0]").unwrap();
/// assert_eq!(place.to_string(), "mesh.yaml:4:16");
/// ```
#[derive(Clone, Debug)]
pub struct Resource<T> {
    /// What Kubernetes says of it.
    pub meta: Metadata,
    /// The word itself.
    pub spec: T,
    /// What `status.conditions` says of a WorkloadEntry; of other kinds it is not read.
    pub conditions: Vec<Condition>,
    places: Option<(Arc<Places>, u32)>,
}

impl<T> Resource<T> {
    /// A resource made by a program, which stands nowhere.
    pub fn new(name: impl Into<String>, namespace: Option<&str>, spec: T) -> Self {
        let namespace = namespace.map(str::to_owned);
        Self {
            meta: Metadata { name: name.into(), namespace, ..Metadata::default() },
            spec,
            conditions: Vec::new(),
            places: None,
        }
    }

    /// A resource read from `places`, where it begins at the node `root`.
    pub(crate) fn read(meta: Metadata, spec: T, places: Arc<Places>, root: u32) -> Self {
        Self { meta, spec, conditions: Vec::new(), places: Some((places, root)) }
    }

    /// The place of a field, for example of `spec.http[2].timeout`, or `metadata.labels["a.b/c"]` for a key with dots.
    ///
    /// A field that is not written has the place of the nearest one around it. `None` without a file.
    pub fn place(&self, path: &str) -> Option<Place> {
        let (places, root) = self.places.as_ref()?;
        places.place(*root, path)
    }

    /// The file it was read from.
    pub fn file(&self) -> Option<&str> {
        self.places.as_ref().map(|(places, _)| places.file())
    }

    /// Its namespace: `default` if it names none.
    pub fn namespace(&self) -> &str {
        self.meta.namespace()
    }

    /// Its name among the resources of `kind`, in the namespace `default` if it names none.
    pub fn name_of(&self, kind: &str) -> ResourceName {
        self.meta.resource_name(kind)
    }
}

impl Metadata {
    /// The namespace: `default` if none is named.
    pub(crate) fn namespace(&self) -> &str {
        self.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or("default")
    }

    /// The name among the resources of `kind`, in the namespace `default` if none is named.
    pub(crate) fn resource_name(&self, kind: &str) -> ResourceName {
        ResourceName { kind: kind.into(), namespace: self.namespace().into(), name: self.name.as_str().into() }
    }
}
