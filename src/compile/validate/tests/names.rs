//! Host names, as Istio's own tables have them.

use super::super::names::{HostSet, check_fqdn, check_wildcard_domain, is_dns_label, is_partial_wildcard};

#[test]
fn labels_have_letters_digits_and_inner_dashes() {
    for good in ["a", "A", "1", "a-b", "0-9", &"a".repeat(63)] {
        assert!(is_dns_label(good), "{good}");
    }
    for bad in ["", "-", "-a", "a-", "a.b", "a_b", "é", &"a".repeat(64)] {
        assert!(!is_dns_label(bad), "{bad}");
    }
}

#[test]
fn whole_names_have_labels_and_no_number_at_the_end() {
    for good in ["a", "a.b", "a.b.", "1.a", "foo.1x", "A.B"] {
        assert_eq!(check_fqdn(good), Ok(()), "{good}");
    }
    for bad in ["", ".", "a..b", ".a", "a..", "a.1", "1", "a_b.c", "*.a", &format!("{}b", "a.".repeat(128))] {
        assert!(check_fqdn(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_first_label_may_be_a_wildcard() {
    for good in ["*", "*.a", "*a.b", "*-a.b", "1", "a", "*.a.b.", "a.", "1.", "*.", "*a."] {
        assert_eq!(check_wildcard_domain(good), Ok(()), "{good}");
    }
    for bad in ["", ".", "a..", "**", "*-", "*.*", "a*", "a.*.b", "*--.b", "*.1", "a b"] {
        assert!(check_wildcard_domain(bad).is_err(), "{bad}");
    }
    assert!(is_partial_wildcard("*a.b") && !is_partial_wildcard("*.b") && !is_partial_wildcard("*"));
}

/// Overlap and cover, by their definition.
fn matches(one: &str, other: &str) -> bool {
    match (one.strip_prefix('*'), other.strip_prefix('*')) {
        (Some(one), Some(other)) => one.ends_with(other) || other.ends_with(one),
        (Some(suffix), None) => other.ends_with(suffix),
        (None, Some(suffix)) => one.ends_with(suffix),
        (None, None) => one == other,
    }
}

#[test]
fn a_set_of_hosts_finds_overlaps_as_pairs_do() {
    let hosts = ["a.b", "b", "*.b", "*b", "*", "x.a.b", "*.a.b", "c", "*.c"].map(String::from);
    for one in 0..hosts.len() {
        for other in 0..hosts.len() {
            let pair = [hosts[one].clone(), hosts[other].clone()];
            let set = HostSet::new(&pair);
            let found = set.overlap(0).or(set.overlap(1)).is_some();
            assert_eq!(found, matches(&pair[0], &pair[1]), "{pair:?}");
            let covers = matches(&pair[0], &pair[1]) && pair[0].len() >= pair[1].len();
            let narrow_wildcard = pair[0].starts_with('*') && !pair[1].starts_with('*');
            let wide_host = pair[1].starts_with('*') || pair[0] == pair[1];
            let set = HostSet::new(&pair[1..]);
            if !narrow_wildcard && wide_host {
                assert_eq!(set.covers(&pair[0]), covers || is_suffix(&pair[0], &pair[1]), "{pair:?}");
            }
        }
    }
}

/// `b` is one of `*b`, though it is shorter.
fn is_suffix(host: &str, wildcard: &str) -> bool {
    !host.starts_with('*') && wildcard.strip_prefix('*').is_some_and(|suffix| host.ends_with(suffix))
}
