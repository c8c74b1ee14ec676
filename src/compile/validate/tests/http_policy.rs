//! VH14 to VH24, VH32 to VH35, and V1 in faults.

use super::{good, lines, routed, says};

fn cors(policy: &str) -> String {
    routed(&format!("corsPolicy: {policy}"))
}

fn fault(fault: &str) -> String {
    routed(&format!("fault: {fault}"))
}

fn retries(retries: &str) -> String {
    routed(&format!("retries: {retries}"))
}

#[test]
fn v1_oneofs_of_faults_have_one_member() {
    says(&fault("{abort: {httpStatus: 500, grpcStatus: OK}}"), &["error V1 spec.http[0].fault.abort.grpcStatus"]);
    says(
        &fault("{delay: {fixedDelay: 1s, exponentialDelay: 1s}}"),
        &["error V1 spec.http[0].fault.delay.exponentialDelay", "error VH21 spec.http[0].fault.delay.exponentialDelay"],
    );
}

#[test]
fn vh14_cors_has_origins_methods_headers_and_an_age() {
    good(&cors(
        "{allowOrigins: [{exact: '*'}, {prefix: 'http'}, {regex: '.*'}], allowMethods: ['*', GET, TRACE], \
         allowHeaders: ['*', x-a], exposeHeaders: ['x-b,x-c'], maxAge: 24h}",
    ));
    let cases = [
        ("allowOrigins: [{exact: ''}]", "allowOrigins[0]"),
        ("allowOrigins: [{exact: a}, {}]", "allowOrigins[1]"),
        ("allowOrigins: [{regex: 'a('}]", "allowOrigins[0].regex"),
        ("allowMethods: [GET, get]", "allowMethods[1]"),
        ("allowHeaders: ['a b']", "allowHeaders[0]"),
        ("allowHeaders: ['a, b']", "allowHeaders[0]"),
        ("exposeHeaders: ['']", "exposeHeaders[0]"),
        ("maxAge: 0s", "maxAge"),
        ("maxAge: 1.5s", "maxAge"),
    ];
    for (policy, path) in cases {
        says(&cors(&format!("{{{policy}}}")), &[&format!("error VH14 spec.http[0].corsPolicy.{path}")]);
    }
}

#[test]
fn vh15_a_fault_delays_or_aborts() {
    says(&fault("{}"), &["error VH15 spec.http[0].fault"]);
    good(&fault("{delay: {fixedDelay: 1s}}"));
}

#[test]
fn vh16_fault_percentages_are_counted() {
    for value in ["101.5", "-1", "0.00001"] {
        says(
            &fault(&format!("{{abort: {{httpStatus: 500, percentage: {{value: {value}}}}}}}")),
            &["error VH16 spec.http[0].fault.abort.percentage.value"],
        );
        says(
            &fault(&format!("{{delay: {{fixedDelay: 1s, percentage: {{value: {value}}}}}}}")),
            &["error VH16 spec.http[0].fault.delay.percentage.value"],
        );
    }
    for value in ["0", "0.0001", "100"] {
        good(&fault(&format!("{{abort: {{httpStatus: 500, percentage: {{value: {value}}}}}}}")));
    }
    assert!(lines(&fault("{abort: {httpStatus: 500, percentage: {value: 101.5}}}")).contains("101.5"));
}

#[test]
fn vh17_an_abort_without_status_does_nothing() {
    says(&fault("{abort: {percentage: {value: 10}}}"), &["warning VH17 spec.http[0].fault.abort"]);
}

#[test]
fn vh18_http2_errors_are_not_implemented() {
    says(&fault("{abort: {http2Error: x}}"), &["error VH18 spec.http[0].fault.abort.http2Error"]);
}

#[test]
fn vh19_an_abort_has_an_http_status() {
    for status in [0, 199, 601, -1] {
        let path = "error VH19 spec.http[0].fault.abort.httpStatus";
        says(&fault(&format!("{{abort: {{httpStatus: {status}}}}}")), &[path]);
    }
    good(&fault("{abort: {httpStatus: 503}}"));
}

#[test]
fn vh20_an_abort_has_a_grpc_status() {
    good(&fault("{abort: {grpcStatus: NOT_FOUND}}"));
    says(&fault("{abort: {grpcStatus: not_found}}"), &["error VH20 spec.http[0].fault.abort.grpcStatus"]);
    says(&fault("{abort: {grpcStatus: '5'}}"), &["error VH20 spec.http[0].fault.abort.grpcStatus"]);
}

#[test]
fn vh21_a_delay_is_fixed() {
    says(&fault("{delay: {exponentialDelay: 1s}}"), &["error VH21 spec.http[0].fault.delay.exponentialDelay"]);
    says(&fault("{delay: {fixedDelay: 0s}}"), &["error VH21 spec.http[0].fault.delay.fixedDelay"]);
    says(&fault("{delay: {fixedDelay: 1.5ms}}"), &["error VH21 spec.http[0].fault.delay.fixedDelay"]);
}

#[test]
fn vh22_mirror_percent_is_deprecated() {
    says(&routed("mirror: {host: c}, mirrorPercent: 50"), &["warning VH22 spec.http[0].mirrorPercent"]);
    says(
        &routed("mirror: {host: c}, mirror_percent: 101"),
        &["error VH22 spec.http[0].mirrorPercent", "warning VH22 spec.http[0].mirrorPercent"],
    );
}

#[test]
fn vh23_mirror_percentages_are_percentages() {
    good(&routed("mirror: {host: c}, mirrorPercentage: {value: 0.5}"));
    for value in ["-0.1", "100.1"] {
        says(
            &routed(&format!("mirror: {{host: c}}, mirrorPercentage: {{value: {value}}}")),
            &["error VH23 spec.http[0].mirrorPercentage.value"],
        );
        says(
            &routed(&format!("mirrors: [{{destination: {{host: c}}, percentage: {{value: {value}}}}}]")),
            &["error VH23 spec.http[0].mirrors[0].percentage.value"],
        );
    }
}

#[test]
fn vh24_a_mirror_has_a_destination() {
    says(&routed("mirrors: [{percentage: {value: 1}}]"), &["error VH24 spec.http[0].mirrors[0]"]);
}

#[test]
fn vh32_attempts_are_not_negative() {
    says(&retries("{attempts: -1, retryOn: 5xx}"), &["error VH32 spec.http[0].retries.attempts"]);
    good(&retries("{attempts: 3}"));
}

#[test]
fn vh33_without_attempts_nothing_else_is_said() {
    let cases = [("perTryTimeout", "1s"), ("retryOn", "5xx"), ("retryRemoteLocalities", "false")];
    for (name, value) in cases {
        says(&retries(&format!("{{{name}: {value}}}")), &[&format!("error VH33 spec.http[0].retries.{name}")]);
        good(&retries(&format!("{{attempts: 1, {name}: {value}}}")));
    }
    good(&retries("{}"));
    good(&retries("{attempts: 0, backoff: 1s, retryIgnorePreviousHosts: true}"));
}

#[test]
fn vh34_conditions_to_retry_on_are_known() {
    good(&retries("{attempts: 1, retryOn: '5xx,reset,retriable-4xx,unavailable,503,429'}"));
    for bad in ["5xx, reset", "6xx", "5xx,", "999", "306"] {
        says(&retries(&format!("{{attempts: 1, retryOn: '{bad}'}}")), &["error VH34 spec.http[0].retries.retryOn"]);
    }
    assert!(lines(&retries("{attempts: 1, retryOn: '5xx, reset'}")).contains("(write `5xx,reset`)"));
}

#[test]
fn vh35_durations_are_whole_milliseconds() {
    good(&routed("timeout: 1ms, retries: {attempts: 1, perTryTimeout: 1.5s, backoff: 1h}"));
    says(&routed("timeout: 0s"), &["warning VH35 spec.http[0].timeout"]);
    for bad in ["-1s", "1us", "1.5ms"] {
        says(&routed(&format!("timeout: {bad}")), &["error VH35 spec.http[0].timeout"]);
    }
    for field in ["perTryTimeout", "backoff"] {
        for bad in ["0s", "-1s", "1.5ms"] {
            says(
                &retries(&format!("{{attempts: 1, {field}: {bad}}}")),
                &[&format!("error VH35 spec.http[0].retries.{field}")],
            );
        }
    }
    assert!(lines(&routed("timeout: 0s")).contains("omit the field"));
}
