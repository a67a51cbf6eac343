//! What local mode changes in a configuration.

use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_domain::config::{ClientAuthentication, Config, SecretRef};

/// Who we are at the demo provider.
pub(super) const CLIENT_ID: &str = "cloakroom";

/// The variable in which the functions find our secret there.
pub(super) const SECRET_VARIABLE: &str = "CLOAKROOM_DEMO_IDP_SECRET";

/// The variable in which the authorizer finds what the emulated CloudFront shows.
pub(super) const ORIGIN_SECRET_VARIABLE: &str = "CLOAKROOM_ORIGIN_SECRET";

/// The provider that is replaced, if it is configured on a loopback address.
const DEMO: &str = "demo";

/// Where the demo provider may send browsers back to.
pub(super) fn redirect_uris(config: &Config) -> Vec<String> {
    let demo = config.identity_provider(DEMO);
    let own = demo.map(|idp| config.callback_url_of(idp));
    own.into_iter().chain([config.callback_url()]).collect()
}

/// Puts the demo provider, which runs at `url`, in the place of the one of that
/// name; returns our secret there, new at every start.
pub(super) fn take_demo_provider(config: &mut Config, url: &str) -> String {
    let loopback = ["http://127.0.0.1", "http://localhost"];
    for idp in &mut config.identity_providers {
        if idp.id == DEMO && loopback.iter().any(|host| idp.issuer.starts_with(host)) {
            url.clone_into(&mut idp.issuer);
            CLIENT_ID.clone_into(&mut idp.client_id);
            idp.client_authentication = ClientAuthentication::ClientSecretBasic;
            idp.client_secret = Some(SecretRef::Env(SECRET_VARIABLE.to_owned()));
        }
    }
    random_secret()
}

/// Between two parts of this process, on a loopback address: without randomness it is
/// all zeros.
pub(super) fn random_secret() -> String {
    let mut secret = [0; 32];
    let _ = rand::fill(&mut secret);
    BASE64URL.encode(secret)
}
