//! The only way out to a provider, bounded in where, how long and how much.
//!
//! A provider's metadata names further URLs. Followed blindly they would make a
//! function fetch from the inside of a network, or from its own runtime's API
//! (D11), so each is held to https and to the hosts of the configuration.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, Response, StatusCode, redirect};
use url::{Host, Position, Url};
use zeroize::Zeroizing;

use crate::fault::{Fault, root_cause};

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// From the first packet to the last byte, so that a slow drip ends too (D9).
const LIMIT: Duration = Duration::from_secs(3);
const MAX_LENGTH: usize = 256 * 1024;

/// Makes the one HTTP client of all providers.
pub(crate) fn client(loopback: bool) -> Result<Client, reqwest::Error> {
    let builder = Client::builder()
        // ASVS 15.3.2: a redirect would leave the allowed hosts.
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_LIMIT)
        .timeout(LIMIT)
        .https_only(!loopback)
        // A connection does not survive the freeze between two invocations.
        .pool_max_idle_per_host(0);
    if loopback {
        builder.no_proxy().build()
    } else {
        builder.build()
    }
}

/// Fetches from one provider's hosts.
pub(crate) struct Fetcher {
    client: Client,
    /// `host:port`, always with the port.
    authorities: Vec<String>,
    /// Whether this is a system on one machine.
    loopback: bool,
}

/// A JSON answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

/// A host of the configuration that is none.
pub(crate) struct NotAHost;

impl Fetcher {
    /// A fetcher for the issuer's own host and `allowed_hosts`.
    pub(crate) fn new(
        client: Client,
        issuer: &Url,
        allowed_hosts: &[String],
        loopback: bool,
    ) -> Result<Self, NotAHost> {
        let mut authorities = vec![authority(issuer).ok_or(NotAHost)?];
        for entry in allowed_hosts {
            let url = Url::parse(&format!("https://{entry}/")).map_err(|_| NotAHost)?;
            // Nothing but a host: `a@b` and `a/b` would name another one than they show.
            let host = &url[Position::BeforeHost..Position::AfterPort];
            if url.as_str() != format!("https://{host}/")
                || host != entry.strip_suffix(":443").unwrap_or(entry)
            {
                return Err(NotAHost);
            }
            authorities.push(authority(&url).ok_or(NotAHost)?);
        }
        Ok(Self {
            client,
            authorities,
            loopback,
        })
    }

    /// Reads a URL that a provider or the configuration names.
    pub(crate) fn permit(&self, text: &str) -> Result<Url, Fault> {
        let url = Url::parse(text).map_err(|_| Fault::Refused("it names a malformed URL"))?;
        let (loopback_host, literal) = match url.host() {
            Some(Host::Domain(name)) => (name == "localhost", false),
            Some(Host::Ipv4(ip)) => (ip.is_loopback(), true),
            Some(Host::Ipv6(ip)) => (ip.is_loopback(), true),
            None => (false, false),
        };
        let here = self.loopback && loopback_host;
        if (loopback_host || literal) && !here {
            return Err(Fault::Refused("it names an address instead of a host"));
        }
        match url.scheme() {
            "https" => {}
            "http" if here => {}
            _ => return Err(Fault::Refused("it names a URL that is not https")),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(Fault::Refused("it names a malformed URL"));
        }
        if !authority(&url).is_some_and(|authority| self.authorities.contains(&authority)) {
            return Err(Fault::Refused("it names a host that is not allowed"));
        }
        Ok(url)
    }

    /// Gets a document; anything but status 200 is a fault.
    pub(crate) async fn get(&self, url: &Url) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let answer = json(self.client.get(url.clone())).await?;
        if answer.status != StatusCode::OK {
            return Err(Fault::Unavailable("it answered with an error"));
        }
        Ok(answer.body)
    }

    /// Gets what a provider shows to the bearer of an access token.
    pub(crate) async fn get_as(&self, url: &Url, token: &str) -> Result<Answer, Fault> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| Fault::Refused("its access token fits no header"))?;
        bearer.set_sensitive(true);
        json(self.client.get(url.clone()).header(AUTHORIZATION, bearer)).await
    }

    /// Posts a form, whose answer may be an error in JSON.
    pub(crate) async fn post_form(
        &self,
        url: &Url,
        form: String,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, Fault> {
        json(self.form(url, form, authorization)).await
    }

    /// Posts a form of whose answer only the status counts.
    pub(crate) async fn tell(
        &self,
        url: &Url,
        form: String,
        authorization: Option<HeaderValue>,
    ) -> Result<StatusCode, Fault> {
        let response = send(self.form(url, form, authorization)).await?;
        Ok(response.status())
    }

    fn form(&self, url: &Url, form: String, authorization: Option<HeaderValue>) -> RequestBuilder {
        let request = self
            .client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        match authorization {
            Some(value) => request.header(AUTHORIZATION, value),
            None => request,
        }
    }
}

async fn send(request: RequestBuilder) -> Result<Response, Fault> {
    let response = request
        .header(ACCEPT, "application/json")
        .send()
        .await
        .map_err(transport_fault)?;
    let status = response.status();
    if status.is_server_error() {
        return Err(Fault::Unavailable("it answered with a server error"));
    }
    if status.is_redirection() {
        return Err(Fault::Refused("it redirects"));
    }
    Ok(response)
}

async fn json(request: RequestBuilder) -> Result<Answer, Fault> {
    let response = send(request).await?;
    let status = response.status();
    // It may know better in a while, whatever else it says (RFC 6585 §4).
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Fault::Unavailable("it has too many requests"));
    }
    match media_type(&response)
        .as_deref()
        .map(|subtype| subtype.strip_prefix("application/"))
    {
        Some(Some(subtype)) if subtype == "json" || subtype.ends_with("+json") => {}
        // OpenID Connect Core §5.3.2.
        Some(Some("jwt")) => return Err(Fault::Refused("it answered with a JWT instead of JSON")),
        _ => return Err(Fault::Refused("it answered with something else than JSON")),
    }
    let body = read(response).await?;
    Ok(Answer { status, body })
}

async fn read(mut response: Response) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(transport_fault)? {
        if body.len() + chunk.len() > MAX_LENGTH {
            return Err(Fault::Refused("its answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    // serde_json would not look into what it skips.
    if std::str::from_utf8(&body).is_err() {
        return Err(Fault::Refused("its answer is not UTF-8"));
    }
    Ok(body)
}

/// Without its parameters.
fn media_type(response: &Response) -> Option<String> {
    let content_type = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = content_type.split(';').next()?.trim();
    Some(essence.to_ascii_lowercase())
}

fn transport_fault(error: reqwest::Error) -> Fault {
    // The URL is taken out; what is left is the network's and TLS's own words.
    let error = error.without_url();
    let cause = root_cause(&error);
    tracing::warn!(cause, "a request to an identity provider failed");
    Fault::Unavailable(if error.is_timeout() {
        "it did not answer in time"
    } else {
        "it cannot be reached"
    })
}

fn authority(url: &Url) -> Option<String> {
    Some(format!(
        "{}:{}",
        url.host_str()?,
        url.port_or_known_default()?
    ))
}

#[cfg(test)]
mod tests;
