//! Where the TLS of an application goes: [`ServerNameTable`].

use std::sync::Arc;

use super::{HostIndex, Route};

/// Where TLS connections of the application go that its rules do not look into: by the port that they are for, then by
/// the server name of the handshake (`tls` rules of the gateway `mesh`).
///
/// ```
/// use mesh_router::route::ServerNameTable;
///
/// let table = ServerNameTable::default();
/// assert!(table.find("db.test", 443).is_none(), "no rule names it: it goes on as it is");
/// ```
#[derive(Clone, Debug, Default)]
pub struct ServerNameTable {
    ports: Vec<(u16, HostIndex<Arc<Route>>)>,
}

impl ServerNameTable {
    /// Adds a rule for `name` (a name, `*.suffix` or `*`) on `port`. One that is there already stays.
    pub fn insert(&mut self, port: u16, name: &str, route: Arc<Route>) {
        let known = self.ports.iter().position(|(number, _)| *number == port);
        let at = known.unwrap_or_else(|| {
            self.ports.push((port, HostIndex::new()));
            self.ports.len() - 1
        });
        if let Some((_, names)) = self.ports.get_mut(at) {
            names.insert(name, route);
        }
    }

    /// The rule for a connection to `port` whose handshake asks for `name`. The most specific name counts, not the
    /// order. Allocates nothing.
    pub fn find(&self, name: &str, port: u16) -> Option<&Arc<Route>> {
        self.ports.iter().find(|(number, _)| *number == port)?.1.get(name)
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }
}
