//! loadBalancer (VD13 to VD16, VD23).

use std::collections::HashSet;

use super::{Findings, locality, numbers, strings};
use crate::compile::path::Path;
use crate::config::{ConsistentHashLb, HttpCookie, LoadBalancerSettings, MagLev, WarmupConfiguration};

/// What Envoy's Maglev table has to be smaller than.
const MAGLEV_LIMIT: u64 = 5_000_011;

/// Judges one loadBalancer. `outlier`: an outlierDetection stands beside it.
pub(crate) fn judge(settings: &LoadBalancerSettings, path: &Path<'_>, outlier: bool, findings: &mut Findings) {
    let LoadBalancerSettings {
        simple,
        consistent_hash,
        locality_lb_setting,
        zone_aware_lb_setting,
        warmup_duration_secs,
        warmup,
    } = settings;
    strings::one_of(path, &[("simple", simple.is_some()), ("consistentHash", consistent_hash.is_some())], findings);
    if let Some(hash) = consistent_hash {
        self::consistent_hash(hash, &path.field("consistentHash"), findings);
    }
    if locality_lb_setting.is_some() && zone_aware_lb_setting.is_some() {
        let message = "`localityLbSetting` and `zoneAwareLbSetting` cannot be together";
        findings.error("VD16", &path.field("zoneAwareLbSetting"), message);
    }
    if let Some(setting) = locality_lb_setting {
        locality::judge(setting, &path.field("localityLbSetting"), outlier, findings);
    }
    if let Some(setting) = zone_aware_lb_setting {
        let path = path.field("zoneAwareLbSetting");
        locality::zone_aware(setting, &path, outlier, findings);
        if setting.min_cluster_size == Some(0) {
            findings.error("CRD", &path.field("minClusterSize"), "a minClusterSize of 0 is too small: at least 1");
        }
    }
    numbers::at_least_a_millisecond(&path.field("warmupDurationSecs"), *warmup_duration_secs, findings);
    if let Some(warmup) = warmup {
        self::warmup(warmup, &path.field("warmup"), findings);
    }
}

fn consistent_hash(hash: &ConsistentHashLb, path: &Path<'_>, findings: &mut Findings) {
    let ConsistentHashLb {
        http_header_name,
        http_cookie,
        use_source_ip,
        http_query_parameter_name,
        ring_hash,
        maglev,
        minimum_ring_size,
    } = hash;
    let keys = [
        ("httpHeaderName", http_header_name.is_some()),
        ("httpCookie", http_cookie.is_some()),
        ("useSourceIp", use_source_ip.is_some()),
        ("httpQueryParameterName", http_query_parameter_name.is_some()),
    ];
    strings::one_of(path, &keys, findings);
    strings::one_of(path, &[("ringHash", ring_hash.is_some()), ("maglev", maglev.is_some())], findings);
    if let Some(cookie) = http_cookie {
        self::cookie(cookie, &path.field("httpCookie"), findings);
    }
    if *minimum_ring_size != 0 {
        let path = path.field("minimumRingSize");
        if ring_hash.is_some() || maglev.is_some() {
            findings.error("VD14", &path, "`minimumRingSize` cannot be beside `ringHash` or `maglev`");
        }
        findings
            .warning("VD14", &path, "minimumRingSize is deprecated here")
            .help(format!("write `ringHash: {{minimumRingSize: {minimum_ring_size}}}`"));
    }
    if let Some(MagLev { table_size }) = maglev {
        let path = path.field("maglev");
        maglev_table(*table_size, &path.field("tableSize"), findings);
    }
}

fn maglev_table(size: u64, path: &Path<'_>, findings: &mut Findings) {
    if size == 0 {
        findings.error("VD15", path, "maglev needs a tableSize").help("Envoy's own is 65537");
    } else if size >= MAGLEV_LIMIT {
        findings.error("VD15", path, format!("the tableSize {size} is too large: less than {MAGLEV_LIMIT}"));
    } else if !is_prime(size) {
        findings.error("VD15", path, format!("the tableSize {size} is not a prime number")).help("Envoy's is 65537");
    }
}

/// Whether a number has no divisor; 1 counts as Envoy counts it.
fn is_prime(number: u64) -> bool {
    number < 4
        || (number % 2 == 1 && (3..).step_by(2).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d)))
}

fn cookie(cookie: &HttpCookie, path: &Path<'_>, findings: &mut Findings) {
    if cookie.name.is_empty() {
        findings.error("VD13", path, "httpCookie needs a name");
    }
    let mut seen = HashSet::new();
    for (index, attribute) in cookie.attributes.iter().enumerate() {
        let path = path.item("attributes", index);
        if attribute.name.is_empty() {
            findings.error("VD13", &path, "an attribute of the cookie needs a name");
        } else if !seen.insert(&attribute.name) {
            findings.error("VD13", &path.field("name"), format!("duplicate attribute `{}`", attribute.name));
        }
    }
}

fn warmup(warmup: &WarmupConfiguration, path: &Path<'_>, findings: &mut Findings) {
    let WarmupConfiguration { duration, minimum_percent, aggression } = warmup;
    if duration.is_none() {
        findings.error("VD23", path, "warmup needs a duration");
    }
    numbers::duration("VD23", &path.field("duration"), *duration, findings);
    if let Some(percent) = minimum_percent {
        numbers::percent("VD23", &path.field("minimumPercent"), *percent, findings);
    }
    if let Some(aggression) = aggression.filter(|aggression| *aggression <= 0.0 || aggression.is_nan()) {
        findings.error("VD23", &path.field("aggression"), format!("the aggression {aggression} is not above 0"));
    }
}
