//! What the provider tells its client: that somebody has signed out (OpenID Connect
//! Back-Channel Logout 1.0).

use std::time::Duration;

use form_urlencoded::Serializer;
use reqwest::{Client, header, redirect};
use serde_json::{Value, json};

use super::{DemoIdp, random_text};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// §4: at most two minutes.
const LIFETIME: u64 = 120;

/// The client was not told, or does not take it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the client has not taken the logout token")]
pub struct NotTold;

pub(super) fn client() -> reqwest::Result<Client> {
    Client::builder()
        .redirect(redirect::Policy::none())
        .timeout(Duration::from_secs(3))
        .no_proxy()
        .build()
}

impl DemoIdp {
    /// Sends a logout token for a user, or for one session of theirs.
    pub(super) async fn tell(&self, sub: Option<&str>, sid: Option<&str>) -> Result<(), NotTold> {
        let Some(uri) = &self.backchannel_logout_uri else {
            return Ok(());
        };
        let now = self.now();
        let mut claims = json!({
            "iss": self.issuer,
            "aud": self.client_id,
            "iat": now,
            "exp": now + LIFETIME,
            "jti": random_text().map_err(|_| NotTold)?,
            "events": { EVENT: {} },
        });
        if let Value::Object(claims) = &mut claims {
            let named = [("sub", sub), ("sid", sid)];
            claims.extend(
                named
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))),
            );
        }
        let token = self
            .key
            .sign_as("logout+jwt", &claims)
            .map_err(|_| NotTold)?;
        let form = Serializer::new(String::new())
            .append_pair("logout_token", &token)
            .finish();
        let answer = self
            .http
            .post(uri)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .map_err(|_| NotTold)?;
        if answer.status().is_success() {
            Ok(())
        } else {
            Err(NotTold)
        }
    }
}
