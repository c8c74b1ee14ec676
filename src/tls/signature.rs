//! Who signed a certificate or a list of revoked ones: [`is_signed_by`].

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::SubjectPublicKeyInfoDer;
use webpki::RawPublicKeyEntity;
use x509_parser::asn1_rs::{Any, BitString, FromDer};

/// Whether `key` signed `der`, by the algorithm that is named there.
pub(super) fn is_signed_by(
    der: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> bool {
    let Some((signed, algorithm, signature)) = parts(der) else { return false };
    let mut named = algorithms.all.iter().filter(|by| *by.signature_alg_id() == *algorithm);
    RawPublicKeyEntity::try_from(key)
        .is_ok_and(|key| named.any(|by| key.verify_signature(*by, signed, &signature.data).is_ok()))
}

/// What is signed, how, and the signature.
fn parts(der: &[u8]) -> Option<(&[u8], &[u8], BitString<'_>)> {
    let (_, whole) = Any::from_der(der).ok()?;
    let (rest, _) = Any::from_der(whole.data).ok()?;
    let signed = whole.data.get(..whole.data.len() - rest.len())?;
    let (rest, algorithm) = Any::from_der(rest).ok()?;
    let (_, signature) = BitString::from_der(rest).ok()?;
    Some((signed, algorithm.data, signature))
}
