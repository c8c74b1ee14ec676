//! Where every node of a YAML document stands, found by its path.
//!
//! A node is 20 bytes and a child 4, however long its key is: keys are kept once in a document.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Place;

/// No key: an entry of a list, or the whole document.
const NO_KEY: u32 = u32::MAX;
/// How many merges (`<<`) are followed to find one entry: merges of merges can be very many.
const MERGES: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Node {
    line: u32,
    column: u32,
    key: u32,
    /// The first child in `children`.
    first: u32,
    count: u32,
}

/// The places of one document.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    file: Arc<str>,
    nodes: Vec<Node>,
    children: Vec<u32>,
    keys: Vec<Box<str>>,
    root: u32,
}

impl Places {
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// The node of the whole document.
    pub(crate) fn root(&self) -> u32 {
        self.root
    }

    /// The place of the node at `path` below `root`, or of the nearest one above it.
    pub(crate) fn place(&self, root: u32, path: &str) -> Option<Place> {
        let node = self.nodes.get(self.find(root, path).0 as usize)?;
        Some(Place::new(Arc::clone(&self.file), node.line, node.column))
    }

    /// The node at `path` below `root` and whether that is the whole path.
    pub(crate) fn find(&self, root: u32, path: &str) -> (u32, bool) {
        let mut node = root;
        let mut rest = path;
        while !rest.is_empty() {
            match self.step(node, rest) {
                Some((child, after)) => (node, rest) = (child, after),
                None => return (node, false),
            }
        }
        (node, true)
    }

    /// The child that `path` begins with, and what follows.
    fn step<'p>(&self, node: u32, path: &'p str) -> Option<(u32, &'p str)> {
        if let Some(quoted) = path.strip_prefix("[\"") {
            // The key itself may have what ends it.
            let behind = |key: &str| quoted.strip_prefix(key)?.strip_prefix("\"]").filter(|rest| is_end(rest));
            let child = self.entry(node, &|key| behind(key).is_some())?;
            return Some((child, after(behind(self.key(child))?)));
        }
        if let Some(bracket) = path.strip_prefix('[') {
            let (number, rest) = bracket.split_once(']')?;
            let number = number.parse::<u32>().ok()?;
            let node = self.nodes.get(node as usize)?;
            let child = (number < node.count).then(|| self.children[(node.first + number) as usize])?;
            return Some((child, after(rest)));
        }
        let name = &path[..path.find(['.', '[']).unwrap_or(path.len())];
        if let Some(child) = self.entry(node, &|key| key == name) {
            return Some((child, after(&path[name.len()..])));
        }
        let child = self.entry(node, &|key| same_field(key, name))?;
        Some((child, after(&path[name.len()..])))
    }

    /// The last child of `node` whose key is `wanted`, those of its merges included.
    fn entry(&self, node: u32, wanted: &dyn Fn(&str) -> bool) -> Option<u32> {
        self.merged_entry(node, wanted, &mut { MERGES })
    }

    fn merged_entry(&self, node: u32, wanted: &dyn Fn(&str) -> bool, merges: &mut usize) -> Option<u32> {
        let keyed = |child: &u32| self.nodes[*child as usize].key != NO_KEY;
        let children = self.child_nodes(node);
        let own = children.iter().rev().copied().find(|child| keyed(child) && wanted(self.key(*child)));
        if own.is_some() {
            return own;
        }
        for &merge in children.iter().filter(|child| keyed(child) && self.key(**child) == "<<") {
            let list = self.child_nodes(merge).iter().filter(|part| !keyed(part)).copied();
            for part in std::iter::once(merge).chain(list) {
                *merges = merges.checked_sub(1)?;
                if let Some(found) = self.merged_entry(part, wanted, merges) {
                    return Some(found);
                }
            }
        }
        None
    }

    fn child_nodes(&self, node: u32) -> &[u32] {
        match self.nodes.get(node as usize) {
            Some(node) => &self.children[node.first as usize..(node.first + node.count) as usize],
            None => &[],
        }
    }

    fn key(&self, node: u32) -> &str {
        let key = self.nodes[node as usize].key;
        self.keys.get(key as usize).map_or("", |key| key)
    }
}

/// Whether a step of a path ends before `rest`.
fn is_end(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with(['.', '['])
}

/// `path` without the dot before its next name.
fn after(path: &str) -> &str {
    path.strip_prefix('.').unwrap_or(path)
}

/// Whether two names are spellings of one field: `perTryTimeout` and `per_try_timeout`.
fn same_field(left: &str, right: &str) -> bool {
    let letters = |name: &str| {
        name.bytes().filter(|&byte| byte != b'_').map(|byte| byte.to_ascii_lowercase()).collect::<Vec<_>>()
    };
    left.contains('_') != right.contains('_') && letters(left) == letters(right)
}

/// Builds the [`Places`] of one document from its events.
#[derive(Debug, Default)]
pub(crate) struct PlacesBuilder {
    nodes: Vec<Node>,
    children: Vec<u32>,
    keys: Vec<Box<str>>,
    numbers: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    /// Children of the containers that are still open.
    pending: Vec<u32>,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    node: u32,
    /// Where its children begin in `pending`.
    mark: usize,
}

impl PlacesBuilder {
    /// The number of a key.
    pub(crate) fn intern(&mut self, key: &str) -> u32 {
        if let Some(&number) = self.numbers.get(key) {
            return number;
        }
        let number = u32::try_from(self.keys.len()).unwrap_or(NO_KEY);
        self.keys.push(key.into());
        self.numbers.insert(key.into(), number);
        number
    }

    /// A node that is complete.
    pub(crate) fn leaf(&mut self, key: Option<u32>, line: u32, column: u32) -> u32 {
        let node = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(Node { line, column, key: key.unwrap_or(NO_KEY), first: 0, count: 0 });
        self.pending.push(node);
        node
    }

    /// A node whose children follow, until [`Self::close`].
    pub(crate) fn open(&mut self, key: Option<u32>, line: u32, column: u32) -> u32 {
        let node = self.leaf(key, line, column);
        self.open.push(Open { node, mark: self.pending.len() });
        node
    }

    /// Ends the last open node.
    pub(crate) fn close(&mut self) {
        let Some(Open { node, mark }) = self.open.pop() else { return };
        let first = u32::try_from(self.children.len()).unwrap_or(u32::MAX);
        self.children.extend(self.pending.drain(mark..));
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.first = first;
            node.count = u32::try_from(self.children.len()).unwrap_or(u32::MAX) - first;
        }
    }

    /// A node with the children of `anchored`.
    pub(crate) fn alias(&mut self, key: Option<u32>, line: u32, column: u32, anchored: u32) {
        let target = self.nodes.get(anchored as usize).map(|node| (node.first, node.count));
        let node = self.leaf(key, line, column);
        if let (Some((first, count)), Some(node)) = (target, self.nodes.get_mut(node as usize)) {
            (node.first, node.count) = (first, count);
        }
    }

    /// The places, once all nodes are closed.
    pub(crate) fn finish(mut self, file: Arc<str>) -> Places {
        while !self.open.is_empty() {
            self.close();
        }
        let root = self.pending.first().copied().unwrap_or(0);
        self.nodes.shrink_to_fit();
        self.children.shrink_to_fit();
        Places { file, nodes: self.nodes, children: self.children, keys: self.keys, root }
    }
}
