//! Judges what holds for every answer, and the shares of many.

use std::collections::{BTreeMap, BTreeSet};

use super::answer::judge_answer;
use super::{Failures, brief};
use crate::client::Answer;
use crate::schema::{Expect, Range};

/// Which upstream served each key, by the name it was saved under.
pub(crate) type Saved = BTreeMap<String, BTreeMap<usize, Option<String>>>;

/// Judges all answers of a step.
pub(crate) fn judge_answers(answers: &[Answer], expect: &Expect, saved: &mut Saved, failures: &mut Failures) {
    let at_least = expect.at_least.unwrap_or(1);
    failures.require(answers.len() >= at_least, || format!("{} answers, want {at_least}", answers.len()));
    for answer in answers {
        judge_answer(answer, expect, failures);
        if !failures.is_empty() {
            break; // The others would mostly say the same.
        }
    }
    judge_each(answers, expect, failures);
    judge_counts(answers, expect, failures);
    judge_fractions(answers, expect, failures);
    judge_keys(answers, expect, saved, failures);
}

fn is_status(answer: &Answer, status: &str) -> bool {
    answer.error.is_none() && has_status(answer, status)
}

fn has_status(answer: &Answer, status: &str) -> bool {
    answer.status.is_some_and(|got| got.to_string() == status)
}

fn served_by(answers: &[Answer], name: &str) -> usize {
    answers.iter().filter(|answer| answer.upstream() == Some(name)).count()
}

/// Some of the answers, for messages.
fn some<'a>(answers: impl Iterator<Item = &'a Answer>) -> String {
    let different: BTreeSet<String> = answers.map(|answer| brief(&answer.to_string(), 120)).collect();
    different.into_iter().take(4).collect::<Vec<_>>().join(", ")
}

fn judge_each(answers: &[Answer], expect: &Expect, failures: &mut Failures) {
    let mut each = |holds: &dyn Fn(&Answer) -> bool, wish: &str| {
        let bad: Vec<&Answer> = answers.iter().filter(|answer| !holds(answer)).collect();
        let count = bad.len();
        failures.require(count == 0, || format!("{count}/{} {wish}: {}", answers.len(), some(bad.into_iter())));
    };
    if let Some(statuses) = &expect.status {
        let wanted: Vec<&str> = statuses.0.iter().map(|status| status.as_str()).collect();
        // Where the answer breaks off as it should, its head is judged all the same.
        let is = if expect.error == Some(true) { has_status } else { is_status };
        each(&|answer| wanted.iter().any(|status| is(answer, status)), &format!("without status {wanted:?}"));
    }
    if let Some(upstreams) = &expect.upstream {
        let wanted: Vec<Option<&str>> = upstreams.0.iter().map(Option::as_deref).collect();
        each(&|answer| wanted.contains(&answer.upstream()), &format!("not served by {wanted:?}"));
    }
    if !expect.never.is_empty() {
        let never = |answer: &Answer| answer.upstream().is_some_and(|name| expect.never.iter().any(|no| no == name));
        each(&|answer| !never(answer), &format!("served by {:?}", expect.never));
    }
    if expect.error == Some(false) {
        each(&|answer| answer.error.is_none(), "connections broken");
    }
}

fn judge_counts(answers: &[Answer], expect: &Expect, failures: &mut Failures) {
    let total = answers.len();
    if let Some(range) = &expect.used {
        let used: BTreeSet<&str> = answers.iter().filter_map(Answer::upstream).collect();
        failures.require(range.holds_count(used.len()), || format!("upstreams {used:?}, want {range} of them"));
    }
    for (name, range) in &expect.counts {
        let count = served_by(answers, name);
        failures.require(range.holds_count(count), || format!("{name} served {count} of {total}, want {range}"));
    }
    for (word, range) in &expect.statuses {
        let named = |answer: &Answer| expect.statuses.keys().any(|status| is_status(answer, status.as_str()));
        let counted = |answer: &&Answer| match word.as_str() {
            "error" => answer.error.is_some(),
            "other" => !named(answer),
            status => is_status(answer, status),
        };
        let count = answers.iter().filter(counted).count();
        failures.require(range.holds_count(count), || {
            format!("status {word}: {count} of {total}, want {range} ({})", some(answers.iter()))
        });
    }
}

/// Judges a count of `total` independent draws with probability `p`.
pub(crate) fn judge_share(what: &str, count: usize, total: usize, p: f64, sigma: Option<f64>, failures: &mut Failures) {
    let total = total as f64;
    let tolerance = sigma.unwrap_or(5.0) * (p * (1.0 - p)).max(1e-9).sqrt() * total.sqrt() + 0.5;
    let wanted = p * total;
    failures.require((count as f64 - wanted).abs() <= tolerance, || {
        format!("{what}: {count} of {total}, want {wanted:.0} ± {tolerance:.1}")
    });
}

fn judge_fractions(answers: &[Answer], expect: &Expect, failures: &mut Failures) {
    let total = answers.len();
    let mut share = |what: String, count: usize, p: f64| judge_share(&what, count, total, p, expect.sigma, failures);
    for (name, p) in &expect.fractions.upstream {
        share(format!("upstream {name}"), served_by(answers, name), *p);
    }
    for (status, p) in &expect.fractions.status {
        let count = answers.iter().filter(|answer| is_status(answer, status.as_str())).count();
        share(format!("status {status}"), count, *p);
    }
    for (word, p) in &expect.fractions.slow {
        let limit: f64 = word.as_str().parse().unwrap_or(f64::NAN);
        let slow = |answer: &&Answer| answer.error.is_none() && answer.elapsed.as_secs_f64() >= limit;
        share(format!("slower than {word}s"), answers.iter().filter(slow).count(), *p);
    }
    let part = |name: &str| served_by(answers, name) as f64 / total as f64;
    for (name, limit) in &expect.share_below {
        let share = part(name);
        failures.require(share < *limit, || format!("{name} has a share of {share:.3}, want less than {limit}"));
    }
    for (name, limit) in &expect.share_above {
        let share = part(name);
        failures.require(share > *limit, || format!("{name} has a share of {share:.3}, want more than {limit}"));
    }
}

fn judge_keys(answers: &[Answer], expect: &Expect, saved: &mut Saved, failures: &mut Failures) {
    let mut keys: BTreeMap<usize, Vec<Option<String>>> = BTreeMap::new();
    for answer in answers {
        keys.entry(answer.key).or_default().push(answer.upstream().map(str::to_owned));
    }
    if expect.sticky {
        let sticks = |served: &Vec<Option<String>>| served[0].is_some() && served.iter().all(|one| *one == served[0]);
        let loose: Vec<_> = keys.values().filter(|served| !sticks(served)).collect();
        failures.require(loose.is_empty(), || {
            format!("{} of {} keys are not sticky, like {:?}", loose.len(), keys.len(), loose[0])
        });
    }
    let first: BTreeMap<usize, Option<String>> =
        keys.into_iter().map(|(key, mut served)| (key, served.swap_remove(0))).collect();
    if let Some(name) = &expect.same_as {
        let Some(before) = saved.get(name) else {
            failures.add(format!("nothing was saved as {name}"));
            return;
        };
        let allowed = |old: &Option<String>| old.as_ref().is_some_and(|old| expect.except.0.contains(old));
        let moved =
            |(key, now): &(&usize, &Option<String>)| before.get(key).is_none_or(|old| !allowed(old) && old != *now);
        let count = first.iter().filter(moved).count();
        // a bare number is the most that may move
        let range = match expect.moved {
            None => Range::Between(None, Some(0.0)),
            Some(Range::Exactly(most)) => Range::Between(None, Some(most)),
            Some(between) => between,
        };
        failures.require(range.holds_count(count), || format!("{count} of {} keys moved, want {range}", first.len()));
    }
    if let Some(name) = &expect.save {
        saved.insert(name.clone(), first);
    }
}
