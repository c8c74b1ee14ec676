//! Numbers in ranges: durations, ports, percentages, statuses.

use super::findings::Findings;
use crate::compile::path::Path;
use crate::config::Percent;
use crate::config::units::Duration;

const NANOS_PER_MILLI: i64 = 1_000_000;

fn check_duration(duration: Duration) -> Result<(), String> {
    if duration.is_negative() {
        return Err(format!("the duration {duration} is negative"));
    }
    if duration.as_nanos() < NANOS_PER_MILLI {
        return Err(format!("the duration {duration} is too short: at least 1ms"));
    }
    if duration.as_nanos() % NANOS_PER_MILLI != 0 {
        return Err(format!("the duration {duration} has more than milliseconds: only whole ones are kept"));
    }
    Ok(())
}

/// At least 1 ms, in whole milliseconds.
pub(crate) fn duration(rule: &'static str, path: &Path<'_>, value: Option<Duration>, findings: &mut Findings) {
    if let Some(Err(message)) = value.map(check_duration) {
        findings.error(rule, path, message);
    }
}

/// As [`duration`], or nothing at all, which switches off what it limits.
pub(crate) fn duration_or_zero(rule: &'static str, path: &Path<'_>, value: Option<Duration>, findings: &mut Findings) {
    // Istio looks at whole milliseconds here: what is below one counts as zero.
    duration(rule, path, value.filter(|value| value.as_nanos().abs() >= NANOS_PER_MILLI), findings);
}

/// At least 1 ms, which is all that the API server asks for.
pub(crate) fn at_least_a_millisecond(path: &Path<'_>, value: Option<Duration>, findings: &mut Findings) {
    duration("CRD", path, value.filter(|value| value.as_nanos() < NANOS_PER_MILLI), findings);
}

/// 1 to 65535.
pub(crate) fn port(rule: &'static str, path: &Path<'_>, number: u32, findings: &mut Findings) {
    if !(1..=65535).contains(&number) {
        findings.error(rule, path, format!("the port {number} is not within 1..=65535"));
    }
}

/// 1 to 65535, or 0, which is unset.
pub(crate) fn port_or_unset(rule: &'static str, path: &Path<'_>, number: u32, findings: &mut Findings) {
    if number != 0 {
        port(rule, path, number, findings);
    }
}

/// 0 to 100.
pub(crate) fn percent(rule: &'static str, path: &Path<'_>, value: f64, findings: &mut Findings) {
    if !(0.0..=100.0).contains(&value) {
        findings.error(rule, path, format!("the percentage {value} is not within 0..=100"));
    }
}

/// 0 to 100, in steps that are counted: 0.0001 is the least above 0.
pub(crate) fn sampled(rule: &'static str, path: &Path<'_>, percentage: Option<&Percent>, findings: &mut Findings) {
    let Some(&Percent { value }) = percentage else { return };
    if value != 0.0 && !(0.0001..=100.0).contains(&value) {
        findings.error(
            rule,
            &path.field("value"),
            format!("the percentage {value} is neither 0 nor within 0.0001..=100"),
        );
    }
}

/// 200 to 600.
pub(crate) fn status(rule: &'static str, path: &Path<'_>, status: i64, findings: &mut Findings) {
    if !(200..=600).contains(&status) {
        findings.error(rule, path, format!("the HTTP status {status} is not within 200..=599"));
    }
}

/// At most so many of something.
pub(crate) fn at_most(path: &Path<'_>, count: usize, most: usize, what: &str, findings: &mut Findings) {
    if count > most {
        findings.error("CRD", path, format!("{count} {what} are too many: at most {most}"));
    }
}

/// Not negative.
pub(crate) fn not_negative(rule: &'static str, path: &Path<'_>, number: i32, findings: &mut Findings) {
    if number < 0 {
        findings.error(rule, path, format!("{number} is negative")).help("leave the field out for no limit");
    }
}
