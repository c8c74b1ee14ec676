//! Names as Istio resolves them: short names, gateway references, wildcards, visibility.

use std::cmp::Ordering;

/// A name as a host: lower case, a short one completed with the namespace of the resource that says it.
///
/// A name is short when it has no dot, is not `*` alone and no address; anything with a dot is taken as it stands.
pub(crate) fn complete(name: &str, namespace: &str, domain: &str) -> String {
    let short = !name.contains(['.', ':']) && name != "*" && !name.is_empty();
    let full = if short { format!("{name}.{namespace}.svc.{domain}") } else { name.to_owned() };
    full.to_ascii_lowercase()
}

/// A reference to a gateway as `namespace/name`, or the reserved `mesh`.
pub(crate) fn gateway(reference: &str, namespace: &str) -> String {
    if reference == MESH {
        return MESH.to_owned();
    }
    if let Some((reference_namespace, name)) = reference.split_once('/') {
        let reference_namespace = if reference_namespace == "." { namespace } else { reference_namespace };
        return format!("{reference_namespace}/{name}");
    }
    match reference.split_once('.') {
        // The legacy form: a name with the domain of its service.
        Some((name, rest)) => format!("{}/{name}", rest.split('.').next().unwrap_or(rest)),
        None => format!("{namespace}/{reference}"),
    }
}

/// The word that stands for all clients in `gateways`.
pub(crate) const MESH: &str = "mesh";

/// Whether `host` is a wildcard; the rest after its `*` is a plain suffix.
pub(crate) fn is_wildcard(host: &str) -> bool {
    host.starts_with('*')
}

/// Whether every name that `narrow` stands for is also one of `wide`.
pub(crate) fn covers(wide: &str, narrow: &str) -> bool {
    match (wide.strip_prefix('*'), narrow.strip_prefix('*')) {
        (None, None) => wide == narrow,
        (None, Some(_)) => false,
        // For Istio the `*` may stand for nothing. Where hosts of requests are looked up it stands for a byte at least.
        (Some(suffix), None) => narrow.ends_with(suffix),
        (Some(suffix), Some(narrower)) => narrower.ends_with(suffix),
    }
}

/// The narrower of two hosts of which one covers the other.
pub(crate) fn intersection<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    if covers(one, other) {
        Some(other)
    } else if covers(other, one) {
        Some(one)
    } else {
        None
    }
}

/// Most specific first: exact names before wildcards, then the longer, then by the alphabet.
pub(crate) fn by_specificity(one: &str, other: &str) -> Ordering {
    is_wildcard(one).cmp(&is_wildcard(other)).then(other.len().cmp(&one.len())).then_with(|| one.cmp(other))
}

/// How far a resource can be seen from a namespace; the order is that of VirtualServices on one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Private to the namespace.
    Private,
    /// Exported to the namespace by name.
    Named,
    /// Seen from everywhere.
    Public,
}

/// Whether and how a resource of `own` namespace with `export_to` is seen from `client`. Of what does not go together
/// `*` counts before `~`, and that before names.
pub(crate) fn reach(export_to: &[String], default: &[String], own: &str, client: &str) -> Option<Reach> {
    let export_to = if export_to.is_empty() { default } else { export_to };
    let says = |word: &str| export_to.iter().any(|to| to == word);
    if says("*") {
        Some(Reach::Public)
    } else if says("~") {
        None
    } else if own == client && (says(".") || says(own)) {
        Some(Reach::Private)
    } else {
        says(client).then_some(Reach::Named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n1_short_names_take_the_namespace_of_the_rule() {
        assert_eq!(complete("Reviews", "prod", "cluster.local"), "reviews.prod.svc.cluster.local");
        assert_eq!(complete("reviews.prod", "x", "cluster.local"), "reviews.prod");
        assert_eq!(complete("*", "x", "cluster.local"), "*");
        assert_eq!(complete("*-db", "x", "cluster.local"), "*-db.x.svc.cluster.local");
        assert_eq!(complete("*.db", "x", "cluster.local"), "*.db");
        assert_eq!(complete("::1", "x", "cluster.local"), "::1");
    }

    #[test]
    fn gateways_are_named_in_five_ways() {
        for (reference, name) in
            [("mesh", "mesh"), ("foo", "n/foo"), ("m/foo", "m/foo"), ("./foo", "n/foo"), ("foo.m.svc.x", "m/foo")]
        {
            assert_eq!(gateway(reference, "n"), name);
        }
    }

    #[test]
    fn wildcards_are_plain_suffixes_whose_star_may_stand_for_nothing() {
        assert!(covers("*.foo.com", "a.b.foo.com"));
        assert!(!covers("*.foo.com", "foo.com"));
        assert!(covers("*foo.com", "barfoo.com"));
        assert!(covers("*foo.com", "foo.com"));
        assert!(covers("*", "anything"));
        assert!(covers("*.com", "*.foo.com"));
        assert!(!covers("a.foo.com", "*.foo.com"));
        assert_eq!(intersection("*.foo.com", "a.foo.com"), Some("a.foo.com"));
        assert_eq!(intersection("a.com", "b.com"), None);
    }

    #[test]
    fn exact_comes_before_the_longest_wildcard() {
        let mut hosts = ["*", "*.b.com", "a.b.com", "*.com", "c.b.com"];
        hosts.sort_by(|a, b| by_specificity(a, b));
        assert_eq!(hosts, ["a.b.com", "c.b.com", "*.b.com", "*.com", "*"]);
    }

    #[test]
    fn export_to_decides_who_sees() {
        let everywhere = ["*".to_owned()];
        let to = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        assert_eq!(reach(&[], &everywhere, "a", "b"), Some(Reach::Public));
        assert_eq!(reach(&to(&["."]), &everywhere, "a", "a"), Some(Reach::Private));
        assert_eq!(reach(&to(&["."]), &everywhere, "a", "b"), None);
        assert_eq!(reach(&to(&["b"]), &everywhere, "a", "b"), Some(Reach::Named));
        assert_eq!(reach(&to(&["~"]), &everywhere, "a", "a"), None);
        assert_eq!(reach(&to(&["b", ".", "*"]), &everywhere, "a", "b"), Some(Reach::Public));
        assert_eq!(reach(&to(&["*", "~"]), &everywhere, "a", "b"), Some(Reach::Public));
        assert_eq!(reach(&to(&[".", "~"]), &everywhere, "a", "a"), None);
        assert_eq!(reach(&[], &to(&[".", "c"]), "a", "c"), Some(Reach::Named));
        assert_eq!(reach(&[], &to(&[".", "a"]), "a", "a"), Some(Reach::Private));
    }
}
