//! Names: DNS labels, host names, Kubernetes labels, `exportTo`, gateway names.
//!
//! Host names follow the wording of Istio's validation, not RFC 1123: upper case is taken, a name of one label is only
//! checked as a label, and one trailing dot is allowed.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::addresses::is_ip;
use super::findings::Findings;
use super::numbers;
use crate::compile::path::Path;

/// Letters, digits and inner dashes, 1 to 63 bytes.
pub(crate) fn is_dns_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            bytes.len() <= 63
                && first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        }
        _ => false,
    }
}

/// What is wrong with a text that is no DNS label; `what` is what it should be.
pub(crate) fn bad_dns_label(text: &str, what: &str) -> String {
    format!("`{text}` is not the name of {what}: at most 63 letters, digits and inner dashes")
}

/// A DNS label, `*`, or one with a leading `*` or `*-`.
fn is_wildcard_label(label: &str) -> bool {
    let Some(rest) = label.strip_prefix('*') else { return is_dns_label(label) };
    label.len() <= 63 && (rest.is_empty() || is_dns_label(rest.strip_prefix('-').unwrap_or(rest)))
}

fn check_length(name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err("a host name cannot be empty".to_owned()),
        1..=255 => Ok(()),
        length => Err(format!("a host name of {length} bytes is too long: at most 255")),
    }
}

fn check_labels(name: &str, labels: &str) -> Result<(), String> {
    let last = labels.rsplit('.').next().unwrap_or(labels);
    if last.parse::<i64>().is_ok() {
        return Err(format!("`{name}` is not a host name: the last label, `{last}`, cannot be a number"));
    }
    let labels = labels.strip_suffix('.').unwrap_or(labels);
    match labels.split('.').find(|label| !is_dns_label(label)) {
        Some(bad) => Err(bad_label(name, bad)),
        None => Ok(()),
    }
}

fn bad_label(name: &str, label: &str) -> String {
    if label.is_empty() {
        return format!("`{name}` is not a host name: a label is empty");
    }
    if label.len() > 63 {
        return format!("`{name}` is not a host name: the label `{label}` has more than 63 bytes");
    }
    if label.contains('*') {
        return format!("`{name}` is not a host name: `*` can only stand at its start");
    }
    format!("`{name}` is not a host name: a label holds letters, digits and inner dashes, unlike `{label}`")
}

/// A host name without a wildcard.
pub(crate) fn check_fqdn(name: &str) -> Result<(), String> {
    check_length(name)?;
    check_labels(name, name)
}

/// A host name whose first label may be `*`, `*x` or `*-x`.
pub(crate) fn check_wildcard_domain(name: &str) -> Result<(), String> {
    check_length(name)?;
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    if !is_wildcard_label(first) {
        return Err(bad_label(name, first));
    }
    match rest {
        // A single label may have the trailing dot too.
        None | Some("") => Ok(()),
        Some(rest) => check_labels(name, rest),
    }
}

/// A host of a VirtualService that is bound to gateways: with SNI hosts, also `outbound_.80_._.host`, the names that
/// AUTO_PASSTHROUGH gateways use among themselves.
pub(crate) fn check_gateway_domain(name: &str, sni: bool) -> Result<(), String> {
    check_length(name)?;
    if !sni || !name.starts_with("outbound_") {
        return check_wildcard_domain(name);
    }
    let mut parts = name.split('_').skip(1);
    let port = parts.next().unwrap_or_default();
    let host = parts.nth(1).unwrap_or_default();
    let sound = port.bytes().any(|byte| byte.is_ascii_digit()) && host.bytes().any(|byte| byte.is_ascii_alphabetic());
    if sound { Ok(()) } else { Err(format!("`{name}` should have the form `outbound_.PORT_._.HOST`")) }
}

/// Whether the name holds `*` other than as its whole first label (`*foo.com`, `*-x.foo.com`).
pub(crate) fn is_partial_wildcard(name: &str) -> bool {
    name.contains('*') && name.len() != 1 && !name.starts_with("*.")
}

/// A host that may be an address too.
pub(crate) fn check_fqdn_or_ip(name: &str) -> Result<(), String> {
    if is_ip(name) {
        return Ok(());
    }
    check_fqdn(name)
}

/// The inner bytes of a Kubernetes label's name or value.
fn is_qualified(name: &str) -> bool {
    let bytes = name.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => {
            first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        }
        _ => false,
    }
}

fn check_label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if name.len() > 63 {
        return Err(format!("the name of the label `{key}` has more than 63 bytes"));
    }
    if prefix.is_some_and(|prefix| prefix.len() > 253) {
        return Err(format!("the prefix of the label `{key}` has more than 253 bytes"));
    }
    let prefixed = prefix.is_none_or(|prefix| prefix.split('.').all(is_label_of_any_length));
    if prefixed && is_qualified(name) { Ok(()) } else { Err(format!("`{key}` is not a label name")) }
}

fn is_label_of_any_length(label: &str) -> bool {
    is_qualified(label) && label.bytes().all(|byte| byte != b'_' && byte != b'.')
}

/// Kubernetes labels: `[prefix/]name: value`.
pub(crate) fn labels(rule: &'static str, path: &Path<'_>, labels: &BTreeMap<String, String>, findings: &mut Findings) {
    for (key, value) in labels {
        if let Err(message) = check_label_key(key) {
            findings.error(rule, &path.key(key), message);
        }
        if !value.is_empty() && !is_qualified(value) {
            findings.error(
                rule,
                &path.key(key),
                format!("`{value}` is not a label value: letters and digits, with `-`, `_` and `.` inside"),
            );
        }
    }
}

/// What may select workloads: at most `most` labels, no empty key, no `*`. Without any label it selects all of them,
/// which is worth a warning.
pub(crate) fn selector(
    rule: &'static str,
    path: &Path<'_>,
    labels: &BTreeMap<String, String>,
    most: usize,
    findings: &mut Findings,
) {
    numbers::at_most(path, labels.len(), most, "labels", findings);
    if labels.is_empty() {
        findings.warning(rule, path, "a workloadSelector without labels selects every workload of the namespace");
    }
    for (key, value) in labels {
        if key.is_empty() {
            findings.error(rule, path, format!("a workloadSelector cannot have an empty label name (of `{value}`)"));
        } else if key.contains('*') || value.contains('*') {
            findings.error(rule, &path.key(key), format!("a workloadSelector knows no wildcard: `{key}: {value}`"));
        }
        if value.len() > 63 {
            findings.error("CRD", &path.key(key), format!("the value `{value}` is too long: at most 63 bytes"));
        }
    }
}

/// Whose `exportTo` it is: what is allowed differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exporter {
    /// A VirtualService, or a DestinationRule without workloadSelector.
    Rule,
    /// A ServiceEntry: `~`, nobody, is allowed.
    ServiceEntry,
    /// A DestinationRule with workloadSelector: its own namespace only.
    SelectingRule,
}

/// `exportTo`: `.`, `*` and namespaces, each once, `*` (and `~`) alone. `path` is that of the list.
pub(crate) fn export_to<'a>(
    rule: &'static str,
    path: &Path<'_>,
    (exporter, own): (Exporter, &'a str),
    export_to: &'a [String],
    findings: &mut Findings,
) {
    let resolve = |entry: &'a str| if entry == "." { own } else { entry };
    let mut seen = HashSet::new();
    for (index, entry) in export_to.iter().enumerate() {
        let path = path.index(index);
        if entry == "~" && exporter != Exporter::ServiceEntry {
            findings.error(rule, &path, "only a ServiceEntry can be exported to `~`, nobody");
        } else if !matches!(entry.as_str(), "." | "*" | "~") && !is_dns_label(entry) {
            findings.error(rule, &path, format!("`{entry}` is not a namespace")).help("write `.`, `*` or a namespace");
        } else if !seen.insert(resolve(entry)) {
            findings.error(rule, &path, format!("`{entry}` is a duplicate: the namespace is in the list already"));
        }
        if export_to.len() > 1 && (entry == "*" || (entry == "~" && exporter == Exporter::ServiceEntry)) {
            findings.error(rule, &path, format!("`{entry}` says it all: no other entry can stand beside it"));
        }
        if exporter == Exporter::SelectingRule && resolve(entry) != own {
            findings
                .error(rule, &path, "a DestinationRule with workloadSelector is for its own namespace only")
                .help("write `exportTo: [.]`");
        }
    }
}

/// A list of gateway names: `NAMESPACE/NAME`, `NAME` or `mesh`. As in Istio, entries after the first one without a
/// slash are not looked at. `path` is that of the list.
pub(crate) fn gateways(rule: &'static str, path: &Path<'_>, names: &[String], findings: &mut Findings) {
    for (index, gateway) in names.iter().enumerate() {
        let path = path.index(index);
        let Some((namespace, name)) = gateway.split_once('/') else {
            if let Err(message) = check_fqdn(gateway) {
                findings.error(rule, &path, message);
            } else if let Some((name, rest)) = gateway.split_once('.') {
                let namespace = rest.split('.').next().unwrap_or(rest);
                findings
                    .warning(rule, &path, format!("`{gateway}` is the old form of a gateway's name"))
                    .help(format!("write `{namespace}/{name}`"));
            }
            return;
        };
        if namespace.is_empty() || name.is_empty() {
            findings.error(rule, &path, format!("`{gateway}` lacks a part: a gateway is named `NAMESPACE/NAME`"));
            continue;
        }
        if !is_dns_label(namespace) {
            let finding = findings.error(rule, &path, format!("`{namespace}` is not a namespace"));
            if namespace == "." {
                finding.help(format!("write `{name}`, which is looked up in the rule's own namespace"));
            }
        }
        if !is_dns_label(name) {
            findings.error(rule, &path, format!("`{name}` is not the name of a gateway"));
        }
    }
}

/// Hosts to look up which of them stands for a name, at a cost that does not grow with their number.
#[derive(Debug, Default)]
pub(crate) struct HostSet<'a> {
    hosts: &'a [String],
    exact: HashMap<&'a str, usize>,
    /// Wildcards, without their `*`.
    suffixes: HashMap<&'a str, usize>,
}

impl<'a> HostSet<'a> {
    /// The set of `hosts`; of equal ones the first is found.
    pub(crate) fn new(hosts: &'a [String]) -> Self {
        let mut set = Self { hosts, ..Self::default() };
        for (index, host) in hosts.iter().enumerate() {
            match host.strip_prefix('*') {
                Some(suffix) => set.suffixes.entry(suffix).or_insert(index),
                None => set.exact.entry(host).or_insert(index),
            };
        }
        set
    }

    /// Whether one of the hosts stands for every name that `host` stands for.
    pub(crate) fn covers(&self, host: &str) -> bool {
        let rest = host.strip_prefix('*').unwrap_or(host);
        self.exact.contains_key(host) || suffixes(rest).any(|suffix| self.suffixes.contains_key(suffix))
    }

    /// Another host that is the same as the one at `index` and before it, or a wildcard that covers it.
    pub(crate) fn overlap(&self, index: usize) -> Option<usize> {
        let host = self.hosts.get(index)?;
        let (twins, rest) = match host.strip_prefix('*') {
            Some(rest) => (&self.suffixes, rest),
            None => (&self.exact, host.as_str()),
        };
        let twin = twins.get(rest).copied().filter(|twin| *twin != index);
        let wider = || {
            let own = usize::from(host.starts_with('*'));
            suffixes(rest).skip(own).find_map(|suffix| self.suffixes.get(suffix).copied())
        };
        twin.or_else(wider)
    }

    /// The hosts in the order they were written.
    pub(crate) fn hosts(&self) -> &'a [String] {
        self.hosts
    }
}

/// `text` and what is left of it without its first characters, the empty text last; short enough for a host name.
fn suffixes(text: &str) -> impl Iterator<Item = &str> {
    let short = text.len() <= 255;
    let ends = text.char_indices().map(|(at, _)| at).chain(std::iter::once(text.len()));
    ends.filter(move |_| short).map(|at| &text[at..])
}
