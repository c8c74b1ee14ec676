//! Ordered rules, the first that matches wins, found without trying them all: [`RuleSet`].

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use foldhash::fast::RandomState;
use http::header::HeaderName;

use super::trie::PrefixTrie;
use super::{RouteIndex, RouteMatch, Subject, Trace};
use crate::request::RequestView;

/// Ordered rules: the first that matches wins, whatever is more specific.
///
/// Every rule stands in one list, under the one of its conditions that the fewest other rules share: an exact path, a
/// prefix (also the literal beginning of a regular expression), an exact header, authority, method, scheme or query
/// parameter. A request meets only the lists of its own values; in each the first full match lower than the best so
/// far counts. Rules without such a condition are tried last, and only those before the best. No list is merged and
/// nothing is allocated.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Box<[(RouteMatch, RouteIndex)]>,
    /// `None`: so few rules that trying them in turn is faster.
    index: Option<Box<Index>>,
}

/// Up to this many rules are tried in turn: at eight prefixes even the last one costs as many instructions either way
/// (`threshold` in `benches/resolve.rs`), and the others less.
const SCAN_UP_TO: usize = 8;

#[derive(Clone, Debug)]
struct Index {
    /// The lists, one after the other; each is ascending.
    members: Box<[u32]>,
    paths: Table,
    prefixes: PrefixTrie,
    headers: Headers,
    /// Exact values of other parts of the request; the shortest lists first.
    subjects: Box<[(Subject, Table)]>,
    residual: List,
}

/// Exact values of headers.
#[derive(Clone, Debug)]
struct Headers {
    /// By name; the shortest lists first.
    tables: Box<[(HeaderName, Table)]>,
    /// Where a name stands in `tables`.
    places: Places,
}

#[derive(Clone, Default)]
struct Places(HashMap<HeaderName, u32, RandomState>);

/// A stretch of `Index::members`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct List {
    start: u32,
    length: u32,
}

/// Lists by exact value.
#[derive(Clone)]
struct Table {
    lists: HashMap<Box<[u8]>, List, RandomState>,
    /// The lowest rule number in any of them.
    lowest: u32,
}

impl List {
    #[cfg(test)]
    pub(super) fn new(start: u32, length: u32) -> Self {
        Self { start, length }
    }

    #[cfg(test)]
    pub(super) fn start(self) -> u32 {
        self.start
    }

    pub(super) fn is_empty(self) -> bool {
        self.length == 0
    }
}

impl RuleSet {
    /// The rules in their order.
    pub fn new(rules: Vec<(RouteMatch, RouteIndex)>) -> Self {
        let index = (rules.len() > SCAN_UP_TO).then(|| Box::new(Index::new(&rules)));
        Self { rules: rules.into(), index }
    }

    /// The same rules, always tried in turn: what the index must agree with.
    #[doc(hidden)]
    pub fn new_unindexed(rules: Vec<(RouteMatch, RouteIndex)>) -> Self {
        Self { rules: rules.into(), index: None }
    }

    /// The same rules, always through the index, however few.
    #[doc(hidden)]
    pub fn new_indexed(rules: Vec<(RouteMatch, RouteIndex)>) -> Self {
        let index = Some(Box::new(Index::new(&rules)));
        Self { rules: rules.into(), index }
    }

    /// The route of the first rule that matches.
    ///
    /// A trace that records is told of every rule up to it, tried in turn by the same matches.
    pub fn first_match<T: Trace>(&self, request: &RequestView<'_>, trace: &mut T) -> Option<RouteIndex> {
        match &self.index {
            Some(index) if !T::RECORDS => index.first(&self.rules, request),
            _ => self.first_in_turn(request, trace),
        }
    }

    /// The rules with their routes, in their order.
    pub fn rules(&self) -> &[(RouteMatch, RouteIndex)] {
        &self.rules
    }

    fn first_in_turn<T: Trace>(&self, request: &RequestView<'_>, trace: &mut T) -> Option<RouteIndex> {
        for (rule, route) in &self.rules {
            if T::RECORDS {
                trace.rule(*route);
            }
            if rule.matches(request, trace) {
                return Some(*route);
            }
        }
        None
    }
}

/// One request on its way through the lists.
struct Search<'a> {
    rules: &'a [(RouteMatch, RouteIndex)],
    members: &'a [u32],
    request: &'a RequestView<'a>,
    /// The lowest rule number that matches so far.
    best: u32,
}

impl Search<'_> {
    #[inline]
    fn scan(&mut self, list: List) {
        for &number in &self.members[list.start as usize..(list.start + list.length) as usize] {
            if number >= self.best {
                return;
            }
            if self.rules[number as usize].0.matches(self.request, &mut ()) {
                self.best = number;
                return;
            }
        }
    }

    #[inline]
    fn look_up(&mut self, table: &Table, value: &[u8]) {
        if let Some(list) = table.lists.get(value) {
            self.scan(*list);
        }
    }
}

impl Headers {
    fn new(tables: Vec<(HeaderName, Table)>) -> Self {
        let places = tables.iter().zip(0..).map(|((name, _), place)| (name.clone(), place)).collect();
        Self { tables: tables.into(), places: Places(places) }
    }

    /// Goes through the names that rules ask for, or through the lines of the request, whichever are fewer.
    #[inline]
    fn look_up(&self, search: &mut Search<'_>) {
        let request = search.request.headers();
        if self.tables.len() <= request.len() {
            for (name, table) in &self.tables {
                if table.lowest >= search.best {
                    continue;
                }
                for line in request.get_all(name) {
                    search.look_up(table, line.as_bytes());
                }
            }
            return;
        }
        for (name, line) in request {
            if let Some((_, table)) = self.places.0.get(name).and_then(|place| self.tables.get(*place as usize))
                && table.lowest < search.best
            {
                search.look_up(table, line.as_bytes());
            }
        }
    }
}

impl Index {
    fn first(&self, rules: &[(RouteMatch, RouteIndex)], request: &RequestView<'_>) -> Option<RouteIndex> {
        let mut search = Search { rules, members: &self.members, request, best: u32::MAX };
        let path = request.path().as_bytes();
        if self.paths.lowest < u32::MAX {
            search.look_up(&self.paths, path);
        }
        self.prefixes.walk(path, |lowest, list| {
            let worth = lowest < search.best;
            if worth {
                search.scan(list);
            }
            worth
        });
        self.headers.look_up(&mut search);
        for (subject, table) in &self.subjects {
            if table.lowest >= search.best {
                continue;
            }
            if let Some(value) = subject.value(request) {
                search.look_up(table, value.as_bytes());
            }
        }
        search.scan(self.residual);
        rules.get(search.best as usize).map(|(_, route)| *route)
    }

    fn new(rules: &[(RouteMatch, RouteIndex)]) -> Self {
        let mut shared: HashMap<Key<'_>, u32> = HashMap::new();
        for (rule, _) in rules {
            for key in keys(rule) {
                *shared.entry(key).or_default() += 1;
            }
        }
        let mut lists: HashMap<Key<'_>, Vec<u32>> = HashMap::new();
        let mut residual = vec![];
        for ((rule, _), number) in rules.iter().zip(0..) {
            // Of equals `min_by_key` takes the first, and `keys` gives the preferred ones first.
            match keys(rule).into_iter().min_by_key(|key| shared.get(key).copied()) {
                Some(key) => lists.entry(key).or_default().push(number),
                None => residual.push(number),
            }
        }
        Layout::default().index(lists, &residual)
    }
}

/// The lists while they are laid out one after the other.
#[derive(Default)]
struct Layout {
    members: Vec<u32>,
}

impl Layout {
    fn index(mut self, lists: HashMap<Key<'_>, Vec<u32>>, residual: &[u32]) -> Index {
        let (mut paths, mut prefixes, mut subjects) = (Table::default(), vec![], HashMap::<&Subject, Table>::new());
        // The same rules are laid out in the same way: by the first rule of each list, which is in no other.
        let mut lists: Vec<_> = lists.into_iter().collect();
        lists.sort_unstable_by(|(_, one), (_, other)| one.cmp(other));
        for (key, numbers) in lists {
            let list = self.put(&numbers);
            match key {
                Key::Path(path) => paths.put(path, list, &numbers),
                Key::Prefix(prefix) => prefixes.push((prefix.as_bytes(), list)),
                Key::Value(subject, value) => subjects.entry(subject).or_default().put(value, list, &numbers),
            }
        }
        let residual = self.put(residual);
        let longest = |table: &Table| table.lists.values().map(|list| list.length).max();
        let mut subjects: Vec<_> = subjects.into_iter().map(|(subject, table)| (subject.clone(), table)).collect();
        subjects.sort_by_key(|(_, table)| (longest(table), table.lowest));
        let mut headers = vec![];
        subjects.retain_mut(|(subject, table)| match subject {
            Subject::Header(name) => {
                headers.push((name.clone(), std::mem::take(table)));
                false
            }
            _ => true,
        });
        let (headers, members) = (Headers::new(headers), self.members);
        let lowest = |list: List| if list.is_empty() { u32::MAX } else { members[list.start as usize] };
        let prefixes = PrefixTrie::new(prefixes, lowest);
        Index { members: members.into(), paths, prefixes, headers, subjects: subjects.into(), residual }
    }

    fn put(&mut self, numbers: &[u32]) -> List {
        let start = self.members.len() as u32;
        self.members.extend_from_slice(numbers);
        List { start, length: numbers.len() as u32 }
    }
}

/// The names stand in the tables.
impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").finish_non_exhaustive()
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = self.lists.iter().map(|(value, list)| (String::from_utf8_lossy(value), list));
        f.debug_map().entries(values.collect::<BTreeMap<_, _>>()).finish()
    }
}

impl Default for Table {
    fn default() -> Self {
        Self { lists: HashMap::default(), lowest: u32::MAX }
    }
}

impl Table {
    fn put(&mut self, value: &str, list: List, numbers: &[u32]) {
        self.lists.insert(value.as_bytes().into(), list);
        self.lowest = numbers.iter().copied().fold(self.lowest, u32::min);
    }
}

/// A condition that a rule can be found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key<'a> {
    Path(&'a str),
    Prefix(&'a str),
    Value(&'a Subject, &'a str),
}

/// What a rule can be found by, the preferred first. The beginning `/` that nearly every path has is none.
fn keys(rule: &RouteMatch) -> Vec<Key<'_>> {
    let mut keys = vec![];
    match rule.uri().only() {
        Some(path) => keys.push(Key::Path(path)),
        None if rule.uri().start().len() > 1 => keys.push(Key::Prefix(rule.uri().start())),
        None => {}
    }
    let mut values: Vec<_> = rule.others().iter().filter(|other| !other.inverted).collect();
    values.sort_by_key(|other| preference(&other.subject));
    for other in values {
        if let Some(value) = other.matcher.only()
            && preference(&other.subject).is_some()
        {
            keys.push(Key::Value(&other.subject, value));
        }
    }
    keys
}

/// The place of a subject among equally rare keys; `None` for one that has no single value to look up.
fn preference(subject: &Subject) -> Option<u8> {
    match subject {
        Subject::Header(_) => Some(0),
        Subject::Authority => Some(1),
        Subject::Method => Some(2),
        Subject::Scheme => Some(3),
        Subject::Query(_) => Some(4),
        Subject::Uri | Subject::PathAndQuery | Subject::NoHeader(_) => None,
    }
}
