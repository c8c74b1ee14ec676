//! What several words are made of.

use super::message::message;

message! {
    /// A service to send to.
    pub struct Destination {
        /// The host: a short name is completed in the namespace of the resource. Required.
        pub host: String = "host",
        /// The subset, which a DestinationRule defines. Empty: all endpoints.
        pub subset: String = "subset",
        /// The port of the service. Unset: its only port, or the port that the request came to.
        pub port: Option<PortSelector> = "port",
    }
}

message! {
    /// A condition on a text: at most one of its fields.
    pub struct StringMatch {
        /// The text is this.
        pub exact: Option<String> = "exact",
        /// The text begins with this.
        pub prefix: Option<String> = "prefix",
        /// The whole text matches this expression, in RE2's syntax.
        pub regex: Option<String> = "regex",
    }
}

message! {
    /// A port of a service.
    pub struct PortSelector {
        /// Its number.
        pub number: u32 = "number",
    }
}

message! {
    /// A share.
    pub struct Percent {
        /// From 0 to 100.
        pub value: f64 = "value",
    }
}
