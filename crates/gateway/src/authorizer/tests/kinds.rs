//! The kinds that are no requests to a REST or HTTP API.

use super::*;

const COOKIE: &str = "__Host-Http-cloakroom=cr_st_x";

fn connect() -> Value {
    json!({
        "type": "REQUEST",
        "methodArn": "arn:aws:execute-api:us-east-1:123456789012:abcdef123/test/$connect",
        "headers": {"Authorization": "Bearer token", "Origin": "https://app.example.com"},
        "multiValueHeaders": {
            "Authorization": ["Bearer token"],
            "Origin": ["https://app.example.com"],
        },
        "queryStringParameters": {"QueryString1": "queryValue1"},
        "multiValueQueryStringParameters": {"QueryString1": ["queryValue1"]},
        "stageVariables": {},
        "requestContext": {
            "routeKey": "$connect",
            "eventType": "CONNECT",
            "extendedRequestId": "LVYVdHCsIAMFkUQ=",
            "requestTime": "22/Feb/2026:21:40:56 +0000",
            "messageDirection": "IN",
            "stage": "test",
            "connectedAt": 1_550_871_656_834_u64,
            "requestTimeEpoch": 1_550_871_656_834_u64,
            "identity": {"sourceIp": "192.0.2.1"},
            "requestId": "LVYVdHCsIAMFkUQ=",
            "domainName": "abcdef123.execute-api.us-east-1.amazonaws.com",
            "connectionId": "LVYVcfvoIAMCJtg=",
            "apiId": "abcdef123",
        },
    })
}

fn appsync() -> Value {
    json!({
        "authorizationToken": "token",
        "requestContext": {
            "apiId": "aaaaaa123123123example123",
            "accountId": "111122223333",
            "requestId": "f4081827-1111-4444-5555-5cf4695f339f",
            "queryString": "mutation CreateEvent {...}\n\nquery MyQuery {...}\n",
            "operationName": "MyQuery",
            "variables": {},
        },
        "requestHeaders": {"header": "value"},
    })
}

fn function_url() -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/request",
        "rawQueryString": "parameter1=value1",
        "cookies": ["cookie1", "cookie2"],
        "headers": {"authorization": "Bearer token", "host": "url123.lambda-url.us-east-1.on.aws"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "url123",
            "authentication": null,
            "domainName": "url123.lambda-url.us-east-1.on.aws",
            "domainPrefix": "url123",
            "http": {
                "method": "GET",
                "path": "/request",
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "agent",
            },
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1_583_348_638_390_u64,
        },
        "isBase64Encoded": false,
    })
}

const TARGET_GROUP: &str =
    "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/forward/49e9d65c45c6791a";

fn load_balancer() -> Value {
    json!({
        "requestContext": {"elb": {"targetGroupArn": TARGET_GROUP}},
        "httpMethod": "GET",
        "path": "/request",
        "queryStringParameters": {},
        "headers": {"authorization": "Bearer token", "x-forwarded-for": "192.0.2.1"},
        "body": "",
        "isBase64Encoded": false,
    })
}

fn load_balancer_multi() -> Value {
    let mut event = without(load_balancer(), "/headers");
    event["multiValueHeaders"] = json!({"authorization": ["Bearer token"]});
    event
}

const BALANCED: EventKind = EventKind::LoadBalancer {
    multi_value_headers: false,
};

fn all() -> [(EventKind, Value); 5] {
    [
        (EventKind::WebSocket, connect()),
        (EventKind::AppSync, appsync()),
        (EventKind::FunctionUrl, function_url()),
        (BALANCED, load_balancer()),
        (
            EventKind::LoadBalancer {
                multi_value_headers: true,
            },
            load_balancer_multi(),
        ),
    ]
}

fn proxies() -> [(EventKind, Value); 3] {
    let [_, _, url, balancer, multi] = all();
    [url, balancer, multi]
}

#[test]
fn every_kind_is_read_as_aws_documents_it() {
    let expected = [
        ("abcdef123/test", "CONNECT", "/$connect"),
        ("aaaaaa123123123example123", "POST", "/graphql"),
        ("url123/$default", "GET", "/request"),
        (TARGET_GROUP, "GET", "/request"),
        (TARGET_GROUP, "GET", "/request"),
    ];
    for ((kind, event), (asker, method, resource)) in all().into_iter().zip(expected) {
        let event = parse(&event).unwrap();
        assert_eq!(event.kind, kind);
        assert_eq!(event.asker, asker, "{kind:?}");
        let judged = (&*event.method, &*event.resource);
        assert_eq!(judged, (method, resource), "{kind:?}");
        let found = credential(&event, Edge::None).unwrap();
        assert_eq!(found.scheme, Scheme::Bearer, "{kind:?}");
        assert_eq!(found.text, "token", "{kind:?}");
    }
}

#[test]
fn d37_what_contradicts_itself_or_lacks_its_sender_is_nobodys() {
    let cases = [
        (connect(), "/methodArn", json!(ARN)),
        (
            connect(),
            "/methodArn",
            json!("arn:aws:execute-api:us-east-1:123456789012:abcdef123/test/$connect/x"),
        ),
        (
            connect(),
            "/methodArn",
            json!("arn:aws:execute-api:us-east-1:123456789012:zzz999/test/$connect"),
        ),
        (
            connect(),
            "/methodArn",
            json!("arn:aws:execute-api:us-east-1:123456789012:abcdef123/test/$disconnect"),
        ),
        (
            connect(),
            "/methodArn",
            json!("arn:aws:execute-api:us-east-1:123456789012:abcdef123/test/GET"),
        ),
        (connect(), "/requestContext/routeKey", json!("$disconnect")),
        (connect(), "/requestContext/routeKey", json!("sendMessage")),
        (connect(), "/requestContext/eventType", json!("MESSAGE")),
        (connect(), "/requestContext/stage", json!("prod")),
        (
            connect(),
            "/requestContext/accountId",
            json!("999999999999"),
        ),
        (connect(), "/version", json!("2.0")),
        (appsync(), "/requestContext", json!(null)),
        (appsync(), "/requestContext/apiId", json!("")),
        (appsync(), "/authorizationToken", json!(["token"])),
        (appsync(), "/type", json!(null)),
        (function_url(), "/rawPath", json!("/other")),
        (function_url(), "/routeKey", json!("GET /request")),
        (
            function_url(),
            "/requestContext/domainName",
            json!("abcdef123.execute-api.us-east-1.amazonaws.com"),
        ),
        (function_url(), "/requestContext/http", json!(null)),
        (function_url(), "/version", json!("1.0")),
        (load_balancer(), "/requestContext", json!({})),
        (
            load_balancer(),
            "/requestContext/elb",
            json!({"targetGroupArn": 7}),
        ),
    ];
    for (event, pointer, value) in cases {
        let changed = with(event, pointer, value.clone());
        assert_eq!(
            parse(&changed).unwrap_err(),
            UnknownEvent,
            "{pointer} {value}"
        );
    }
}

#[test]
fn d34_a_path_that_others_may_read_otherwise_matches_no_route() {
    let paths = [
        ("/request", true),
        ("/request/a%20b", true),
        ("/request/%C3%A9", true),
        ("/request/%C3%A9t%C3%A9/%F0%9F%8E%AB%20", true),
        // Who cuts off parameters reads another path.
        ("/request;x", false),
        ("/request;", false),
        ("/a;/request", false),
        ("/..;/request", false),
        ("/request%3Bx", false),
        // Overlong forms of `/` and `.`, a surrogate, halves of a character.
        ("/a%C0%AFrequest", false),
        ("/a%E0%80%AFrequest", false),
        ("/%c0%ae%c0%ae/request", false),
        ("/request/%ED%A0%80", false),
        ("/request/%C3", false),
        ("/request/%C3x%A9", false),
        ("/request/%A9", false),
        ("/request/%FF", false),
        ("/request/..", false),
        ("/a/../request", false),
        ("/./request", false),
        ("/%72equest", false),
        ("/a%2Frequest", false),
        ("/a%2f..%2frequest", false),
        ("/%2e%2e/request", false),
        ("/a%5Cb", false),
        ("/a%252Fb", false),
        ("/a%00", false),
        ("/a%1F", false),
        ("/a%21", false),
        ("/a%7E", false),
        ("/a%7F", false),
        ("/a%", false),
        ("/a%2", false),
        ("/a%+1", false),
        ("/a%é", false),
        ("/request/{x+}", false),
        ("/{proxy}", false),
        ("/request/", false),
        ("//request", false),
        ("/request*", false),
        ("/request?x", false),
        ("/request#x", false),
        ("/a\\request", false),
        ("/$connect", false),
        ("/request/alice%40example.com", false),
        ("/request/a@b:c,d+e", true),
    ];
    for (path, is_plain) in paths {
        let mut url = with(function_url(), "/rawPath", json!(path));
        url["requestContext"]["http"]["path"] = json!(path);
        let balancer = with(load_balancer(), "/path", json!(path));
        let token = with(
            rest_token(),
            "/methodArn",
            json!(ARN.replace("/request", path)),
        );
        for event in [url, balancer, token] {
            let event = parse(&event).unwrap();
            let expected = if is_plain { path } else { "" };
            assert_eq!(event.resource, expected, "{:?} {path}", event.kind);
        }
    }
}

#[test]
fn a_load_balancers_request_is_called_as_the_balancer_calls_it() {
    let id = |trace: &str| {
        let headers = json!({"authorization": "Bearer token", "x-amzn-trace-id": trace});
        parse(&with(load_balancer(), "/headers", headers))
            .unwrap()
            .request_id
    };
    assert_eq!(id("Root=1-67891233-abcdef"), "Root=1-67891233-abcdef");
    // The client sent one of its own.
    for trace in [
        "Self=1-67891234-12456789;Root=1-67891233-abcdef",
        "Root=1-67891233-abcdef;Self=1-67891234-12456789",
        "Self=1-67891234-12456789;Root=1-67891233-abcdef;Sampled=1;Lineage=a:1|b",
    ] {
        assert_eq!(id(trace), "Self=1-67891234-12456789", "{trace}");
    }
    assert_eq!(id("CalledFrom=app"), "");
}

#[test]
fn a_proxy_is_believed_only_where_it_is_trusted_and_says_everything_once() {
    let forwarded = |headers: Value| {
        let mut event = with(function_url(), "/headers", headers.clone());
        event["cookies"] = json!(null);
        let mut event = parse(&event).unwrap();
        let own = (event.method.clone(), event.resource.clone());
        assert_eq!(own, ("GET".into(), "/request".into()), "{headers}");
        event.take_forwarded();
        (event.method.into_owned(), event.resource.into_owned())
    };
    let said = |method: &str, path: &str| (method.to_owned(), path.to_owned());
    let good = json!({"x-forwarded-method": "POST", "x-forwarded-uri": "/api/orders?page=2"});
    assert_eq!(forwarded(good), said("POST", "/api/orders"));
    // A request target has no fragment (RFC 9112 §3.2): nginx hands this one on whole, and
    // a service that takes it for a path gets to /api/reports.
    for uri in [
        "/api/orders#/../reports",
        "/api/orders?page=2#x",
        "/api/orders%23/../reports",
        "http://app.example.com/api/orders",
        "api/orders",
        "//api/orders",
        "/api/items/{x+}",
        "/api/orders/",
        "/api/orders?a b",
    ] {
        let headers = json!({"x-forwarded-method": "GET", "x-forwarded-uri": uri});
        assert_eq!(forwarded(headers), said("GET", ""), "D76: {uri}");
    }
    assert_eq!(
        forwarded(json!({"x-forwarded-method": "POST"})),
        said("POST", "")
    );
    let uri = json!({"x-forwarded-uri": "/api/orders"});
    assert_eq!(forwarded(uri), said("", "/api/orders"));
    let twice =
        json!({"x-forwarded-method": "GET", "x-forwarded-uri": "/a", "X-Forwarded-Uri": "/b"});
    assert_eq!(forwarded(twice), said("GET", ""));
    let dots = json!({"x-forwarded-method": "GET", "x-forwarded-uri": "/api/x/../orders"});
    assert_eq!(forwarded(dots), said("GET", ""), "D34");
}

fn presented(headers: &[(&str, &str)]) -> Result<(Scheme<'static>, String, bool), Missing> {
    let event = AuthorizerEvent {
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..parse(&connect()).unwrap()
    };
    // As long as the test run, so that what is found outlives the event.
    let event: &'static AuthorizerEvent = Box::leak(Box::new(event));
    let found = |edge| {
        credential(event, edge)
            .map(|found| (found.scheme, found.text.to_owned(), found.from_cookie))
    };
    assert_eq!(
        found(Edge::None),
        found(Edge::Cloudfront),
        "no cache, no edge"
    );
    found(Edge::None)
}

#[test]
fn a_websocket_brings_a_header_a_cookie_or_a_ticket() {
    let protocol = "sec-websocket-protocol";
    let ticket = Ok((Scheme::Ticket, "cr_wt_x".to_owned(), false));
    for offered in [
        "cloakroom, cr_wt_x",
        "cr_wt_x,cloakroom",
        "graphql-ws ,\tcr_wt_x , cloakroom",
    ] {
        assert_eq!(presented(&[(protocol, offered)]), ticket, "{offered}");
    }
    let two_lines = [(protocol, "cloakroom"), (protocol, "cr_wt_x")];
    assert_eq!(presented(&two_lines), ticket);
    assert_eq!(
        presented(&[("authorization", "Bearer cr_at_x")]),
        Ok((Scheme::Bearer, "cr_at_x".to_owned(), false))
    );
    assert_eq!(
        presented(&[("cookie", COOKIE)]),
        Ok((Scheme::Session, "cr_st_x".to_owned(), true))
    );
    for (headers, missing) in [
        (vec![], Missing::Nothing),
        (vec![(protocol, "cloakroom")], Missing::Nothing),
        (vec![(protocol, "cr_wt_x")], Missing::Scheme),
        (vec![(protocol, "cloakroom cr_wt_x")], Missing::Nothing),
        (vec![(protocol, "cloakroom, cr_at_x")], Missing::Scheme),
        (vec![(protocol, "cloakroom, cr_st_x")], Missing::Scheme),
        (vec![(protocol, "Cloakroom, cr_wt_x")], Missing::Scheme),
        (
            vec![(protocol, "cloakroom, cr_wt_x, cr_wt_y")],
            Missing::Ambiguous,
        ),
        (
            vec![(protocol, "cloakroom, cr_wt_x, cr_wt_x")],
            Missing::Ambiguous,
        ),
        (vec![("authorization", "Session cr_st_x")], Missing::Scheme),
        (
            vec![("authorization", "Bearer x"), ("cookie", COOKIE)],
            Missing::Ambiguous,
        ),
        (
            vec![("cookie", COOKIE), (protocol, "cloakroom, cr_wt_x")],
            Missing::Ambiguous,
        ),
        (
            vec![
                ("authorization", "Bearer x"),
                (protocol, "cloakroom, cr_wt_x"),
            ],
            Missing::Ambiguous,
        ),
        (
            vec![("cookie", COOKIE), ("cookie", COOKIE)],
            Missing::Ambiguous,
        ),
    ] {
        assert_eq!(presented(&headers), Err(missing), "{headers:?}");
    }
}

#[test]
fn a_ticket_in_the_query_is_none() {
    let event = with(
        connect(),
        "/queryStringParameters",
        json!({"ticket": "cr_wt_x"}),
    );
    let mut event = without(event, "/headers/Authorization");
    event = without(event, "/multiValueHeaders/Authorization");
    let event = parse(&event).unwrap();
    let found = credential(&event, Edge::None);
    assert_eq!(found.unwrap_err(), Missing::Nothing, "A15.9");
}

#[test]
fn a_websocket_takes_no_proof_of_possession() {
    let bound = ("authorization", "DPoP cr_at_x");
    for headers in [&[bound][..], &[bound, ("dpop", "h.p.s")]] {
        assert_eq!(presented(headers), Err(Missing::Scheme));
    }
}

#[test]
fn what_a_proxy_asks_about_is_what_a_proof_is_about() {
    let (_, event) = all()[2].clone();
    let mut event = parse(&event).unwrap();
    assert_eq!(event.path, "/request");
    event.headers.push("x-forwarded-method", "GET");
    event.headers.push("x-forwarded-uri", "/api/orders?a=1");
    event.take_forwarded();
    assert_eq!(event.path, "/api/orders");
}

#[test]
fn an_appsync_client_sends_the_token_bare_or_as_bearer() {
    for (value, expected) in [
        ("cr_at_x", Ok("cr_at_x")),
        ("Bearer cr_at_x", Ok("cr_at_x")),
        ("bearer cr_at_x", Ok("cr_at_x")),
        ("Session cr_st_x", Err(Missing::Scheme)),
        ("Basic cr_at_x", Err(Missing::Scheme)),
        // It hands over one header alone, so no proof.
        ("DPoP cr_at_x", Err(Missing::Proof)),
    ] {
        let event = parse(&with(appsync(), "/authorizationToken", json!(value))).unwrap();
        for edge in [Edge::None, Edge::Cloudfront] {
            let found = credential(&event, edge);
            assert_eq!(found.map(|found| found.text), expected, "{value}");
        }
    }
}

fn allowed() -> Allowed {
    let input = SigningInput::new("at+jwt", "k", Algorithm::ES256, &json!({})).unwrap();
    Allowed {
        jwt: input.into_jwt(b"signature"),
        client_id: "demo-machine".to_owned(),
        scope: "orders:read".to_owned(),
        denied_fields: vec!["Query.reports".to_owned()],
        reach: reach("/request", &[]),
        reusable_for: 17,
    }
}

fn answered(answer: Answer<'_>, event: &Value) -> Value {
    let settings = Settings {
        simple_responses: true,
        one_verdict: &[],
    };
    match answer.encode(&parse(event).unwrap(), settings) {
        Encoded::Done(Ok(bytes)) => serde_json::from_slice(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_websocket_is_answered_with_a_policy_and_the_subprotocol_to_choose() {
    let allowed = allowed();
    let allow = Answer::Allow {
        allowed: &allowed,
        subject_tag: TAG,
    };
    let mut event = connect();
    let plain = answered(allow, &event);
    assert_eq!(plain["policyDocument"]["Statement"][0]["Resource"], STAGE);
    assert_eq!(plain["policyDocument"]["Statement"][0]["Effect"], "Allow");
    assert_eq!(plain["context"]["jwt"], allowed.jwt.expose());
    assert!(
        plain["context"]["subprotocol"].is_null(),
        "none was offered"
    );

    let protocols = "graphql-ws, cloakroom, cr_wt_canary";
    event["headers"]["Sec-WebSocket-Protocol"] = json!(protocols);
    event["multiValueHeaders"]["Sec-WebSocket-Protocol"] = json!([protocols]);
    let with_ticket = answered(allow, &event);
    assert_eq!(with_ticket["context"]["subprotocol"], SUBPROTOCOL);
    assert!(
        !with_ticket.to_string().contains("canary"),
        "never the ticket"
    );
    assert!(!with_ticket.to_string().contains("graphql-ws"));
}

#[test]
fn appsync_is_told_what_to_hold_back_and_how_long_to_keep_the_answer() {
    let allowed = allowed();
    let allow = Answer::Allow {
        allowed: &allowed,
        subject_tag: TAG,
    };
    assert_eq!(
        answered(allow, &appsync()),
        json!({
            "isAuthorized": true,
            "resolverContext": {
                "jwt": allowed.jwt.expose(),
                "client_id": "demo-machine",
                "scope": "orders:read",
                "subject_tag": TAG,
            },
            "deniedFields": ["Query.reports"],
            "ttlOverride": 17,
        })
    );
    let refused = json!({"isAuthorized": false, "ttlOverride": 0});
    let forbid = Answer::Forbid {
        subject_tag: Some(TAG),
    };
    assert_eq!(answered(forbid, &appsync()), refused);
    assert_eq!(answered(Answer::Unauthorized, &appsync()), refused);
    let event = parse(&appsync()).unwrap();
    let settings = Settings {
        simple_responses: true,
        one_verdict: &[],
    };
    assert!(matches!(
        Answer::Unavailable.encode(&event, settings),
        Encoded::Done(Err(FunctionFailure::Unavailable))
    ));
}

#[test]
fn a_proxy_is_answered_with_a_status_and_one_header() {
    let allowed = allowed();
    let allow = Answer::Allow {
        allowed: &allowed,
        subject_tag: TAG,
    };
    let forbid = Answer::Forbid { subject_tag: None };
    for (kind, event) in proxies() {
        let header = |document: &Value, name: &str| {
            let list = &document["multiValueHeaders"][name][0];
            let one = &document["headers"][name];
            assert!(list.is_null() || one.is_null(), "one of the two forms");
            let value = list.as_str().or(one.as_str());
            value.map(str::to_owned)
        };
        let document = answered(allow, &event);
        assert_eq!(document["statusCode"], 200, "{kind:?}");
        let bearer = format!("Bearer {}", allowed.jwt.expose());
        assert_eq!(header(&document, "authorization"), Some(bearer), "{kind:?}");
        for (answer, status) in [
            (Answer::Unauthorized, 401),
            (forbid, 403),
            (Answer::Unavailable, 503),
        ] {
            let document = answered(answer, &event);
            assert_eq!(document["statusCode"], status, "{kind:?}");
            assert_eq!(header(&document, "authorization"), None, "{kind:?}");
            let challenge = header(&document, "www-authenticate");
            assert_eq!(challenge.is_some(), status == 401, "{kind:?}");
            assert_eq!(header(&document, "retry-after").is_some(), status == 503);
            assert_eq!(header(&document, "cache-control").unwrap(), "no-store");
            let described = document["statusDescription"].as_str();
            assert_eq!(described.is_some(), kind != EventKind::FunctionUrl);
            let multi = kind != EventKind::FunctionUrl && kind != BALANCED;
            assert_eq!(document["multiValueHeaders"].is_object(), multi, "{kind:?}");
        }
    }
}

#[test]
fn d34_a_token_authorizers_answer_is_about_one_route_where_routes_differ() {
    let allowed = allowed();
    let allow = Answer::Allow {
        allowed: &allowed,
        subject_tag: TAG,
    };
    let resource = |event: &Value, one_verdict: &[(String, String)]| {
        let settings = Settings {
            simple_responses: true,
            one_verdict,
        };
        match allow.encode(&parse(event).unwrap(), settings) {
            Encoded::Done(Ok(bytes)) => {
                let answer: Value = serde_json::from_slice(&bytes).unwrap();
                Some(answer["policyDocument"]["Statement"][0]["Resource"].clone())
            }
            Encoded::Unfit | Encoded::TooLong => None,
            Encoded::Done(Err(failure)) => panic!("{failure}"),
        }
    };
    let route = |method: &str, path: &str| (method.to_owned(), path.to_owned());
    let same = [route("GET", "/request"), route("ANY", "/other")];
    // `*` in place of a method would span into the path.
    let others = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
        .map(|method| STAGE.replace("test/*", &format!("test/{method}/other")));
    let all: Vec<_> = std::iter::once(ARN.to_owned()).chain(others).collect();
    assert_eq!(resource(&rest_token(), &same), Some(json!(all)));
    let many: Vec<_> = (0..16).map(|n| route("ANY", &format!("/r{n}"))).collect();
    let named = resource(&rest_token(), &many).unwrap();
    assert_eq!(
        named.as_array().unwrap().len(),
        16,
        "of the requested method"
    );
    assert_eq!(resource(&rest_token(), &same[..1]), Some(json!(ARN)));
    assert_eq!(resource(&rest_token(), &[]), Some(json!(ARN)));
    assert_eq!(resource(&rest_request(), &[]), Some(json!(ARN)));
    let wild = with(
        rest_token(),
        "/methodArn",
        json!(ARN.replace("request", "*")),
    );
    assert_eq!(
        resource(&wild, &[]),
        Some(json!(STAGE)),
        "a live wildcard: nothing is allowed"
    );
}

#[test]
fn what_does_not_fit_is_given_in_no_shape() {
    let odd = Allowed {
        scope: "a\"b".to_owned(),
        ..allowed()
    };
    let allow = Answer::Allow {
        allowed: &odd,
        subject_tag: TAG,
    };
    for (kind, event) in all() {
        let settings = Settings {
            simple_responses: true,
            one_verdict: &[],
        };
        let encoded = allow.encode(&parse(&event).unwrap(), settings);
        assert!(matches!(encoded, Encoded::Unfit), "{kind:?}");
    }
}

proptest! {
    #[test]
    fn d40_any_of_them_with_anything_in_one_place_is_answered(
        which in 0..5_usize,
        name in prop::sample::select(NAMES.to_vec()),
        value in any_json(),
    ) {
        let (_, mut event) = all()[which].clone();
        event[name] = value;
        if let Ok(event) = parse(&event) {
            let _ = credential(&event, Edge::None);
            let settings = Settings { simple_responses: true, one_verdict: &[] };
            let refused = Answer::Forbid { subject_tag: None }.encode(&event, settings);
            prop_assert!(matches!(refused, Encoded::Done(Ok(_))));
        }
    }
}
