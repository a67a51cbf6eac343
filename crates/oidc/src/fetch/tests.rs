use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn fetcher(issuer: &str, allowed: &[&str], loopback: bool) -> Option<Fetcher> {
    let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
    let client = client(loopback).unwrap();
    Fetcher::new(client, &Url::parse(issuer).unwrap(), &allowed, loopback).ok()
}

#[test]
fn only_https_urls_of_the_providers_own_hosts_are_fetched_from() {
    // D11
    let fetcher = fetcher(
        "https://idp.example.com/tenant",
        &["keys.example.com", "other.example.com:8443"],
        false,
    )
    .unwrap();
    for good in [
        "https://idp.example.com/jwks",
        "https://idp.example.com:443/jwks?v=1",
        "https://IDP.example.com/jwks",
        "https://keys.example.com/",
        "https://other.example.com:8443/",
    ] {
        assert!(fetcher.permit(good).is_ok(), "{good}");
    }
    for bad in [
        "http://idp.example.com/jwks",
        "https://idp.example.com:8443/jwks",
        "https://idp.example.com./jwks",
        "https://other.example.com/",
        "https://evil.example.com/jwks",
        "https://idp.example.com.evil.example/",
        "https://idp.example.com@evil.example/",
        "https://evil@idp.example.com/",
        "https://idp.example.com/jwks#x",
        "https://169.254.169.254/latest/meta-data",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://0x7f.1/",
        "https://localhost:9001/2018-06-01/runtime",
        "http://localhost:9001/2018-06-01/runtime",
        "http://127.0.0.1:9001/",
        "file:///etc/passwd",
        "//idp.example.com/jwks",
        "jwks",
        "",
    ] {
        assert!(fetcher.permit(bad).is_err(), "{bad}");
    }
}

#[test]
fn plain_http_is_for_loopback_hosts_of_a_system_on_one_machine() {
    let local = fetcher("http://127.0.0.1:4000", &[], true).unwrap();
    assert!(local.permit("http://127.0.0.1:4000/jwks").is_ok());
    for bad in [
        "http://127.0.0.1:9001/",
        "http://localhost:4000/jwks",
        "http://10.0.0.1:4000/",
        "http://idp.example.com/",
    ] {
        assert!(local.permit(bad).is_err(), "{bad}");
    }
    let deployed = fetcher("http://127.0.0.1:4000", &[], false).unwrap();
    assert!(deployed.permit("http://127.0.0.1:4000/jwks").is_err());
}

#[test]
fn an_allowed_host_is_a_host_and_nothing_else() {
    for good in ["a.example", "a.example:8443", "a.example:443"] {
        assert!(
            fetcher("https://idp.example", &[good], false).is_some(),
            "{good}"
        );
    }
    for bad in [
        "",
        "https://a.example",
        "a@b.example",
        "a.example/x",
        "A.example",
        "a b",
    ] {
        let made = fetcher("https://idp.example", &[bad], false);
        assert!(made.is_none(), "{bad}");
    }
}

#[tokio::test]
async fn a_slow_drip_ends() {
    // D9: headers at once, then a byte now and then.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let _ = socket.read(&mut [0; 4096]).await.unwrap();
        let head =
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";
        socket.write_all(head).await.unwrap();
        while socket.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let issuer = format!("http://{address}");
    let fetcher = fetcher(&issuer, &[], true).unwrap();
    let started = Instant::now();
    let fault = fetcher.get(&fetcher.permit(&issuer).unwrap()).await;
    assert_eq!(
        fault.unwrap_err(),
        Fault::Unavailable("it did not answer in time")
    );
    // A busy machine may be late to notice.
    assert!(started.elapsed() < LIMIT * 3);
}

/// Nothing is ever inflated, so there is no bomb (D9): what is compressed was not asked for.
#[tokio::test]
async fn a_compressed_answer_is_neither_asked_for_nor_read() {
    // `{}`, as gzip writes it.
    const GZIP: &[u8] =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let asked = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let length = socket.read(&mut request).await.unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
            GZIP.len()
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(GZIP).await.unwrap();
        String::from_utf8(request[..length].to_vec()).unwrap()
    });
    let fetcher = fetcher(&issuer, &[], true).unwrap();
    let answer = fetcher.get(&fetcher.permit(&issuer).unwrap()).await;
    assert_eq!(
        answer.unwrap_err(),
        Fault::Refused("its answer is not UTF-8")
    );
    let asked = asked.await.unwrap().to_ascii_lowercase();
    assert!(asked.starts_with("get / http/1.1"));
    assert!(!asked.contains("accept-encoding"));
}
