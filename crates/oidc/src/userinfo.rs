//! UserInfo (OpenID Connect Core §5.3): asked when the ID token leaves out something
//! that is mapped.

use cloakroom_verify::jws::ClaimSet;
use reqwest::StatusCode;
use url::Url;

use crate::fault::Fault;
use crate::fetch::Fetcher;

/// What the provider says about the user of an access token, if that is `subject`.
pub(crate) async fn ask(
    fetcher: &Fetcher,
    endpoint: &Url,
    access_token: &str,
    subject: &str,
) -> Result<ClaimSet, Fault> {
    let answer = fetcher.get_as(endpoint, access_token).await?;
    if answer.status != StatusCode::OK {
        return Err(Fault::Refused(
            "its userinfo endpoint refuses its own token",
        ));
    }
    let claims = ClaimSet::parse_unsigned(&answer.body)
        .ok_or(Fault::Refused("its userinfo is malformed"))?;
    // §5.3.2: an access token of somebody else may have been slipped in.
    if claims.string("sub")? == subject {
        Ok(claims)
    } else {
        Err(Fault::Refused("its userinfo is about somebody else"))
    }
}

#[cfg(test)]
mod tests;
