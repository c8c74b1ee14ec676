//! From the host of a request to a virtual host: [`HostIndex`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use foldhash::fast::RandomState;

/// Domains in Envoy's order: the exact name, then `*suffix` and `prefix*` with the longest first, then `*`.
///
/// Names compare without case. A wildcard stands for at least one byte. The port of the request is not part of the
/// name, and a trailing dot is only understood where it was inserted.
///
/// ```
/// use mesh_router::route::HostIndex;
///
/// let mut hosts = HostIndex::new();
/// assert!(hosts.insert("*.example.com", 1));
/// assert!(hosts.insert("www.example.com", 2));
/// assert!(!hosts.insert("WWW.example.com", 3), "the first one keeps its domain");
/// assert_eq!(hosts.get("Www.Example.Com"), Some(&2));
/// assert_eq!(hosts.get("api.example.com"), Some(&1));
/// assert_eq!(hosts.get("example.com"), None);
/// // The same domains print the same, in the order of the alphabet.
/// assert_eq!(format!("{hosts:?}"), r#"{"*.example.com": 1, "www.example.com": 2}"#);
/// ```
#[derive(Clone)]
pub struct HostIndex<T> {
    exact: HashMap<Box<str>, T, RandomState>,
    /// What follows the `*`.
    suffixes: Wildcards<T>,
    /// What comes before the `*`.
    prefixes: Wildcards<T>,
    any: Option<T>,
}

#[derive(Clone)]
struct Wildcards<T> {
    /// The lengths of the keys, longest first.
    lengths: Vec<usize>,
    values: HashMap<Box<str>, T, RandomState>,
}

impl<T> Default for HostIndex<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for HostIndex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = self.exact.iter().map(|(name, value)| (name.to_string(), value));
        let suffixes = self.suffixes.values.iter().map(|(suffix, value)| (format!("*{suffix}"), value));
        let prefixes = self.prefixes.values.iter().map(|(prefix, value)| (format!("{prefix}*"), value));
        let any = self.any.iter().map(|value| ("*".to_owned(), value));
        let sorted: BTreeMap<_, _> = exact.chain(suffixes).chain(prefixes).chain(any).collect();
        f.debug_map().entries(sorted).finish()
    }
}

impl<T> HostIndex<T> {
    /// Without domains.
    pub fn new() -> Self {
        Self { exact: HashMap::default(), suffixes: Wildcards::new(), prefixes: Wildcards::new(), any: None }
    }

    /// Gives `domain` to `value`: a name, `*suffix`, `prefix*` or `*`. `false` if the domain was taken: it stays.
    pub fn insert(&mut self, domain: &str, value: T) -> bool {
        let domain = domain.to_ascii_lowercase();
        if domain == "*" {
            let free = self.any.is_none();
            self.any.get_or_insert(value);
            free
        } else if let Some(suffix) = domain.strip_prefix('*') {
            self.suffixes.insert(suffix, value)
        } else if let Some(prefix) = domain.strip_suffix('*') {
            self.prefixes.insert(prefix, value)
        } else {
            insert_new(&mut self.exact, domain.into(), value)
        }
    }

    /// The value of the most specific domain that covers `host`, which is without a port.
    ///
    /// Allocates only for a name that has upper-case letters and is longer than any DNS name can be.
    pub fn get(&self, host: &str) -> Option<&T> {
        self.find_map(host, Some)
    }

    /// What `take` makes of the values of the domains that cover `host`, the most specific first: the first that is
    /// something.
    ///
    /// ```
    /// use mesh_router::route::HostIndex;
    ///
    /// let mut hosts = HostIndex::new();
    /// hosts.insert("*.example.com", 1);
    /// hosts.insert("www.example.com", 2);
    /// assert_eq!(hosts.find_map("www.example.com", |value| (value % 2 == 1).then_some(value)), Some(&1));
    /// ```
    pub fn find_map<'t, R>(&'t self, host: &str, take: impl Fn(&'t T) -> Option<R>) -> Option<R> {
        // Without a way out in between the loop looks at many bytes at once.
        if !host.bytes().fold(false, |upper, byte| upper | byte.is_ascii_uppercase()) {
            return self.find_folded(host, take);
        }
        let mut buffer = [0u8; 256];
        match buffer.get_mut(..host.len()) {
            Some(folded) => {
                folded.copy_from_slice(host.as_bytes());
                folded.make_ascii_lowercase();
                self.find_folded(std::str::from_utf8(folded).unwrap_or_default(), take)
            }
            None => self.find_folded(&host.to_ascii_lowercase(), take),
        }
    }

    /// Whether there is no domain.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many domains there are.
    pub fn len(&self) -> usize {
        self.exact.len() + self.suffixes.values.len() + self.prefixes.values.len() + usize::from(self.any.is_some())
    }

    fn find_folded<'t, R>(&'t self, host: &str, take: impl Fn(&'t T) -> Option<R>) -> Option<R> {
        let exact = self.exact.get(host).and_then(&take);
        exact
            .or_else(|| self.suffixes.find_map(host, |length| host.get(host.len() - length..), &take))
            .or_else(|| self.prefixes.find_map(host, |length| host.get(..length), &take))
            .or_else(|| self.any.as_ref().and_then(&take))
    }
}

impl<T> Wildcards<T> {
    fn new() -> Self {
        Self { lengths: Vec::new(), values: HashMap::default() }
    }

    fn insert(&mut self, key: &str, value: T) -> bool {
        if let Err(position) = self.lengths.binary_search_by(|length| key.len().cmp(length)) {
            self.lengths.insert(position, key.len());
        }
        insert_new(&mut self.values, key.into(), value)
    }

    /// The keys that `part` of the host, given a length, is, the longest first; the wildcard covers at least one byte.
    fn find_map<'t, 'a, R>(
        &'t self,
        host: &str,
        part: impl Fn(usize) -> Option<&'a str>,
        take: impl Fn(&'t T) -> Option<R>,
    ) -> Option<R> {
        let shorter = self.lengths.iter().filter(|length| **length < host.len());
        shorter.filter_map(|length| part(*length)).find_map(|key| self.values.get(key).and_then(&take))
    }
}

fn insert_new<T>(map: &mut HashMap<Box<str>, T, RandomState>, key: Box<str>, value: T) -> bool {
    match map.entry(key) {
        std::collections::hash_map::Entry::Occupied(_) => false,
        std::collections::hash_map::Entry::Vacant(vacant) => {
            vacant.insert(value);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(domains: &[&str]) -> HostIndex<String> {
        let mut index = HostIndex::new();
        for domain in domains {
            index.insert(domain, (*domain).to_owned());
        }
        index
    }

    #[test]
    fn hosts_go_exact_then_longest_suffix_then_longest_prefix_then_any() {
        let index = index(&["a.b.c", "*.b.c", "*.c", "*-x.c", "a.*", "a.b.*", "*"]);
        for (host, domain) in [
            ("a.b.c", "a.b.c"),
            ("z.b.c", "*.b.c"),
            ("a.a.b.c", "*.b.c"),
            ("z.c", "*.c"),
            ("q-x.c", "*-x.c"),
            ("a.q", "a.*"),
            ("a.b.q", "a.b.*"),
            (".b.c", "*.c"),
            ("a.", "*"),
            ("other", "*"),
            ("", "*"),
        ] {
            assert_eq!(index.get(host).map(String::as_str), Some(domain), "{host}");
        }
    }

    #[test]
    fn a_wildcard_covers_at_least_one_byte() {
        let index = index(&["*foo.com", "bar.*"]);
        assert_eq!(index.get("xfoo.com").map(String::as_str), Some("*foo.com"));
        assert_eq!(index.get("foo.com"), None);
        assert_eq!(index.get("bar."), None);
        assert_eq!(index.get("bar.x").map(String::as_str), Some("bar.*"));
    }

    #[test]
    fn case_does_not_count_and_a_trailing_dot_only_where_it_was_inserted() {
        let index = index(&["Reviews.Default.Svc", "reviews.default.svc.", "*.Wild.Test"]);
        assert_eq!(index.get("REVIEWS.default.svc").unwrap(), "Reviews.Default.Svc");
        assert_eq!(index.get("reviews.default.svc.").unwrap(), "reviews.default.svc.");
        assert_eq!(index.get("A.WILD.test").unwrap(), "*.Wild.Test");
        assert_eq!(index.get("a.wild.test."), None);
    }

    #[test]
    fn names_longer_than_dns_allows_are_folded_too() {
        let long = format!("{}.c", "A".repeat(600));
        assert_eq!(index(&["*.c"]).get(&long).unwrap(), "*.c");
    }

    #[test]
    fn hosts_that_are_not_ascii_do_not_panic() {
        let index = index(&["*é.c", "é*", "*.c"]);
        assert_eq!(index.get("xé.c").unwrap(), "*é.c");
        assert_eq!(index.get("éx").unwrap(), "é*");
        assert_eq!(index.get("漢.c").unwrap(), "*.c");
        assert_eq!(index.get("漢"), None);
    }

    /// Every domain is tried; the best by Envoy's order is taken.
    fn naive<'a>(domains: &'a [String], host: &str) -> Option<&'a String> {
        let host = host.to_ascii_lowercase();
        let rank = |domain: &&String| -> Option<(u8, usize)> {
            let domain = domain.to_ascii_lowercase();
            match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
                _ if domain == "*" => Some((0, 0)),
                (Some(suffix), _) => (host.len() > suffix.len() && host.ends_with(suffix)).then_some((2, suffix.len())),
                (_, Some(prefix)) => {
                    (host.len() > prefix.len() && host.starts_with(prefix)).then_some((1, prefix.len()))
                }
                _ => (domain == host).then_some((3, 0)),
            }
        };
        let mut best: Option<(&String, (u8, usize))> = None;
        for domain in domains {
            if let Some(rank) = rank(&domain)
                && best.is_none_or(|(_, other)| rank > other)
            {
                best = Some((domain, rank));
            }
        }
        best.map(|(domain, _)| domain)
    }

    proptest! {
        #[test]
        fn the_index_is_the_naive_lookup(
            domains in proptest::collection::vec("\\*?[aB.]{1,4}|[ab.]{1,4}\\*|\\*", 0..12),
            host in "[abB.]{0,6}",
        ) {
            let mut index = HostIndex::new();
            for domain in &domains {
                index.insert(domain, domain.clone());
            }
            let (found, naive) = (index.get(&host), naive(&domains, &host));
            prop_assert_eq!(found.map(|f| f.to_ascii_lowercase()), naive.map(|n| n.to_ascii_lowercase()));
        }
    }
}
