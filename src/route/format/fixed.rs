//! Commands that come out the same for every request: because headers are written before what they tell of, because
//! Istio sets up nothing that they could tell of, or because it is not known here.

use super::time::TimeFormat;

/// What commands are that tell of what follows the headers, or of what no rule sets up.
const FIXED: [(&str, &str); 20] = [
    ("ACCESS_LOG_TYPE", "NotSet"),
    ("BYTES_RETRANSMITTED", "0"),
    ("BYTES_SENT", "0"),
    ("CONNECTION_TERMINATION_DETAILS", ""),
    ("CUSTOM_FLAGS", ""),
    ("DOWNSTREAM_DETECTED_CLOSE_TYPE", "Normal"),
    ("DOWNSTREAM_HEADER_BYTES_SENT", "0"),
    ("DOWNSTREAM_LOCAL_CLOSE_REASON", ""),
    ("DOWNSTREAM_TRANSPORT_FAILURE_REASON", ""),
    ("DOWNSTREAM_WIRE_BYTES_SENT", "0"),
    ("LOCAL_REPLY_BODY", ""),
    ("PACKETS_RETRANSMITTED", "0"),
    ("RESPONSE_TRAILERS_BYTES", "0"),
    ("RESPONSE_TX_DURATION", ""),
    ("ROUNDTRIP_DURATION", ""),
    ("ROUTE_RESOLUTION_COUNT", "1"),
    ("TLS_JA3_FINGERPRINT", ""),
    ("TLS_JA4_FINGERPRINT", ""),
    ("UPSTREAM_LOCAL_CLOSE_REASON", ""),
    ("VIRTUAL_CLUSTER_NAME", ""),
];

/// What Envoy could tell, and nothing here can.
const NOT_KNOWN: [&str; 78] = [
    "BYTES_RECEIVED",
    "CEL",
    "CLUSTER_METADATA",
    "COMMON_DURATION",
    "CONNECTION_ID",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER_SERIAL",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_TLS_GROUP",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DYNAMIC_METADATA",
    "EMIT_TIME_LOCAL",
    "FILTER_CHAIN_NAME",
    "FILTER_STATE",
    "LISTENER_NAME",
    "METADATA",
    "PER_REQUEST_STATE",
    "REQUEST_DURATION",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "RESPONSE_HEADERS_BYTES",
    "ROUTE_RESOLUTION_TIME_US",
    "SPAN_ID",
    "START_TIME_LOCAL",
    "TRACE_ID",
    "UNIQUE_ID",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAMES_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_IP_SAN",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_METADATA",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_CERT_V_END",
    "UPSTREAM_PEER_CERT_V_START",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_IP_SAN",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
    "UPSTREAM_SERVER_NAME",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_GROUP",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "XFCC_VALUE",
];

/// Those of them that take a length.
const CUT: [&str; 6] = ["CEL", "DYNAMIC_METADATA", "FILTER_STATE", "METADATA", "UPSTREAM_FILTER_STATE", "XFCC_VALUE"];

/// Whose metadata Envoy tells.
const METADATA: [&str; 7] =
    ["CLUSTER", "DYNAMIC", "LISTENER", "LISTENER_FILTER_CHAIN", "ROUTE", "UPSTREAM_HOST", "VIRTUAL_HOST"];

/// What a proxy may say of its client in `x-forwarded-client-cert`.
const XFCC: [&str; 7] = ["by", "hash", "cert", "chain", "subject", "uri", "dns"];

/// What the command of this name comes out as, if that is always the same.
pub(super) fn value(name: &str) -> Option<&'static str> {
    FIXED.iter().find(|(fixed, _)| *fixed == name).map(|(_, value)| *value)
}

/// Whether Envoy takes this argument of a command of which nothing is known here, none being an empty one, and this length.
pub(super) fn takes(name: &str, argument: &str, longest: Option<usize>) -> bool {
    if longest.is_some() && !CUT.contains(&name) {
        return false;
    }
    let parts: Vec<_> = argument.split(':').collect();
    match name {
        "CEL" | "CLUSTER_METADATA" | "DYNAMIC_METADATA" | "PER_REQUEST_STATE" | "UPSTREAM_METADATA" => {
            !argument.is_empty()
        }
        "COMMON_DURATION" => matches!(parts[..], [_, _] | [_, _, "ms" | "us" | "ns"]),
        "FILTER_STATE" | "UPSTREAM_FILTER_STATE" => match parts[..] {
            [key] | [key, "" | "PLAIN" | "TYPED"] => !key.is_empty(),
            [key, "FIELD", field, ..] => !key.is_empty() && !field.is_empty(),
            _ => false,
        },
        "METADATA" => METADATA.contains(&parts[0]),
        "EMIT_TIME_LOCAL" | "START_TIME_LOCAL" | "UPSTREAM_PEER_CERT_V_END" | "UPSTREAM_PEER_CERT_V_START" => {
            TimeFormat::parse(argument).is_some()
        }
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => true,
        "XFCC_VALUE" => XFCC.iter().any(|key| key.eq_ignore_ascii_case(argument)),
        _ => argument.is_empty(),
    }
}

/// The command of this name, if it is one of which nothing is known here.
pub(super) fn not_known(name: &str) -> Option<&'static str> {
    NOT_KNOWN.into_iter().find(|known| *known == name)
}
