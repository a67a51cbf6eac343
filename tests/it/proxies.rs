//! Forward-auth with real proxies, configured as `docs/authorizer.md` says: the blocks are
//! taken from that page. What each proxy must refuse differs from what it lets in by one thing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use cloakroom_local::function::Function;
use cloakroom_local::system::{DEMO_CONFIG, Options, System};
use cloakroom_tests::oauth::{machine_token, native_tokens, revoke};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PAGE: &str = include_str!("../../docs/authorizer.md");
const UNKNOWN: &str =
    "cr_at_ulcDH8AiuwdTP2vuLAaSpDh2EiOWQ_cJ4V3FkEprRuI6NJWQ6G34XcaqWeOV1ad119PSJ5";

/// The block of the page that follows this mark.
fn block(mark: &str) -> String {
    let (_, rest) = PAGE
        .split_once(&format!("<!-- test: {mark} -->"))
        .expect(mark);
    let (_, rest) = rest.split_once("```").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

/// The head and the body of one HTTP/1.1 message.
async fn message(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    let head = loop {
        let read = stream.read(&mut part).await.unwrap_or(0);
        bytes.extend_from_slice(&part[..read]);
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if read == 0 {
            return (String::from_utf8_lossy(&bytes).into_owned(), String::new());
        }
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    while bytes.len() < head + 4 + length.unwrap_or(0) {
        let read = stream.read(&mut part).await.unwrap_or(0);
        if read == 0 {
            break;
        }
        bytes.extend_from_slice(&part[..read]);
    }
    (
        text,
        String::from_utf8_lossy(&bytes[head + 4..]).into_owned(),
    )
}

/// A server that hands each request's head to `answer` and closes the connection.
async fn serve<F, R>(answer: F) -> u16
where
    F: Fn(String) -> R + Clone + Send + 'static,
    R: Future<Output = String> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let (head, _) = message(&mut stream).await;
                if !head.is_empty() {
                    let _ = stream.write_all(answer(head).await.as_bytes()).await;
                }
            });
        }
    });
    port
}

/// What a load balancer makes of a request, and of the function's answer.
async fn balanced(function: &Arc<dyn Function>, head: &str) -> String {
    let mut lines = head.lines();
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, target) = (
        first.next().unwrap_or_default(),
        first.next().unwrap_or_default(),
    );
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        if let Some((name, value)) = line.split_once(':') {
            let values = headers.entry(name.to_ascii_lowercase()).or_default();
            values.push(value.trim().to_owned());
        }
    }
    let event = json!({
        "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/forward/49e9d65c45c6791a"}},
        "httpMethod": method,
        "path": target.split('?').next(),
        "multiValueHeaders": headers,
        "body": "",
        "isBase64Encoded": false,
    });
    let answer = function
        .invoke(Bytes::from(event.to_string()))
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let body = answer["body"].as_str().unwrap();
    let mut text = format!(
        "HTTP/1.1 {}\r\n",
        answer["statusDescription"].as_str().unwrap()
    );
    for (name, values) in answer["multiValueHeaders"].as_object().unwrap() {
        let value = values[0].as_str().unwrap();
        text = text + name + ": " + value + "\r\n";
    }
    text + &format!(
        "content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// A system, a service that says what reached it, and a proxy before it.
struct Place {
    system: System,
    seen: Arc<Mutex<Vec<String>>>,
    port: u16,
    program: std::process::Child,
    folder: PathBuf,
}

impl Drop for Place {
    fn drop(&mut self) {
        // nginx ends its workers at SIGTERM alone.
        let _ = Command::new("kill")
            .arg(self.program.id().to_string())
            .status();
        let _ = self.program.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Place {
    async fn start(mark: &str) -> Self {
        let config = format!("{DEMO_CONFIG}\n[authorizer]\ntrust_forwarded = true\n");
        let system = System::start(Options {
            config,
            ..Options::default()
        })
        .await
        .unwrap();
        let function = system.function("authorizer").unwrap();
        let authorizer = serve(move |head| {
            let function = Arc::clone(&function);
            async move { balanced(&function, &head).await }
        })
        .await;
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let heads = Arc::clone(&seen);
        let service = serve(move |head| {
            heads.lock().unwrap().push(head);
            std::future::ready(
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".to_owned(),
            )
        })
        .await;
        let (port, refusing) = (free_port(), free_port());
        let secret = BASE64.encode("demo-machine:demo-machine-secret");
        let text = block(mark)
            .replace("8081", "REFUSING")
            .replace("8080", &port.to_string())
            .replace("REFUSING", &refusing.to_string())
            .replace(
                "http://authorizer.internal",
                &format!("http://127.0.0.1:{authorizer}"),
            )
            .replace(
                "http://orders.internal",
                &format!("http://127.0.0.1:{service}"),
            )
            .replace("https://app.example.com", system.url())
            .replace("BASE64_OF_CLIENT_ID_AND_SECRET", &secret);
        let folder = std::env::temp_dir().join(format!("cloakroom-{mark}-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        let program = start(mark, &text, &folder);
        let place = Self {
            system,
            seen,
            port,
            program,
            folder,
        };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return place;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let said = std::fs::read_to_string(place.folder.join("said")).unwrap_or_default();
        panic!("{mark} does not listen: {said}");
    }

    /// The status, and what reached the service.
    async fn ask(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> (u16, Vec<String>) {
        self.seen.lock().unwrap().clear();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let mut text =
            format!("{method} {target} HTTP/1.1\r\nHost: app.example.com\r\nConnection: close\r\n");
        for (name, value) in headers {
            text = text + name + ": " + value + "\r\n";
        }
        stream.write_all((text + "\r\n").as_bytes()).await.unwrap();
        let (head, _) = message(&mut stream).await;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("{method} {target}: {head:?}"));
        (status, std::mem::take(&mut *self.seen.lock().unwrap()))
    }
}

/// Starts the program, in the foreground and with all of its files in one folder.
fn start(mark: &str, text: &str, folder: &std::path::Path) -> std::process::Child {
    let file = folder.join("configuration");
    let said = std::fs::File::create(folder.join("said")).unwrap();
    let mut command = if mark.starts_with("nginx") {
        let at = folder.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {at}/{name};"))
            .concat();
        let text = format!(
            "daemon off; worker_processes 1; pid {at}/pid; error_log {at}/said;\nevents {{}}\nhttp {{ access_log off; {temporary}\n{text}}}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(&file);
        command
    } else {
        std::fs::write(
            &file,
            format!("{{\n\tadmin off\n\tauto_https off\n}}\n{text}"),
        )
        .unwrap();
        let mut command = Command::new("caddy");
        command
            .args(["run", "--adapter", "caddyfile", "--config"])
            .arg(&file);
        command
            .env("HOME", folder)
            .env("XDG_DATA_HOME", folder)
            .env("XDG_CONFIG_HOME", folder);
        command
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(said)
        .spawn()
        .unwrap_or_else(|_| {
            let name = mark.split('-').next().unwrap_or_default();
            panic!("{name} is missing: install it (Debian: apt-get install {name}), or run `make test` as root")
        })
}

async fn forward_auth(mark: &str) {
    let place = Place::start(mark).await;
    let machine = machine_token(&place.system).await;
    let bearer = format!("Bearer {machine}");
    let good = [("Authorization", bearer.as_str())];
    for target in [
        "/api/orders",
        "/api/orders?page=2",
        "/api/orders?a=/../reports",
    ] {
        let (status, seen) = place.ask("GET", target, &good).await;
        assert_eq!((status, seen.len()), (200, 1), "{mark} {target}");
        assert!(
            seen[0].starts_with(&format!("GET {target} HTTP/1.")),
            "{}",
            seen[0]
        );
        let head = seen[0].to_ascii_lowercase();
        assert!(head.contains("authorization: bearer ey"), "the JWT: {head}");
        assert!(!seen[0].contains(&machine), "never the opaque token");
    }
    // Methods, routes, and other spellings of paths.
    for (method, target) in [
        ("DELETE", "/api/orders"),
        ("POST", "/api/orders"),
        ("PUT", "/api/orders"),
        ("OPTIONS", "/api/orders"),
        ("GET", "/api/reports"),
        ("GET", "/api/orders#/../reports"),
        ("GET", "/api/orders?x#/../reports"),
        ("GET", "/api/orders%23/../reports"),
        ("GET", "/api/orders/../reports"),
        ("GET", "/api/./orders"),
        ("GET", "/api//orders"),
        ("GET", "/api/orders/"),
        ("GET", "/api/orders;x"),
        ("GET", "/api/orders/..;/reports"),
        ("GET", "/api/%6frders"),
        ("GET", "/api/%72eports"),
        ("GET", "/api/orders%2F..%2Freports"),
        ("GET", "/api/orders/%2e%2e/reports"),
        ("GET", "/api/orders%5C..%5Creports"),
        ("GET", "/api/orders%3Fx"),
        ("GET", "/api/orders%00"),
        ("GET", "/api/{x+}"),
        ("GET", "/api/*"),
        ("GET", "/api/%C0%AE%C0%AE/reports"),
    ] {
        let (status, seen) = place.ask(method, target, &good).await;
        assert!(
            (400..500).contains(&status),
            "{mark} {method} {target}: {status} {seen:?}"
        );
        assert!(
            seen.is_empty(),
            "{mark} {method} {target} reached the service"
        );
    }
    // What a client says in the proxy's name.
    for (method, target, name, value) in [
        ("DELETE", "/api/orders", "X-Forwarded-Method", "GET"),
        ("GET", "/api/reports", "X-Forwarded-Uri", "/api/orders"),
        ("GET", "/api/reports", "X_Forwarded_Uri", "/api/orders"),
        ("GET", "/api/reports", "X-Original-URI", "/api/orders"),
        ("DELETE", "/api/orders", "X-HTTP-Method-Override", "GET"),
    ] {
        let headers = [good[0], (name, value)];
        let (status, seen) = place.ask(method, target, &headers).await;
        assert!(
            (400..500).contains(&status) && seen.is_empty(),
            "{mark} {name}: {status}"
        );
    }
    // Identity headers of other products reach nobody.
    let foreign = [
        ("X-WEBAUTH-USER", "admin"),
        ("X-Forwarded-User", "admin"),
        ("X-Amzn-Oidc-Identity", "admin"),
        ("Remote-User", "admin"),
        ("X-Original-URL", "/api/reports"),
        ("Cookie", "canary=admin"),
    ];
    let headers: Vec<_> = good.into_iter().chain(foreign).collect();
    let (status, seen) = place.ask("GET", "/api/orders", &headers).await;
    assert_eq!(status, 200, "{mark}");
    for (name, _) in foreign {
        let name = format!("\n{}:", name.to_ascii_lowercase());
        assert!(
            !seen[0].to_ascii_lowercase().contains(&name),
            "{mark} {name}: {}",
            seen[0]
        );
    }
    // Tokens.
    let (ended, _) = native_tokens(&place.system, "alice").await;
    assert_eq!(revoke(&place.system, &ended).await, StatusCode::OK);
    for value in [
        "",
        "Basic ZGVtbzpkZW1v",
        "Bearer junk",
        &format!("Bearer {UNKNOWN}"),
        &format!("Bearer {ended}"),
    ] {
        let (status, seen) = place
            .ask("GET", "/api/orders", &[("Authorization", value)])
            .await;
        assert_eq!((status, seen.len()), (401, 0), "{mark} {value}");
    }
    let (status, seen) = place.ask("GET", "/api/orders", &[]).await;
    assert_eq!((status, seen.len()), (401, 0), "{mark}");
}

#[tokio::test(flavor = "multi_thread")]
async fn d81_nginx_as_documented_refuses_what_the_policy_refuses() {
    forward_auth("nginx").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d81_caddy_as_documented_refuses_what_the_policy_refuses() {
    forward_auth("caddy").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d82_a_dead_token_behind_nginx_that_introspects_is_refused() {
    let place = Place::start("nginx-introspection").await;
    let machine = machine_token(&place.system).await;
    let bearer = format!("Bearer {machine}");
    let (status, seen) = place
        .ask("GET", "/api/orders", &[("Authorization", &bearer)])
        .await;
    assert_eq!((status, seen.len()), (200, 1));
    assert!(!seen[0].contains(&machine), "the service has no use for it");
    let (ended, _) = native_tokens(&place.system, "alice").await;
    assert_eq!(revoke(&place.system, &ended).await, StatusCode::OK);
    for value in [
        "",
        "Bearer junk",
        &format!("Bearer {UNKNOWN}"),
        &format!("Bearer {ended}"),
        &format!("Bearer {machine}&token={machine}"),
        &format!("Basic {machine}"),
    ] {
        let (status, seen) = place
            .ask("GET", "/api/orders", &[("Authorization", value)])
            .await;
        assert_eq!((status, seen.len()), (401, 0), "{value}");
    }
}
