//! The token request (OpenID Connect Core §3.1.3) and its answer.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloakroom_domain::config::ClientAuthentication;
use cloakroom_domain::ports::CallbackCode;
use form_urlencoded::{Serializer, byte_serialize};
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::fetch::{Answer, Fetcher};

/// Who we are at a provider, and how we prove it.
pub(crate) struct ClientIdentity {
    pub(crate) id: String,
    pub(crate) secret: Zeroizing<String>,
    pub(crate) method: ClientAuthentication,
}

/// The tokens of a successful answer.
#[derive(Deserialize)]
pub(crate) struct Tokens {
    token_type: String,
    pub(crate) access_token: Zeroizing<String>,
    pub(crate) id_token: Zeroizing<String>,
    pub(crate) refresh_token: Option<Zeroizing<String>>,
}

/// Trades the code for tokens, of which none is verified yet.
pub(crate) async fn redeem(
    fetcher: &Fetcher,
    endpoint: &Url,
    client: &ClientIdentity,
    callback: &CallbackCode<'_>,
) -> Result<Tokens, Fault> {
    let (form, authorization) = request(client, callback)?;
    let answer = fetcher.post_form(endpoint, form, authorization).await?;
    read(&answer)
}

/// The form, and the `Authorization` header if we authenticate there.
fn request(
    client: &ClientIdentity,
    callback: &CallbackCode<'_>,
) -> Result<(String, Option<HeaderValue>), Fault> {
    let mut form = Serializer::new(String::new());
    form.append_pair("grant_type", "authorization_code")
        .append_pair("code", callback.code)
        .append_pair("redirect_uri", callback.redirect_uri)
        .append_pair("code_verifier", callback.code_verifier);
    let authorization = match client.method {
        ClientAuthentication::ClientSecretBasic => Some(basic(client)?),
        ClientAuthentication::ClientSecretPost => {
            form.append_pair("client_id", &client.id)
                .append_pair("client_secret", &client.secret);
            None
        }
        ClientAuthentication::None => {
            form.append_pair("client_id", &client.id);
            None
        }
    };
    Ok((form.finish(), authorization))
}

/// RFC 6749 §2.3.1: both halves are form-encoded first, so that a colon in one
/// cannot move the border between them.
fn basic(client: &ClientIdentity) -> Result<HeaderValue, Fault> {
    let encoded = |text: &str| Zeroizing::new(byte_serialize(text.as_bytes()).collect::<String>());
    let (id, secret) = (encoded(&client.id), encoded(&client.secret));
    let pair = Zeroizing::new(format!("{}:{}", *id, *secret));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| Fault::Unavailable("our client secret fits no header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn read(answer: &Answer) -> Result<Tokens, Fault> {
    if answer.status != StatusCode::OK {
        return Err(refusal(&answer.body));
    }
    let tokens: Tokens = serde_json::from_slice(&answer.body)
        .map_err(|_| Fault::Refused("its token response is malformed"))?;
    if !tokens.token_type.eq_ignore_ascii_case("Bearer") {
        return Err(Fault::Refused("its token response is of another type"));
    }
    Ok(tokens)
}

/// RFC 6749 §5.2. Its description may hold anything and goes nowhere (D8).
fn refusal(body: &[u8]) -> Fault {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
    }
    let error = serde_json::from_slice::<Refusal>(body).map(|refusal| refusal.error);
    Fault::Refused(match error.as_deref() {
        Ok("invalid_grant") => "it does not take the code",
        Ok("invalid_client" | "unauthorized_client") => "it does not take our client credentials",
        Ok("invalid_request") => "it does not take our token request",
        _ => "it refused the token request",
    })
}

#[cfg(test)]
mod tests;
