//! The part of Istio's MeshConfig that traffic rules depend on.

use std::fmt;
use std::path::Path;

use mesh_router::BoxError;
use mesh_router::config::{HttpRetry, units};
use mesh_router::options::{HttpRetryPolicy, MeshOptions, OutboundTrafficPolicy, PathNormalization};
use serde_yaml::Value;

/// Reads the options; a field that is not known is a warning, a value that is not is an error.
pub(crate) fn read(path: &Path) -> Result<MeshOptions, BoxError> {
    let text = std::fs::read_to_string(path).map_err(|error| failure(path, error))?;
    let (options, unknown) = parse(&text).map_err(|error| failure(path, error))?;
    for field in unknown {
        tracing::warn!("{}: `{field}` is not known here and changes nothing", path.display());
    }
    Ok(options)
}

fn failure(path: &Path, error: impl fmt::Display) -> BoxError {
    format!("{}: error: {error}", path.display()).into()
}

/// The options and the fields that are not known.
fn parse(text: &str) -> Result<(MeshOptions, Vec<String>), BoxError> {
    let (mut options, mut unknown) = (MeshOptions::default(), Vec::new());
    let fields = match serde_yaml::from_str(text)? {
        Value::Mapping(fields) => fields,
        Value::Null => return Ok((options, unknown)),
        _ => return Err("there are no fields".into()),
    };
    for (name, value) in &fields {
        let name = name.as_str().unwrap_or("?");
        if value.is_null() {
            continue;
        }
        let known = set(&mut options, name, value).map_err(|error| format!("{name}: {error}"))?;
        if !known {
            unknown.push(name.to_owned());
        }
    }
    Ok((options, unknown))
}

/// Whether there is such a field.
fn set(options: &mut MeshOptions, name: &str, value: &Value) -> Result<bool, BoxError> {
    match name {
        "outboundTrafficPolicy" => {
            options.outbound_traffic_policy = match word(&value["mode"])? {
                "ALLOW_ANY" => OutboundTrafficPolicy::AllowAny,
                "REGISTRY_ONLY" => OutboundTrafficPolicy::RegistryOnly,
                mode => return Err(format!("there is no mode {mode}").into()),
            };
        }
        "pathNormalization" => {
            options.path_normalization = match word(&value["normalization"])? {
                "NONE" => PathNormalization::None,
                "DEFAULT" | "BASE" => PathNormalization::Base,
                "MERGE_SLASHES" => PathNormalization::MergeSlashes,
                "DECODE_AND_MERGE_SLASHES" => PathNormalization::DecodeAndMergeSlashes,
                normalization => return Err(format!("there is no normalization {normalization}").into()),
            };
        }
        "connectTimeout" => {
            let timeout: units::Duration = word(value)?.parse()?;
            options.connect_timeout = timeout.to_std().ok_or("it is negative")?;
        }
        "defaultHttpRetryPolicy" => {
            options.default_http_retry_policy = Some(retry_policy(serde_yaml::from_value(value.clone())?)?);
        }
        "localityLbSetting" => options.locality_lb_setting = serde_yaml::from_value(value.clone())?,
        "zoneAwareLbSetting" => options.zone_aware_lb_setting = serde_yaml::from_value(value.clone())?,
        "rootNamespace" => options.root_namespace = word(value)?.to_owned(),
        "domain" => options.domain = word(value)?.to_owned(),
        "defaultServiceExportTo" => options.default_service_export_to = words(value)?,
        "defaultVirtualServiceExportTo" => options.default_virtual_service_export_to = words(value)?,
        "defaultDestinationRuleExportTo" => options.default_destination_rule_export_to = words(value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn retry_policy(words: HttpRetry) -> Result<HttpRetryPolicy, BoxError> {
    let std = |duration: Option<units::Duration>| match duration {
        Some(duration) => duration.to_std().map(Some).ok_or("a duration is negative"),
        None => Ok(None),
    };
    Ok(HttpRetryPolicy {
        attempts: u32::try_from(words.attempts)?,
        per_try_timeout: std(words.per_try_timeout)?,
        retry_on: words.retry_on,
        retry_remote_localities: words.retry_remote_localities.unwrap_or(false),
        retry_ignore_previous_hosts: words.retry_ignore_previous_hosts,
        backoff: std(words.backoff)?,
    })
}

fn word(value: &Value) -> Result<&str, BoxError> {
    value.as_str().ok_or_else(|| "there is no text".into())
}

fn words(value: &Value) -> Result<Vec<String>, BoxError> {
    let list = value.as_sequence().ok_or("it is no list")?;
    list.iter().map(|value| word(value).map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn fields_of_istio_are_read() {
        let text = "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\npathNormalization: {normalization: MERGE_SLASHES}\n\
                    connectTimeout: 2.5s\nrootNamespace: root\ndefaultServiceExportTo: ['.']\nenableTracing: true\n\
                    localityLbSetting: {enabled: false}\nzoneAwareLbSetting: {minClusterSize: 3}\n";
        let (options, unknown) = parse(text).unwrap();
        assert_eq!(options.outbound_traffic_policy, OutboundTrafficPolicy::RegistryOnly);
        assert_eq!(options.path_normalization, PathNormalization::MergeSlashes);
        assert_eq!(options.connect_timeout, Duration::from_millis(2500));
        assert_eq!(options.root_namespace, "root");
        assert_eq!(options.locality_lb_setting.unwrap().enabled, Some(false));
        assert_eq!(options.zone_aware_lb_setting.unwrap().min_cluster_size, Some(3));
        assert_eq!(options.default_service_export_to, ["."]);
        assert_eq!(unknown, ["enableTracing"]);
    }

    #[test]
    fn retries_have_the_words_of_a_rule() {
        let text = "defaultHttpRetryPolicy: {attempts: 3, retryOn: '5xx,reset', perTryTimeout: 1s, backoff: 50ms}\n";
        let policy = parse(text).unwrap().0.default_http_retry_policy.unwrap();
        assert_eq!((policy.attempts, policy.retry_on.as_str()), (3, "5xx,reset"));
        assert_eq!(policy.per_try_timeout, Some(Duration::from_secs(1)));
        assert_eq!(policy.backoff, Some(Duration::from_millis(50)));
        assert!(parse("defaultHttpRetryPolicy: {attempts: -1}").is_err());
    }

    #[test]
    fn nothing_is_the_default_and_nonsense_an_error() {
        assert_eq!(parse("").unwrap().0, MeshOptions::default());
        for text in ["[]", "connectTimeout: soon", "outboundTrafficPolicy: {mode: 3}", "rootNamespace: []"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
