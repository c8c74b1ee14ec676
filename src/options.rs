//! What is true of the whole mesh ([`MeshOptions`]) and of this process ([`Workload`]).
//!
//! ```
//! use mesh_router::options::{MeshOptions, OutboundTrafficPolicy, Workload};
//!
//! let options = MeshOptions { outbound_traffic_policy: OutboundTrafficPolicy::RegistryOnly, ..MeshOptions::default() };
//! let workload = Workload { namespace: "bookinfo".into(), ..Workload::default() };
//! assert_eq!(options.domain, "cluster.local");
//! assert_eq!(workload.namespace, "bookinfo");
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::config::{self, LocalityLoadBalancerSetting, TcpKeepalive, ZoneAwareLoadBalancerSetting};

/// What happens to a request for a host that no resource names (`meshConfig.outboundTrafficPolicy.mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutboundTrafficPolicy {
    /// The request goes on unchanged (Istio's default).
    #[default]
    AllowAny,
    /// The request is answered with 502. `https` and `CONNECT`, which no http rule sees, go on.
    RegistryOnly,
}

/// How paths are normalized before they are matched (`meshConfig.pathNormalization.normalization`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathNormalization {
    /// As received.
    None,
    /// Dot segments, backslashes, unreserved escapes (Istio's default).
    #[default]
    Base,
    /// `Base`, and `//` becomes `/`.
    MergeSlashes,
    /// `MergeSlashes`, after `%2F` and `%5C` were decoded.
    DecodeAndMergeSlashes,
}

/// Which addresses of a name are taken, as Envoy's `dns_lookup_family` says. Istio decides it by the addresses of the
/// proxy's pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsLookupFamily {
    /// Those of IPv4, and those of IPv6 only if there are none (the default): what a process can reach that has either.
    #[default]
    V4Preferred,
    /// Those of IPv4.
    V4Only,
    /// Those of IPv6.
    V6Only,
    /// All.
    All,
}

impl DnsLookupFamily {
    /// The addresses that are taken, in their order.
    pub fn choose(self, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        let v4 = match self {
            Self::All => return addresses,
            Self::V4Only => true,
            Self::V6Only => false,
            Self::V4Preferred => addresses.iter().any(IpAddr::is_ipv4),
        };
        addresses.retain(|address| address.is_ipv4() == v4);
        addresses
    }
}

/// What is tried again where no rule says anything of it (`meshConfig.defaultHttpRetryPolicy`), in the words of
/// `http[].retries`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRetryPolicy {
    /// The most tries after the first (`attempts`). 0: none.
    pub attempts: u32,
    /// How long each try may take (`perTryTimeout`). `None`: as long as the request.
    pub per_try_timeout: Option<Duration>,
    /// The conditions and statuses, separated by commas (`retryOn`). Empty: those of Istio's built-in policy.
    pub retry_on: String,
    /// Whether further tries go to other localities (`retryRemoteLocalities`).
    pub retry_remote_localities: bool,
    /// Whether further tries avoid the endpoints that were tried (`retryIgnorePreviousHosts`). `None`: they do, unless
    /// the only destination is balanced by a hash.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// What the pauses grow from (`backoff`). `None`: 25 ms.
    pub backoff: Option<Duration>,
}

/// The part of Istio's MeshConfig that the traffic rules depend on, with Istio's defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshOptions {
    /// The suffix of short names (`trustDomain` aside): `cluster.local`.
    pub domain: String,
    /// The namespace whose DestinationRules apply everywhere: `istio-system`.
    pub root_namespace: String,
    /// What happens to unknown hosts: [`OutboundTrafficPolicy::AllowAny`].
    pub outbound_traffic_policy: OutboundTrafficPolicy,
    /// How paths are normalized: [`PathNormalization::Base`].
    pub path_normalization: PathNormalization,
    /// How long opening a connection may take, TLS included: 10 s.
    pub connect_timeout: Duration,
    /// Whether HTTP/2 is spoken to ports that say HTTP/1 where no DestinationRule says anything (`h2UpgradePolicy`): no.
    pub h2_upgrade: bool,
    /// Probes on idle connections to endpoints, each field where no DestinationRule says it (`tcpKeepalive`): `None`.
    pub tcp_keepalive: Option<TcpKeepalive>,
    /// How many trusted proxies stand before a gateway, each of which appends to `x-forwarded-for`
    /// (`defaultConfig.gatewayTopology.numTrustedProxies`): 0.
    pub num_trusted_proxies: u32,
    /// How long after a look-up without an answer a name is looked up again (`dnsRefreshRate`): 60 s. Answers without a
    /// TTL, which hold for 5 s, hold no longer either.
    pub dns_refresh_rate: Duration,
    /// Which addresses of a name are taken: [`DnsLookupFamily::V4Preferred`]. Of one that is looked up when it is dialed
    /// (`resolution: NONE` and `DYNAMIC_DNS`, hosts that no rule takes) all are tried, in the system's order.
    pub dns_lookup_family: DnsLookupFamily,
    /// What is tried again where no rule says anything: `None`, which is Istio's built-in policy, two more tries for
    /// failed connections, refused streams and gRPC's `unavailable` and `cancelled`.
    pub default_http_retry_policy: Option<HttpRetryPolicy>,
    /// Which endpoints come first by where they are, where no DestinationRule says (`localityLbSetting`): enabled, which
    /// acts on clusters with outlier detection. `None`: all are alike.
    pub locality_lb_setting: Option<LocalityLoadBalancerSetting>,
    /// The same by zones (`zoneAwareLbSetting`), which goes before it: `None`.
    pub zone_aware_lb_setting: Option<ZoneAwareLoadBalancerSetting>,
    /// Whether this process sends its requests through another client than [`Transport`](crate::Transport): no. The
    /// fields that only the owner of a connection can honor are named at every load then.
    pub foreign_client: bool,
    /// Whether copies of requests (`http[].mirror`) say `-shadow` behind the host of their `Host` or `:authority`, before
    /// its port: no. Istio before 1.28 made them so, and later ones do where istiod's environment has
    /// `DISABLE_SHADOW_HOST_SUFFIX=false`; MeshConfig has no field for it. As with Envoy, a handshake that asks for the
    /// host of the request asks for that name.
    pub shadow_host_suffix: bool,
    /// `defaultServiceExportTo`: `["*"]`.
    pub default_service_export_to: Vec<String>,
    /// `defaultVirtualServiceExportTo`: `["*"]`.
    pub default_virtual_service_export_to: Vec<String>,
    /// `defaultDestinationRuleExportTo`: `["*"]`.
    pub default_destination_rule_export_to: Vec<String>,
}

impl Default for MeshOptions {
    fn default() -> Self {
        let everywhere = vec!["*".to_owned()];
        Self {
            domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
            outbound_traffic_policy: OutboundTrafficPolicy::default(),
            path_normalization: PathNormalization::default(),
            connect_timeout: Duration::from_secs(10),
            h2_upgrade: false,
            tcp_keepalive: None,
            num_trusted_proxies: 0,
            locality_lb_setting: Some(LocalityLoadBalancerSetting {
                enabled: Some(true),
                ..LocalityLoadBalancerSetting::default()
            }),
            zone_aware_lb_setting: None,
            dns_refresh_rate: Duration::from_secs(60),
            dns_lookup_family: DnsLookupFamily::default(),
            default_http_retry_policy: None,
            foreign_client: false,
            shadow_host_suffix: false,
            default_service_export_to: everywhere.clone(),
            default_virtual_service_export_to: everywhere.clone(),
            default_destination_rule_export_to: everywhere,
        }
    }
}

/// Who this process is: what Istio learns from the pod, a library must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The namespace the process runs in: `default`. It decides which resources are visible (`exportTo`).
    pub namespace: String,
    /// The labels of the process, for `sourceLabels`, selectors and `failoverPriority`. Empty: every Gateway selector
    /// matches.
    pub labels: BTreeMap<String, String>,
    /// `region/zone/subzone`. Empty: that of the label `topology.istio.io/locality` or `istio-locality`, else that of
    /// the node.
    pub locality: String,
    /// The Kubernetes node, empty if unknown.
    pub node: String,
}

impl Workload {
    /// Who this process is by what its pod is told; `variable` looks a variable of the environment up.
    ///
    /// `POD_NAMESPACE` is the namespace, and `ISTIO_META_NODE_NAME` or `NODE_NAME` the node: fields of the Downward API
    /// fill them in (`metadata.namespace`, `spec.nodeName`). Its `metadata.labels` are the text of a file only, with a
    /// line `key="value"` for each: `POD_LABELS` may be that text, or `key=value,key=value`, and `ISTIO_METAJSON_LABELS`
    /// is the same in JSON, whose labels those of `POD_LABELS` replace. `POD_LOCALITY` is the `region/zone/subzone`, which
    /// nobody fills in; without it that of the label `topology.istio.io/locality` or `istio-locality` counts, else that
    /// of the node's labels, where configuration names the node.
    ///
    /// One that is not set, or empty, leaves the default. A label without `=` is left out, and one whose value cannot be
    /// read is traced, too.
    ///
    /// ```
    /// use mesh_router::options::Workload;
    ///
    /// let workload = Workload::from_env(|name| match name {
    ///     // Where a volume of the Downward API has them.
    ///     "POD_LABELS" => std::fs::read_to_string("/etc/podinfo/labels").ok(),
    ///     name => std::env::var(name).ok(),
    /// });
    /// assert!(!workload.namespace.is_empty());
    /// ```
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &str| variable(name).filter(|value| !value.is_empty());
        let default = Self::default();
        let json = value("ISTIO_METAJSON_LABELS");
        let mut labels: BTreeMap<_, _> =
            json.and_then(|json| understood("ISTIO_METAJSON_LABELS", &json)).unwrap_or_default();
        labels.extend(pod_labels(&value("POD_LABELS").unwrap_or_default()));
        Self {
            namespace: value("POD_NAMESPACE").unwrap_or(default.namespace),
            labels,
            locality: value("POD_LOCALITY").unwrap_or_default(),
            node: value("ISTIO_META_NODE_NAME").or_else(|| value("NODE_NAME")).unwrap_or_default(),
        }
    }
}

/// The labels of `key="value"` on a line, in the quotes of Go's `%q`, or `key=value,key=value`.
fn pod_labels(text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for line in text.lines() {
        match line.split_once('=') {
            Some((key, quoted)) if quoted.starts_with('"') => {
                let value = understood("POD_LABELS", quoted.trim_end());
                labels.extend(value.map(|value| (key.trim().to_owned(), value)));
            }
            _ => {
                let plain = line.split(',').filter_map(|label| label.trim().split_once('='));
                labels.extend(plain.map(|(key, value)| (key.to_owned(), value.to_owned())));
            }
        }
    }
    labels
}

/// What a part of a variable says, in JSON or in quotes.
fn understood<T: DeserializeOwned>(variable: &str, text: &str) -> Option<T> {
    let read = config::read(text);
    read.inspect_err(|error| tracing::warn!("{variable}: {text} is not understood, and left out: {error}")).ok()
}

impl Default for Workload {
    fn default() -> Self {
        Self { namespace: "default".to_owned(), labels: BTreeMap::new(), locality: String::new(), node: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_who_this_is() {
        let variables = [
            ("POD_NAMESPACE", "shop"),
            ("POD_LABELS", "app=cart, version=v1,odd,empty="),
            ("POD_LOCALITY", "eu/z1"),
            ("NODE_NAME", "node-1"),
            ("ISTIO_META_NODE_NAME", "node-2"),
        ];
        let lookup =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let labels = [("app", "cart"), ("version", "v1"), ("empty", "")];
        let expected = Workload {
            namespace: "shop".to_owned(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            locality: "eu/z1".to_owned(),
            node: "node-2".to_owned(),
        };
        assert_eq!(Workload::from_env(lookup), expected);
        assert_eq!(Workload::from_env(|_| None), Workload::default());
        assert_eq!(Workload::from_env(|_| Some(String::new())), Workload::default());
    }

    #[test]
    fn labels_are_read_as_kubernetes_and_istio_write_them() {
        let labels = |pod: &str, json: &str| {
            let lookup = |name: &str| match name {
                "POD_LABELS" => Some(pod.to_owned()),
                "ISTIO_METAJSON_LABELS" => Some(json.to_owned()),
                _ => None,
            };
            let labels = Workload::from_env(lookup).labels;
            labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
        };
        let file = "app=\"cart\"\nempty=\"\"\nexample.test/of=\"a=b,c\"\nversion=\"v1\"";
        assert_eq!(labels(file, ""), "app=cart empty= example.test/of=a=b,c version=v1");
        assert_eq!(labels("a=\"1\\t\\\"\\\\\\u00e4\\x7f\"\r\nb=2,c=3\n", ""), "a=1\t\"\\\u{e4}\u{7f} b=2 c=3");
        assert_eq!(labels("", r#"{"app":"cart","version":"1"}"#), "app=cart version=1");
        assert_eq!(labels("app=shop", r#"{"app":"cart","of":"json"}"#), "app=shop of=json");
        // What cannot be read takes nothing else with it.
        assert_eq!(labels("a=\"1\nb=\"2\"\nc=\"3\"4", "{"), "b=2");
        assert_eq!(labels("a=1", "[]"), "a=1");
    }
}
