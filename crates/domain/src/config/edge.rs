//! The topology in front of the API, and the request headers that pass it.

use super::Config;
use serde::{Deserialize, Serialize};

/// Which topology carries browser cookies to the authorizer.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Edge {
    /// The authorizer sees the cookie itself; nothing is cached at the gateway.
    #[default]
    None,
    /// A CloudFront function turns the cookie into `Authorization: Session …`.
    Cloudfront,
}

/// Beginnings of names by which services elsewhere are told who a client is, where it is, or
/// what it really asked for. The edge function writes some of them itself.
const RESERVED: [&str; 49] = [
    "access-token",
    "authorization",
    "cf-",
    "client-",
    "cloudfront-",
    "connection",
    "content-length",
    "cookie",
    "fastly-",
    "forwarded",
    "from",
    "host",
    "http-",
    "id-token",
    "identity",
    "proxy",
    "remote-",
    "ssl-",
    "tailscale-",
    "transfer-encoding",
    "true-client-ip",
    "x-access-token",
    "x-amz",
    "x-auth",
    "x-client",
    "x-cloakroom-",
    "x-cluster-",
    "x-consumer-",
    "x-credential",
    "x-envoy-",
    "x-forwarded",
    "x-goog-",
    "x-host",
    "x-http-",
    "x-id",
    "x-internal-",
    "x-jwt",
    "x-method-override",
    "x-ms-",
    "x-original",
    "x-origin-verify",
    "x-pomerium-",
    "x-proxy-",
    "x-real-",
    "x-remote-",
    "x-rewrite-",
    "x-ssl-",
    "x-user",
    "x-webauth-",
];

/// Whether `entry` may stand in `edge_allow_headers`: a header name, or the beginning of one
/// that ends in `-*`, in lower case, which can stand for none of the reserved names.
pub fn may_be_allowed(entry: &str) -> bool {
    let (name, is_prefix) = match entry.strip_suffix('*') {
        Some(prefix) => (prefix, true),
        None => (entry, false),
    };
    let is_name = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let well_formed = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(is_name)
        && name.starts_with(|c: char| c != '-')
        && name.ends_with('-') == is_prefix;
    let is_reserved = RESERVED
        .iter()
        .any(|reserved| name.starts_with(reserved) || (is_prefix && reserved.starts_with(name)));
    well_formed && !is_reserved
}

/// The faults of `edge_allow_headers`.
pub(super) fn check(config: &Config, fault: &mut impl FnMut(String)) {
    for (i, entry) in config.edge_allow_headers.iter().enumerate() {
        if !may_be_allowed(entry) {
            fault(format!(
                "edge_allow_headers[{i}] must be a header name in lower case, or a prefix that ends in `-*`, and none that tells a service an identity, an address, a host, a path or a method"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d102_a_name_or_a_prefix_is_allowed_that_can_stand_for_no_reserved_one() {
        for good in [
            "x-acme-*",
            "x-tenant",
            "x-acme-region",
            "acme",
            "mcp-*",
            "x-api-key",
        ] {
            assert!(may_be_allowed(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "-*",
            "x*",
            "x-*",
            "x-acme*",
            "x-a*b",
            "x-acme-**",
            "X-Acme",
            "x_acme",
            "x acme",
            "x-acme-",
            "x:a",
            "x-user-id",
            "x-user-*",
            "x-us*",
            "x-original-url",
            "x-original-*",
            "x-rewrite-url",
            "x-webauth-user",
            "x-webauth-*",
            "x-forwarded-for",
            "x-forwarded-*",
            "x-http-method-override",
            "x-http-*",
            "x-method-override",
            "host",
            "cookie",
            "authorization",
            "proxy-*",
            "x-cloakroom-viewer",
            "x-origin-verify",
            "cf-*",
            "x-remote-user",
            "remote-user",
            "x-amzn-oidc-data",
            "x-auth-request-user",
            "forwarded",
        ] {
            assert!(!may_be_allowed(bad), "{bad}");
        }
    }
}
