//! Certificates that contradict themselves.

use rcgen::CustomExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::der::{SHA256, SHA384, der};
use super::*;

#[test]
fn there_are_three_versions_and_extensions_in_the_last() {
    let ours = Authority::new("ours");
    let issued = certificate(&ours.issue(&["a.test"]));
    let (_, parsed) = X509Certificate::from_der(&issued).unwrap();
    let of_version = |version: u8| {
        let mut content = parsed.tbs_certificate.as_ref().to_vec();
        let at = content.windows(5).position(|bytes| bytes == [0xa0, 3, 2, 1, 2]).unwrap();
        content[at + 4] = version;
        Certificate::read(&ours.sign(&content, SHA256)).map(|_| ())
    };
    assert_eq!(of_version(2), Ok(()));
    for other in [0, 1, 3] {
        assert_eq!(of_version(other), Err(Error::InvalidCertificate(CertificateError::BadEncoding)), "{other}");
    }
}

#[test]
fn a_certificate_is_signed_as_it_says() {
    let ours = Authority::new("ours");
    let trust = Trust::new(Some(&ours.roots()), None).unwrap();
    let judged = |inside, outside| judge(&trust, &ours.issue_version_1(7, inside, outside), now());
    assert_eq!(judged(SHA256, SHA256), Ok(()));
    for (inside, outside) in [(SHA384, SHA256), (SHA256, SHA384), (SHA384, SHA384)] {
        assert_eq!(judged(inside, outside), Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)));
    }
}

#[test]
fn only_an_authority_says_how_many_may_follow_it() {
    let ours = Authority::new("ours");
    let trust = Trust::new(Some(&ours.roots()), None).unwrap();
    let judged = |constraints: Vec<u8>| {
        let issued = ours.issue_unlike(&["a.test"], |params| {
            let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 19], constraints);
            extension.set_criticality(true);
            params.custom_extensions = vec![extension];
        });
        judge(&trust, &certificate(&issued), now())
    };
    assert_eq!(judged(der(0x30, &[])), Ok(()));
    assert_eq!(judged(der(0x30, &[&[1, 1, 0xff], &[2, 1, 0]])), Ok(()));
    let malformed = Err(Error::InvalidCertificate(CertificateError::BadEncoding));
    assert_eq!(judged(der(0x30, &[&[2, 1, 0]])), malformed);
}
