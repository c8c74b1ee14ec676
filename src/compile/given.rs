//! Endpoints that the program gives for a port of a host, in place of those that are discovered.

use std::collections::HashMap;

use crate::upstream::EndpointConfig;

/// What is given, by host and port. It outlives the configurations that are published meanwhile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    hosts: HashMap<String, HashMap<u16, Vec<EndpointConfig>>>,
}

impl Given {
    pub(crate) fn get(&self, host: &str, port: u16) -> Option<&[EndpointConfig]> {
        Some(self.hosts.get(host)?.get(&port)?)
    }

    /// The hosts that have some.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.hosts.keys().map(String::as_str)
    }

    /// Gives `endpoints`.
    pub(crate) fn insert(&mut self, host: &str, port: u16, endpoints: Vec<EndpointConfig>) {
        self.hosts.entry(host.to_owned()).or_default().insert(port, endpoints);
    }

    /// Gives nothing any more; what was given before.
    pub(crate) fn remove(&mut self, host: &str, port: u16) -> Option<Vec<EndpointConfig>> {
        let ports = self.hosts.get_mut(host)?;
        let given = ports.remove(&port);
        if ports.is_empty() {
            self.hosts.remove(host);
        }
        given
    }
}
