//! Which VirtualServices own which host of the mesh: [`Owners`].

use std::collections::HashMap;

use super::names;
use super::virtual_services::MeantVirtualService;

/// The hosts that VirtualServices name.
pub(super) struct Owners<'a> {
    /// For each host, those that name it, in order.
    hosts: HashMap<&'a str, Vec<usize>>,
    wildcards: Vec<&'a str>,
}

/// A host, and the VirtualServices of which the first with rules for a port has it there.
#[derive(Clone, Copy)]
pub(super) struct Claim<'o> {
    pub(super) host: &'o str,
    pub(super) owners: &'o [usize],
}

impl<'o> Claim<'o> {
    fn new((host, owners): (&&'o str, &'o Vec<usize>)) -> Self {
        Self { host, owners }
    }

    /// The same for a service, which is the first owner's alone if a wildcard claims it, be that its own host.
    pub(super) fn of_service(self) -> Self {
        let count = if names::is_wildcard(self.host) { 1 } else { self.owners.len() };
        Self { owners: self.owners.get(..count).unwrap_or_default(), ..self }
    }

    /// The VirtualService whose place it has.
    pub(super) fn first(self) -> usize {
        self.owners.first().copied().unwrap_or_default()
    }
}

impl<'a> Owners<'a> {
    pub(super) fn new(meant: &[&'a MeantVirtualService<'_>]) -> Self {
        let mut hosts: HashMap<_, Vec<usize>> = HashMap::new();
        for (number, meant) in meant.iter().enumerate() {
            for host in &meant.hosts {
                hosts.entry(host.as_str()).or_default().push(number);
            }
        }
        let mut wildcards: Vec<&str> = hosts.keys().copied().filter(|host| names::is_wildcard(host)).collect();
        wildcards.sort_by(|one, other| names::by_specificity(one, other));
        Self { hosts, wildcards }
    }

    /// The host that claims `service`.
    pub(super) fn of<'o>(&'o self, service: &str) -> Option<Claim<'o>> {
        let wildcard = || self.wildcards.iter().find(|wide| names::covers(wide, service));
        let exact = self.hosts.get_key_value(service);
        exact.or_else(|| self.hosts.get_key_value(wildcard()?)).map(Claim::new)
    }

    /// How many VirtualServices name wildcards that cover `name`.
    pub(super) fn wide(&self, name: &str) -> usize {
        let wide = self.wildcards.iter().filter(|wide| names::covers(wide, name));
        wide.filter_map(|wide| self.hosts.get(wide)).map(Vec::len).sum()
    }
}
