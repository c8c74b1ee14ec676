//! What authorities have taken back.

use std::slice::from_ref;

use rcgen::{CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope};

use super::der::{List, SHA256, SHA384, der, extension};
use super::*;
use crate::tls::fault_of_revoked;

const REVOKED: Result<(), Error> = Err(Error::InvalidCertificate(CertificateError::Revoked));
const UNKNOWN: Result<(), Error> = Err(Error::InvalidCertificate(CertificateError::UnknownRevocationStatus));

fn all(texts: &[Pem]) -> Pem {
    inline(&texts.iter().map(text).collect::<String>())
}

/// How a certificate fares where `ours` is trusted and these lists are read.
fn judged(ours: &Authority, lists: &[Pem], certificate: &CertificateDer<'_>) -> Result<(), Error> {
    judge(&Trust::new(Some(&ours.roots()), Some(&all(lists))).unwrap(), certificate, now())
}

impl Authority {
    /// A list of one certificate, of these years.
    fn revoke_in(&self, serial: u64, from: i32, to: i32) -> Pem {
        self.revoke_unlike(serial, |list| {
            (list.this_update, list.next_update) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        })
    }

    fn numbered(&self, serial: u64) -> CertificateDer<'static> {
        certificate(&self.issue_numbered(&["a.test"], serial))
    }

    /// An authority that this one signed.
    fn between(&self, serial: u64) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "between");
        (params.is_ca, params.serial_number) =
            (IsCa::Ca(BasicConstraints::Unconstrained), Some(SerialNumber::from(serial)));
        Authority { issuer: CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &self.issuer).unwrap() }
    }
}

#[test]
fn what_is_taken_back_is_refused() {
    let ours = Authority::new("ours");
    let (good, revoked) = (ours.numbered(12), ours.numbered(13));
    assert_eq!(judged(&ours, &[ours.revoke(13)], &good), Ok(()));
    assert_eq!(judged(&ours, &[ours.revoke(13)], &revoked), REVOKED);
    // It may stand beside the authority.
    let beside = Trust::new(Some(&all(&[ours.roots(), ours.revoke(13)])), None).unwrap();
    assert_eq!(judge(&beside, &good, now()), Ok(()));
    assert_eq!(judge(&beside, &revoked, now()), REVOKED);
    // A list of another authority says nothing about ours, nor one by its name.
    assert_eq!(judged(&ours, &[Authority::new("others").revoke(1)], &revoked), UNKNOWN);
    let same_name = Authority::new("ours").revoke(13);
    assert_eq!(judged(&ours, &[same_name], &revoked), UNKNOWN);
    let same_name = Authority::new("ours").revoke_in(12, 2025, 2099);
    assert_eq!(judged(&ours, &[same_name, ours.revoke(13)], &good), Ok(()));
}

#[test]
fn the_newest_list_that_is_in_force_counts() {
    let ours = Authority::new("ours");
    let certificate = ours.numbered(7);
    let judged = |lists: [&Pem; 2]| {
        let [ahead, behind] = lists.map(Clone::clone);
        let judged =
            [[ahead.clone(), behind.clone()], [behind, ahead]].map(|lists| judged(&ours, &lists, &certificate));
        let [one, other] = judged;
        assert_eq!(one, other, "whichever comes first");
        one
    };
    let of = |serial, from, to| ours.revoke_in(serial, from, to);
    assert_eq!(judged([&of(13, 2023, 2099), &of(7, 2025, 2099)]), REVOKED);
    assert_eq!(judged([&of(7, 2023, 2099), &of(13, 2025, 2099)]), Ok(()));
    assert_eq!(judged([&of(13, 2023, 2024), &of(13, 2025, 2099)]), Ok(()));
    assert_eq!(judged([&of(13, 2023, 2024), &of(7, 2025, 2099)]), REVOKED);
    assert_eq!(judged([&of(7, 2020, 2099), &of(13, 2080, 2099)]), REVOKED);
    assert_eq!(judged([&of(13, 2020, 2099), &of(7, 2080, 2099)]), Ok(()));
    assert_eq!(judged([&of(13, 2023, 2024), &of(13, 2080, 2099)]), UNKNOWN);
    // Of two that are as new, neither is heard alone.
    assert_eq!(judged([&of(13, 2023, 2099), &of(7, 2023, 2099)]), REVOKED);
}

#[test]
fn every_certificate_up_to_the_last_authority_needs_a_list() {
    let root = Authority::new("root");
    let between = root.between(50);
    let (issued, sent) = (between.numbered(7), [between.issuer.der().clone()]);
    let judged = |roots: &[Pem], lists: &[Pem]| {
        let trust = Trust::new(Some(&all(roots)), Some(&all(lists))).unwrap();
        let [alone, behind] =
            [&sent[..0], &sent].map(|sent| trust.verify(&issued, sent, KeyUsage::client_auth(), now()).map(|_| ()));
        if roots.len() > 1 {
            assert_eq!(alone, behind);
        }
        behind
    };
    for roots in [vec![root.roots()], vec![root.roots(), between.roots()], vec![between.roots(), root.roots()]] {
        assert_eq!(judged(&roots, &[root.revoke(1), between.revoke(1)]), Ok(()));
        assert_eq!(judged(&roots, &[root.revoke(50), between.revoke(1)]), REVOKED);
        assert_eq!(judged(&roots, &[root.revoke(1), between.revoke(7)]), REVOKED);
        assert_eq!(judged(&roots, &[root.revoke(1)]), UNKNOWN);
        assert_eq!(judged(&roots, &[between.revoke(1)]), UNKNOWN);
    }
    // Nobody can say that it was not taken back.
    assert_eq!(judged(&[between.roots()], &[between.revoke(1), root.revoke(1)]), UNKNOWN);
}

#[test]
fn authorities_that_signed_each_other_are_asked_for_no_end() {
    let key = |text: &str| KeyPair::from_pem(text).unwrap();
    let [a_key, b_key] = [(); 2].map(|()| KeyPair::generate().unwrap().serialize_pem());
    let [a, b] = [("a", &a_key), ("b", &b_key)].map(|(name, text)| Authority::of_key(name, |_| {}, key(text)));
    let signed = |name: &str, text: &str, by: &Authority| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { issuer: CertifiedIssuer::signed_by(params, key(text), &by.issuer).unwrap() }.roots()
    };
    let roots = all(&[signed("a", &a_key, &b), signed("b", &b_key, &a)]);
    let trust = Trust::new(Some(&roots), Some(&all(&[a.revoke(1), b.revoke(1)]))).unwrap();
    assert_eq!(judge(&trust, &a.numbered(7), now()), UNKNOWN);
}

#[test]
fn not_every_authority_may_sign_lists() {
    let of_usages = |usages: &[KeyUsagePurpose]| {
        let ours = Authority::unlike("ours", |params| params.key_usages = usages.to_vec());
        let signed = ours.list(&List { serial: 1, ..List::default() });
        judged(&ours, &[signed], &ours.numbered(7))
    };
    assert_eq!(of_usages(&[]), Ok(()));
    assert_eq!(of_usages(&[KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]), Ok(()));
    assert_eq!(of_usages(&[KeyUsagePurpose::KeyCertSign]), UNKNOWN);
}

#[test]
fn lists_of_version_1_and_without_an_end_are_some() {
    let ours = Authority::new("ours");
    for list in [
        List { version: &[], ..List::default() },
        List { until: &[], ..List::default() },
        List { extensions: &extension(20, false, &[2, 1, 1]), ..List::default() },
        List { extensions: &extension(28, true, &[0x30, 0]), ..List::default() },
    ] {
        let list = ours.list(&list);
        assert_eq!(fault_of_revoked(&list), None);
        assert_eq!(judged(&ours, from_ref(&list), &ours.numbered(12)), Ok(()));
        assert_eq!(judged(&ours, &[list], &ours.numbered(13)), REVOKED);
    }
    let garbage = inline("-----BEGIN X509 CRL-----\nMAMCAQE=\n-----END X509 CRL-----\n");
    assert!(fault_of_revoked(&garbage).is_some() && fault_of_revoked(&inline("")).is_some());
    assert!(Trust::new(Some(&all(&[ours.roots(), garbage])), None).is_err());
}

#[test]
fn a_list_that_says_what_nobody_understands_is_none_for_those_whom_it_concerns() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let unknown = extension(99, true, &[5, 0]);
    let (reason, reason_critical) = (extension(21, false, &[10, 1, 1]), extension(21, true, &[10, 1, 1]));
    let number = extension(20, true, &[2, 1, 1]);
    let (delta, malformed) = (extension(27, false, &[2, 1, 1]), extension(28, false, &[4, 0]));
    let [reasons, indirect, attributes] = [[0x83, 2, 1, 0x7e].as_slice(), &[0x84, 1, 0xff], &[0x85, 1, 0xff]]
        .map(|what| extension(28, true, &der(0x30, &[what])));
    let twice = [extension(20, false, &[2, 1, 1]), extension(20, false, &[2, 1, 1])].concat();
    for list in [
        List { extensions: &unknown, ..List::default() },
        List { extensions: &number, ..List::default() },
        List { extensions: &delta, ..List::default() },
        List { extensions: &malformed, ..List::default() },
        List { extensions: &reasons, ..List::default() },
        List { extensions: &indirect, ..List::default() },
        List { extensions: &attributes, ..List::default() },
        List { extensions: &twice, ..List::default() },
        List { of_entry: &reason_critical, ..List::default() },
        List { of_entry: &reason, version: &[], ..List::default() },
        List { version: &[2, 1, 2], ..List::default() },
        List { algorithm: SHA384, ..List::default() },
    ] {
        let list = ours.list(&list);
        assert_eq!(judged(&ours, from_ref(&list), &ours.numbered(12)), UNKNOWN);
        // An older one that is understood is heard instead, and others have their own.
        let older = ours.revoke_in(12, 2015, 2099);
        assert_eq!(judged(&ours, &[list.clone(), older], &ours.numbered(12)), REVOKED);
        let both = all(&[ours.roots(), others.roots(), list, others.revoke(13)]);
        let trust = Trust::new(Some(&both), None).unwrap();
        assert_eq!(judge(&trust, &others.numbered(12), now()), Ok(()));
        assert_eq!(judge(&trust, &ours.numbered(12), now()), UNKNOWN);
    }
    let understood = ours.list(&List { of_entry: &reason, algorithm: SHA256, ..List::default() });
    assert_eq!(judged(&ours, &[understood], &ours.numbered(13)), REVOKED);
}

#[test]
fn a_list_may_be_of_some_certificates() {
    let ours = Authority::new("ours");
    let points = |uris: &[&str]| uris.iter().map(|uri| CrlDistributionPoint { uris: vec![(*uri).into()] }).collect();
    let of = |serial, from, uri: &str, scope| {
        ours.revoke_unlike(serial, |list| {
            list.this_update = date_time_ymd(from, 1, 1);
            let distribution_point = CrlDistributionPoint { uris: vec![uri.into()] };
            list.issuing_distribution_point = Some(CrlIssuingDistributionPoint { distribution_point, scope });
        })
    };
    let at = |uris: &[&str]| {
        certificate(&ours.issue_unlike(&["a.test"], |params| {
            params.serial_number = Some(SerialNumber::from(7));
            params.crl_distribution_points = points(uris);
        }))
    };
    let of_all = ours.revoke_in(1, 2023, 2099);
    let both = [of_all.clone(), of(7, 2025, "http://a.test/", None)];
    assert_eq!(judged(&ours, &both, &at(&["http://b.test/", "http://a.test/"])), REVOKED);
    assert_eq!(judged(&ours, &both, &at(&["http://b.test/"])), Ok(()));
    assert_eq!(judged(&ours, &both, &at(&[])), Ok(()));
    let of_authorities = [of_all.clone(), of(7, 2025, "http://a.test/", Some(CrlScope::CaCertsOnly))];
    assert_eq!(judged(&ours, &of_authorities, &at(&["http://a.test/"])), Ok(()));
    let of_users = [of_all, of(7, 2025, "http://a.test/", Some(CrlScope::UserCertsOnly))];
    assert_eq!(judged(&ours, &of_users, &at(&["http://a.test/"])), REVOKED);
    // The authority itself is on no list then.
    assert_eq!(judged(&ours, &of_users[1..], &at(&["http://a.test/"])), REVOKED);
    let of_users = of(1, 2025, "http://a.test/", Some(CrlScope::UserCertsOnly));
    assert_eq!(judged(&ours, &[of_users], &at(&["http://a.test/"])), UNKNOWN);
}

#[test]
fn certificates_of_version_1_and_authorities_at_the_end_are_asked_for_too() {
    let ours = Authority::new("ours");
    let an_authority = certificate(&ours.issue_unlike(&["a.test"], |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serial_number = Some(SerialNumber::from(7));
    }));
    for certificate in [ours.issue_version_1(7, SHA256, SHA256), an_authority] {
        assert_eq!(judged(&ours, &[ours.revoke(1)], &certificate), Ok(()));
        assert_eq!(judged(&ours, &[ours.revoke(7)], &certificate), REVOKED);
        assert_eq!(judged(&ours, &[Authority::new("others").revoke(1)], &certificate), UNKNOWN);
    }
}

#[test]
fn a_certificate_that_is_its_own_authority_may_be_taken_back() {
    let ours = Authority::unlike("a.test", |params| params.serial_number = Some(SerialNumber::from(7)));
    let own = ours.issuer.der();
    assert_eq!(judged(&ours, &[ours.revoke(1)], own), Ok(()));
    assert_eq!(judged(&ours, &[ours.revoke(7)], own), REVOKED);
    assert_eq!(judged(&ours, &[Authority::new("others").revoke(1)], own), UNKNOWN);
}
