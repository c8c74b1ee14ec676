//! Throw-away authorities and certificates of one case.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::schema::CertWords;

type Problem = Box<dyn std::error::Error + Send + Sync>;

/// The certificates of a case, as files and as values.
#[derive(Debug)]
pub(crate) struct Certs {
    folder: PathBuf,
    authorities: Mutex<BTreeMap<String, Arc<Authority>>>,
    leaves: BTreeMap<String, Leaf>,
}

#[derive(Debug)]
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    pem: String,
}

#[derive(Debug)]
struct Leaf {
    der: CertificateDer<'static>,
    key: Vec<u8>,
    cn: String,
    pem: String,
    key_pem: String,
}

impl Certs {
    /// Makes the certificates a case names; their authorities with them.
    pub(crate) fn make(folder: &Path, words: &BTreeMap<String, Option<CertWords>>) -> Result<Certs, String> {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let mut certs = Certs { folder: folder.to_owned(), authorities: Mutex::default(), leaves: BTreeMap::new() };
        for (name, words) in words {
            let leaf = certs
                .make_leaf(name, &words.clone().unwrap_or_default())
                .map_err(|problem| format!("certificate {name}: {problem}"))?;
            certs.leaves.insert(name.clone(), leaf);
        }
        Ok(certs)
    }

    /// What `${cert:N}`, `${key64:N}`, `${ca:CA}` and the like stand for.
    pub(crate) fn placeholder(&self, kind: &str, name: &str) -> Result<String, String> {
        let (file, text) = match kind.trim_end_matches("64") {
            "cert" => (format!("{name}.crt"), self.leaf(name)?.pem.clone()),
            "key" => (format!("{name}.key"), self.leaf(name)?.key_pem.clone()),
            _ => (authority_file(name), self.authority(name)?.pem.clone()),
        };
        if kind.ends_with("64") {
            return Ok(STANDARD.encode(text));
        }
        Ok(self.folder.join(file).display().to_string())
    }

    /// The certificate of an authority; it appears when it is named first.
    pub(crate) fn authority_der(&self, name: &str) -> Result<CertificateDer<'static>, String> {
        Ok(self.authority(name)?.der.clone())
    }

    /// A certificate and its key.
    pub(crate) fn pair(&self, name: &str) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
        let leaf = self.leaf(name)?;
        let key = PrivateKeyDer::try_from(leaf.key.clone()).map_err(str::to_owned)?;
        Ok((vec![leaf.der.clone()], key))
    }

    /// The common name of one of our certificates, by its bytes.
    pub(crate) fn common_name(&self, der: &CertificateDer<'_>) -> Option<String> {
        self.leaves.values().find(|leaf| leaf.der.as_ref() == der.as_ref()).map(|leaf| leaf.cn.clone())
    }

    fn leaf(&self, name: &str) -> Result<&Leaf, String> {
        self.leaves.get(name).ok_or_else(|| format!("the case has no certificate {name}"))
    }

    fn authority(&self, name: &str) -> Result<Arc<Authority>, String> {
        let mut authorities = self.authorities.lock().unwrap();
        if let Some(authority) = authorities.get(name) {
            return Ok(authority.clone());
        }
        let authority = Arc::new(Authority::make(name).map_err(|problem| format!("authority {name}: {problem}"))?);
        std::fs::write(self.folder.join(authority_file(name)), &authority.pem).map_err(|error| error.to_string())?;
        authorities.insert(name.to_owned(), authority.clone());
        Ok(authority)
    }

    fn make_leaf(&self, name: &str, words: &CertWords) -> Result<Leaf, Problem> {
        let authority = self.authority(words.ca.as_deref().unwrap_or("ca"))?;
        let cn = words.cn.clone().unwrap_or_else(|| name.to_owned());
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, cn.clone());
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = if words.expired { date_time_ymd(2021, 1, 1) } else { date_time_ymd(2049, 1, 1) };
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        for dns in &words.dns.0 {
            params.subject_alt_names.push(SanType::DnsName(dns.as_str().try_into()?));
        }
        for uri in &words.uri.0 {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        for ip in &words.ip.0 {
            params.subject_alt_names.push(SanType::IpAddress(ip.parse::<IpAddr>()?));
        }
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &authority.issuer)?;
        let (pem, key_pem) = (cert.pem(), key.serialize_pem());
        std::fs::write(self.folder.join(format!("{name}.crt")), &pem)?;
        std::fs::write(self.folder.join(format!("{name}.key")), &key_pem)?;
        Ok(Leaf { der: cert.der().clone(), key: key.serialize_der(), cn, pem, key_pem })
    }
}

impl Authority {
    fn make(name: &str) -> Result<Authority, Problem> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("conformance {name}"));
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2049, 1, 1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let cert = params.self_signed(&key)?;
        let (der, pem) = (cert.der().clone(), cert.pem());
        Ok(Authority { issuer: Issuer::new(params, key), der, pem })
    }
}

fn authority_file(name: &str) -> String {
    format!("ca-{name}.pem")
}
