//! What of a request is hashed, so that requests alike go to the same endpoint: [`HashPolicies`].

use std::fmt::{self, Display, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::header::{COOKIE, HeaderValue};
use xxhash_rust::xxh64::{Xxh64, xxh64};

use super::rule::{Subject, first_parameter};
use crate::dice::Draws;
use crate::request::RequestView;

/// What is hashed of a request (`consistentHash` of the DestinationRules of a route's destinations).
///
/// Every destination adds its own, whichever is then drawn.
///
/// ```
/// use http::Request;
/// use mesh_router::dice::Dice;
/// use mesh_router::request::{Origin, RequestView};
/// use mesh_router::route::{Client, HashPolicies, HashPolicy};
///
/// let policies = HashPolicies::new([HashPolicy::header("x-user")]);
/// let hash = |user: &str| {
///     let request = Request::get("http://carts/").header("x-user", user).body(()).unwrap();
///     let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
///     policies.hash(&view, Client::default(), &mut Dice::seeded(1).draws()).hash
/// };
/// assert_eq!(hash("ann"), hash("ann"));
/// assert_ne!(hash("ann"), hash("bob"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashPolicies {
    policies: Box<[HashPolicy]>,
    sole: bool,
}

impl HashPolicies {
    /// These policies, in this order.
    pub fn new(policies: impl IntoIterator<Item = HashPolicy>) -> Self {
        Self { policies: policies.into_iter().collect(), sole: false }
    }

    /// Says that the route has one destination and that it asks for consistent hashing.
    #[must_use]
    pub fn of_sole_destination(mut self) -> Self {
        self.sole = true;
        self
    }

    /// Whether the route has one destination and that asks for consistent hashing: retries then go back to endpoints
    /// already tried, unless the route says otherwise.
    pub fn is_of_sole_destination(&self) -> bool {
        self.sole
    }

    /// Whether nothing is hashed.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Hashes a connection that is no request: only the client's address is known of it.
    pub fn hash_connection(&self, client: IpAddr) -> Option<u64> {
        let by_source = self.policies.iter().any(|policy| matches!(policy, HashPolicy::SourceIp));
        by_source.then(|| hash_text(client))
    }

    /// Hashes a request as the rule sends it on, with its header operations and rewrites done, as Envoy does; once for
    /// all of its tries.
    ///
    /// Where a policy finds a value, what was found before it is rotated left by one bit and combined with it by
    /// exclusive or. It allocates only where a cookie has to be made.
    pub fn hash(&self, request: &RequestView<'_>, client: Client, draws: &mut Draws) -> Hashed {
        let mut hashed = Hashed::default();
        for policy in &self.policies {
            let hash = match policy {
                HashPolicy::Header(subject) => hash_header(subject, request),
                HashPolicy::Cookie(cookie) => cookie.hash(request, client, draws, &mut hashed.set_cookies),
                HashPolicy::SourceIp => client.ip.map(hash_text),
                HashPolicy::Query(name) => request
                    .query()
                    .and_then(|query| first_parameter(query, name))
                    .map(|value| xxh64(value.as_bytes(), 0)),
            };
            if let Some(hash) = hash {
                hashed.hash = Some(hashed.hash.map_or(0, |before| before.rotate_left(1)) ^ hash);
            }
        }
        hashed
    }
}

/// One thing that is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HashPolicy {
    /// A header, all of its lines in the order of their bytes (`httpHeaderName`); also `host`, `:authority`, `:path`,
    /// `:method` and `:scheme`.
    Header(Subject),
    /// A cookie (`httpCookie`).
    Cookie(HashCookie),
    /// The address of the client, without its port (`useSourceIp`).
    SourceIp,
    /// The first query parameter of a name, undecoded (`httpQueryParameterName`).
    Query(Box<str>),
}

impl HashPolicy {
    /// A header by its name, in any case.
    pub fn header(name: &str) -> Self {
        Self::Header(Subject::header(name))
    }
}

/// A cookie that is hashed (`consistentHash.httpCookie`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HashCookie {
    /// Its name, case-sensitive.
    pub name: Box<str>,
    /// How long the client keeps it, if it has to be made; of less than a second, as long as it is open. `None`: it is
    /// not made, and requests without it have no hash.
    pub ttl: Option<Duration>,
    /// The path it is for. Empty: that of the request.
    pub path: Box<str>,
    /// What else is said of it, as `name` or `name=value` (`attributes`).
    pub attributes: Box<[(Box<str>, Box<str>)]>,
}

impl HashCookie {
    fn hash(
        &self,
        request: &RequestView<'_>,
        client: Client,
        draws: &mut Draws,
        set_cookies: &mut Vec<HeaderValue>,
    ) -> Option<u64> {
        if let Some(value) = self.find(request) {
            return Some(xxh64(value, 0));
        }
        let ttl = self.ttl?;
        let value = client.cookie(draws);
        // Names and attributes that no header can carry make no cookie; the hash is that of the client all the same.
        set_cookies.extend(HeaderValue::try_from(self.text(&value, ttl)).ok());
        Some(xxh64(value.as_bytes(), 0))
    }

    /// The value of the first cookie of the name, without quotes around it. An empty one is none.
    fn find<'r>(&self, request: &RequestView<'r>) -> Option<&'r [u8]> {
        let lines = request.headers().get_all(COOKIE).iter();
        let cookies = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let value = cookies.filter_map(name_and_value).find(|(name, _)| *name == self.name.as_bytes())?.1;
        let value = match value {
            [b'"', inner @ .., b'"'] => inner,
            value => value,
        };
        (!value.is_empty()).then_some(value)
    }

    fn text(&self, value: &str, ttl: Duration) -> String {
        let mut text = format!("{}=\"{value}\"", self.name);
        if ttl.as_secs() > 0 {
            // Writing to a string does not fail.
            let _ = write!(text, "; Max-Age={}", ttl.as_secs());
        }
        if !self.path.is_empty() {
            text.extend(["; Path=", &self.path]);
        }
        for (name, value) in &self.attributes {
            text.extend(["; ", name]);
            if !value.is_empty() {
                text.extend(["=", value]);
            }
        }
        text.push_str("; HttpOnly");
        text
    }
}

/// Splits ` name=value`; what has no `=` is no cookie. Blanks alone may come before, as with Envoy.
fn name_and_value(cookie: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = cookie.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&cookie[..equals], &cookie[equals + 1..]);
    let start = name.iter().position(|byte| *byte != b' ').unwrap_or(name.len());
    Some((&name[start..], value))
}

/// Who sent a request, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Its address: of the connection, or of whom a trusted proxy says that it speaks for.
    pub ip: Option<IpAddr>,
    /// The two ends of the connection, the other one first: also where a trusted proxy says that it speaks for another.
    /// Requests of one connection that lack a cookie are given the same; without it each is given one of its own.
    pub connection: Option<(SocketAddr, SocketAddr)>,
}

impl Client {
    /// The value of a cookie for it: 64 bits for a connection, else 128 random bits.
    fn cookie(self, draws: &mut Draws) -> String {
        match self.connection {
            Some((remote, local)) => format!("{:016x}", hash_text(format_args!("{remote}{local}"))),
            None => format!("{:016x}{:016x}", draws.next_u64(), draws.next_u64()),
        }
    }
}

/// What was found of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hashed {
    /// For [`Choice::hash`](crate::upstream::Choice::hash). `None`: no policy found its value.
    pub hash: Option<u64>,
    /// Values of `set-cookie` lines that the response has to carry in addition to its own: the cookies that were made.
    pub set_cookies: Vec<HeaderValue>,
}

/// The lines of a header in the order of their bytes, each hashed with the hash of the one before it as its seed.
fn hash_header(subject: &Subject, request: &RequestView<'_>) -> Option<u64> {
    let Subject::Header(name) = subject else {
        return match (subject, request.query()) {
            (Subject::PathAndQuery, Some(query)) => Some(hash_text(format_args!("{}?{query}", request.path()))),
            (Subject::PathAndQuery, None) => Some(xxh64(request.path().as_bytes(), 0)),
            (single, _) => single.value(request).map(|value| xxh64(value.as_bytes(), 0)),
        };
    };
    let lines = request.headers().get_all(name);
    let mut last: Option<(&[u8], usize)> = None;
    let mut hash = None;
    // The next in order again and again: few headers have more than one line, and nothing is allocated.
    while let Some(next) = lines
        .iter()
        .enumerate()
        .map(|(number, line)| (line.as_bytes(), number))
        .filter(|line| last.is_none_or(|last| *line > last))
        .min()
    {
        hash = Some(xxh64(next.0, hash.unwrap_or(0)));
        last = Some(next);
    }
    hash
}

/// The hash of what is displayed, without making a string of it.
fn hash_text(text: impl Display) -> u64 {
    struct Hasher(Xxh64);

    impl fmt::Write for Hasher {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.update(text.as_bytes());
            Ok(())
        }
    }

    let mut hasher = Hasher(Xxh64::new(0));
    // Neither addresses nor the hasher fail.
    let _ = write!(hasher, "{text}");
    hasher.0.digest()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::Request;

    use super::*;
    use crate::dice::Dice;
    use crate::request::Origin;

    fn hashed(policies: &[HashPolicy], request: &Request<()>, client: Client) -> Hashed {
        let view = RequestView::new(request.method(), request.uri(), request.headers(), &Origin::Mesh);
        HashPolicies::new(policies.iter().cloned()).hash(&view, client, &mut Dice::seeded(1).draws())
    }

    fn hash(policy: HashPolicy, request: &Request<()>) -> Option<u64> {
        hashed(&[policy], request, Client::default()).hash
    }

    fn with(headers: &[(&str, &str)]) -> Request<()> {
        let request = Request::get("http://a.test/p?k=1&k=2&e&n=%61");
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    }

    fn cookie(ttl: Option<Duration>) -> HashCookie {
        HashCookie { name: "sess".into(), ttl, ..HashCookie::default() }
    }

    fn of(text: &str) -> Option<u64> {
        Some(xxh64(text.as_bytes(), 0))
    }

    #[test]
    fn ch2_lines_of_a_header_are_chained_in_the_order_of_their_bytes() {
        let policy = || HashPolicy::header("X-Key");
        assert_eq!(hash(policy(), &with(&[])), None);
        assert_eq!(hash(policy(), &with(&[("x-key", "")])), of(""));
        assert_eq!(hash(policy(), &with(&[("x-key", "b,a")])), of("b,a"));
        let chained = Some(xxh64(b"b", xxh64(b"a", xxh64(b"a", 0))));
        for order in [["a", "b", "a"], ["b", "a", "a"], ["a", "a", "b"]] {
            assert_eq!(hash(policy(), &with(&order.map(|value| ("x-key", value)))), chained);
        }
    }

    #[test]
    fn ch2_parts_of_the_request_line_are_headers() {
        let request = with(&[]);
        assert_eq!(hash(HashPolicy::header("Host"), &request), of("a.test"));
        assert_eq!(hash(HashPolicy::header(":authority"), &request), of("a.test"));
        assert_eq!(hash(HashPolicy::header(":path"), &request), of("/p?k=1&k=2&e&n=%61"));
        assert_eq!(hash(HashPolicy::header(":method"), &request), of("GET"));
        assert_eq!(hash(HashPolicy::header("no header"), &request), None);
    }

    #[test]
    fn ch2_the_first_query_parameter_is_hashed_undecoded() {
        let request = with(&[]);
        for (name, expected) in [("k", of("1")), ("e", of("")), ("n", of("%61")), ("x", None), ("k=1", None)] {
            assert_eq!(hash(HashPolicy::Query(name.into()), &request), expected, "{name}");
        }
    }

    #[test]
    fn ch2_the_address_of_the_client_is_hashed_as_text() {
        for (ip, text) in [("10.0.0.1", "10.0.0.1"), ("2001:db8:0:0::1", "2001:db8::1")] {
            let client = Client { ip: Some(ip.parse().unwrap()), ..Client::default() };
            assert_eq!(hashed(&[HashPolicy::SourceIp], &with(&[]), client).hash, of(text));
        }
        assert_eq!(hash(HashPolicy::SourceIp, &with(&[])), None);
    }

    #[test]
    fn ch2_the_first_cookie_of_the_name_is_hashed() {
        let policy = || HashPolicy::Cookie(cookie(None));
        for (lines, expected) in [
            (&["x=1; sess=a; sess=b"][..], of("a")),
            (&["x=1", "  sess=a"], of("a")),
            (&["sess=\"a\""], of("a")),
            (&["sess=a=b"], of("a=b")),
            (&["sess; Sess=b; sess =c"], None),
            (&["x=1;\tsess=a"], None),
            (&["sess=; sess=b"], None),
            (&["sess=\"\""], None),
            (&["sess=\""], of("\"")),
            (&[], None),
        ] {
            let headers: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            assert_eq!(hash(policy(), &with(&headers)), expected, "{lines:?}");
        }
    }

    /// The address of the connection and the cookie are those of a request to Envoy 1.40.
    #[test]
    fn ch3_a_missing_cookie_is_made_of_the_connection() {
        let client = Client {
            ip: None,
            connection: Some(("127.0.0.1:55766".parse().unwrap(), "127.0.0.1:21000".parse().unwrap())),
        };
        let made = HashCookie {
            ttl: Some(Duration::from_secs(60)),
            path: "/p".into(),
            attributes: [("SameSite".into(), "Lax".into()), ("Secure".into(), "".into())].into(),
            ..cookie(None)
        };
        let hashed = hashed(&[HashPolicy::Cookie(made)], &with(&[("cookie", "sess=")]), client);
        assert_eq!(hashed.hash, of("e3891a9e8ae9ba74"));
        let expected = "sess=\"e3891a9e8ae9ba74\"; Max-Age=60; Path=/p; SameSite=Lax; Secure; HttpOnly";
        assert_eq!(hashed.set_cookies, [expected]);
    }

    #[test]
    fn ch3_a_cookie_of_less_than_a_second_is_one_of_the_session() {
        let policy = HashPolicy::Cookie(cookie(Some(Duration::from_millis(500))));
        let made = hashed(std::slice::from_ref(&policy), &with(&[]), Client::default());
        let text = made.set_cookies[0].to_str().unwrap();
        let value = text.strip_prefix("sess=\"").unwrap().strip_suffix("\"; HttpOnly").unwrap();
        assert_eq!((value.len(), made.hash), (32, of(value)));
        // The client brings it again.
        let again = hashed(&[policy], &with(&[("cookie", &format!("sess=\"{value}\""))]), Client::default());
        assert_eq!((again.hash, again.set_cookies.len()), (made.hash, 0));
    }

    #[test]
    fn ch4_what_is_found_is_combined_in_order() {
        let policies = [HashPolicy::header("x-a"), HashPolicy::SourceIp, HashPolicy::header("x-b")];
        let hash = |headers: &[(&str, &str)]| hashed(&policies, &with(headers), Client::default()).hash;
        let (a, b) = (xxh64(b"1", 0), xxh64(b"2", 0));
        assert_eq!(hash(&[("x-a", "1"), ("x-b", "2")]), Some(a.rotate_left(1) ^ b));
        assert_eq!(hash(&[("x-b", "2")]), Some(b));
        assert_eq!(hash(&[("x-a", "1")]), Some(a));
        assert_eq!(hash(&[]), None);
    }
}
