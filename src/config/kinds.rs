//! Which kinds are read, which are left out, and what is said of those that are neither.

use super::check::resembles;
use super::leaf::Fault;
use super::message::Word;
use super::resource::{Metadata, Resource};
use super::schema::{Field, Message, Schema};
use super::yaml::{self, Map, Value};
use super::{
    Config, DestinationRule, EndpointSlice, Gateway, HttpRoute, Node, Pod, Secret, Service, ServiceEntry,
    VirtualService, WorkloadEntry,
};

const NETWORKING: &str = "networking.istio.io";
const GATEWAY_API: &str = "gateway.networking.k8s.io";

/// A kind that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    VirtualService,
    DestinationRule,
    Gateway,
    ServiceEntry,
    WorkloadEntry,
    Service,
    EndpointSlice,
    Pod,
    Node,
    Secret,
}

impl Kind {
    const ALL: [Kind; 10] = [
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::Gateway,
        Kind::ServiceEntry,
        Kind::WorkloadEntry,
        Kind::Service,
        Kind::EndpointSlice,
        Kind::Pod,
        Kind::Node,
        Kind::Secret,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::VirtualService => "VirtualService",
            Kind::DestinationRule => "DestinationRule",
            Kind::Gateway => "Gateway",
            Kind::ServiceEntry => "ServiceEntry",
            Kind::WorkloadEntry => "WorkloadEntry",
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Pod => "Pod",
            Kind::Node => "Node",
            Kind::Secret => "Secret",
        }
    }

    fn group(self) -> &'static str {
        self.version().split_once('/').map_or("", |(group, _)| group)
    }

    /// The apiVersion to write.
    fn version(self) -> &'static str {
        match self {
            Kind::EndpointSlice => "discovery.k8s.io/v1",
            Kind::Service | Kind::Pod | Kind::Node | Kind::Secret => "v1",
            _ => "networking.istio.io/v1",
        }
    }

    pub(crate) fn is_istio(self) -> bool {
        self.group() == NETWORKING
    }
}

/// How a word is wrapped in its resource.
pub(crate) trait Shape: Word + Default + for<'de> serde::Deserialize<'de> {
    const KIND: Kind;
    /// Whether the word is what stands below `spec`, or the whole resource.
    const HAS_SPEC: bool;
    /// What may stand in the whole resource.
    const ENVELOPE: &'static Message;

    /// The resources of this kind.
    fn list(config: &mut Config) -> &mut Vec<Resource<Self>>;
}

const fn text(name: &'static str) -> Field {
    Field { name, alias: &[], schema: || String::SCHEMA }
}

const METADATA: Field = Field { name: "metadata", alias: &[], schema: || Metadata::SCHEMA };

macro_rules! shapes {
    ($($Word:ident in $list:ident: $has_spec:tt, [$($field:ident),*];)*) => {$(
        impl Shape for $Word {
            const KIND: Kind = Kind::$Word;
            const HAS_SPEC: bool = $has_spec;
            const ENVELOPE: &'static Message = &Message {
                name: stringify!($Word),
                fields: &[
                    text("apiVersion"),
                    text("kind"),
                    METADATA,
                    $(Field {
                        name: stringify!($field),
                        alias: &[],
                        schema: || shapes!(@schema $has_spec $Word $field),
                    }),*
                ],
            };

            fn list(config: &mut Config) -> &mut Vec<Resource<Self>> {
                &mut config.$list
            }
        }
    )*};
    (@schema true $Word:ident spec) => { <$Word as Word>::SCHEMA };
    (@schema true $Word:ident status) => { Schema::Any };
    (@schema false $Word:ident $field:ident) => { field_of(<$Word as Word>::SCHEMA, stringify!($field)) };
}

/// What may stand in a field of a message.
fn field_of(schema: Schema, name: &str) -> Schema {
    match schema {
        Schema::Message(message) => message.field(name).map_or(Schema::Any, |field| (field.schema)()),
        _ => Schema::Any,
    }
}

shapes! {
    VirtualService in virtual_services: true, [spec, status];
    DestinationRule in destination_rules: true, [spec, status];
    Gateway in gateways: true, [spec, status];
    ServiceEntry in service_entries: true, [spec, status];
    WorkloadEntry in workload_entries: true, [spec, status];
    Service in services: true, [spec, status];
    EndpointSlice in endpoint_slices: false, [addressType, endpoints, ports];
    Secret in secrets: false, [type, data, stringData];
    Pod in pods: false, [spec, status];
    Node in nodes: false, [status];
}

/// What becomes of a resource.
pub(crate) enum Entry {
    /// It is read; its apiVersion may be wrong.
    Ours(Kind, Option<Fault>),
    /// It is counted, and named if it may be taken for one that is read.
    Skipped(Option<Fault>),
    /// It is one of Istio's that nothing here acts on.
    NotEnforced(Fault),
    /// Its kind is misspelt, perhaps one of ours.
    WrongKind(Fault, Option<&'static str>),
    /// It has no apiVersion.
    NoVersion,
}

pub(crate) fn entry(api_version: Option<&str>, kind: &str) -> Entry {
    let (group, version) = match api_version {
        Some(api_version) => api_version.split_once('/').unwrap_or(("", api_version)),
        None => ("", ""),
    };
    if let Some(&ours) = Kind::ALL.iter().find(|ours| ours.as_str() == kind) {
        return known(ours, api_version, group, version);
    }
    if let Some(ours) = Kind::ALL.iter().find(|ours| {
        let our_group = api_version.is_none() || ours.group() == group;
        our_group && (ours.as_str().eq_ignore_ascii_case(kind) || resembles(kind, ours.as_str()))
    }) {
        let name = ours.as_str();
        if !NOT_ENFORCED.iter().any(|&(other, _)| other == kind) && (ours.is_istio() || name.eq_ignore_ascii_case(kind))
        {
            let fault = Fault::new(format!("unknown kind {kind:?}")).help(format!("write `kind: {name}`"));
            return Entry::WrongKind(fault, Some(name));
        }
    }
    if group.ends_with(".istio.io") {
        let lost = NOT_ENFORCED.iter().find(|&&(other, _)| other == kind).map(|&(_, lost)| lost);
        let lost = lost.unwrap_or("it has NO effect here");
        return Entry::NotEnforced(Fault::new(format!("{kind} is not supported: {lost}")));
    }
    if api_version.is_none() {
        return Entry::NoVersion;
    }
    let fault = match (group, kind) {
        ("", "Endpoints") => Some(Fault::new("Endpoints are not read").help("write an EndpointSlice")),
        (GATEWAY_API, "HTTPRoute" | "GRPCRoute" | "TLSRoute" | "TCPRoute") => {
            Some(Fault::new(format!("{kind} is not supported: its rules do NOT apply")).help("write a VirtualService"))
        }
        _ => None,
    };
    Entry::Skipped(fault)
}

/// What is lost with the kinds of Istio's that are left out.
const NOT_ENFORCED: &[(&str, &str)] = &[
    ("AuthorizationPolicy", "requests are NOT authorized by it"),
    ("RequestAuthentication", "tokens (JWT) are NOT verified by it"),
    ("PeerAuthentication", "mutual TLS is NOT enforced by it"),
    ("Sidecar", "what it hides stays visible, and its limits and listeners do NOT exist"),
    ("EnvoyFilter", "its patches are NOT applied"),
    ("WasmPlugin", "its filter does NOT run"),
    ("Telemetry", "its settings of metrics, logs and traces are NOT applied"),
    ("ProxyConfig", "its settings are NOT applied"),
    ("WorkloadGroup", "no WorkloadEntry is made from it"),
];

fn known(kind: Kind, api_version: Option<&str>, group: &str, version: &str) -> Entry {
    let help = format!("write `apiVersion: {}`", kind.version());
    let Some(api_version) = api_version else {
        return Entry::Ours(kind, Some(Fault::new("there is no apiVersion").help(help)));
    };
    if group == kind.group() {
        let fine = match kind {
            Kind::EndpointSlice => matches!(version, "v1" | "v1beta1"),
            _ if kind.is_istio() => matches!(version, "v1" | "v1beta1" | "v1alpha3"),
            _ => version == "v1",
        };
        let fault = || Fault::new(format!("unknown version {version:?} of {}", kind.as_str())).help(help);
        return Entry::Ours(kind, (!fine).then(fault));
    }
    let foreign = !group.is_empty() && !means_ours(group);
    if !kind.is_istio() && foreign {
        return Entry::Skipped(None);
    }
    // A group of Kubernetes may be a slip of the pen; those of others, as of Gloo and App Mesh, have domains of theirs.
    if foreign && (kind == Kind::Gateway || group.contains('.') && !group.ends_with(".k8s.io")) {
        let message = format!("this {} is none of Istio's, it is not read", kind.as_str());
        let help = format!("Istio's has `apiVersion: {}`", kind.version());
        return Entry::Skipped(Some(Fault::new(message).help(help)));
    }
    let fault = Fault::new(format!("{} is no kind of {api_version:?}", kind.as_str())).help(help);
    Entry::Ours(kind, Some(fault))
}

/// Whether a group is one of Istio's, or is meant to be.
fn means_ours(group: &str) -> bool {
    group.ends_with("istio.io") || group.starts_with("networking.istio") || resembles(group, NETWORKING)
}

/// Whether one of the keys is a misspelt `apiVersion`, which is told as an unknown field.
pub(crate) fn has_misspelt_version(mapping: &Map) -> bool {
    mapping.keys().any(|key| resembles(&yaml::key_text(key), "apiVersion") || yaml::key_text(key) == "apiversion")
}

/// What is said of a document that is a list.
pub(crate) fn list_fragment(entries: &[Value]) -> Fault {
    let first = entries.iter().find_map(Value::as_mapping);
    match first {
        Some(mapping) if count(mapping, HttpRoute::SCHEMA) > 0 => {
            Fault::new("this is a fragment, a list of HTTP rules, and no resource")
                .help("it belongs below `spec.http` of a VirtualService")
        }
        Some(mapping) if mapping.contains_key("apiVersion") => {
            Fault::new("this is a list of resources, and no resource")
                .help("separate them by `---`, or put them below `items:` of a `kind: List`")
        }
        _ => Fault::new("this is a list, and no resource")
            .help("a resource is a mapping with apiVersion, kind, metadata and spec"),
    }
}

/// What is said of a mapping that is no resource.
pub(crate) fn mapping_fragment(mapping: &Map) -> Fault {
    let places: [(&str, Schema); 6] = [
        ("spec.http` of a VirtualService, as an entry of the list", HttpRoute::SCHEMA),
        ("spec` of a VirtualService", VirtualService::SCHEMA),
        ("spec` of a DestinationRule", DestinationRule::SCHEMA),
        ("spec` of a Gateway", Gateway::SCHEMA),
        ("spec` of a ServiceEntry", ServiceEntry::SCHEMA),
        ("spec` of a WorkloadEntry", WorkloadEntry::SCHEMA),
    ];
    let best = places.iter().rev().max_by_key(|(_, schema)| count(mapping, *schema));
    match best {
        Some((place, schema)) if count(mapping, *schema) > 0 && !mapping.contains_key("spec") => {
            Fault::new("this is a fragment without apiVersion and kind, and no resource")
                .help(format!("it belongs below `{place}"))
        }
        _ => Fault::new("there is no apiVersion and no kind").help(
            "begin the resource with, for example, `apiVersion: networking.istio.io/v1` and `kind: VirtualService`",
        ),
    }
}

/// How many keys are fields of a message.
fn count(mapping: &Map, schema: Schema) -> usize {
    match schema {
        Schema::Message(message) => mapping.keys().filter(|key| message.field(&yaml::key_text(key)).is_some()).count(),
        _ => 0,
    }
}
