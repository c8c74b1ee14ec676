//! Which of its certificates a server shows: [`Shown`].

use std::sync::{Arc, OnceLock};

use rustls::SignatureAlgorithm;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// The certificates of a listener, in the order of its words.
///
/// Of those that the client understands it is shown, as by Envoy, one that has the name it asks for, else one with a
/// wildcard in place of its first label; of several, one of ECDSA, else the first. Without a name they are all of them.
/// Who asks for a name that none of them has is shown the first of them, where Envoy shows the first of all; who
/// understands none, the first of all.
#[derive(Debug)]
pub(crate) struct Shown {
    own: Box<[Own]>,
}

#[derive(Debug)]
struct Own {
    key: Arc<CertifiedKey>,
    /// In lower case.
    names: Box<[Box<str>]>,
}

impl Shown {
    pub(super) fn new(keys: impl IntoIterator<Item = Arc<CertifiedKey>>) -> Self {
        let own = |key: Arc<CertifiedKey>| {
            let names = key.cert.first().map_or_else(Box::default, |certificate| names(certificate));
            Own { key, names }
        };
        Self { own: keys.into_iter().map(own).collect() }
    }

    /// Whether there is a choice.
    pub(crate) fn are_several(&self) -> bool {
        self.own.len() > 1
    }

    /// The certificate of each, without those of its authorities; `None`: it has none.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.own.iter().map(|own| own.key.cert.first().map(AsRef::as_ref))
    }

    /// Which is shown to a client that says `hello`.
    fn choose(&self, hello: &ClientHello<'_>) -> usize {
        self.chosen(hello.server_name(), |key| key.key.choose_scheme(hello.signature_schemes()).is_some())
    }

    fn chosen(&self, server_name: Option<&str>, understands: impl Fn(&CertifiedKey) -> bool) -> usize {
        let best = |among: &dyn Fn(&Own) -> bool| {
            let taken = |own: &Own| among(own) && understands(&own.key);
            let preferred = |own: &Own| taken(own) && own.key.key.algorithm() == SignatureAlgorithm::ECDSA;
            self.own.iter().position(preferred).or_else(|| self.own.iter().position(taken))
        };
        let Some(name) = server_name.map(str::to_ascii_lowercase) else {
            return best(&|_| true).unwrap_or(0);
        };
        let of_domain = |own: &Own, domain: &str| own.names.iter().any(|known| known.strip_prefix('*') == Some(domain));
        best(&|own| own.names.iter().any(|known| **known == *name))
            .or_else(|| name.find('.').and_then(|dot| best(&|own| of_domain(own, &name[dot..]))))
            // Who does not understand the first may not mind the name.
            .or_else(|| self.own.iter().position(|own| understands(&own.key)))
            .unwrap_or(0)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.own.get(self.choose(&hello)).map(|own| own.key.clone())
    }
}

/// The same for one connection, of which it is known afterwards which was shown.
#[derive(Debug)]
pub(crate) struct ShownOnce {
    among: Arc<Shown>,
    chosen: OnceLock<usize>,
}

impl ShownOnce {
    pub(crate) fn new(among: Arc<Shown>) -> Self {
        Self { among, chosen: OnceLock::new() }
    }

    /// Its place in the order of the words.
    pub(crate) fn place(&self) -> usize {
        self.chosen.get().copied().unwrap_or(0)
    }
}

impl ResolvesServerCert for ShownOnce {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = *self.chosen.get_or_init(|| self.among.choose(&hello));
        self.among.own.get(chosen).map(|own| own.key.clone())
    }
}

/// The DNS names of a certificate, in lower case: where it has no alternative names at all, its common name.
fn names(der: &[u8]) -> Box<[Box<str>]> {
    let Ok((_, parsed)) = X509Certificate::from_der(der) else { return Box::default() };
    let lower = |name: &str| name.to_ascii_lowercase().into();
    match parsed.subject_alternative_name() {
        Ok(Some(names)) => {
            let dns =
                |name: &GeneralName<'_>| if let GeneralName::DNSName(name) = name { Some(lower(name)) } else { None };
            names.value.general_names.iter().filter_map(dns).collect()
        }
        _ => parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).map(lower).collect(),
    }
}

#[cfg(test)]
mod tests {
    use rustls::SignatureScheme;
    use rustls::sign::{Signer, SigningKey};

    use super::*;
    use crate::tls::tests::Authority;

    #[derive(Debug)]
    struct Key(SignatureAlgorithm);

    impl SigningKey for Key {
        fn choose_scheme(&self, _: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
            None
        }

        fn algorithm(&self) -> SignatureAlgorithm {
            self.0
        }
    }

    /// Certificates of these keys and names, whatever their keys really are.
    fn shown(of: &[(SignatureAlgorithm, &[&str])]) -> Shown {
        let authority = Authority::new("ours");
        Shown::new(of.iter().map(|(algorithm, names)| {
            let certificates = crate::tls::pem::certificates(&authority.issue(names).certificates).unwrap();
            Arc::new(CertifiedKey::new(certificates, Arc::new(Key(*algorithm))))
        }))
    }

    const RSA: SignatureAlgorithm = SignatureAlgorithm::RSA;
    const ECDSA: SignatureAlgorithm = SignatureAlgorithm::ECDSA;

    #[test]
    fn the_one_with_the_name_is_shown_and_of_several_that_of_ecdsa() {
        let wild: &[&str] = &["two.test", "*.wild.test"];
        let all = shown(&[(RSA, &["one.test"]), (ECDSA, &["One.test"]), (RSA, wild), (ECDSA, &["two.test"])]);
        for (name, modern, old) in [
            (Some("one.test"), 1, 0),
            (Some("ONE.test"), 1, 0),
            (Some("two.test"), 3, 2),
            (Some("x.wild.test"), 2, 2),
            (Some("a.b.wild.test"), 0, 0),
            (Some("other.test"), 0, 0),
            (None, 1, 0),
        ] {
            assert_eq!(all.chosen(name, |_| true), modern, "{name:?}");
            assert_eq!(all.chosen(name, |key| key.key.algorithm() == RSA), old, "{name:?}");
        }
    }

    #[test]
    fn a_name_goes_before_a_wildcard_and_an_understood_one_before_none() {
        let all = shown(&[(RSA, &["*.test"]), (RSA, &["a.test"]), (ECDSA, &["b.test"])]);
        assert_eq!(all.chosen(Some("a.test"), |_| true), 1);
        assert_eq!(all.chosen(Some("c.test"), |_| true), 0);
        assert_eq!(all.chosen(Some("test"), |_| true), 0);
        let all = shown(&[(ECDSA, &["a.test"]), (RSA, &["b.test"])]);
        assert_eq!(all.chosen(Some("a.test"), |key| key.key.algorithm() == RSA), 1);
        assert_eq!(all.chosen(Some("a.test"), |_| false), 0);
    }

    #[test]
    fn one_without_alternative_names_has_its_common_name() {
        let crate::upstream::Pem::Text(pem) = Authority::new("CN.test").roots() else { panic!("a text") };
        let der = crate::tls::pem::certificates(&crate::upstream::Pem::Text(pem)).unwrap();
        assert_eq!(*names(&der[0]), ["cn.test".into()]);
        assert!(names(b"none").is_empty());
    }
}
