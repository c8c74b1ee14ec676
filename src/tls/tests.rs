//! Certificates for tests, and whose are taken.

mod der;
mod malformed;
mod revoked;
mod trusted;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints, RevokedCertParams,
    SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::{CertificateError, Error};
use webpki::KeyUsage;

use super::certificate::Certificate;
use super::trust::Trust;
use super::{Reloaded, pem};
use crate::upstream::{Identity, Pem};

/// An authority that signs for tests.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::unlike(name, |_| {})
    }

    /// One that differs in something.
    fn unlike(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        Self::of_key(name, change, KeyPair::generate().unwrap())
    }

    fn of_key(name: &str, change: impl FnOnce(&mut CertificateParams), key: KeyPair) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        change(&mut params);
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    pub(crate) fn roots(&self) -> Pem {
        inline(&self.issuer.pem())
    }

    /// A certificate for DNS names, addresses, URIs and mail.
    pub(crate) fn issue(&self, names: &[&str]) -> Identity {
        self.issue_numbered(names, 7)
    }

    pub(crate) fn issue_numbered(&self, names: &[&str], serial: u64) -> Identity {
        self.issue_unlike(names, |params| params.serial_number = Some(SerialNumber::from(serial)))
    }

    /// One that differs in something.
    fn issue_unlike(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) if name.contains("://") => SanType::URI((*name).try_into().unwrap()),
                Err(_) if name.contains('@') => SanType::Rfc822Name((*name).try_into().unwrap()),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity { certificates: inline(&certificate.pem()), key: inline(&key.serialize_pem()) }
    }

    /// What it takes back.
    pub(crate) fn revoke(&self, serial: u64) -> Pem {
        self.revoke_unlike(serial, |_| {})
    }

    /// A list that differs in something.
    fn revoke_unlike(&self, serial: u64, change: impl FnOnce(&mut CertificateRevocationListParams)) -> Pem {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let mut params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2099, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        change(&mut params);
        inline(&params.signed_by(&self.issuer).unwrap().pem().unwrap())
    }
}

pub(crate) fn inline(text: &str) -> Pem {
    Pem::Text(Arc::from(text.as_bytes()))
}

fn text(pem: &Pem) -> String {
    let Pem::Text(text) = pem else { panic!("a text") };
    String::from_utf8(text.to_vec()).unwrap()
}

/// A folder of files for one test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mesh-router-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file, at a time of its own: file systems count coarsely.
    pub(crate) fn write(&self, name: &str, text: &Pem, age: u64) -> Pem {
        let Pem::Text(text) = text else { panic!("a text") };
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(1_000_000_000 + age)).unwrap();
        Pem::File(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn certificate(identity: &Identity) -> CertificateDer<'static> {
    pem::certificates(&identity.certificates).unwrap().remove(0)
}

/// In 2030.
fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(1_900_000_000))
}

fn judge(trust: &Trust, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    trust.verify(certificate, &[], KeyUsage::server_auth(), now).map(|_| ())
}

#[test]
fn authorities_are_read_once_for_all_until_their_file_changes() {
    let folder = Folder::new("shared-roots");
    let (before, after) = (Authority::new("before"), Authority::new("after"));
    let roots = folder.write("ca.crt", &before.roots(), 1);
    let first = Trust::shared(Some(&roots), None).unwrap();
    assert!(Arc::ptr_eq(&first, &Trust::shared(Some(&roots), None).unwrap()));
    let text = Trust::shared(Some(&before.roots()), None).unwrap();
    assert!(Arc::ptr_eq(&text, &Trust::shared(Some(&before.roots()), None).unwrap()), "the same words");
    assert!(!Arc::ptr_eq(&text, &Trust::shared(Some(&before.roots()), Some(&before.revoke(7))).unwrap()));
    folder.write("ca.crt", &after.roots(), 2);
    let certificate = certificate(&after.issue(&["a.test"]));
    assert!(judge(&first, &certificate, UnixTime::now()).is_err());
    assert_eq!(judge(&Trust::shared(Some(&roots), None).unwrap(), &certificate, UnixTime::now()), Ok(()));
}

#[test]
fn names_are_dns_names_addresses_uris_and_mail() {
    let spiffe = "spiffe://cluster.local/ns/default/sa/reviews";
    let names = ["a.test", "*.Wild.test", "w*d.part.test", "*.lone", "10.0.0.1", "a@mail.test", spiffe];
    let der = certificate(&Authority::new("ours").issue(&names));
    let leaf = Certificate::read(&der).unwrap();
    let wild = ["b.wild.test", "*.wild.TEST", "wild.part.test", "wd.part.test", "b.lone"];
    for name in ["a.test", "A.test", "10.0.0.1", "a@mail.test", spiffe].into_iter().chain(wild) {
        assert!(leaf.has_name(name), "{name}");
    }
    let others = ["b.test", "a.test.", "wild.test", "a.b.wild.test", "w.part.test", "lone", "10.0.0.2", "b@mail.test"];
    for name in others.into_iter().chain(["spiffe://cluster.local/ns/default/sa/other", ""]) {
        assert!(!leaf.has_name(name), "{name}");
    }
}

#[test]
fn what_cannot_be_read_is_named_and_not_shown() {
    let missing = pem::certificates(&Pem::File("/nowhere/tls.crt".into())).unwrap_err();
    assert!(missing.to_string().starts_with("/nowhere/tls.crt: "), "{missing}");
    let unset = pem::key(&Pem::Missing("the Secret default/cert".into())).unwrap_err();
    assert_eq!(unset.to_string(), "the Secret default/cert is not there");
    let no_key = pem::key(&inline("-----BEGIN NOTHING-----\nc2VjcmV0\n-----END NOTHING-----\n")).unwrap_err();
    assert_eq!(no_key.to_string(), "a Secret: there is no private key in it");
    let empty = pem::certificates(&inline("")).unwrap_err();
    assert_eq!(empty.to_string(), "a Secret: there is no certificate in it");
    for (on_one_line, why) in [
        ("-----BEGIN PRIVATE KEY----- c2VjcmV0 -----END PRIVATE KEY-----", "has no end"),
        ("-----BEGIN PRIVATE KEY----- c2VjcmV0", "does not begin"),
    ] {
        for error in [pem::key(&inline(on_one_line)).unwrap_err(), pem::certificates(&inline(on_one_line)).unwrap_err()]
        {
            assert_eq!(error.to_string(), format!("a Secret: a section of it {why} on a line of its own"));
        }
    }
}

#[test]
fn certificates_have_an_older_name_too() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let Identity { certificates, key } = ours.issue(&["a.test"]);
    let older = |pem: &Pem| text(pem).replace("CERTIFICATE", "X509 CERTIFICATE");
    let both = inline(&format!("about it\n{}{}", older(&ours.roots()).replace('\n', "\r\n"), text(&others.roots())));
    let expected = [ours.roots(), others.roots()].map(|roots| pem::certificates(&roots).unwrap().remove(0));
    assert_eq!(pem::certificates(&both).unwrap(), expected);
    let identity = Identity { certificates: inline(&older(&certificates)), key };
    assert_eq!(pem::certified(&identity).unwrap().cert, [certificate(&Identity { certificates, ..identity })]);
    // What OpenSSL adds to a certificate that it trusts is no part of it.
    let trusted = inline(&text(&ours.roots()).replace("CERTIFICATE", "TRUSTED CERTIFICATE"));
    assert!(pem::certificates(&trusted).is_err());
}

#[test]
fn changed_files_are_read_again_and_bad_ones_leave_the_last() {
    let folder = Folder::new("reloaded");
    let authority = Authority::new("ours");
    let file = folder.write("tls.crt", &authority.issue(&["a.test"]).certificates, 1);
    let reloaded = Reloaded::new(pem::file(&file), {
        let file = file.clone();
        move || pem::certificates(&file)
    });
    let first = reloaded.get().unwrap();
    assert!(Arc::ptr_eq(&first, &reloaded.get().unwrap()));
    folder.write("tls.crt", &authority.issue(&["b.test"]).certificates, 2);
    let second = reloaded.get().unwrap();
    assert_ne!(first, second);
    folder.write("tls.crt", &inline("half a file"), 3);
    assert!(Arc::ptr_eq(&second, &reloaded.get().unwrap()));
    folder.write("tls.crt", &authority.issue(&["c.test"]).certificates, 4);
    assert_ne!(second, reloaded.get().unwrap());
}
