//! From when until when a certificate is valid: [`Dates`].

use std::time::Duration;

use rustls::pki_types::UnixTime;
use x509_parser::certificate::Validity;
use x509_parser::time::ASN1Time;

#[derive(Clone, Copy)]
pub(super) struct Dates {
    not_before: UnixTime,
    not_after: UnixTime,
}

impl Dates {
    pub(super) fn of(validity: &Validity) -> Self {
        Self { not_before: unix_time(validity.not_before), not_after: unix_time(validity.not_after) }
    }

    /// Whether it is valid at that time, in the words of webpki.
    pub(super) fn hold(self, now: UnixTime) -> Result<(), webpki::Error> {
        let Self { not_before, not_after } = self;
        if now < not_before {
            return Err(webpki::Error::CertNotValidYet { time: now, not_before });
        }
        if now > not_after {
            return Err(webpki::Error::CertExpired { time: now, not_after });
        }
        Ok(())
    }
}

pub(super) fn unix_time(time: ASN1Time) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0)))
}
