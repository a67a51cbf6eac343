//! Fetches a key set over HTTPS, trusting the server with as little as possible.

use std::time::Duration;

use reqwest::{StatusCode, Url, redirect};

use crate::cache::{FetchError, FetchJwks};
use crate::jws::KeySet;

/// Fetches a key set document from one fixed URL.
#[derive(Clone, Debug)]
pub struct HttpFetch {
    client: reqwest::Client,
    url: Url,
}

impl HttpFetch {
    const CONNECT_LIMIT: Duration = Duration::from_secs(1);
    /// From the first packet to the last byte, so that a slow drip ends too.
    const LIMIT: Duration = Duration::from_secs(3);

    /// Makes a fetcher; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// If the URL is not `https` (`http` is taken for loopback hosts), has user
    /// information, or TLS cannot be set up.
    pub fn new(url: &str) -> Result<Self, UrlRefused> {
        let url = Url::parse(url).map_err(|_| UrlRefused::Malformed)?;
        let safe = match url.scheme() {
            "https" => true,
            "http" => is_loopback(&url),
            _ => false,
        };
        if !safe {
            return Err(UrlRefused::Insecure);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlRefused::Malformed);
        }
        let mut client = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(Self::CONNECT_LIMIT)
            .timeout(Self::LIMIT);
        if url.scheme() == "http" {
            // A proxy of the environment would carry it off this machine.
            client = client.no_proxy();
        }
        let client = client.build().map_err(UrlRefused::Tls)?;
        Ok(Self { client, url })
    }
}

impl FetchJwks for HttpFetch {
    async fn fetch(&self) -> Result<Vec<u8>, FetchError> {
        let mut response = self
            .client
            .get(self.url.clone())
            .send()
            .await
            .map_err(FetchError::new)?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::new("the status is not 200"));
        }
        let mut document = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(FetchError::new)? {
            if document.len() + chunk.len() > KeySet::MAX_LENGTH {
                return Err(FetchError::new("the document is too long"));
            }
            document.extend_from_slice(&chunk);
        }
        Ok(document)
    }
}

/// Why a URL cannot be fetched from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UrlRefused {
    /// Not a URL, or one with a user name in it.
    #[error("the key set's URL is malformed")]
    Malformed,
    /// Keys that came over plain HTTP are anybody's keys.
    #[error("the key set's URL is not https")]
    Insecure,
    /// No TLS client could be made.
    #[error("TLS could not be set up")]
    Tls(#[source] reqwest::Error),
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::response::Redirect;
    use axum::routing::get;

    use super::*;

    #[test]
    fn only_https_and_loopback_urls_are_fetched_from() {
        for url in [
            "https://auth.example.com/jwks",
            "http://localhost:3000/jwks",
            "http://127.0.0.1:3000/jwks",
            "http://[::1]:3000/jwks",
        ] {
            assert!(HttpFetch::new(url).is_ok(), "{url}");
        }
        for url in [
            "http://auth.example.com/jwks",
            "http://localhost.example.com/jwks",
            "http://10.0.0.1/jwks",
            "https://user@auth.example.com/jwks",
            "file:///etc/passwd",
            "jwks",
        ] {
            assert!(HttpFetch::new(url).is_err(), "{url}");
        }
    }

    #[tokio::test]
    async fn a_document_is_fetched_within_its_bounds() {
        let app = Router::new()
            .route("/good", get(async || "{}"))
            .route("/full", get(async || "x".repeat(KeySet::MAX_LENGTH)))
            .route("/long", get(async || "x".repeat(KeySet::MAX_LENGTH + 1)))
            .route("/moved", get(async || Redirect::temporary("/good")));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });

        let fetch = async |path: &str| {
            HttpFetch::new(&format!("http://{address}{path}"))
                .unwrap()
                .fetch()
                .await
        };
        assert_eq!(fetch("/good").await.unwrap(), b"{}");
        assert_eq!(fetch("/full").await.unwrap().len(), KeySet::MAX_LENGTH);
        for path in ["/long", "/moved", "/absent"] {
            assert!(fetch(path).await.is_err(), "{path}");
        }
    }
}
