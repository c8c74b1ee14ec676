//! Header operations of a rule or destination (`headers.request`, `headers.response`): [`HeaderOps`].

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::uri::Authority;

use super::one_line::{self, Side};
use super::steering;
use super::{Format, FormatContext, FormatError};

/// Removes, sets and adds headers, prepared as far as possible.
///
/// All removals run first, then all sets, then all adds, each in the order of the names. A value may have commands of
/// a [`Format`]: all of them are read before the first is written. A value that comes out empty leaves the header
/// alone. What is added is a line of its own, but where Envoy keeps one (`user-agent`, `content-type`, `vary`...): there
/// it joins what is there, behind a comma. `host` and `:authority` of a request are kept apart as [`HeaderOps::authority`].
///
/// ```
/// use http::HeaderMap;
/// use mesh_router::route::{FormatContext, HeaderOps};
///
/// let mut builder = HeaderOps::request();
/// builder.set("x-env", "100%% canary").unwrap().set("x-to", "%REQ(:authority)%").unwrap().remove("cookie").unwrap();
/// let ops = builder.build();
/// let mut headers = HeaderMap::new();
/// headers.insert("cookie", "a=b".parse().unwrap());
/// ops.apply_request(&mut headers, &FormatContext { authority: "a.test", ..FormatContext::default() });
/// assert_eq!(headers["x-env"], "100% canary");
/// assert_eq!(headers["x-to"], "a.test");
/// assert!(!headers.contains_key("cookie"));
/// ```
#[derive(Clone, Debug, Default)]
pub struct HeaderOps {
    remove: Box<[HeaderName]>,
    set: Box<[(HeaderName, Value)]>,
    add: Box<[(HeaderName, Value)]>,
    authority: Option<AuthorityRewrite>,
    needs: Needs,
}

/// What the values of operations ask for; each is asked of every request.
#[derive(Clone, Copy, Debug, Default)]
struct Needs {
    /// Whether one has commands.
    context: bool,
    request: bool,
    start: bool,
    /// Whether a header is one that the router obeys.
    steering: bool,
}

/// What a header is set to.
#[derive(Clone, Debug)]
enum Value {
    /// The same for every request.
    Literal(HeaderValue),
    Format(Format),
}

/// The authority that the upstream is to see, in both forms a request may need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorityRewrite {
    /// As part of a URI, which is `:authority` in HTTP/2.
    pub uri: Authority,
    /// As the `Host` header.
    pub host: HeaderValue,
}

impl AuthorityRewrite {
    /// The authority `text`.
    ///
    /// # Errors
    /// [`HeaderOpError::Authority`] if it is none: `host` or `host:port`.
    pub fn new(text: &str) -> Result<Self, HeaderOpError> {
        let wrong = || HeaderOpError::Authority(text.to_owned());
        let uri = text.parse::<Authority>().map_err(|_| wrong())?;
        let host = HeaderValue::from_str(text).map_err(|_| wrong())?;
        Ok(Self { uri, host })
    }
}

/// Why a header operation cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderOpError {
    /// No header can have this name.
    #[error("{0:?} is no header name")]
    Name(String),
    /// No header can have this value.
    #[error("{0:?} is no header value")]
    Value(String),
    /// The value has a command that cannot be.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The value for `host` or `:authority` is no authority.
    #[error("{0:?} is no host or host:port")]
    Authority(String),
}

impl HeaderOps {
    /// Starts operations on a request.
    pub fn request() -> HeaderOpsBuilder {
        HeaderOpsBuilder::new(true)
    }

    /// Starts operations on a response.
    pub fn response() -> HeaderOpsBuilder {
        HeaderOpsBuilder::new(false)
    }

    fn new(
        remove: Box<[HeaderName]>,
        set: Box<[(HeaderName, Value)]>,
        add: Box<[(HeaderName, Value)]>,
        authority: Option<AuthorityRewrite>,
    ) -> Self {
        let needs = Needs {
            context: formats(&set, &add).next().is_some(),
            request: formats(&set, &add).any(Format::names_request),
            start: formats(&set, &add).any(Format::names_start),
            steering: set.iter().chain(&add).any(|(name, _)| steering::steers(name)),
        };
        Self { remove, set, add, authority, needs }
    }

    /// Whether nothing is to be done, the authority aside.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Whether lines of `name` are removed.
    pub(crate) fn removes(&self, name: &HeaderName) -> bool {
        self.remove.contains(name)
    }

    /// The authority that `set` or `add` of `host` or `:authority` asks for; `set` wins.
    pub fn authority(&self) -> Option<&AuthorityRewrite> {
        self.authority.as_ref()
    }

    /// Whether no value depends on the request: the context is then not looked at.
    pub fn is_literal(&self) -> bool {
        !self.needs.context
    }

    /// Whether a value names a part of the request's head, which must then be kept for operations on the response.
    pub fn needs_request(&self) -> bool {
        self.needs.request
    }

    /// Whether a value says when the request came, which must then be noted.
    pub fn needs_start(&self) -> bool {
        self.needs.start
    }

    /// Whether a header is set or added that the router obeys: see [`Steering`](super::Steering).
    pub(crate) fn steers(&self) -> bool {
        self.needs.steering
    }

    /// Changes the headers of a request; the authority is left to the caller. `%REQ(..)%` reads `headers` themselves,
    /// after the removals.
    pub fn apply_request(&self, headers: &mut HeaderMap, context: &FormatContext<'_>) {
        self.remove_from(headers);
        let rendered = self.rendered(&FormatContext { request: headers, ..*context });
        self.write_to(headers, rendered, Side::Request);
    }

    /// Changes the headers of a response. `%RESP(..)%` reads `headers` themselves, after the removals.
    pub fn apply_response(&self, headers: &mut HeaderMap, context: &FormatContext<'_>) {
        self.remove_from(headers);
        if !self.is_literal() {
            // Of a header that has one line in Envoy, `%RESP(..)%` is all of it.
            one_line::join(headers, Side::Response);
        }
        let rendered = self.rendered(&FormatContext { response: headers, ..*context });
        self.write_to(headers, rendered, Side::Response);
    }

    fn remove_from(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
    }

    /// Sets and adds; `rendered` has the values that are not literal.
    fn write_to(&self, headers: &mut HeaderMap, rendered: Vec<Option<HeaderValue>>, side: Side) {
        let mut rendered = rendered.into_iter();
        let mut next = |value: &Value| match value {
            Value::Literal(value) => Some(value.clone()),
            Value::Format(_) => rendered.next().flatten(),
        };
        for (name, value) in &self.set {
            if let Some(value) = next(value) {
                headers.insert(name.clone(), value);
            }
        }
        for (name, value) in &self.add {
            if let Some(value) = next(value) {
                one_line::append(headers, name, value, side);
            }
        }
    }

    /// The values that depend on the request, in their order; those that come out empty, or fit in no header, as
    /// `None`.
    fn rendered(&self, context: &FormatContext<'_>) -> Vec<Option<HeaderValue>> {
        if self.is_literal() {
            return Vec::new();
        }
        let rendered = formats(&self.set, &self.add).map(|format| {
            let value = Some(format.render(context)).filter(|value| !value.is_empty())?;
            HeaderValue::from_maybe_shared(Bytes::from(value)).ok()
        });
        rendered.collect()
    }

    /// The operations of a rule joined with those of its only destination: all removals, then the sets of the rule
    /// and of the destination (which therefore wins), then the adds likewise. The authority of the rule wins.
    #[must_use]
    pub fn then(self, destination: HeaderOps) -> HeaderOps {
        fn join<T>(first: Box<[T]>, second: Box<[T]>) -> Box<[T]> {
            first.into_vec().into_iter().chain(second).collect()
        }
        HeaderOps::new(
            join(self.remove, destination.remove),
            join(self.set, destination.set),
            join(self.add, destination.add),
            self.authority.or(destination.authority),
        )
    }
}

/// Builds [`HeaderOps`]; see [`HeaderOps::request`] and [`HeaderOps::response`].
#[derive(Clone, Debug)]
pub struct HeaderOpsBuilder {
    request: bool,
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Value)>,
    add: Vec<(HeaderName, Value)>,
    set_authority: Option<AuthorityRewrite>,
    add_authority: Option<AuthorityRewrite>,
}

impl HeaderOpsBuilder {
    fn new(request: bool) -> Self {
        Self { request, remove: vec![], set: vec![], add: vec![], set_authority: None, add_authority: None }
    }

    /// Removes every line of `name`. `host` and names that begin with `:` are passed over.
    ///
    /// # Errors
    /// [`HeaderOpError::Name`].
    pub fn remove(&mut self, name: &str) -> Result<&mut Self, HeaderOpError> {
        if !is_reserved(name) {
            self.remove.push(header_name(name)?);
        }
        Ok(self)
    }

    /// Replaces all lines of `name` by one with `value`, which is a [`Format`].
    ///
    /// # Errors
    /// Any [`HeaderOpError`].
    pub fn set(&mut self, name: &str, value: &str) -> Result<&mut Self, HeaderOpError> {
        if is_reserved(name) {
            if let Some(authority) = self.authority_of(name, value)? {
                self.set_authority = Some(authority);
            }
        } else if let Some(line) = header_line(name, value)? {
            self.set.push(line);
        }
        Ok(self)
    }

    /// Adds a line `name` with `value`, which is a [`Format`], after those there are.
    ///
    /// # Errors
    /// Any [`HeaderOpError`].
    pub fn add(&mut self, name: &str, value: &str) -> Result<&mut Self, HeaderOpError> {
        if is_reserved(name) {
            if let Some(authority) = self.authority_of(name, value)? {
                self.add_authority = Some(authority);
            }
        } else if let Some(line) = header_line(name, value)? {
            self.add.push(line);
        }
        Ok(self)
    }

    /// The operations, each kind in the order of the names.
    pub fn build(mut self) -> HeaderOps {
        self.remove.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        self.set.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        self.add.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        HeaderOps::new(self.remove.into(), self.set.into(), self.add.into(), self.set_authority.or(self.add_authority))
    }

    /// What a reserved name means: the authority of a request, else nothing. It is literal, without substitutions.
    fn authority_of(&self, name: &str, value: &str) -> Result<Option<AuthorityRewrite>, HeaderOpError> {
        let authority = name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority");
        if self.request && authority && !value.is_empty() { AuthorityRewrite::new(value).map(Some) } else { Ok(None) }
    }
}

/// The values that have commands, in their order.
fn formats<'a>(set: &'a [(HeaderName, Value)], add: &'a [(HeaderName, Value)]) -> impl Iterator<Item = &'a Format> {
    set.iter().chain(add).filter_map(|(_, value)| match value {
        Value::Literal(_) => None,
        Value::Format(format) => Some(format),
    })
}

fn is_reserved(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

fn header_name(name: &str) -> Result<HeaderName, HeaderOpError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderOpError::Name(name.to_owned()))
}

/// The prepared line, or `None` for an empty value.
fn header_line(name: &str, value: &str) -> Result<Option<(HeaderName, Value)>, HeaderOpError> {
    let name = header_name(name)?;
    let format = Format::parse(value)?;
    let wrong = |_| HeaderOpError::Value(value.to_owned());
    let value = match format.literal() {
        Some("") => return Ok(None),
        Some(literal) => Value::Literal(HeaderValue::from_bytes(literal.as_bytes()).map_err(wrong)?),
        None => Value::Format(format),
    };
    Ok(Some((name, value)))
}

#[cfg(test)]
mod tests;
