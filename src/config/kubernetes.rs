//! What is read of Kubernetes' own kinds: where a service's endpoints are and what they are like.
//!
//! Fields that are not listed here are never reported. Where a kind has its fields beside `metadata` (EndpointSlice,
//! Secret) or in several places (Pod), its word holds what stands beside `metadata`; Service holds its `spec`.
//!
//! ```
//! use mesh_router::config::Config;
//!
//! let text = "
//! apiVersion: v1
//! kind: Service
//! metadata: {name: reviews}
//! spec:
//!   ports: [{port: 9080, name: http, targetPort: web}]
//! ";
//! let config = Config::from_yaml(text, "services.yaml").unwrap();
//! assert_eq!(config.services[0].spec.ports[0].port, 9080);
//! ```

use std::collections::BTreeMap;
use std::fmt;

use super::leaf::{Fault, Leaf, Scalar, decode_leaf, leaf};
use super::message::message;
use super::units::Bytes;

/// The label that says of which Service an EndpointSlice is.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";

message! {
    /// The `spec` of a Service.
    pub struct Service {
        /// `ClusterIP`, `NodePort`, `LoadBalancer` or `ExternalName`. Empty: `ClusterIP`.
        pub service_type: String = "type",
        /// The virtual address; `None`: it has none.
        pub cluster_ip: String = "clusterIP",
        /// The virtual addresses of both families.
        pub cluster_ips: Vec<String> = "clusterIPs",
        /// The name that it is another name of.
        pub external_name: String = "externalName",
        /// The ports.
        pub ports: Vec<ServicePort> = "ports",
        /// Labels of the pods that are its endpoints.
        pub selector: BTreeMap<String, String> = "selector",
        /// `Local`: only endpoints on the client's node.
        pub internal_traffic_policy: String = "internalTrafficPolicy",
        /// `PreferClose`, `PreferSameZone` or `PreferSameNode`.
        pub traffic_distribution: String = "trafficDistribution",
        /// `ClientIP` or `None`. Istio ignores it.
        pub session_affinity: String = "sessionAffinity",
        /// Whether endpoints that are not ready are used.
        pub publish_not_ready_addresses: bool = "publishNotReadyAddresses",
    }
}

message! {
    /// A port of a [`Service`].
    pub struct ServicePort {
        /// Its name, which may say the protocol: `http-web`.
        pub name: String = "name",
        /// Its number.
        pub port: u32 = "port",
        /// The port of the endpoints. Unset: `port`.
        pub target_port: Option<TargetPort> = "targetPort",
        /// `TCP`, `UDP` or `SCTP`. Empty: `TCP`.
        pub protocol: String = "protocol",
        /// The protocol of the application: `http`, `grpc`, `kubernetes.io/h2c`.
        pub app_protocol: String = "appProtocol",
    }
}

/// A port of the endpoints, by number or by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetPort {
    /// Its number.
    Number(u32),
    /// The name of a port of the containers.
    Name(String),
}

impl Leaf for TargetPort {
    const EXPECTED: &'static str = "a port's number or name";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        match scalar {
            Scalar::Text(name) => Ok(Self::Name(name.to_owned())),
            other => u32::parse(other).map(Self::Number),
        }
    }
}

leaf!(TargetPort);

impl<'de> serde::Deserialize<'de> for TargetPort {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode_leaf(deserializer)
    }
}

impl serde::Serialize for TargetPort {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u32(*number),
            Self::Name(name) => serializer.serialize_str(name),
        }
    }
}

message! {
    /// An EndpointSlice; its fields stand beside `metadata`.
    pub struct EndpointSlice {
        /// `IPv4`, `IPv6` or `FQDN`.
        pub address_type: String = "addressType",
        /// The endpoints.
        pub endpoints: Vec<SliceEndpoint> = "endpoints",
        /// The ports of each of them.
        pub ports: Vec<EndpointPort> = "ports",
    }
}

message! {
    /// An endpoint of an [`EndpointSlice`].
    pub struct SliceEndpoint {
        /// Its addresses, which stand for the same pod.
        pub addresses: Vec<String> = "addresses",
        /// Its health.
        pub conditions: Option<EndpointConditions> = "conditions",
        /// The pod.
        pub target_ref: Option<ObjectReference> = "targetRef",
        /// The node it runs on.
        pub node_name: String = "nodeName",
        /// Its zone. Istio takes it from the node instead.
        pub zone: String = "zone",
        /// Its host name.
        pub hostname: String = "hostname",
    }
}

message! {
    /// The health of an endpoint.
    pub struct EndpointConditions {
        /// Whether it takes requests. Unset: yes.
        pub ready: Option<bool> = "ready",
        /// Whether it still takes them while it ends.
        pub serving: Option<bool> = "serving",
        /// Whether it ends.
        pub terminating: Option<bool> = "terminating",
    }
}

message! {
    /// Another resource.
    pub struct ObjectReference {
        /// Its kind.
        pub kind: String = "kind",
        /// Its name.
        pub name: String = "name",
        /// Its namespace.
        pub namespace: String = "namespace",
    }
}

message! {
    /// A port of the endpoints of an [`EndpointSlice`].
    pub struct EndpointPort {
        /// The name of the service's port. Unset is empty.
        pub name: String = "name",
        /// Its number.
        pub port: Option<u32> = "port",
        /// `TCP`, `UDP` or `SCTP`. Empty: `TCP`.
        pub protocol: String = "protocol",
        /// The protocol of the application.
        pub app_protocol: String = "appProtocol",
    }
}

message! {
    /// A Pod; its labels are in the metadata.
    pub struct Pod {
        /// What was asked for.
        pub spec: Option<PodSpec> = "spec",
        /// What is.
        pub status: Option<PodStatus> = "status",
    }
}

message! {
    /// What was asked for a [`Pod`].
    pub struct PodSpec {
        /// The node it runs on.
        pub node_name: String = "nodeName",
        /// Its service account.
        pub service_account_name: String = "serviceAccountName",
        /// Its containers.
        pub containers: Vec<Container> = "containers",
        /// Those that start before them; one whose `restartPolicy` is `Always` goes on beside them.
        pub init_containers: Vec<Container> = "initContainers",
    }
}

message! {
    /// A container of a [`Pod`].
    pub struct Container {
        /// Its ports.
        pub ports: Vec<ContainerPort> = "ports",
        /// `Always`, of one that starts before the others and stays.
        pub restart_policy: String = "restartPolicy",
    }
}

message! {
    /// A port of a [`Container`].
    pub struct ContainerPort {
        /// Its name.
        pub name: String = "name",
        /// Its number.
        pub container_port: u32 = "containerPort",
        /// `TCP`, `UDP` or `SCTP`. Empty: `TCP`.
        pub protocol: String = "protocol",
    }
}

message! {
    /// What a [`Pod`] is.
    pub struct PodStatus {
        /// Its address.
        pub pod_ip: String = "podIP",
        /// `Pending`, `Running`, `Succeeded` or `Failed`.
        pub phase: String = "phase",
        /// Its conditions; `Ready` says whether it takes requests.
        pub conditions: Vec<Condition> = "conditions",
    }
}

message! {
    /// A condition of a [`Pod`] or of a WorkloadEntry.
    pub struct Condition {
        /// Its type, for example `Ready` or `Healthy`.
        pub condition_type: String = "type",
        /// `True`, `False` or `Unknown`.
        pub status: String = "status",
    }
}

message! {
    /// A Node; all that is read of it are its labels, in the metadata.
    pub struct Node {}
}

message! {
    /// A Secret; its fields stand beside `metadata`.
    pub struct Secret {
        /// Its type, for example `kubernetes.io/tls`.
        pub secret_type: String = "type",
        /// Its values, in base64.
        pub data: BTreeMap<String, Bytes> = "data",
        /// Its values as text, which win.
        pub string_data: BTreeMap<String, SecretText> = "stringData",
    }
}

impl Secret {
    /// The value named `key`, from `stringData` or else from `data`.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        match self.string_data.get(key) {
            Some(text) => Some(text.as_str().as_bytes()),
            None => self.data.get(key).map(AsRef::as_ref),
        }
    }
}

/// A text that its debug output does not show.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct SecretText(String);

impl SecretText {
    /// This text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretText({})", self.0.len())
    }
}

impl Leaf for SecretText {
    const EXPECTED: &'static str = "a string";

    fn parse(scalar: Scalar<'_>) -> Result<Self, Fault> {
        match scalar {
            Scalar::Text(text) => Ok(Self(text.to_owned())),
            _ => Err(Fault::new("expected a string").help("put it in quotes")),
        }
    }
}

leaf!(SecretText);

impl<'de> serde::Deserialize<'de> for SecretText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decode_leaf(deserializer)
    }
}

impl serde::Serialize for SecretText {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
