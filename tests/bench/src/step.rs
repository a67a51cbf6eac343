//! What is counted.

use crate::ports::{self, Keys, NOW, Stamp, Table};
use cloakroom_authorizer::Handler;
use cloakroom_domain::config::Config;
use cloakroom_domain::family::FamilyRecord;
use cloakroom_domain::grant::{self, Grant, TokenMeta};
use cloakroom_domain::jwt::{AccessClaims, Algorithm, SigningInput};
use cloakroom_domain::policy::{self, Policy};
use cloakroom_domain::seal::RootKeys;
use cloakroom_domain::time::UnixTime;
use cloakroom_domain::token::OpaqueToken;
use serde_json::json;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// A step, ready to be taken again and again.
pub struct Step {
    /// As in the budget.
    pub name: &'static str,
    make: fn() -> Box<dyn FnMut()>,
}

/// All of them, in the order in which a decision takes them.
pub const STEPS: [Step; 13] = [
    Step {
        name: "parse and checksum",
        make: parse,
    },
    Step {
        name: "digest",
        make: digest,
    },
    Step {
        name: "unseal",
        make: unseal,
    },
    Step {
        name: "policy, 10 routes",
        make: || policy(10),
    },
    Step {
        name: "policy, 100 routes",
        make: || policy(100),
    },
    Step {
        name: "policy, 1000 routes",
        make: || policy(1000),
    },
    Step {
        name: "JWT assembly",
        make: assemble,
    },
    Step {
        name: "cached decision, 10 routes",
        make: || decide(&USUAL),
    },
    Step {
        name: "cached decision, 100 routes",
        make: || {
            decide(&System {
                routes: 100,
                ..USUAL
            })
        },
    },
    Step {
        name: "cached decision, 1000 routes",
        make: || {
            decide(&System {
                routes: 1000,
                ..USUAL
            })
        },
    },
    Step {
        name: "cached decision, 16 audiences",
        make: || {
            decide(&System {
                audiences: 16,
                ..USUAL
            })
        },
    },
    Step {
        name: "cached decision, 100 roles",
        make: || {
            decide(&System {
                roles: 100,
                ..USUAL
            })
        },
    },
    Step {
        name: "junk",
        make: refuse,
    },
];

/// How large a system is.
struct System {
    routes: usize,
    audiences: usize,
    /// Of the user.
    roles: usize,
}

const USUAL: System = System {
    routes: 10,
    audiences: 1,
    roles: 2,
};

impl Step {
    /// Sets it up; every call of the result takes the step once.
    pub fn make(&self) -> Box<dyn FnMut()> {
        (self.make)()
    }
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

fn parse() -> Box<dyn FnMut()> {
    let text = login(&USUAL).1.expose().to_owned();
    Box::new(move || {
        black_box(OpaqueToken::parse(black_box(&text)).is_ok());
    })
}

fn digest() -> Box<dyn FnMut()> {
    let token = login(&USUAL).1;
    Box::new(move || {
        black_box(token.digest());
    })
}

fn unseal() -> Box<dyn FnMut()> {
    let (record, token) = login(&USUAL);
    let roots = ports::root_keys();
    Box::new(move || {
        black_box(grant::open(black_box(&record), &token, &roots, UnixTime(0), NOW).is_ok());
    })
}

fn policy(routes: usize) -> Box<dyn FnMut()> {
    let rules = Policy::new(&config(&System { routes, ..USUAL }));
    let (grant, meta) = (grant(&USUAL), meta());
    Box::new(move || {
        let route = rules
            .find(black_box("GET"), black_box("/api/orders"))
            .expect("a route");
        black_box(policy::judge(route, &grant, &meta, NOW).is_ok());
    })
}

fn assemble() -> Box<dyn FnMut()> {
    let config = config(&USUAL);
    let (grant, meta) = (grant(&USUAL), meta());
    Box::new(move || {
        let audience = config.audiences.first().expect("an audience");
        let claims = AccessClaims::new(
            &config,
            audience,
            &grant,
            &meta,
            "a-jti-of-22-characters",
            NOW,
        );
        let input = SigningInput::new("at+jwt", "bench-key", Algorithm::RS256, &claims);
        black_box(input.map(|input| input.into_jwt(&[7; 256])));
    })
}

fn decide(system: &System) -> Box<dyn FnMut()> {
    let (record, token) = login(system);
    let event = event(&format!("Bearer {}", token.expose()));
    let (handler, runtime) = handler(system, record);
    let once = move || {
        let answer = runtime.block_on(handler.handle(black_box(&event)));
        black_box(answer.expect("an answer"));
    };
    // From here on everything is in memory.
    once();
    Box::new(once)
}

/// The authorizer as Lambda calls it; `None` for a failure.
pub type Function = Box<dyn Fn(&[u8]) -> Option<Vec<u8>>>;

/// The whole authorizer with a login in its table, and the access token of that login.
pub fn authorizer() -> (Function, String) {
    let (record, token) = login(&USUAL);
    let (handler, runtime) = handler(&USUAL, record);
    let function = move |event: &[u8]| runtime.block_on(handler.handle(event)).ok();
    (Box::new(function), token.expose().to_owned())
}

fn refuse() -> Box<dyn FnMut()> {
    let event = event(&format!("Bearer {}", "x".repeat(76)));
    let (handler, runtime) = handler(&USUAL, login(&USUAL).0);
    Box::new(move || {
        black_box(runtime.block_on(handler.handle(black_box(&event))).is_err());
    })
}

fn handler(system: &System, record: FamilyRecord) -> (Handler<Table, Stamp, Keys>, Runtime) {
    let roots: Arc<RootKeys> = Arc::new(ports::root_keys());
    let handler = Handler::new(
        Arc::new(config(system)),
        UnixTime(0),
        Table(record),
        Stamp,
        Keys(roots),
        ports::world(),
    );
    // As in the bootstrap: its own time limits need the clock.
    let runtime = Builder::new_current_thread().enable_time().build();
    (handler, runtime.expect("a runtime"))
}

fn login(system: &System) -> (FamilyRecord, OpaqueToken) {
    let roots = ports::root_keys();
    grant::new_family(&grant(system), &meta(), roots.current(), &ports::world()).expect("entropy")
}

/// As they are stored, so that what is added to them has a default here too.
fn grant(system: &System) -> Grant {
    let others = (2..system.roles).map(|n| format!("role-{n}"));
    let roles: Vec<_> = ["admin".into(), "user".into()]
        .into_iter()
        .chain(others)
        .collect();
    let grant = json!({
        "kind": "grant",
        "client": "app",
        "user": {
            "sub": "demo|alice",
            "idp": "demo",
            "iss": "https://idp.example.com",
            "name": "Alice Example",
            "email": "alice@example.com",
            "roles": roles,
            "auth_time": NOW.0,
            "acr": "gold",
            "amr": ["pwd", "otp"],
        },
        "sid": "a-sid-of-22-characters",
        "created_at": NOW.0,
        "absolute_expires_at": NOW.0 + 86_400,
    });
    serde_json::from_value(grant).expect("a grant")
}

fn meta() -> TokenMeta {
    let meta = json!({
        "kind": "at",
        "client": "app",
        "scope": ["openid", "orders:read", "profile"],
        "audiences": [],
        "issued_at": NOW.0,
        "expires_at": NOW.0 + 3_600,
    });
    serde_json::from_value(meta).expect("what a token may do")
}

/// The route that is asked for, among others.
fn config(system: &System) -> Config {
    let mut text = r#"
        config_version = 1
        issuer = "https://app.example.com"

        [[clients]]
        id = "app"
        kind = "public"
        grants = ["authorization_code", "refresh_token"]
        redirect_uris = ["https://app.example.com/cb"]
        scopes = ["openid", "profile", "orders:read"]
        "#
    .to_owned();
    // What is asked for comes last, where it is found last.
    for n in 1..system.audiences {
        let _ = write!(text, "\n[[audiences]]\nid = \"service-{n}\"\n");
    }
    text += r#"
        [[audiences]]
        id = "orders"
        claims = ["name", "email", "roles"]

        [[routes]]
        method = "GET"
        path = "/api/orders"
        audience = "orders"
        scopes = ["orders:read"]
        roles = ["user"]
        "#;
    for n in 1..system.routes {
        let _ = write!(
            text,
            "\n[[routes]]\nmethod = \"GET\"\npath = \"/api/service-{n}/{{id}}\"\naudience = \"orders\"\n"
        );
    }
    Config::parse(&text).expect("a configuration")
}

/// A REST API's REQUEST event with the headers of an ordinary browser.
pub fn event(authorization: &str) -> Vec<u8> {
    let headers = [
        ("Accept", "application/json"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Accept-Language", "en-GB,en;q=0.9"),
        ("Authorization", authorization),
        ("CloudFront-Viewer-Country", "DE"),
        ("Host", "abcdefghij.execute-api.eu-central-1.amazonaws.com"),
        (
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:152.0) Gecko/20100101 Firefox/152.0",
        ),
        (
            "X-Amzn-Trace-Id",
            "Root=1-68c0ffee-0123456789abcdef01234567",
        ),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Forwarded-Port", "443"),
        ("X-Forwarded-Proto", "https"),
    ];
    let single: serde_json::Map<_, _> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    let multi: serde_json::Map<_, _> = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!([value])))
        .collect();
    json!({
        "type": "REQUEST",
        "methodArn": "arn:aws:execute-api:eu-central-1:123456789012:abcdefghij/prod/GET/api/orders",
        "resource": "/api/orders",
        "path": "/api/orders",
        "httpMethod": "GET",
        "headers": single,
        "multiValueHeaders": multi,
        "queryStringParameters": {},
        "multiValueQueryStringParameters": {},
        "pathParameters": {},
        "stageVariables": {},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdefghij",
            "domainName": "abcdefghij.execute-api.eu-central-1.amazonaws.com",
            "httpMethod": "GET",
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "Mozilla/5.0"},
            "path": "/prod/api/orders",
            "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "resourceId": "abc123",
            "resourcePath": "/api/orders",
            "stage": "prod",
        },
    })
    .to_string()
    .into_bytes()
}
