//! `outlierDetection` of a DestinationRule: when endpoints that fail are left out.

use std::num::NonZeroU32;
use std::time::Duration;

use http::StatusCode;

use crate::config::{OutlierDetection, units};
use crate::upstream::OutlierSettings;

/// What a policy's block says; without one nothing is left out.
pub(crate) fn settings(words: Option<&OutlierDetection>) -> Option<OutlierSettings> {
    let OutlierDetection {
        // Ignored by Istio, which validation says.
        consecutive_errors: _,
        split_external_local_origin_errors,
        consecutive_local_origin_failures,
        consecutive_gateway_errors,
        consecutive_5xx_errors,
        interval,
        base_ejection_time,
        max_ejection_percent,
        min_health_percent,
        outlier_detection_http_error_codes,
    } = words?;
    let mut settings = OutlierSettings::default();
    if let Some(errors) = consecutive_5xx_errors {
        settings.errors = NonZeroU32::new(*errors);
    }
    settings.gateway_errors = consecutive_gateway_errors.and_then(NonZeroU32::new);
    if *split_external_local_origin_errors {
        // Zero says nothing here: Envoy's default stays.
        settings.local_failures = consecutive_local_origin_failures.and_then(NonZeroU32::new).or(NonZeroU32::new(5));
    }
    settings.interval = duration(interval.as_ref()).unwrap_or(settings.interval);
    settings.base_ejection_time = duration(base_ejection_time.as_ref()).unwrap_or(settings.base_ejection_time);
    settings.max_ejection_percent = percent(*max_ejection_percent).unwrap_or(settings.max_ejection_percent);
    settings.min_health_percent = percent(*min_health_percent).unwrap_or(settings.min_health_percent);
    settings.error_codes = outlier_detection_http_error_codes.iter().filter_map(|code| status(*code)).collect();
    Some(settings)
}

/// Zero and less are refused by validation.
fn duration(words: Option<&units::Duration>) -> Option<Duration> {
    words.and_then(|duration| duration.to_std()).filter(|duration| !duration.is_zero())
}

/// Zero is unset, and what is not within 0 and 100 is refused by validation.
fn percent(percent: i32) -> Option<u8> {
    u8::try_from(percent).ok().filter(|percent| (1..=100).contains(percent))
}

fn status(code: u32) -> Option<StatusCode> {
    StatusCode::from_u16(u16::try_from(code).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_block_means_no_detection_and_an_empty_one_the_defaults() {
        assert_eq!(settings(None), None);
        assert_eq!(settings(Some(&OutlierDetection::default())), Some(OutlierSettings::default()));
    }

    #[test]
    fn zero_is_off_for_5xx_and_unset_for_the_others() {
        let zeros = OutlierDetection {
            consecutive_5xx_errors: Some(0),
            consecutive_gateway_errors: Some(0),
            consecutive_local_origin_failures: Some(0),
            split_external_local_origin_errors: true,
            ..OutlierDetection::default()
        };
        let found = settings(Some(&zeros)).unwrap();
        assert_eq!((found.errors, found.gateway_errors, found.local_failures), (None, None, NonZeroU32::new(5)));
        assert_eq!((found.max_ejection_percent, found.min_health_percent), (10, 0));
    }

    #[test]
    fn every_field_is_taken() {
        let all = OutlierDetection {
            consecutive_errors: 9,
            split_external_local_origin_errors: true,
            consecutive_local_origin_failures: Some(1),
            consecutive_gateway_errors: Some(2),
            consecutive_5xx_errors: Some(3),
            interval: Some(units::Duration::from_millis(4)),
            base_ejection_time: Some(units::Duration::from_secs(5)),
            max_ejection_percent: 100,
            min_health_percent: 7,
            outlier_detection_http_error_codes: vec![429, 503],
        };
        let expected = OutlierSettings {
            local_failures: NonZeroU32::new(1),
            gateway_errors: NonZeroU32::new(2),
            errors: NonZeroU32::new(3),
            interval: Duration::from_millis(4),
            base_ejection_time: Duration::from_secs(5),
            max_ejection_percent: 100,
            min_health_percent: 7,
            error_codes: [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].into(),
        };
        assert_eq!(settings(Some(&all)), Some(expected));
    }
}
