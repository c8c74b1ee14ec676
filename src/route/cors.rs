//! Cross-origin requests (`http[].corsPolicy`): [`Cors`].
//!
//! CORS never refuses a request: it answers preflights of the origins that may call, and adds headers to the responses
//! that they get. What is not allowed is up to the browser.

use http::Method;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue, ORIGIN,
};

use super::StringMatcher;

/// Which scripts of other origins may call (`http[].corsPolicy`).
///
/// ```
/// use http::{HeaderMap, HeaderValue, Method};
/// use mesh_router::route::{Cors, CorsVerdict, StringMatcher};
///
/// let cors = Cors::new(vec![StringMatcher::exact("https://a")]).with_methods(["GET", "POST"]).unwrap();
/// let mut headers = HeaderMap::new();
/// headers.insert("origin", HeaderValue::from_static("https://a"));
/// assert!(matches!(cors.judge(&Method::GET, &headers), CorsVerdict::Actual(_)));
/// headers.insert("access-control-request-method", HeaderValue::from_static("GET"));
/// let CorsVerdict::Preflight(answer) = cors.judge(&Method::OPTIONS, &headers) else { panic!() };
/// assert_eq!(answer["access-control-allow-methods"], "GET,POST");
/// ```
#[derive(Clone, Debug)]
pub struct Cors {
    origins: Box<[StringMatcher]>,
    /// Some matcher takes `*`, which stands for every origin.
    any_origin: bool,
    methods: Option<Names>,
    headers: Option<Names>,
    exposed: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
    credentials: bool,
    answer_unmatched: bool,
}

/// What a preflight is told of methods or headers.
#[derive(Clone, Debug)]
enum Names {
    /// What it asked for: the list is exactly `*`.
    AsAsked,
    Listed(HeaderValue),
}

/// What CORS means for a request.
#[derive(Clone, Debug)]
pub enum CorsVerdict {
    /// Nothing: it has no origin, or one that is not allowed. It goes on, and its response stays as it is.
    None,
    /// It is answered with 200, these headers and no body.
    Preflight(HeaderMap),
    /// It goes on, and its response gets headers, an answer made here too.
    Actual(CorsGrant),
}

/// What the response to an allowed origin is to say.
#[derive(Clone, Debug)]
pub struct CorsGrant {
    origin: HeaderValue,
}

/// A word of `corsPolicy` that fits in no header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} fits in no header")]
pub struct CorsError(String);

impl Cors {
    /// A policy that allows `origins` and says nothing else (`allowOrigins`). A matcher that takes the text `*` allows
    /// every origin.
    pub fn new(origins: Vec<StringMatcher>) -> Self {
        Self {
            any_origin: origins.iter().any(|origin| origin.matches(b"*")),
            origins: origins.into(),
            methods: None,
            headers: None,
            exposed: None,
            max_age: None,
            credentials: false,
            answer_unmatched: false,
        }
    }

    /// The methods that a preflight is told (`allowMethods`); `*` alone says the one that is asked for. Without any
    /// nothing is said.
    ///
    /// # Errors
    /// [`CorsError`], as for the other lists.
    pub fn with_methods<'a>(mut self, methods: impl IntoIterator<Item = &'a str>) -> Result<Self, CorsError> {
        self.methods = names(methods)?;
        Ok(self)
    }

    /// The request headers that a preflight is told (`allowHeaders`); `*` alone says those that are asked for.
    ///
    /// # Errors
    /// [`CorsError`].
    pub fn with_headers<'a>(mut self, headers: impl IntoIterator<Item = &'a str>) -> Result<Self, CorsError> {
        self.headers = names(headers)?;
        Ok(self)
    }

    /// The response headers that a script may read (`exposeHeaders`); preflights are told too, as by Envoy.
    ///
    /// # Errors
    /// [`CorsError`].
    pub fn with_exposed<'a>(mut self, headers: impl IntoIterator<Item = &'a str>) -> Result<Self, CorsError> {
        self.exposed = joined(headers)?;
        Ok(self)
    }

    /// How long the answer to a preflight may be kept, in seconds (`maxAge`).
    #[must_use]
    pub fn with_max_age(mut self, seconds: u64) -> Self {
        self.max_age = Some(HeaderValue::from(seconds));
        self
    }

    /// Whether credentials may be sent (`allowCredentials`). By default nothing is said.
    #[must_use]
    pub fn with_credentials(mut self, allowed: bool) -> Self {
        self.credentials = allowed;
        self
    }

    /// Whether preflights of other origins are answered here too, without an allowed origin
    /// (`unmatchedPreflights: IGNORE`). By default they go on to the destination.
    #[must_use]
    pub fn with_unmatched_answered(mut self, answered: bool) -> Self {
        self.answer_unmatched = answered;
        self
    }

    /// What is to be done with a request. A preflight asks with `OPTIONS` for a method.
    pub fn judge(&self, method: &Method, headers: &HeaderMap) -> CorsVerdict {
        let Some(origin) = headers.get(ORIGIN).filter(|origin| !origin.is_empty()) else { return CorsVerdict::None };
        let allowed = self.any_origin || self.origins.iter().any(|allowed| allowed.matches(origin.as_bytes()));
        let grant = allowed.then(|| CorsGrant { origin: origin.clone() });
        let asked = headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|asked| !asked.is_empty());
        match (asked.filter(|_| method == Method::OPTIONS), grant) {
            (Some(asked), grant) if grant.is_some() || self.answer_unmatched => {
                CorsVerdict::Preflight(self.preflight(grant, asked, headers.get(ACCESS_CONTROL_REQUEST_HEADERS)))
            }
            (_, Some(grant)) => CorsVerdict::Actual(grant),
            (_, None) => CorsVerdict::None,
        }
    }

    fn preflight(
        &self,
        grant: Option<CorsGrant>,
        asked_method: &HeaderValue,
        asked_headers: Option<&HeaderValue>,
    ) -> HeaderMap {
        let mut answer = HeaderMap::new();
        let mut say = |name: HeaderName, value: Option<&HeaderValue>| {
            if let Some(value) = value {
                answer.insert(name, value.clone());
            }
        };
        say(ACCESS_CONTROL_ALLOW_ORIGIN, grant.as_ref().map(|grant| &grant.origin));
        say(ACCESS_CONTROL_ALLOW_CREDENTIALS, self.credentials.then_some(&TRUE));
        say(ACCESS_CONTROL_ALLOW_METHODS, said(self.methods.as_ref(), Some(asked_method)));
        say(ACCESS_CONTROL_ALLOW_HEADERS, said(self.headers.as_ref(), asked_headers));
        say(ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.as_ref().filter(|_| grant.is_some()));
        say(ACCESS_CONTROL_MAX_AGE, self.max_age.as_ref());
        answer
    }
}

impl CorsGrant {
    /// Adds to a response what `policy`, which gave this grant, says of it; what is there already is replaced. It comes
    /// after the rule's operations on the response.
    pub fn apply(self, policy: &Cors, response: &mut HeaderMap) {
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin);
        if policy.credentials {
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
        }
        if let Some(exposed) = &policy.exposed {
            response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }
}

static NOTHING: HeaderValue = HeaderValue::from_static("");
const TRUE: HeaderValue = HeaderValue::from_static("true");

fn said<'a>(names: Option<&'a Names>, asked: Option<&'a HeaderValue>) -> Option<&'a HeaderValue> {
    match names? {
        // What was not asked for is still said to be allowed.
        Names::AsAsked => asked.or(Some(&NOTHING)),
        Names::Listed(list) => Some(list),
    }
}

fn names<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Option<Names>, CorsError> {
    let list = joined(words)?;
    Ok(list.map(|list| if list == "*" { Names::AsAsked } else { Names::Listed(list) }))
}

/// The words with commas between; `None` for none.
fn joined<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Option<HeaderValue>, CorsError> {
    let list = words.into_iter().collect::<Vec<_>>().join(",");
    if list.is_empty() {
        return Ok(None);
    }
    HeaderValue::from_str(&list).map(Some).map_err(|_| CorsError(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Cors {
        let cors = Cors::new(vec![StringMatcher::exact("https://a")]);
        let cors = cors.with_methods(["GET", "POST"]).unwrap().with_headers(["x-y"]).unwrap();
        cors.with_exposed(["x-e", "x-f"]).unwrap().with_max_age(60).with_credentials(true)
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    /// The verdict in words: the headers of an answer or of a response that had some of its own.
    fn judged(cors: &Cors, method: &str, lines: &[(&'static str, &'static str)]) -> String {
        let written = |headers: &HeaderMap| {
            let lines = headers.iter().map(|(name, value)| {
                format!("{}: {}", name.as_str().trim_start_matches("access-control-"), value.to_str().unwrap())
            });
            lines.collect::<Vec<_>>().join("; ")
        };
        match cors.judge(&method.parse().unwrap(), &headers(lines)) {
            CorsVerdict::None => "nothing".to_owned(),
            CorsVerdict::Preflight(answer) => format!("200 {}", written(&answer)),
            CorsVerdict::Actual(grant) => {
                let mut response = headers(&[("access-control-allow-origin", "*")]);
                grant.apply(cors, &mut response);
                format!("then {}", written(&response))
            }
        }
    }

    const A: (&str, &str) = ("origin", "https://a");
    const B: (&str, &str) = ("origin", "https://b");
    const GET: (&str, &str) = ("access-control-request-method", "GET");

    #[test]
    fn the_vectors_of_cors() {
        let answer = "200 allow-origin: https://a; allow-credentials: true; allow-methods: GET,POST; \
                      allow-headers: x-y; expose-headers: x-e,x-f; max-age: 60";
        let granted = "then allow-origin: https://a; allow-credentials: true; expose-headers: x-e,x-f";
        for (method, lines, expected) in [
            ("OPTIONS", &[A, GET] as &[_], answer),
            ("OPTIONS", &[B, GET], "nothing"),
            ("OPTIONS", &[A], granted),
            ("OPTIONS", &[A, ("access-control-request-method", "")], granted),
            ("GET", &[A], granted),
            ("GET", &[A, GET], granted),
            ("GET", &[B], "nothing"),
            ("GET", &[], "nothing"),
            ("GET", &[("origin", "")], "nothing"),
            ("OPTIONS", &[GET], "nothing"),
        ] {
            assert_eq!(judged(&policy(), method, lines), expected, "{method} {lines:?}");
        }
    }

    #[test]
    fn c2_a_matcher_that_takes_a_star_takes_every_origin() {
        for any in [StringMatcher::exact("*"), StringMatcher::regex(".*").unwrap(), StringMatcher::prefix("*")] {
            let cors = Cors::new(vec![StringMatcher::exact("x"), any]);
            assert_eq!(judged(&cors, "GET", &[B]), "then allow-origin: https://b");
        }
        let regex = Cors::new(vec![StringMatcher::regex("https://[ab]").unwrap(), StringMatcher::prefix("http:")]);
        assert_eq!(judged(&regex, "GET", &[B]), "then allow-origin: https://b");
        assert_eq!(judged(&regex, "GET", &[("origin", "https://b.c")]), "nothing");
        assert_eq!(judged(&regex, "GET", &[("origin", "HTTP://b")]), "nothing");
        assert_eq!(judged(&Cors::new(vec![]), "GET", &[A]), "nothing");
    }

    #[test]
    fn c3_a_lone_star_says_what_is_asked_for() {
        let cors = Cors::new(vec![StringMatcher::exact("https://a")]);
        let cors = cors.with_methods(["*"]).unwrap().with_headers(["*"]).unwrap();
        assert_eq!(
            judged(&cors, "OPTIONS", &[A, GET]),
            "200 allow-origin: https://a; allow-methods: GET; allow-headers: "
        );
        let wanted = ("access-control-request-headers", "x-1, x-2");
        assert_eq!(
            judged(&cors, "OPTIONS", &[A, GET, wanted]),
            "200 allow-origin: https://a; allow-methods: GET; allow-headers: x-1, x-2"
        );
        let several = cors.with_methods(["*", "GET"]).unwrap().with_headers([]).unwrap();
        assert_eq!(judged(&several, "OPTIONS", &[A, GET]), "200 allow-origin: https://a; allow-methods: *,GET");
    }

    #[test]
    fn c4_unmatched_preflights_are_answered_where_it_is_said() {
        let cors = policy().with_unmatched_answered(true);
        let answer = "200 allow-credentials: true; allow-methods: GET,POST; allow-headers: x-y; max-age: 60";
        assert_eq!(judged(&cors, "OPTIONS", &[B, GET]), answer);
        assert_eq!(judged(&cors, "OPTIONS", &[B]), "nothing");
        assert_eq!(judged(&cors, "GET", &[B]), "nothing");
        assert_eq!(judged(&cors, "OPTIONS", &[GET]), "nothing");
    }

    #[test]
    fn what_fits_in_no_header_is_refused() {
        assert_eq!(policy().with_methods(["a\n"]).unwrap_err(), CorsError("a\n".to_owned()));
    }
}
