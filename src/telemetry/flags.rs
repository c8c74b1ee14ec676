//! Envoy's response flags as a typed set.
//!
//! ```
//! use mesh_router::telemetry::ResponseFlags;
//!
//! let flags = ResponseFlags::UPSTREAM_CONNECTION_FAILURE | ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
//! assert_eq!(flags.to_string(), "URX,UF");
//! assert_eq!(format!("{flags:#}"), "UpstreamRetryLimitExceeded,UpstreamConnectionFailure");
//! assert_eq!(ResponseFlags::NONE.to_string(), "-");
//! ```

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// What went wrong with a request, in Envoy's letters; nothing did if it [is empty](Self::is_empty).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResponseFlags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $letters:literal, $word:literal;)*) => {
        impl ResponseFlags {
            $($(#[$doc])* pub const $name: ResponseFlags = ResponseFlags(1 << $bit);)*
            /// Each with its letters and its word.
            const NAMES: &[(ResponseFlags, &str, &str)] = &[$((ResponseFlags::$name, $letters, $word)),*];
        }
    };
}

// Envoy writes them in the order in which they were set: what befell a request before what ended it.
flags! {
    /// `DI`: a fault delayed the request.
    DELAY_INJECTED = 0, "DI", "DelayInjected";
    /// `FI`: a fault aborted the request.
    FAULT_INJECTED = 1, "FI", "FaultInjected";
    /// `URX`: the retries are used up.
    UPSTREAM_RETRY_LIMIT_EXCEEDED = 2, "URX", "UpstreamRetryLimitExceeded";
    /// `UO`: a limit of `connectionPool` was reached.
    UPSTREAM_OVERFLOW = 3, "UO", "UpstreamOverflow";
    /// `LR`: this side reset the request.
    LOCAL_RESET = 4, "LR", "LocalReset";
    /// `UH`: no endpoint was healthy.
    NO_HEALTHY_UPSTREAM = 5, "UH", "NoHealthyUpstream";
    /// `UT`: a timeout of the route passed.
    UPSTREAM_REQUEST_TIMEOUT = 6, "UT", "UpstreamRequestTimeout";
    /// `UR`: the upstream reset the request.
    UPSTREAM_REMOTE_RESET = 7, "UR", "UpstreamRemoteReset";
    /// `UF`: no connection to the upstream.
    UPSTREAM_CONNECTION_FAILURE = 8, "UF", "UpstreamConnectionFailure";
    /// `UC`: the upstream closed the connection.
    UPSTREAM_CONNECTION_TERMINATION = 9, "UC", "UpstreamConnectionTermination";
    /// `NR`: no rule took the request.
    NO_ROUTE = 10, "NR", "NoRouteFound";
    /// `RL`: a rate limit refused the request.
    RATE_LIMITED = 11, "RL", "RateLimited";
    /// `UPE`: the upstream does not speak HTTP.
    UPSTREAM_PROTOCOL_ERROR = 12, "UPE", "UpstreamProtocolError";
    /// `NC`: the destination names no known cluster.
    NO_CLUSTER_FOUND = 13, "NC", "NoClusterFound";
    /// `DC`: the client went away first.
    DOWNSTREAM_CONNECTION_TERMINATION = 14, "DC", "DownstreamConnectionTermination";
}

impl ResponseFlags {
    /// Nothing went wrong: `-`.
    pub const NONE: ResponseFlags = ResponseFlags(0);

    /// Whether no flag is set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: ResponseFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for ResponseFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ResponseFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// In Envoy's letters (`%RESPONSE_FLAGS%`), in the alternate form (`{:#}`) in its words (`%RESPONSE_FLAGS_LONG%`).
impl fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("-");
        }
        let mut separator = "";
        for (flag, letters, word) in Self::NAMES {
            if self.contains(*flag) {
                write!(f, "{separator}{}", if f.alternate() { word } else { letters })?;
                separator = ",";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_is_its_own_bit_with_its_own_letters() {
        let mut all = ResponseFlags::NONE;
        let mut letters = std::collections::BTreeSet::new();
        for (flag, short, long) in ResponseFlags::NAMES {
            assert!(!all.contains(*flag), "{short} shares its bit");
            assert!(letters.insert(short) && letters.insert(long), "{short} or {long} twice");
            all |= *flag;
            assert_eq!((flag.to_string().as_str(), format!("{flag:#}").as_str()), (*short, *long));
        }
        assert!(all.contains(ResponseFlags::NO_ROUTE) && !ResponseFlags::NONE.contains(ResponseFlags::NO_ROUTE));
    }
}
