//! What is left of a resource once the values are out that cannot be read: [`without`].

use std::collections::HashSet;

use super::yaml::{self, Map, Value};

/// A copy of `value`, which stands at `path`, without what stands at the `broken` paths; `None` if that is all of it. A
/// list goes with each of its entries: without that one the others would stand elsewhere.
pub(super) fn without(value: &Value, path: &mut String, broken: &HashSet<&str>) -> Option<Value> {
    if broken.contains(path.as_str()) {
        return None;
    }
    let end = path.len();
    Some(match value {
        Value::Mapping(mapping) => {
            let mut left = Map::new();
            for (key, entry) in mapping {
                yaml::push_key(path, &yaml::key_text(key));
                if let Some(entry) = without(entry, path, broken) {
                    left.insert(key.clone(), entry);
                }
                path.truncate(end);
            }
            Value::Mapping(left)
        }
        Value::Sequence(entries) => {
            let mut left = Vec::with_capacity(entries.len());
            for (index, entry) in entries.iter().enumerate() {
                yaml::push_index(path, index);
                left.push(without(entry, path, broken)?);
                path.truncate(end);
            }
            Value::Sequence(left)
        }
        other => other.clone(),
    })
}
