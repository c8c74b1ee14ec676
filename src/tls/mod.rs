//! TLS out of words: certificates, keys and who is trusted, read and kept fresh, for both ends of a connection.
//!
//! The provider of cryptography is ring, given to every configuration; the default of the process is neither asked nor
//! set.

mod authority;
mod certificate;
mod client;
mod dates;
mod faults;
mod pem;
mod reloaded;
mod revocation;
#[cfg(feature = "gateway")]
mod server;
#[cfg(feature = "gateway")]
mod shown;
mod signature;
#[cfg(test)]
pub(crate) mod tests;
mod trust;

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;

#[cfg(feature = "gateway")]
pub(crate) use certificate::address;
pub(crate) use client::{Names, client_config, files_of};
pub(crate) use faults::{fault_of_authorities, fault_of_identity, fault_of_revoked};
pub(crate) use reloaded::Reloaded;
#[cfg(feature = "gateway")]
pub(crate) use server::{ServerEnd, files_of_server, openssl_name, server_end};
#[cfg(feature = "gateway")]
pub(crate) use shown::{Shown, ShownOnce};

/// Who does the arithmetic.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())).clone()
}
