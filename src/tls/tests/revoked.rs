//! What authorities have taken back.

use super::*;

#[test]
fn a_certificate_that_is_its_own_authority_may_be_taken_back() {
    let now = UnixTime::now();
    let ours = Authority::new("a.test");
    let own = pem::certificates(&ours.roots()).unwrap().remove(0);
    for lists in [ours.revoke(1), Authority::new("others").revoke(1)] {
        let trust = Trust::new(Some(&ours.roots()), Some(&lists)).unwrap();
        let unknown = Error::InvalidCertificate(CertificateError::UnknownRevocationStatus);
        assert_eq!(judge(&trust, &own, now), Err(unknown));
    }
}

#[test]
fn what_is_taken_back_is_refused() {
    let ours = Authority::new("ours");
    let trust = Trust::new(Some(&ours.roots()), Some(&ours.revoke(13))).unwrap();
    let now = UnixTime::now();
    assert_eq!(judge(&trust, &certificate(&ours.issue_numbered(&["a.test"], 12)), now), Ok(()));
    let revoked = certificate(&ours.issue_numbered(&["a.test"], 13));
    assert_eq!(judge(&trust, &revoked, now), Err(Error::InvalidCertificate(CertificateError::Revoked)));
    // It may stand beside the authority.
    let both = inline(&[&ours.roots(), &ours.revoke(13)].map(text).concat());
    let beside = Trust::new(Some(&both), None).unwrap();
    assert_eq!(judge(&beside, &certificate(&ours.issue_numbered(&["a.test"], 12)), now), Ok(()));
    assert_eq!(judge(&beside, &revoked, now), Err(Error::InvalidCertificate(CertificateError::Revoked)));
    // A list of another authority says nothing about ours.
    let trust = Trust::new(Some(&ours.roots()), Some(&Authority::new("others").revoke(1))).unwrap();
    let unknown = Error::InvalidCertificate(CertificateError::UnknownRevocationStatus);
    assert_eq!(judge(&trust, &revoked, now), Err(unknown));
}
