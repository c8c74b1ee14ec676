//! Why what came with a Secret is of no use, before a connection needs it.

use std::io;

use super::pem;
use super::revocation::Revocations;
use super::trust::Trust;
use crate::upstream::{Identity, Pem};

/// Why nobody can show it: something cannot be read, or the key is another certificate's.
pub(crate) fn fault_of_identity(identity: &Identity) -> Option<String> {
    pem::certified(identity).err().map(said)
}

/// Why nobody can be trusted for their sake.
pub(crate) fn fault_of_authorities(roots: &Pem) -> Option<String> {
    Trust::new(Some(roots), None).err().map(said)
}

/// Why nobody can tell what was taken back.
pub(crate) fn fault_of_revoked(revoked: &Pem) -> Option<String> {
    pem::revocations(revoked).and_then(Revocations::read).err().map(said)
}

/// Without the place: who asks knows the name of the Secret.
fn said(error: io::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix(pem::SECRET).and_then(|rest| rest.strip_prefix(": ")) {
        Some(why) => why.to_owned(),
        None => text,
    }
}
