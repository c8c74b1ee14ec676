//! MeshConfig: what is true of the whole mesh, as Istio is told it.
//!
//! ```
//! use mesh_router::config::{MeshConfig, OutboundTrafficPolicyMode};
//!
//! let text = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\nenableTracing: true\n";
//! let (config, problems) = MeshConfig::from_yaml(text, "mesh.yaml")?;
//! let policy = config.spec.outbound_traffic_policy.expect("it is there");
//! assert_eq!(policy.mode, Some(OutboundTrafficPolicyMode::RegistryOnly));
//! assert_eq!(problems[0].to_string(), "mesh.yaml:2:1: warning: enableTracing: not yet honored");
//! # Ok::<(), mesh_router::Error>(())
//! ```

use std::sync::Arc;

use super::bounds::Bounds;
use super::check::Check;
use super::destination_rule::TcpKeepalive;
use super::http_action::HttpRetry;
use super::leaf::Fault;
use super::load_balancer::{LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting};
use super::message::{Word, enumeration, message};
use super::places::Places;
use super::resource::{Metadata, Resource};
use super::scan::{Scanned, scan};
use super::schema::{Message, Schema};
use super::syntax::Refusal;
use super::units::Duration;
use super::yaml::{self, Map, Value};
use crate::error::{Error, ErrorKind, Place, Problem, Severity};

message! {
    /// The part of Istio's MeshConfig that traffic rules depend on. Unset is Istio's default.
    pub struct MeshConfig {
        /// How long opening a connection may take: 10 s.
        pub connect_timeout: Option<Duration> = "connectTimeout" | "connect_timeout",
        /// Probes on idle connections to endpoints, where no DestinationRule says so.
        pub tcp_keepalive: Option<TcpKeepalive> = "tcpKeepalive" | "tcp_keepalive",
        /// What happens to requests for unknown hosts.
        pub outbound_traffic_policy: Option<OutboundTrafficPolicy> =
            "outboundTrafficPolicy" | "outbound_traffic_policy",
        /// The namespaces that see a service without `exportTo`: `["*"]`.
        pub default_service_export_to: Vec<String> = "defaultServiceExportTo" | "default_service_export_to",
        /// The same for VirtualServices.
        pub default_virtual_service_export_to: Vec<String> =
            "defaultVirtualServiceExportTo" | "default_virtual_service_export_to",
        /// The same for DestinationRules.
        pub default_destination_rule_export_to: Vec<String> =
            "defaultDestinationRuleExportTo" | "default_destination_rule_export_to",
        /// The namespace whose DestinationRules apply everywhere: `istio-system`.
        pub root_namespace: String = "rootNamespace" | "root_namespace",
        /// Which endpoints come first by where they are, where no DestinationRule says so.
        pub locality_lb_setting: Option<LocalityLoadBalancerSetting> = "localityLbSetting" | "locality_lb_setting",
        /// The same by zones.
        pub zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting> =
            "zoneAwareLbSetting" | "zone_aware_lb_setting",
        /// How long after a look-up without an answer a name is looked up again: 60 s.
        pub dns_refresh_rate: Option<Duration> = "dnsRefreshRate" | "dns_refresh_rate",
        /// Whether HTTP/2 is spoken where a port says HTTP/1 and no DestinationRule says anything.
        pub h2_upgrade_policy: MeshH2UpgradePolicy = "h2UpgradePolicy" | "h2_upgrade_policy",
        /// How paths are normalized.
        pub path_normalization: Option<ProxyPathNormalization> = "pathNormalization" | "path_normalization",
        /// What is tried again where no rule says anything.
        pub default_http_retry_policy: Option<HttpRetry> = "defaultHttpRetryPolicy" | "default_http_retry_policy",
        /// What is said to every proxy.
        pub default_config: Option<ProxyConfig> = "defaultConfig" | "default_config",
        /// The suffix of the names of services: `cluster.local`. Istio is told it elsewhere.
        pub domain: String = "domain",
    }
}

message! {
    /// What happens to requests for unknown hosts.
    pub struct OutboundTrafficPolicy {
        /// Which it is. Unset: they pass.
        pub mode: Option<OutboundTrafficPolicyMode> = "mode",
    }
}

enumeration! {
    /// What happens to requests for unknown hosts.
    pub enum OutboundTrafficPolicyMode {
        /// They are refused, but for `https` and `CONNECT`.
        RegistryOnly = "REGISTRY_ONLY",
        /// They pass.
        AllowAny = "ALLOW_ANY",
        /// They pass, to whatever their host resolves to.
        AllowAnyDynamicDns = "ALLOW_ANY_DYNAMIC_DNS",
    }
}

enumeration! {
    /// Whether HTTP/2 is spoken where a port says HTTP/1.
    pub enum MeshH2UpgradePolicy {
        /// No.
        DoNotUpgrade = "DO_NOT_UPGRADE",
        /// Yes.
        Upgrade = "UPGRADE",
    }
}

message! {
    /// How paths are normalized.
    pub struct ProxyPathNormalization {
        /// Which it is. Unset: `BASE`.
        pub normalization: Option<NormalizationType> = "normalization",
    }
}

enumeration! {
    /// How paths are normalized.
    pub enum NormalizationType {
        /// As `Base`.
        Default = "DEFAULT",
        /// Not at all.
        None = "NONE",
        /// As RFC 3986 has it.
        Base = "BASE",
        /// The same, and slashes that follow each other are one.
        MergeSlashes = "MERGE_SLASHES",
        /// The same, after `%2F` and `%5C` were decoded.
        DecodeAndMergeSlashes = "DECODE_AND_MERGE_SLASHES",
    }
}

message! {
    /// What is said to every proxy.
    pub struct ProxyConfig {
        /// What stands before a gateway.
        pub gateway_topology: Option<GatewayTopology> = "gatewayTopology" | "gateway_topology",
    }
}

message! {
    /// What stands before a gateway.
    pub struct GatewayTopology {
        /// How many trusted proxies there are, each of which appends to `x-forwarded-for`. 0: none.
        pub num_trusted_proxies: u32 = "numTrustedProxies" | "num_trusted_proxies",
    }
}

/// The other fields of MeshConfig.
const OTHERS: &[&str] = &[
    "accessLogEncoding",
    "accessLogFile",
    "accessLogFormat",
    "ca",
    "caCertificates",
    "certificates",
    "configSources",
    "defaultInboundHttpRetryPolicy",
    "defaultProviders",
    "defaultTrafficPolicy",
    "disableEnvoyListenerLog",
    "discoverySelectors",
    "enableAutoMtls",
    "enableEnvoyAccessLogService",
    "enablePrometheusMerge",
    "enableTracing",
    "extensionProviders",
    "hboneIdleTimeout",
    "inboundClusterStatName",
    "inboundTrafficPolicy",
    "ingressClass",
    "ingressControllerMode",
    "ingressSelector",
    "ingressService",
    "meshMTLS",
    "outboundClusterStatName",
    "protocolDetectionTimeout",
    "proxyHttpPort",
    "proxyInboundListenPort",
    "proxyListenPort",
    "serviceEntryVisibility",
    "serviceScopeConfigs",
    "serviceSettings",
    "tlsDefaults",
    "trustDomain",
    "trustDomainAliases",
    "verifyCertificateAtClient",
];

impl MeshConfig {
    /// Reads a file with the fields of MeshConfig, as they stand below `meshConfig` of an IstioOperator or below `mesh`
    /// of Istio's ConfigMap. With it come fields that are not known, and warnings of fields that have no effect here.
    ///
    /// # Errors
    /// The text is no YAML or over a [bound](Bounds), has more than one document or wraps the fields, as a ConfigMap
    /// does, or a value is none of its field's.
    pub fn from_yaml(text: &str, file: &str) -> Result<(Resource<MeshConfig>, Vec<Problem>), Error> {
        let name: Arc<str> = file.into();
        let mut documents = Vec::new();
        let scanned = scan(text, &name, &Bounds::default(), &mut |document| documents.push(document));
        if let Err(Refusal { fault, line, column }) = scanned {
            return Err(refused(fault, Some(Place::new(name, line, column))));
        }
        documents.retain(|document| !document.value.is_null());
        let mut documents = documents.into_iter();
        match (documents.next(), documents.next()) {
            (Some(document), None) => read(document),
            (None, _) => Ok((Resource::new("", None, MeshConfig::default()), Vec::new())),
            (_, Some(second)) => {
                let fault = Fault::new("a second document: the mesh has one MeshConfig");
                Err(refused(fault, second.places.place(second.places.root(), "")))
            }
        }
    }
}

fn refused(fault: Fault, place: Option<Place>) -> Error {
    let mut problem = Problem::new(Severity::Error, "", fault.message).with_place(place);
    problem.help = fault.help;
    Error::new(ErrorKind::Syntax, vec![problem])
}

fn read(Scanned { value, places }: Scanned) -> Result<(Resource<MeshConfig>, Vec<Problem>), Error> {
    let root = places.root();
    let here = |message: String| refused(Fault::new(message), places.place(root, ""));
    let (Value::Mapping(mapping), Schema::Message(message)) = (&value, MeshConfig::SCHEMA) else {
        return Err(here(format!("expected the fields of MeshConfig, found {}", yaml::describe(&value))));
    };
    if let Some((fault, key)) = around(mapping) {
        return Err(refused(fault, places.place(root, key)));
    }
    let mut problems = Vec::new();
    let mut check = Check::new(&places, root, None, &mut problems);
    check.strict = false;
    check.message(message, mapping);
    if check.errors() > 0 {
        return Err(Error::new(ErrorKind::Invalid, problems));
    }
    unheeded(MeshConfig::SCHEMA, &value, "", &(&places, root), &mut problems);
    let config = yaml::decode(&value).map_err(here)?;
    Ok((Resource::read(Metadata::default(), config, Arc::clone(&places), root), problems))
}

/// What is said of what has a MeshConfig in it, and by which of its keys it is known.
fn around(mapping: &Map) -> Option<(Fault, &'static str)> {
    let (found, help, key) = match yaml::get(mapping, "kind").and_then(Value::as_str) {
        Some("ConfigMap") => ("a ConfigMap", "give the text of its `data.mesh`", "kind"),
        Some("IstioOperator") => ("an IstioOperator", "give what is below its `spec.meshConfig`", "kind"),
        _ if yaml::get(mapping, "meshConfig").is_some() => {
            ("Helm's values", "give what is below their `meshConfig`", "meshConfig")
        }
        _ => return None,
    };
    Some((Fault::new(format!("expected the fields of MeshConfig, found {found}")).help(help), key))
}

/// Names the fields that no word has.
fn unheeded(schema: Schema, value: &Value, path: &str, at: &(&Arc<Places>, u32), problems: &mut Vec<Problem>) {
    match (schema, value) {
        (Schema::Message(message), Value::Mapping(mapping)) => {
            for (key, value) in mapping.iter().filter(|(_, value)| !value.is_null()) {
                let key = yaml::key_text(key);
                let mut path = path.to_owned();
                yaml::push_key(&mut path, &key);
                match message.field(&key) {
                    Some(field) => unheeded((field.schema)(), value, &path, at, problems),
                    None => problems.push(other(message, &key, &path).with_place(at.0.place(at.1, &path))),
                }
            }
        }
        (Schema::List(entry), Value::Sequence(entries)) => {
            for (index, value) in entries.iter().enumerate() {
                let mut path = path.to_owned();
                yaml::push_index(&mut path, index);
                unheeded(entry(), value, &path, at, problems);
            }
        }
        _ => {}
    }
}

/// A field that no word has: one of Istio's others, or nobody's.
fn other(message: &Message, key: &str, path: &str) -> Problem {
    let others = if message.name == "MeshConfig" { OTHERS } else { &[] };
    let fields = message.fields.iter().map(|field| field.name).chain(others.iter().copied());
    let meant = nearest(key, fields);
    let is_known = match message.name {
        "MeshConfig" => others.iter().any(|other| other.eq_ignore_ascii_case(&key.replace('_', ""))),
        // Of these only what is honored is listed.
        "ProxyConfig" | "GatewayTopology" => meant.is_none(),
        _ => false,
    };
    if is_known {
        return Problem::new(Severity::Warning, path, "not yet honored");
    }
    // Istio passes over both; one that resembles none may be of another version.
    let severity = if meant.is_some() { Severity::Unknown } else { Severity::Warning };
    let mut problem = Problem::new(severity, path, format!("unknown field {key:?}"));
    problem.help = meant.map(|name| format!("did you mean {name:?}?"));
    problem
}

fn nearest<'a>(key: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.map(|name| (strsim::jaro_winkler(key, name), name));
    scored.filter(|(score, _)| *score > 0.9).max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, name)| name)
}
