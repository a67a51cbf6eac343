//! An identity provider that lies: the demo provider behind a proxy which holds the
//! signing key, changes what it likes, and signs it anew.
//!
//! It speaks HTTP by hand, so that it can also be slow, stop in mid-sentence, or send
//! what no library would.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use cloakroom_local::idp::{DemoIdp, DemoIdpOptions};
use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What is changed about the answers at one path.
#[derive(Clone, Debug)]
pub enum Lie {
    /// The connection is closed without a word.
    HangsUp,
    /// Nothing is ever said.
    Silent,
    /// One byte of a good answer at a time, for ever.
    Drips,
    /// Half of a good answer.
    StopsHalfway,
    /// Something else altogether: status, headers and body.
    Says(u16, &'static str, Vec<u8>),
    /// The JSON of a good answer, edited.
    Edited(fn(&mut Value)),
    /// The bytes of a good answer, edited.
    Garbled(fn(Vec<u8>) -> Vec<u8>),
    /// The claims of the ID token in a good answer, edited and signed again.
    Claims(fn(&mut Value)),
    /// The ID token in a good answer, with this header and signed as it says.
    Header(fn() -> Value),
}

/// The provider.
pub struct Liar {
    /// Its issuer.
    pub issuer: String,
    state: Arc<State>,
    listener: Mutex<Option<TcpListener>>,
}

struct State {
    issuer: String,
    behind: Mutex<Option<String>>,
    lie: Mutex<Option<(&'static str, Lie)>>,
    seen: Mutex<Vec<String>>,
    http: Client,
}

/// One key for all of them: making one takes its time.
static KEY: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

impl Liar {
    /// Takes an address, and says nothing yet.
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let state = State {
            issuer: issuer.clone(),
            behind: Mutex::new(None),
            lie: Mutex::new(None),
            seen: Mutex::new(Vec::new()),
            http: crate::browser::client(),
        };
        Self {
            issuer,
            state: Arc::new(state),
            listener: Mutex::new(Some(listener)),
        }
    }

    /// A system whose only provider it is, by the name of `liar`, and which takes any role
    /// from it. `more` is added to the provider's settings.
    pub async fn system(&self, more: &str, options: Options) -> System {
        self.system_with(more, "", options).await
    }

    /// The same, with further clients.
    pub async fn system_with(&self, more: &str, clients: &str, options: Options) -> System {
        let config = DEMO_CONFIG
            .replace("id = \"demo\"\n", &format!("id = \"liar\"\n{more}\n"))
            .replace("http://127.0.0.1:4000", &self.issuer)
            .replace("claims.allow_roles = [\"admin\", \"user\"]\n", "");
        assert!(!config.contains("allow_roles"));
        let config = format!("{config}\n{clients}");
        assert!(config.contains("id = \"liar\""));
        let system = System::start(Options { config, ..options }).await.unwrap();
        let idp = DemoIdp::new(DemoIdpOptions {
            issuer: self.issuer.clone(),
            client_id: "cloakroom".to_owned(),
            client_secret: system.environment()["CLOAKROOM_DEMO_IDP_SECRET"].clone(),
            redirect_uris: vec![
                system.config().callback_url(),
                format!("{}/liar", system.config().callback_url()),
            ],
            post_logout_redirect_uris: vec![format!("{}/", system.url())],
            backchannel_logout_uri: None,
        });
        let behind = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", behind.local_addr().unwrap());
        *self.state.behind.lock().unwrap() = Some(url);
        tokio::spawn(Arc::new(idp.unwrap()).serve_on(behind));
        let listener = self.listener.lock().unwrap().take().unwrap();
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                tokio::spawn(async move { state.answer(stream).await });
            }
        });
        system
    }

    /// Lies from now on about what is at `path`.
    pub fn lie(&self, path: &'static str, lie: Lie) {
        *self.state.lie.lock().unwrap() = Some((path, lie));
    }

    /// Tells the truth again.
    pub fn repent(&self) {
        *self.state.lie.lock().unwrap() = None;
    }

    /// How often a path was asked for.
    pub fn seen(&self, path: &str) -> usize {
        let seen = self.state.seen.lock().unwrap();
        seen.iter().filter(|each| *each == path).count()
    }
}

impl std::fmt::Debug for Liar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Liar({})", self.issuer)
    }
}

struct Request {
    method: Method,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl State {
    async fn answer(&self, mut stream: TcpStream) -> Option<()> {
        let request = read(&mut stream).await?;
        let path = request.target.split('?').next().unwrap().to_owned();
        self.seen.lock().unwrap().push(path.clone());
        let lie = self.lie.lock().unwrap().clone();
        let lie = lie.filter(|(at, _)| *at == path).map(|(_, lie)| lie);
        match &lie {
            Some(Lie::HangsUp) => return None,
            Some(Lie::Silent) => return std::future::pending().await,
            Some(Lie::Says(status, headers, body)) => {
                return send(&mut stream, *status, headers, body).await;
            }
            _ => {}
        }
        let (status, headers, body) = self.truth(&path, request).await?;
        let body = match &lie {
            Some(lie) => self.twisted(lie, body),
            None if path == "/token" => resigned(body, &json!({}), |_| {}),
            None => body,
        };
        match lie {
            Some(Lie::Drips) => {
                let head = head(status, &headers, 1_000_000);
                stream.write_all(head.as_bytes()).await.ok()?;
                loop {
                    stream.write_all(b" ").await.ok()?;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            Some(Lie::StopsHalfway) => {
                let head = head(status, &headers, body.len());
                stream.write_all(head.as_bytes()).await.ok()?;
                stream.write_all(&body[..body.len() / 2]).await.ok()
            }
            _ => send(&mut stream, status, &headers, &body).await,
        }
    }

    /// What the provider behind says, with our keys for its own.
    async fn truth(&self, path: &str, request: Request) -> Option<(u16, String, Vec<u8>)> {
        if path == "/jwks" {
            let keys = json!({ "keys": [jwk()] }).to_string();
            let headers = "content-type: application/json\r\n".to_owned();
            return Some((200, headers, keys.into_bytes()));
        }
        let behind = self.behind.lock().unwrap().clone()?;
        let mut forward = self
            .http
            .request(request.method, format!("{behind}{}", request.target))
            .body(request.body);
        for (name, value) in &request.headers {
            if !matches!(name.as_str(), "host" | "content-length" | "connection") {
                forward = forward.header(name, value);
            }
        }
        let answer = forward.send().await.ok()?;
        let status = answer.status().as_u16();
        let headers = answer
            .headers()
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "content-length" | "transfer-encoding"))
            .fold(String::new(), |mut lines, (name, value)| {
                lines += &[name.as_str(), ": ", value.to_str().unwrap(), "\r\n"].concat();
                lines
            });
        Some((status, headers, answer.bytes().await.ok()?.to_vec()))
    }

    fn twisted(&self, lie: &Lie, body: Vec<u8>) -> Vec<u8> {
        match lie {
            Lie::Claims(edit) => resigned(body, &json!({}), edit),
            Lie::Header(header) => resigned(body, &header(), |_| {}),
            Lie::Garbled(edit) => edit(resigned(body, &json!({}), |_| {})),
            Lie::Edited(edit) => {
                let body = resigned(body, &json!({}), |_| {});
                let mut value: Value = serde_json::from_slice(&body).unwrap();
                edit(&mut value);
                // A place in it that stands for our own address.
                let text = value.to_string().replace("ISSUER", &self.issuer);
                text.into_bytes()
            }
            _ => resigned(body, &json!({}), |_| {}),
        }
    }
}

/// A token response whose ID token is signed by us; anything else as it is.
fn resigned(body: Vec<u8>, header: &Value, edit: impl Fn(&mut Value)) -> Vec<u8> {
    let Ok(mut tokens) = serde_json::from_slice::<Value>(&body) else {
        return body;
    };
    let Some(token) = tokens["id_token"].as_str() else {
        return body;
    };
    let claims = token.split('.').nth(1).unwrap();
    let mut claims = serde_json::from_slice(&BASE64URL.decode(claims).unwrap()).unwrap();
    edit(&mut claims);
    tokens["id_token"] = sign(header, &claims).into();
    tokens.to_string().into_bytes()
}

/// Our public key.
pub fn jwk() -> Value {
    let public = KEY.public_key();
    json!({
        "kty": "RSA", "use": "sig", "alg": "RS256", "kid": "liar",
        "n": BASE64URL.encode(public.modulus().big_endian_without_leading_zero()),
        "e": BASE64URL.encode(public.exponent().big_endian_without_leading_zero()),
    })
}

/// Signs as the header says, which is by our key if it says nothing.
pub fn sign(header: &Value, claims: &Value) -> String {
    let mut full = json!({"alg": "RS256", "kid": "liar", "typ": "JWT"});
    for (name, value) in header.as_object().unwrap() {
        full[name] = value.clone();
    }
    let part = |value: &Value| BASE64URL.encode(value.to_string());
    let input = format!("{}.{}", part(&full), part(claims));
    let signature = match full["alg"].as_str().unwrap() {
        "RS256" => {
            let mut signature = vec![0; KEY.public_modulus_len()];
            let random = SystemRandom::new();
            KEY.sign(&RSA_PKCS1_SHA256, &random, input.as_bytes(), &mut signature)
                .unwrap();
            signature
        }
        // The public key as a secret, which is the oldest trick of all.
        "HS256" => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, jwk().to_string().as_bytes());
            hmac::sign(&key, input.as_bytes()).as_ref().to_vec()
        }
        _ => Vec::new(),
    };
    format!("{input}.{}", BASE64URL.encode(signature))
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?, first.next()?);
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = bytes[end..].to_vec();
    while body.len() < length {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => body.extend_from_slice(&chunk[..count]),
        }
    }
    Some(Request {
        method: Method::from_bytes(method.as_bytes()).ok()?,
        target: target.to_owned(),
        headers,
        body,
    })
}

fn head(status: u16, headers: &str, length: usize) -> String {
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n")
}

async fn send(stream: &mut TcpStream, status: u16, headers: &str, body: &[u8]) -> Option<()> {
    let head = head(status, headers, body.len());
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(body).await.ok()?;
    stream.shutdown().await.ok()
}
