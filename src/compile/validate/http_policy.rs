//! How an http rule treats its requests: timeout, retries, fault, mirrors, CORS (VH14 to VH24, VH32 to VH35).

use super::{CheckRegex, Findings, http_route, numbers, strings};
use crate::compile::path::Path;
use crate::config::units::Duration;
use crate::config::{CorsPolicy, FaultAbort, FaultDelay, HttpFaultInjection, HttpMirrorPolicy, HttpRetry, HttpRoute};
use crate::route::Abort;

/// The words that `retryOn` knows.
const RETRY_ON: [&str; 16] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "envoy-ratelimited",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

const CORS_METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE", "*"];

/// Judges `timeout`. Istio refuses `0s`, Envoy takes it as none and much YAML says it: it is taken.
pub(crate) fn timeout(timeout: Option<Duration>, path: &Path<'_>, findings: &mut Findings) {
    if timeout.is_some_and(Duration::is_zero) {
        findings.warning("VH35", path, "a timeout of 0s means none").help("omit the field: no timeout is the default");
        return;
    }
    numbers::duration("VH35", path, timeout, findings);
}

/// Judges `retries`.
pub(crate) fn retries(retries: &HttpRetry, path: &Path<'_>, findings: &mut Findings) {
    let HttpRetry { attempts, per_try_timeout, retry_on, retry_remote_localities, backoff, .. } = retries;
    if *attempts < 0 {
        findings.error("VH32", &path.field("attempts"), format!("{attempts} attempts are less than none"));
    }
    if *attempts == 0 {
        let without_effect = [
            ("perTryTimeout", per_try_timeout.is_some()),
            ("retryOn", !retry_on.is_empty()),
            ("retryRemoteLocalities", retry_remote_localities.is_some()),
        ];
        if let Some((name, _)) = without_effect.iter().find(|(_, set)| *set) {
            findings
                .error("VH33", &path.field(name), format!("`{name}` has no effect: without `attempts` retries are off"))
                .help("set `attempts` to the number of retries, or leave only `attempts: 0`");
        }
    }
    numbers::duration("VH35", &path.field("perTryTimeout"), *per_try_timeout, findings);
    numbers::duration("VH35", &path.field("backoff"), *backoff, findings);
    if !retry_on.is_empty() {
        self::retry_on(retry_on, &path.field("retryOn"), findings);
    }
}

fn retry_on(list: &str, path: &Path<'_>, findings: &mut Findings) {
    let is_known = |word: &str| RETRY_ON.contains(&word) || is_registered_status(word);
    for word in list.split(',').filter(|word| !is_known(word)) {
        if is_known(word.trim()) {
            let tight = list.split(',').map(str::trim).collect::<Vec<_>>().join(",");
            findings.error("VH34", path, "a list of conditions has no blanks").help(format!("write `{tight}`"));
            return;
        }
        findings.error("VH34", path, format!("`{word}` is no condition to retry on"));
    }
}

/// Whether it is the number of a registered HTTP status.
fn is_registered_status(word: &str) -> bool {
    let registered = |status| {
        matches!(status, 100..=103 | 200..=208 | 226 | 300..=305 | 307 | 308 | 400..=418 | 421..=426 | 428 | 429)
            || matches!(status, 431 | 451 | 500..=508 | 510 | 511)
    };
    word.parse::<u16>().is_ok_and(registered)
}

/// Judges `fault`.
pub(crate) fn fault(fault: &HttpFaultInjection, path: &Path<'_>, findings: &mut Findings) {
    let HttpFaultInjection { delay, abort } = fault;
    if delay.is_none() && abort.is_none() {
        findings.error("VH15", path, "the fault does nothing: it needs `delay` or `abort`");
    }
    if let Some(delay) = delay {
        self::delay(delay, &path.field("delay"), findings);
    }
    if let Some(abort) = abort {
        self::abort(abort, &path.field("abort"), findings);
    }
}

fn delay(delay: &FaultDelay, path: &Path<'_>, findings: &mut Findings) {
    let FaultDelay { percent: _, fixed_delay, exponential_delay, percentage } = delay;
    let members = [("fixedDelay", fixed_delay.is_some()), ("exponentialDelay", exponential_delay.is_some())];
    strings::one_of(path, &members, findings);
    numbers::sampled("VH16", &path.field("percentage"), percentage.as_ref(), findings);
    numbers::duration("VH21", &path.field("fixedDelay"), *fixed_delay, findings);
    if exponential_delay.is_some() {
        findings
            .error("VH21", &path.field("exponentialDelay"), "exponentialDelay is not implemented anywhere")
            .help("write `fixedDelay`");
    }
}

fn abort(abort: &FaultAbort, path: &Path<'_>, findings: &mut Findings) {
    let FaultAbort { http_status, grpc_status, http2_error, percentage } = abort;
    let members = [
        ("httpStatus", http_status.is_some()),
        ("grpcStatus", grpc_status.is_some()),
        ("http2Error", http2_error.is_some()),
    ];
    strings::one_of(path, &members, findings);
    if members.iter().all(|(_, set)| !set) {
        findings.warning("VH17", path, "the abort does nothing: it has no status").help("set `httpStatus`");
    }
    numbers::sampled("VH16", &path.field("percentage"), percentage.as_ref(), findings);
    if http2_error.is_some() {
        findings
            .error("VH18", &path.field("http2Error"), "http2Error is not implemented anywhere")
            .help("write `httpStatus` or `grpcStatus`");
    }
    if let Some(status) = http_status {
        numbers::status("VH19", &path.field("httpStatus"), (*status).into(), findings);
    }
    if let Some(status) = grpc_status.as_deref().filter(|status| Abort::grpc(status).is_none()) {
        findings
            .error("VH20", &path.field("grpcStatus"), format!("`{status}` is not the name of a gRPC status"))
            .help("write it in capitals, for example `NOT_FOUND`");
    }
}

/// Judges `mirror`, `mirrors` and their percentages.
pub(crate) fn mirrors(rule: &HttpRoute, path: &Path<'_>, findings: &mut Findings) {
    if let Some(percent) = rule.mirror_percent {
        let path = path.field("mirrorPercent");
        numbers::percent("VH22", &path, percent.into(), findings);
        findings
            .warning("VH22", &path, "mirrorPercent is deprecated")
            .help(format!("write `mirrorPercentage: {{value: {percent}}}`"));
    }
    if let Some(percentage) = &rule.mirror_percentage {
        let path = path.field("mirrorPercentage");
        numbers::percent("VH23", &path.field("value"), percentage.value, findings);
    }
    if let Some(mirror) = &rule.mirror {
        http_route::destination("VH25", &path.field("mirror"), mirror, findings);
    }
    for (index, mirror) in rule.mirrors.iter().enumerate() {
        let path = path.item("mirrors", index);
        let HttpMirrorPolicy { destination, percentage } = mirror;
        match destination {
            Some(destination) => http_route::destination("VH25", &path.field("destination"), destination, findings),
            None => drop(findings.error("VH24", &path, "a destination is missing")),
        }
        if let Some(percentage) = percentage {
            let path = path.field("percentage");
            numbers::percent("VH23", &path.field("value"), percentage.value, findings);
        }
    }
}

/// Judges `corsPolicy`.
pub(crate) fn cors(cors: &CorsPolicy, path: &Path<'_>, check: &CheckRegex<'_>, findings: &mut Findings) {
    for (index, origin) in cors.allow_origins.iter().enumerate() {
        let path = path.item("allowOrigins", index);
        let text = origin.exact.as_deref().or(origin.prefix.as_deref()).or(origin.regex.as_deref());
        if text.unwrap_or_default().is_empty() {
            findings
                .error("VH14", &path, "an origin to allow is empty")
                .help("write `{exact: \"*\"}` to allow all origins");
        } else {
            strings::uri_match("VH14", &path, (origin, strings::ANYTHING), check, findings);
        }
    }
    for (index, method) in cors.allow_methods.iter().enumerate() {
        if !CORS_METHODS.contains(&method.as_str()) {
            findings.error("VH14", &path.item("allowMethods", index), format!("`{method}` is not an HTTP method"));
        }
    }
    for (field, names) in [("allowHeaders", &cors.allow_headers), ("exposeHeaders", &cors.expose_headers)] {
        for (index, name) in names.iter().enumerate() {
            strings::cors_header("VH14", &path.item(field, index), name, findings);
        }
    }
    let max_age = path.field("maxAge");
    numbers::duration("VH14", &max_age, cors.max_age, findings);
    let has_fraction = |age: Duration| age.as_nanos() >= 1_000_000 && age.as_nanos() % 1_000_000_000 != 0;
    if let Some(age) = cors.max_age.filter(|age| has_fraction(*age)) {
        findings.error("VH14", &max_age, format!("the maxAge {age} has more than seconds: only whole ones are sent"));
    }
}
