//! Prefixes of paths: a byte trie whose edges are whole stretches of bytes.

use std::collections::BTreeMap;

use super::index::List;

/// Maps prefixes to lists of rules; one walk along a path meets every list whose prefix the path has.
///
/// Nodes lie in breadth-first order, so the children of one are neighbors: finding one is a look at their first
/// bytes, which lie side by side.
#[derive(Clone, Debug)]
pub(super) struct PrefixTrie {
    nodes: Box<[Node]>,
    /// The first byte of each node's edge, by node.
    firsts: Box<[u8]>,
    /// The rest of the edges.
    labels: Box<[u8]>,
}

#[derive(Clone, Debug)]
struct Node {
    /// Where the edge to this node stands in `labels`, its first byte left out.
    label: (u32, u32),
    first_child: u32,
    children: u32,
    list: List,
    /// The lowest rule number here and below.
    lowest: u32,
}

/// From this many children on they are searched by halves.
const HALVE_FROM: usize = 24;

impl PrefixTrie {
    /// The trie of `lists`, whose `lowest` gives the lowest rule number of a list.
    pub(super) fn new<'a>(lists: impl IntoIterator<Item = (&'a [u8], List)>, lowest: impl Fn(List) -> u32) -> Self {
        let mut growing = vec![Growing::default()];
        for (prefix, list) in lists {
            insert(&mut growing, prefix, list);
        }
        flatten(&growing, lowest)
    }

    /// Visits the lists of all prefixes of `path`, shortest first. `visit` is given the lowest rule number from a
    /// list on downwards too, and says whether it is worth going on.
    #[inline]
    pub(super) fn walk(&self, path: &[u8], mut visit: impl FnMut(u32, List) -> bool) {
        let (mut number, mut rest) = (0usize, path);
        while let Some(node) = self.nodes.get(number) {
            if !visit(node.lowest, node.list) {
                return;
            }
            let Some((first, after)) = rest.split_first() else { return };
            let from = node.first_child as usize;
            let children = &self.firsts[from..from + node.children as usize];
            let Some(position) = position(children, *first) else { return };
            number = from + position;
            let (start, end) = self.nodes[number].label;
            let Some(below) = after.strip_prefix(&self.labels[start as usize..end as usize]) else { return };
            rest = below;
        }
    }
}

#[inline]
fn position(sorted: &[u8], byte: u8) -> Option<usize> {
    if sorted.len() < HALVE_FROM {
        sorted.iter().position(|other| *other == byte)
    } else {
        sorted.binary_search(&byte).ok()
    }
}

/// A node while the trie is built.
#[derive(Default)]
struct Growing<'a> {
    label: &'a [u8],
    children: BTreeMap<u8, usize>,
    list: List,
}

fn insert<'a>(nodes: &mut Vec<Growing<'a>>, prefix: &'a [u8], list: List) {
    let (mut at, mut rest) = (0, prefix);
    while let Some(first) = rest.first() {
        let Some(&child) = nodes[at].children.get(first) else {
            nodes.push(Growing { label: rest, list, ..Growing::default() });
            let new = nodes.len() - 1;
            nodes[at].children.insert(*first, new);
            return;
        };
        let label = nodes[child].label;
        let common = label.iter().zip(rest).take_while(|(a, b)| a == b).count();
        if common < label.len() {
            // The edge is cut: a new node takes its upper part and has the old one as its only child so far.
            nodes[child].label = &label[common..];
            let children = BTreeMap::from([(label[common], child)]);
            nodes.push(Growing { label: &label[..common], children, list: List::default() });
            let upper = nodes.len() - 1;
            nodes[at].children.insert(*first, upper);
            at = upper;
        } else {
            at = child;
        }
        rest = &rest[common..];
    }
    nodes[at].list = list;
}

fn flatten(growing: &[Growing<'_>], lowest: impl Fn(List) -> u32) -> PrefixTrie {
    let mut order = vec![0usize];
    let (mut nodes, mut firsts, mut labels) = (Vec::with_capacity(growing.len()), Vec::new(), Vec::new());
    let mut next = 0;
    while let Some(&number) = order.get(next) {
        let node = &growing[number];
        let start = labels.len() as u32;
        labels.extend_from_slice(node.label.get(1..).unwrap_or_default());
        firsts.push(node.label.first().copied().unwrap_or_default());
        nodes.push(Node {
            label: (start, labels.len() as u32),
            first_child: order.len() as u32,
            children: node.children.len() as u32,
            list: node.list,
            lowest: lowest(node.list),
        });
        order.extend(node.children.values());
        next += 1;
    }
    for number in (0..nodes.len()).rev() {
        let from = nodes[number].first_child as usize;
        let below = nodes[from..from + nodes[number].children as usize].iter().map(|child| child.lowest).min();
        nodes[number].lowest = nodes[number].lowest.min(below.unwrap_or(u32::MAX));
    }
    PrefixTrie { nodes: nodes.into(), firsts: firsts.into(), labels: labels.into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trie(prefixes: &[String]) -> PrefixTrie {
        let lists = prefixes.iter().zip(0..).map(|(prefix, number)| (prefix.as_bytes(), List::new(number, 1)));
        PrefixTrie::new(lists, |list| if list.is_empty() { u32::MAX } else { list.start() })
    }

    fn met(trie: &PrefixTrie, path: &str) -> Vec<u32> {
        let mut met = vec![];
        trie.walk(path.as_bytes(), |_, list| {
            if !list.is_empty() {
                met.push(list.start());
            }
            true
        });
        met
    }

    #[test]
    fn prefixes_are_met_shortest_first() {
        let prefixes = ["/a/b", "/a", "/a/b/c", "/x", ""].map(str::to_owned);
        let trie = trie(&prefixes);
        assert_eq!(met(&trie, "/a/b/c/d"), [4, 1, 0, 2]);
        assert_eq!(met(&trie, "/a/"), [4, 1]);
        assert_eq!(met(&trie, "/xyz"), [4, 3]);
        assert_eq!(met(&trie, ""), [4]);
    }

    #[test]
    fn the_walk_is_told_the_lowest_rule_below() {
        let prefixes = ["/a/z", "/b", "/a"].map(str::to_owned);
        let mut lowest = vec![];
        trie(&prefixes).walk(b"/a/z", |below, _| {
            lowest.push(below);
            true
        });
        assert_eq!(lowest, [0, 0, 0, 0]);
        let mut visited = 0;
        trie(&prefixes).walk(b"/b", |below, _| {
            visited += 1;
            below < 1
        });
        assert_eq!(visited, 3);
    }

    #[test]
    fn many_children_and_deep_chains() {
        let wide: Vec<String> = (0x21..0x7f_u8).map(|byte| format!("/{}", byte as char)).collect();
        let wide_trie = trie(&wide);
        for (number, prefix) in wide.iter().enumerate() {
            assert_eq!(met(&wide_trie, prefix), [number as u32]);
        }
        let deep: Vec<String> = (1..2000).map(|depth| "/a".repeat(depth)).collect();
        assert_eq!(met(&trie(&deep), &"/a".repeat(1500)).len(), 1500);
    }

    proptest! {
        #[test]
        fn the_trie_meets_what_starts_with_says(
            prefixes in proptest::collection::btree_set("[ab/]{0,6}", 0..20),
            path in "[ab/]{0,8}",
        ) {
            let mut prefixes: Vec<String> = prefixes.into_iter().collect();
            prefixes.reverse();
            let mut wanted: Vec<u32> =
                prefixes.iter().zip(0..).filter(|(prefix, _)| path.starts_with(*prefix)).map(|(_, number)| number).collect();
            wanted.sort_by_key(|number| prefixes[*number as usize].len());
            prop_assert_eq!(met(&trie(&prefixes), &path), wanted);
        }
    }
}
