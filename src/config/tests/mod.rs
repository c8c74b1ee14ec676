//! Tests of reading.

mod documents;
mod durations;
mod fields;
mod paths;
mod values;

use super::Config;

/// All problems of a text, as they are told.
fn told(text: &str) -> Vec<String> {
    match Config::from_yaml(text, "a.yaml") {
        Ok(config) => config.problems.iter().map(ToString::to_string).collect(),
        Err(error) => error.problems().iter().map(ToString::to_string).collect(),
    }
}

/// A VirtualService with `rule` as the only entry of `http`; the rule begins on line 7.
fn virtual_service(rule: &str) -> String {
    let rule = rule.replace('\n', "\n    ");
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: a}}\nspec:\n  hosts: [a]\n  http:\n  - \
         {rule}\n"
    )
}
