//! VirtualServices of the mesh for hosts whose requests others have.

use std::collections::{BTreeSet, HashMap};

use super::names;
use super::path::Path;
use super::report::Report;
use super::review;
use super::virtual_services::{MeantVirtualService, Rule};

/// Which VirtualServices, by their places in order, have rules that hold for a host on some port.
#[derive(Default)]
pub(crate) struct Winners(HashMap<String, BTreeSet<usize>>);

impl Winners {
    pub(crate) fn note(&mut self, host: &str, owner: usize) {
        match self.0.get_mut(host) {
            Some(owners) => {
                owners.insert(owner);
            }
            None => {
                self.0.insert(host.to_owned(), BTreeSet::from([owner]));
            }
        }
    }

    /// Names the hosts of VirtualServices with http rules of which none holds, as an earlier one's do.
    pub(crate) fn review(&self, meant: &[&MeantVirtualService<'_>], report: &mut Report) {
        for (own, meant_here) in meant.iter().enumerate().filter(|(_, meant)| meant.rules.iter().any(is_of_mesh)) {
            for (number, host) in meant_here.hosts.iter().enumerate() {
                let Some(owners) = self.0.get(host).filter(|owners| !owners.contains(&own)) else { continue };
                let first = owners.range(..own).next().and_then(|&first| meant.get(first));
                let Some(first) = first else { continue };
                let why = format!("in the mesh the http rules for {host} are those of {}", first.name);
                review::of(meant_here.resource, meant_here.name.clone(), report, |review| {
                    review.without_effect(&Path::root("spec").field("hosts").index(number), &why);
                });
            }
        }
    }
}

/// Whether a rule can hold for requests of clients in the mesh.
fn is_of_mesh(rule: &Rule<'_>) -> bool {
    let of_mesh = |gateways: &[String]| gateways.is_empty() || gateways.iter().any(|gateway| gateway == names::MESH);
    rule.matches.as_ref().is_none_or(|matches| matches.iter().any(|entry| of_mesh(&entry.gateways)))
}
