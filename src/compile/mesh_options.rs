//! MeshConfig as options.

use super::path::Path;
use super::report::Report;
use super::validate::{self, Findings};
use crate::config::{
    HttpRetry, MeshConfig, MeshH2UpgradePolicy, NormalizationType, OutboundTrafficPolicyMode, Resource, units,
};
use crate::error::{Error, ErrorKind};
use crate::options::{HttpRetryPolicy, MeshOptions, OutboundTrafficPolicy, PathNormalization};

/// What Istio takes for every connection; a DestinationRule may say more.
const LONGEST_CONNECT: units::Duration = units::Duration::from_secs(3600);

impl MeshOptions {
    /// Reads a file with the fields of Istio's MeshConfig; what is not set is Istio's default. The report names fields
    /// that are not known and fields that have no effect here.
    ///
    /// ```
    /// use mesh_router::options::{MeshOptions, OutboundTrafficPolicy};
    ///
    /// let text = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\naccessLogFile: /dev/stdout\n";
    /// let (options, report) = MeshOptions::from_yaml(text, "mesh.yaml")?;
    /// assert_eq!(options.outbound_traffic_policy, OutboundTrafficPolicy::RegistryOnly);
    /// assert_eq!(report.to_string(), "mesh.yaml:2:1: warning: accessLogFile: not yet honored\n");
    /// # Ok::<(), mesh_router::Error>(())
    /// ```
    ///
    /// # Errors
    /// The text is no YAML or over a [bound](crate::config::Bounds), has more than one document or wraps the fields, as
    /// a ConfigMap does, or a value is none of its field's or refused by Istio's validation.
    pub fn from_yaml(text: &str, file: &str) -> Result<(Self, Report), Error> {
        let (config, mut problems) = MeshConfig::from_yaml(text, file)?;
        let mut findings = Findings::new();
        judge(&config.spec, &mut findings);
        let failed = findings.errors() > 0;
        problems.extend(findings.into_problems().into_iter().map(|problem| {
            let place = config.place(&problem.path);
            problem.with_place(place)
        }));
        let mut report = Report { problems, ..Report::default() };
        report.sort();
        if failed {
            return Err(Error::new(ErrorKind::Invalid, report.problems));
        }
        Ok((understood(&config), report))
    }
}

/// What Istio's validation asks of the fields that are honored.
fn judge(config: &MeshConfig, findings: &mut Findings) {
    let path = |name| Path::root(name);
    for (name, duration) in [("connectTimeout", config.connect_timeout), ("dnsRefreshRate", config.dns_refresh_rate)] {
        validate::duration("MeshConfig", &path(name), duration, findings);
    }
    if let Some(timeout) = config.connect_timeout.filter(|timeout| *timeout > LONGEST_CONNECT) {
        let message = format!("the duration {timeout} is too long: at most {LONGEST_CONNECT}");
        findings.error("MeshConfig", &path("connectTimeout"), message);
    }
    if let Some(retries) = &config.default_http_retry_policy {
        validate::retries(retries, &path("defaultHttpRetryPolicy"), findings);
    }
    if let Some(settings) = &config.locality_lb_setting {
        // Whether there is outlier detection is a matter of each DestinationRule.
        validate::locality(settings, &path("localityLbSetting"), true, findings);
    }
    if let Some(settings) = &config.zone_aware_lb_setting {
        validate::zone_aware(settings, &path("zoneAwareLbSetting"), true, findings);
    }
}

fn understood(config: &Resource<MeshConfig>) -> MeshOptions {
    let MeshConfig {
        connect_timeout,
        tcp_keepalive,
        outbound_traffic_policy,
        default_service_export_to,
        default_virtual_service_export_to,
        default_destination_rule_export_to,
        root_namespace,
        locality_lb_setting,
        zone_aware_lb_setting,
        dns_refresh_rate,
        h2_upgrade_policy,
        path_normalization,
        default_http_retry_policy,
        default_config,
        domain,
    } = config.spec.clone();
    let default = MeshOptions::default();
    let text = |value: String, default: String| if value.is_empty() { default } else { value };
    let list = |value: Vec<String>, default: Vec<String>| if value.is_empty() { default } else { value };
    let topology = default_config.and_then(|config| config.gateway_topology);
    MeshOptions {
        domain: text(domain, default.domain),
        root_namespace: text(root_namespace, default.root_namespace),
        outbound_traffic_policy: outbound_traffic_policy.and_then(|policy| policy.mode).map_or(
            default.outbound_traffic_policy,
            |mode| match mode {
                OutboundTrafficPolicyMode::RegistryOnly => OutboundTrafficPolicy::RegistryOnly,
                // Whoever connects looks the host up.
                OutboundTrafficPolicyMode::AllowAny | OutboundTrafficPolicyMode::AllowAnyDynamicDns => {
                    OutboundTrafficPolicy::AllowAny
                }
            },
        ),
        path_normalization: path_normalization
            .and_then(|path| path.normalization)
            .map_or(default.path_normalization, normalization),
        connect_timeout: connect_timeout.and_then(units::Duration::to_std).unwrap_or(default.connect_timeout),
        h2_upgrade: h2_upgrade_policy == MeshH2UpgradePolicy::Upgrade,
        tcp_keepalive,
        num_trusted_proxies: topology.map_or(0, |topology| topology.num_trusted_proxies),
        dns_refresh_rate: dns_refresh_rate.and_then(units::Duration::to_std).unwrap_or(default.dns_refresh_rate),
        dns_lookup_family: default.dns_lookup_family,
        foreign_client: default.foreign_client,
        shadow_host_suffix: default.shadow_host_suffix,
        default_http_retry_policy: default_http_retry_policy.as_ref().map(retries),
        locality_lb_setting: locality_lb_setting.or(default.locality_lb_setting),
        zone_aware_lb_setting,
        default_service_export_to: list(default_service_export_to, default.default_service_export_to),
        default_virtual_service_export_to: list(
            default_virtual_service_export_to,
            default.default_virtual_service_export_to,
        ),
        default_destination_rule_export_to: list(
            default_destination_rule_export_to,
            default.default_destination_rule_export_to,
        ),
    }
}

fn normalization(word: NormalizationType) -> PathNormalization {
    match word {
        NormalizationType::None => PathNormalization::None,
        NormalizationType::Default | NormalizationType::Base => PathNormalization::Base,
        NormalizationType::MergeSlashes => PathNormalization::MergeSlashes,
        NormalizationType::DecodeAndMergeSlashes => PathNormalization::DecodeAndMergeSlashes,
    }
}

/// The words of a retry policy, of a rule or of the mesh.
pub(super) fn retries(words: &HttpRetry) -> HttpRetryPolicy {
    let HttpRetry {
        attempts,
        per_try_timeout,
        retry_on,
        retry_remote_localities,
        retry_ignore_previous_hosts,
        backoff,
    } = words;
    HttpRetryPolicy {
        attempts: u32::try_from(*attempts).unwrap_or(0),
        per_try_timeout: per_try_timeout.and_then(units::Duration::to_std),
        retry_on: retry_on.clone(),
        retry_remote_localities: retry_remote_localities.unwrap_or(false),
        retry_ignore_previous_hosts: *retry_ignore_previous_hosts,
        backoff: backoff.and_then(units::Duration::to_std),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(text: &str) -> (MeshOptions, Vec<String>) {
        let (options, report) = MeshOptions::from_yaml(text, "m.yaml").unwrap();
        (options, report.problems().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_field_with_an_effect_is_read() {
        let (options, problems) = read(
            "
connectTimeout: 2.5s
tcpKeepalive: {probes: 3}
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
defaultServiceExportTo: ['.']
defaultVirtualServiceExportTo: [a]
defaultDestinationRuleExportTo: [b]
rootNamespace: root
domain: example.org
localityLbSetting: {enabled: false}
dnsRefreshRate: 7s
h2UpgradePolicy: UPGRADE
pathNormalization: {normalization: MERGE_SLASHES}
defaultHttpRetryPolicy: {attempts: 5, retryOn: 5xx, perTryTimeout: 1s, backoff: 10ms}
defaultConfig: {gatewayTopology: {numTrustedProxies: 2}}
",
        );
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(options.connect_timeout, Duration::from_millis(2500));
        assert_eq!(options.tcp_keepalive.map(|keepalive| keepalive.probes), Some(3));
        assert_eq!(options.outbound_traffic_policy, OutboundTrafficPolicy::RegistryOnly);
        assert_eq!(options.default_service_export_to, ["."]);
        assert_eq!(options.default_virtual_service_export_to, ["a"]);
        assert_eq!(options.default_destination_rule_export_to, ["b"]);
        assert_eq!((&*options.root_namespace, &*options.domain), ("root", "example.org"));
        assert_eq!(options.locality_lb_setting.and_then(|setting| setting.enabled), Some(false));
        assert_eq!(options.dns_refresh_rate, Duration::from_secs(7));
        assert!(options.h2_upgrade);
        assert_eq!(options.path_normalization, PathNormalization::MergeSlashes);
        assert_eq!(options.num_trusted_proxies, 2);
        let retries = options.default_http_retry_policy.unwrap();
        assert_eq!((retries.attempts, &*retries.retry_on), (5, "5xx"));
        assert_eq!(
            (retries.per_try_timeout, retries.backoff),
            (Some(Duration::from_secs(1)), Some(Duration::from_millis(10)))
        );
    }

    #[test]
    fn both_spellings_and_numbers_of_enumerations_are_read() {
        let (options, problems) = read("{outbound_traffic_policy: {mode: 0}, path_normalization: {normalization: 1}}");
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(options.outbound_traffic_policy, OutboundTrafficPolicy::RegistryOnly);
        assert_eq!(options.path_normalization, PathNormalization::None);
    }

    #[test]
    fn what_is_not_set_is_the_default() {
        for text in [
            "",
            "# nothing",
            "{}",
            "connectTimeout:",
            "outboundTrafficPolicy: {}",
            "pathNormalization: {normalization: DEFAULT}",
        ] {
            assert_eq!(read(text), (MeshOptions::default(), Vec::new()), "{text}");
        }
    }

    #[test]
    fn what_has_no_effect_is_named() {
        let (options, problems) = read(
            "
enableTracing: true
accessLogFile: /dev/stdout
trust_domain: example.org
defaultConfig: {concurrency: 2, gatewayTopology: {forwardClientCertDetails: SANITIZE}}
outboundTraficPolicy: {mode: REGISTRY_ONLY}
somethingElse: 1
serviceEntryVisibility: {applyToSidecars: true}
defaultInboundHttpRetryPolicy: {}
",
        );
        assert_eq!(options, MeshOptions::default());
        assert_eq!(
            problems,
            [
                "m.yaml:2:1: warning: enableTracing: not yet honored",
                "m.yaml:3:1: warning: accessLogFile: not yet honored",
                "m.yaml:4:1: warning: trust_domain: not yet honored",
                "m.yaml:5:17: warning: defaultConfig.concurrency: not yet honored",
                "m.yaml:5:51: warning: defaultConfig.gatewayTopology.forwardClientCertDetails: not yet honored",
                "m.yaml:6:1: error: outboundTraficPolicy: unknown field \"outboundTraficPolicy\" (did you mean \
             \"outboundTrafficPolicy\"?)",
                "m.yaml:7:1: warning: somethingElse: unknown field \"somethingElse\"",
                "m.yaml:8:1: warning: serviceEntryVisibility: not yet honored",
                "m.yaml:9:1: warning: defaultInboundHttpRetryPolicy: not yet honored",
            ]
        );
    }

    #[test]
    fn unknown_fields_are_none_that_is_not_honored() {
        for (text, path, meant) in [
            ("defaultHttpRetryPolicy: {attempt: 1}", "defaultHttpRetryPolicy.attempt", Some("attempts")),
            (
                "localityLbSetting: {failover: [{from: a, to: b, frm: c}]}",
                "localityLbSetting.failover[0].frm",
                Some("from"),
            ),
            ("defaultConfig: {gatewayTopolgy: {}}", "defaultConfig.gatewayTopolgy", Some("gatewayTopology")),
            ("outboundTrafficPolicy: {kind: ALLOW_ANY}", "outboundTrafficPolicy.kind", None),
            ("sdsUdsPath: unix:/a", "sdsUdsPath", None),
        ] {
            let (_, report) = MeshOptions::from_yaml(text, "m.yaml").unwrap();
            // What resembles none may be a field of another version of Istio.
            assert_eq!((report.refuses_start(), report.fails_check()), (meant.is_some(), meant.is_some()), "{report}");
            let help = meant.map(|name| format!("did you mean {name:?}?"));
            let said = report.problems().iter().map(|problem| (&*problem.path, problem.help.clone()));
            assert_eq!(said.collect::<Vec<_>>(), [(path, help)]);
        }
    }

    #[test]
    fn values_that_are_none_are_errors_with_their_places() {
        for (text, told) in [
            ("[]", "m.yaml:1:1: error: expected the fields of MeshConfig, found a list"),
            ("connectTimeout: soon", "m.yaml:1:1: error: connectTimeout: "),
            ("connectTimeout: -1s", "m.yaml:1:1: error: connectTimeout: the duration -1s is negative"),
            (
                "connectTimeout: 3601s",
                "m.yaml:1:1: error: connectTimeout: the duration 3601s is too long: at most 3600s",
            ),
            (
                "zoneAwareLbSetting: {failover: [{from: a/b, to: c}]}",
                "m.yaml:1:34: error: zoneAwareLbSetting.failover[0].from: ",
            ),
            ("outboundTrafficPolicy: {mode: NONE}", "m.yaml:1:25: error: outboundTrafficPolicy.mode: "),
            ("rootNamespace: []", "m.yaml:1:1: error: rootNamespace: expected a string, found a list"),
            ("defaultHttpRetryPolicy: {attempts: -1}", "m.yaml:1:26: error: defaultHttpRetryPolicy.attempts: "),
            ("{}\n---\n{}", "m.yaml:3:1: error: a second document: the mesh has one MeshConfig"),
            ("a: [", "m.yaml:1:"),
            (
                "apiVersion: v1\nkind: ConfigMap\ndata: {mesh: ''}",
                "m.yaml:2:1: error: expected the fields of MeshConfig, found a ConfigMap (give the text of its \
                 `data.mesh`)",
            ),
            (
                "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nspec: {}",
                "m.yaml:2:1: error: expected the fields of MeshConfig, found an IstioOperator (give what is below \
                 its `spec.meshConfig`)",
            ),
            (
                "pilot: {}\nmeshConfig: {enableTracing: true}",
                "m.yaml:2:1: error: expected the fields of MeshConfig, found Helm's values (give what is below their \
                 `meshConfig`)",
            ),
        ] {
            let error = MeshOptions::from_yaml(text, "m.yaml").unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
        let text = "connectTimeout: 1h\nzoneAwareLbSetting: {minClusterSize: 0, failover: [{from: a, to: b}]}\n";
        assert!(MeshOptions::from_yaml(text, "m.yaml").unwrap().1.problems().is_empty());
    }
}
