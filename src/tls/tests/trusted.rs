//! Which chains lead to an authority, and who is one.

use super::*;

#[test]
fn chains_lead_to_an_authority() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let trust = Trust::new(Some(&ours.roots()), None).unwrap();
    let now = UnixTime::now();
    assert_eq!(judge(&trust, &certificate(&ours.issue(&["a.test"])), now), Ok(()));
    let stranger = certificate(&others.issue(&["a.test"]));
    assert_eq!(judge(&trust, &stranger, now), Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)));
    let late = UnixTime::since_unix_epoch(Duration::from_secs(1 << 40));
    let good = certificate(&ours.issue(&["a.test"]));
    assert_eq!(judge(&trust, &good, late), Err(Error::InvalidCertificate(CertificateError::Expired)));
}

#[test]
fn authorities_are_some_while_they_are_valid() {
    let now = UnixTime::now();
    let (key, name) = (KeyPair::generate().unwrap().serialize_pem(), "ours");
    let ours = |from, to| {
        let dates = |params: &mut CertificateParams| {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        };
        Authority::of_key(name, dates, KeyPair::from_pem(&key).unwrap())
    };
    let (old, current, next) = (ours(2010, 2015), ours(2020, 2090), ours(2091, 2099));
    let good = certificate(&current.issue(&["a.test"]));
    let judged = |roots: &Pem| judge(&Trust::new(Some(roots), None).unwrap(), &good, now);
    assert_eq!(judged(&old.roots()), Err(Error::InvalidCertificate(CertificateError::Expired)));
    assert_eq!(judged(&next.roots()), Err(Error::InvalidCertificate(CertificateError::NotValidYet)));
    // It has been renewed, and its old certificate is still in the file.
    assert_eq!(judged(&inline(&[old.issuer.pem(), current.issuer.pem()].concat())), Ok(()));
}

#[test]
fn what_is_no_authority_is_trusted_itself_and_for_nobody_else() {
    let now = UnixTime::now();
    let no_authority = |params: &mut CertificateParams| {
        (params.is_ca, params.key_usages) = (IsCa::ExplicitNoCa, vec![KeyUsagePurpose::DigitalSignature]);
    };
    let no_signer = |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let unsaid = |params: &mut CertificateParams| params.key_usages = Vec::new();
    let taken = |signer: &Authority| {
        let trust = Trust::new(Some(&signer.roots()), None).unwrap();
        let own = pem::certificates(&signer.roots()).unwrap().remove(0);
        let others = certificate(&signer.issue(&["other.test"]));
        (judge(&trust, &own, now).is_ok(), judge(&trust, &others, now).is_ok())
    };
    assert_eq!(taken(&Authority::unlike("a.test", no_authority)), (true, false));
    assert_eq!(taken(&Authority::unlike("a.test", no_signer)), (true, false));
    assert_eq!(taken(&Authority::unlike("a.test", unsaid)), (true, true));
}

#[test]
fn what_an_authority_is_for_itself_says_nothing_of_others() {
    let now = UnixTime::now();
    let of_clients = Authority::unlike("ours", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let trust = Trust::new(Some(&of_clients.roots()), None).unwrap();
    let issued = certificate(&of_clients.issue(&["a.test"]));
    assert_eq!(judge(&trust, &issued, now), Ok(()));
    assert!(trust.verify(&issued, &[], KeyUsage::client_auth(), now).is_ok());
}

#[test]
fn a_certificate_is_for_what_it_says_of_its_key() {
    let (now, ours) = (UnixTime::now(), Authority::new("ours"));
    let trust = Trust::new(Some(&ours.roots()), None).unwrap();
    let taken = |usages: &[KeyUsagePurpose]| {
        let issued = ours.issue_unlike(&["a.test"], |params| params.key_usages = usages.to_vec());
        let der = certificate(&issued);
        let takes = |usage| trust.verify(&der, &[], usage, now);
        (takes(KeyUsage::server_auth()).is_ok(), takes(KeyUsage::client_auth()).is_ok())
    };
    assert_eq!(taken(&[]), (true, true));
    assert_eq!(taken(&[KeyUsagePurpose::DigitalSignature]), (true, true));
    assert_eq!(taken(&[KeyUsagePurpose::KeyEncipherment]), (false, false));
    assert_eq!(taken(&[KeyUsagePurpose::KeyAgreement]), (false, false));
    assert_eq!(taken(&[KeyUsagePurpose::CrlSign]), (false, false));
}

#[test]
fn who_signs_for_an_authority_has_to_be_for_that() {
    let (now, ours) = (UnixTime::now(), Authority::new("ours"));
    let trust = Trust::new(Some(&ours.roots()), None).unwrap();
    let taken = |usages: &[KeyUsagePurpose]| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "between");
        (params.is_ca, params.key_usages) = (IsCa::Ca(BasicConstraints::Unconstrained), usages.to_vec());
        let issuer = CertifiedIssuer::signed_by(params, KeyPair::generate().unwrap(), &ours.issuer).unwrap();
        let between = Authority { issuer };
        let [issued, signer] = [certificate(&between.issue(&["a.test"])), between.issuer.der().clone()];
        trust.verify(&issued, &[signer], KeyUsage::server_auth(), now).map(|_| ())
    };
    assert_eq!(taken(&[KeyUsagePurpose::KeyCertSign]), Ok(()));
    let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    assert_eq!(taken(&[KeyUsagePurpose::DigitalSignature]), Err(unknown));
}

#[test]
fn an_authority_that_another_one_signed_may_be_an_end_too() {
    let (now, ours) = (UnixTime::now(), Authority::new("ours"));
    let both = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issued = certificate(&ours.issue_unlike(&["a.test"], both));
    let judged = |roots: &Pem| judge(&Trust::new(Some(roots), None).unwrap(), &issued, now);
    assert_eq!(judged(&ours.roots()), Ok(()));
    // Another one by the same name did not.
    let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
    assert_eq!(judged(&Authority::new("ours").roots()), Err(unknown));
    let bound = |params: &mut CertificateParams| {
        let permitted_subtrees = vec![GeneralSubtree::DnsName("b.test".into())];
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    };
    let bound = Authority::unlike("bound", bound);
    let issued = certificate(&bound.issue_unlike(&["a.test"], both));
    assert!(judge(&Trust::new(Some(&bound.roots()), None).unwrap(), &issued, now).is_err());
}

#[test]
fn a_certificate_that_is_its_own_authority_is_taken_where_it_is_named() {
    let ours = Authority::new("a.test");
    let own = pem::certificates(&ours.roots()).unwrap().remove(0);
    assert_eq!(judge(&Trust::new(Some(&ours.roots()), None).unwrap(), &own, UnixTime::now()), Ok(()));
    let others = Trust::new(Some(&Authority::new("a.test").roots()), None).unwrap();
    assert!(judge(&others, &own, UnixTime::now()).is_err());
}

#[test]
fn a_certificate_that_stands_among_the_authorities_is_for_everything_while_it_is_valid() {
    let ours = Authority::new("ours");
    let of_clients = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2025, 1, 1);
    let unfit = |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    let own = |change: fn(&mut CertificateParams)| Authority::unlike("a.test", change).roots();
    let others = |change: fn(&mut CertificateParams)| ours.issue_unlike(&["a.test"], change).certificates;
    let judged = |roots: &[&Pem]| {
        let trust = Trust::new(Some(&inline(&roots.iter().map(|pem| text(pem)).collect::<String>())), None).unwrap();
        judge(&trust, &pem::certificates(roots[0]).unwrap()[0], now())
    };
    let refused = |why| Err(Error::InvalidCertificate(why));
    for pem in [own(|_| {}), others(|_| {}), own(of_clients), others(of_clients)] {
        assert_eq!(judged(&[&pem]), Ok(()));
    }
    for pem in [own(expired), others(expired)] {
        assert_eq!(judged(&[&pem]), refused(CertificateError::Expired));
    }
    for pem in [own(unfit), others(unfit)] {
        assert_eq!(judged(&[&pem]), refused(CertificateError::InvalidPurpose));
    }
    // Who signed it stands there too: it is taken like any other.
    assert_eq!(judged(&[&others(|_| {}), &ours.roots()]), Ok(()));
    assert_eq!(judged(&[&others(of_clients), &ours.roots()]), refused(CertificateError::InvalidPurpose));
}
