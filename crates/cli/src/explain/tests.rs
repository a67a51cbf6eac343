//! What is explained, and that it is what the authorizer decides.

use super::*;
use clap::Parser;
use cloakroom_local::system::DEMO_CONFIG;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn explained(config: &str, line: &str) -> Report {
    let args = Line::parse_from(std::iter::once("explain").chain(line.split(' '))).args;
    let config = Config::parse(config).unwrap();
    let now = UnixTime(1_000_000);
    let (grant, meta) = described(&config, &args, now).papers(now);
    Request::of(&args).judge(&config, &grant, &meta, now)
}

#[test]
fn callers_are_judged_by_exactly_what_they_have() {
    let cases = [
        ("GET /api/orders --scope orders:read", None),
        ("get /api/orders?page=2 --scope orders:read", None),
        ("GET /api/orders", Some("scope")),
        ("GET /api/orders --client --scope orders:read", None),
        (
            "GET /api/orders --client --scope orders:write",
            Some("scope"),
        ),
        ("GET /api/reports --role admin", None),
        ("GET /api/reports --role user", Some("role")),
        ("GET /api/reports --role user --role admin", None),
        ("GET /api/reports --client", Some("token_kind")),
        ("GET /api/profile", None),
        ("POST /api/profile", Some("no_route")),
        ("GET /api/profile/", Some("no_route")),
        ("GET /api/nothing", Some("no_route")),
    ];
    for (line, reason) in cases {
        let report = explained(DEMO_CONFIG, line);
        assert_eq!(report.reason, reason, "{line}");
        assert_eq!(report.allowed, reason.is_none(), "{line}");
    }
}

#[test]
fn step_up_clients_and_audiences_can_be_described_too() {
    let config = format!(
        "{}\n[[routes]]\nmethod = \"ANY\"\npath = \"/api/pay/{{id}}\"\naudience = \"orders\"\nclients = [\"demo-native\"]\nacr = [\"gold\"]\nmax_age = 60\n
         [[routes]]\nmethod = \"GET\"\npath = \"/api/open\"\ntoken = \"none\"\n",
        DEMO_CONFIG.replace("kind = \"public\"", "kind = \"public\"\naudiences = [\"orders\"]")
    );
    let cases = [
        ("PUT /api/pay/7 --client-id demo-native --acr gold", None),
        (
            "PUT /api/pay/7 --client-id demo-native --acr gold --signed-in 59",
            None,
        ),
        (
            "PUT /api/pay/7 --client-id demo-native --acr gold --signed-in 60",
            Some("step_up"),
        ),
        ("PUT /api/pay/7 --client-id demo-native", Some("step_up")),
        ("PUT /api/pay/7 --acr gold", Some("client")),
        ("GET /api/profile --client-id demo-native", Some("audience")),
        ("GET /api/open", None),
    ];
    for (line, reason) in cases {
        assert_eq!(explained(&config, line).reason, reason, "{line}");
    }
    let told = explained(&config, "PUT /api/pay/7 --client-id demo-native").explanation;
    assert_eq!(
        told,
        "the route needs a sign-in with an acr of gold and less than 60 s ago"
    );
}

#[test]
fn fields_that_a_caller_does_not_get_are_listed_with_the_reason() {
    let config = format!(
        "{DEMO_CONFIG}\n[[routes.fields]]\nnames = [\"Query.refunds\", \"Query.margin\"]\nmax_age = 60\n"
    );
    let denied = |line: &str| -> Vec<_> {
        let report = explained(&config, &format!("POST /graphql {line}"));
        let fields = report.denied_fields.into_iter();
        fields.map(|field| (field.name, field.reason)).collect()
    };
    let field = |name: &str, reason| (name.to_owned(), reason);
    let admin = "--scope orders:read --role admin";
    assert_eq!(denied(admin), []);
    assert_eq!(
        denied("--scope orders:read --role user"),
        [field("Query.reports", "role")]
    );
    assert_eq!(
        denied(&format!("{admin} --signed-in 60")),
        [
            field("Query.refunds", "step_up"),
            field("Query.margin", "step_up")
        ]
    );
    assert_eq!(
        denied("--role user"),
        [],
        "who is refused gets nothing at all"
    );
}

#[test]
fn a_wrong_method_names_the_right_ones() {
    let report = explained(DEMO_CONFIG, "POST /api/orders");
    assert_eq!(report.explanation, "the path has GET alone");
}

#[test]
fn d76_explain_finds_no_route_for_what_the_authorizer_does_not_accept() {
    let config = format!(
        "{DEMO_CONFIG}\n[[routes]]\nmethod = \"GET\"\npath = \"/api/{{proxy+}}\"\naudience = \"orders\"\n[[routes]]\nmethod = \"GET\"\npath = \"/api/items/{{id}}\"\naudience = \"orders\"\n"
    );
    for path in [
        "/api/x",
        "/api/items/7",
        "/api/items/7?a=b",
        "/api/items/a%20b",
        "/api/items/caf%c3%a9",
        // As the gateway names its resources.
        "/api/items/{id}",
        "/api/{proxy+}",
    ] {
        let report = explained(&config, &format!("GET {path}"));
        assert!(report.allowed, "{path}: {}", report.explanation);
    }
    for path in [
        "/api/items/{x+}",
        "/api/{x}",
        "/api/x#/../reports",
        "/api/x?a#b",
        "/api/items/7/",
        "/api//items",
        "/api/./items",
        "/api/items/..",
        "/api/items/%2e%2e",
        "/api/items/a%2Fb",
        "/api/items/a;b",
        "/api/items/a*b",
        "/api/items/a\\b",
        "/api/items/n%65w",
        "https://app.example.com/api/x",
    ] {
        let report = explained(&config, &format!("GET {path}"));
        assert_eq!(report.reason, Some("no_route"), "{path}");
    }
    let told = explained(&config, "GET /api/items/a;b").explanation;
    assert!(told.starts_with("the path is not accepted"), "{told}");
}
