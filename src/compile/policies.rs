//! What a rule says of the requests it sends on: rewrite, timeout, retries, faults, mirrors, CORS.

use std::time::Duration;

use http::StatusCode;

use super::matches;
use super::mesh_options;
use super::path::Path;
use super::review::Review;
use super::virtual_services::{MeantVirtualService, Target, Understanding};
use crate::config::units;
use crate::config::{
    self, CorsPolicy, FaultAbort, FaultDelay, HttpFaultInjection, HttpMirrorPolicy, HttpRewrite, HttpRoute,
    RegexRewrite, UnmatchedPreflights,
};
use crate::options::{HttpRetryPolicy, MeshOptions};
use crate::route::{
    Abort, AuthorityRewrite, Cors, Fault, PathRewrite, Percent, RegexCache, RetryPolicy, StringMatcher,
};

/// The policies of a rule, each as a whole: a delegate's takes the place of its root's.
#[derive(Clone, Default)]
pub(crate) struct Policies {
    pub(crate) rewrite: Option<RuleRewrite>,
    /// Zero: none.
    pub(crate) timeout: Option<Duration>,
    /// `None`: the default of the mesh.
    pub(crate) retries: Option<Retries>,
    pub(crate) fault: Option<Fault>,
    pub(crate) mirror: Option<Target>,
    /// `mirrorPercent`, of which `mirrorPercentage` takes the place.
    pub(crate) mirror_percent: Option<Percent>,
    pub(crate) mirror_percentage: Option<Percent>,
    /// Empty: not said.
    pub(crate) mirrors: Vec<(Target, Percent)>,
    pub(crate) cors: Option<Cors>,
}

/// A rewrite before it is known which match led to it.
#[derive(Clone, Default)]
pub(crate) struct RuleRewrite {
    /// Empty: the path stays, or is rewritten by [`Self::regex`].
    pub(crate) uri: String,
    pub(crate) regex: Option<PathRewrite>,
    pub(crate) authority: Option<AuthorityRewrite>,
}

/// What is tried again, before it is known how the destination is balanced.
#[derive(Clone)]
pub(crate) struct Retries {
    /// `None`: nothing.
    policy: Option<RetryPolicy>,
    ignore_previous_hosts: Option<bool>,
}

impl Policies {
    /// These, and those of `root` where these say nothing.
    pub(crate) fn or(self, root: &Policies) -> Policies {
        Policies {
            rewrite: self.rewrite.or_else(|| root.rewrite.clone()),
            timeout: self.timeout.or(root.timeout),
            retries: self.retries.or_else(|| root.retries.clone()),
            fault: self.fault.or_else(|| root.fault.clone()),
            mirror: self.mirror.or_else(|| root.mirror.clone()),
            mirror_percent: self.mirror_percent.or(root.mirror_percent),
            mirror_percentage: self.mirror_percentage.or(root.mirror_percentage),
            mirrors: if self.mirrors.is_empty() { root.mirrors.clone() } else { self.mirrors },
            cors: self.cors.or_else(|| root.cors.clone()),
        }
    }

    /// Where copies go, and of how many requests.
    pub(crate) fn mirrors(&self) -> impl Iterator<Item = (&Target, Percent)> {
        let percent = self.mirror_percentage.or(self.mirror_percent).unwrap_or(Percent::ALWAYS);
        let single = self.mirror.iter().map(move |target| (target, percent));
        single.chain(self.mirrors.iter().map(|(target, percent)| (target, *percent)))
    }

    /// Where copies would go.
    pub(crate) fn mirror_targets(&self) -> impl Iterator<Item = &Target> {
        self.mirrors().map(|(target, _)| target)
    }
}

impl Retries {
    fn new(words: &HttpRetryPolicy) -> Self {
        let HttpRetryPolicy {
            attempts,
            per_try_timeout,
            retry_on,
            retry_remote_localities,
            retry_ignore_previous_hosts,
            backoff,
        } = words;
        let mut policy =
            RetryPolicy { attempts: *attempts, per_try_timeout: *per_try_timeout, ..RetryPolicy::default() };
        if !retry_on.is_empty() {
            (policy.on, policy.statuses) = RetryPolicy::parse_on(retry_on);
        }
        policy.backoff = backoff.unwrap_or(policy.backoff);
        policy.remote_localities = *retry_remote_localities;
        let policy = (*attempts > 0).then_some(policy);
        Self { policy, ignore_previous_hosts: *retry_ignore_previous_hosts }
    }

    /// What holds where no rule says anything.
    pub(crate) fn of_mesh(options: &MeshOptions) -> Self {
        match &options.default_http_retry_policy {
            Some(words) => Self::new(words),
            None => Self { policy: Some(RetryPolicy::default()), ignore_previous_hosts: None },
        }
    }

    /// The policy for requests whose only destination is balanced by a hash, or not. By hash they go to the same
    /// endpoint again unless the rule says otherwise.
    pub(crate) fn policy(&self, hashed: bool) -> Option<RetryPolicy> {
        let mut policy = self.policy.clone()?;
        policy.ignore_previous_hosts = self.ignore_previous_hosts.unwrap_or(!hashed);
        Some(policy)
    }
}

/// Gives the default of the mesh to rules that say nothing of retries; delegates have theirs from their roots by now.
pub(crate) fn complete(meant: &mut [MeantVirtualService<'_>], options: &MeshOptions) {
    let default = Retries::of_mesh(options);
    for rule in meant.iter_mut().flat_map(|meant| &mut meant.rules) {
        rule.policies.retries.get_or_insert_with(|| default.clone());
    }
}

/// The policies of a rule; what is wrong with them is said, and left out.
pub(crate) fn understand(rule: &HttpRoute, path: &Path<'_>, with: &mut Understanding<'_, '_>) -> Policies {
    let HttpRoute {
        name: _,
        matches: _,
        route: _,
        redirect: _,
        direct_response: _,
        delegate: _,
        rewrite,
        timeout,
        retries,
        fault,
        mirror,
        mirrors,
        mirror_percent,
        mirror_percentage,
        cors_policy,
        headers: _,
    } = rule;
    let review = &mut *with.review;
    let rewrite = rewrite.as_ref().map(|words| self::rewrite(words, &path.field("rewrite"), review));
    let fault = fault.as_ref().map(|words| self::fault(words, &path.field("fault"), review));
    let cors = cors_policy.as_ref().and_then(|words| cors(words, with.regexes));
    let list = path.field("mirrors");
    let mirrors = mirrors.iter().enumerate().filter_map(|(number, words)| {
        let HttpMirrorPolicy { destination, percentage } = words;
        let path = list.index(number);
        let target = with.target(destination.as_ref()?, &path.field("destination"));
        Some((target, share(percentage.as_ref()).unwrap_or(Percent::ALWAYS)))
    });
    Policies {
        rewrite,
        timeout: timeout.and_then(units::Duration::to_std),
        retries: retries.as_ref().map(|words| Retries::new(&mesh_options::retries(words))),
        fault,
        mirrors: mirrors.collect(),
        mirror: mirror.as_ref().map(|destination| with.target(destination, &path.field("mirror"))),
        mirror_percent: mirror_percent.map(|percent| Percent::new(percent.into())),
        mirror_percentage: share(mirror_percentage.as_ref()),
        cors,
    }
}

fn share(percentage: Option<&config::Percent>) -> Option<Percent> {
    percentage.map(|config::Percent { value }| Percent::new(*value))
}

fn rewrite(words: &HttpRewrite, path: &Path<'_>, review: &mut Review<'_>) -> RuleRewrite {
    let HttpRewrite { uri, authority, uri_regex_rewrite } = words;
    let mut rewrite = RuleRewrite { uri: uri.clone(), ..RuleRewrite::default() };
    if !authority.is_empty() {
        rewrite.authority = AuthorityRewrite::new(authority).ok();
    }
    if let Some(RegexRewrite { matches, rewrite: replacement }) = uri_regex_rewrite {
        match PathRewrite::regex(matches, replacement) {
            Ok(regex) => rewrite.regex = Some(regex),
            Err(error) => review.warning(&path.field("uriRegexRewrite"), format!("{error}: the path stays as it is")),
        }
    }
    rewrite
}

fn fault(words: &HttpFaultInjection, path: &Path<'_>, review: &mut Review<'_>) -> Fault {
    let HttpFaultInjection { delay, abort } = words;
    let delay = delay.as_ref().and_then(|words| self::delay(words, &path.field("delay"), review));
    let abort = abort.as_ref().and_then(|words| self::abort(words, &path.field("abort"), review));
    Fault { delay, abort }
}

/// A fault whose percentage is not said befalls no request.
const NEVER: &str = "a percentage of 0, as it is without one, is of no request";

fn delay(words: &FaultDelay, path: &Path<'_>, review: &mut Review<'_>) -> Option<(Percent, Duration)> {
    let FaultDelay { percent, fixed_delay, exponential_delay, percentage } = words;
    review.not_honored(&path.field("exponentialDelay"), exponential_delay);
    if percentage.is_some() && *percent != 0 {
        review.without_effect(&path.field("percent"), "`percentage` takes its place");
    }
    let Some(delay) = fixed_delay.and_then(units::Duration::to_std) else {
        review.without_effect(path, "it has no `fixedDelay`");
        return None;
    };
    let share = share(percentage.as_ref()).unwrap_or(Percent::new((*percent).into()));
    if share.is_never() {
        review.without_effect(path, NEVER);
        return None;
    }
    Some((share, delay))
}

fn abort(words: &FaultAbort, path: &Path<'_>, review: &mut Review<'_>) -> Option<(Percent, Abort)> {
    let FaultAbort { http_status, grpc_status, http2_error, percentage } = words;
    review.not_honored(&path.field("http2Error"), http2_error);
    let status = http_status.and_then(|status| StatusCode::from_u16(u16::try_from(status).ok()?).ok());
    // Validation says where there is none.
    let abort = status.map(Abort::Http).or_else(|| Abort::grpc(grpc_status.as_deref()?))?;
    let share = share(percentage.as_ref()).unwrap_or(Percent::NEVER);
    if share.is_never() {
        review.without_effect(path, NEVER);
        return None;
    }
    Some((share, abort))
}

/// `None`: it cannot be, which validation refuses.
fn cors(words: &CorsPolicy, regexes: &mut RegexCache) -> Option<Cors> {
    let CorsPolicy {
        allow_origin,
        allow_origins,
        allow_methods,
        allow_headers,
        expose_headers,
        max_age,
        allow_credentials,
        unmatched_preflights,
    } = words;
    let mut origins: Vec<_> = allow_origins.iter().filter_map(|origin| matches::text(origin, regexes)).collect();
    if allow_origins.is_empty() {
        origins.extend(allow_origin.iter().map(|origin| StringMatcher::exact(origin)));
    }
    let mut cors = Cors::new(origins)
        .with_methods(allow_methods.iter().map(String::as_str))
        .and_then(|cors| cors.with_headers(allow_headers.iter().map(String::as_str)))
        .and_then(|cors| cors.with_exposed(expose_headers.iter().map(String::as_str)))
        .ok()?
        .with_credentials(allow_credentials.unwrap_or(false));
    if let Some(age) = max_age.and_then(units::Duration::to_std) {
        cors = cors.with_max_age(age.as_secs());
    }
    Some(match unmatched_preflights {
        UnmatchedPreflights::Ignore => cors.with_unmatched_answered(true),
        UnmatchedPreflights::Forward | UnmatchedPreflights::Unspecified => cors,
    })
}
