//! Events of every kind in, answers of every kind out. The shapes are those of AWS's
//! documentation; whatever a client can change in them is changed here.

mod kinds;

use super::*;
use crate::entry::FunctionFailure;
use crate::headers::Headers;
use cloakroom_domain::authorize::{Allowed, Possession, Scheme};
use cloakroom_domain::config::Edge;
use cloakroom_domain::jwt::{Algorithm, Jwt, SigningInput};
use cloakroom_domain::policy::Reach;
use cloakroom_domain::target::Reading;
use proptest::prelude::*;
use serde_json::{Value, json};

const ARN: &str = "arn:aws:execute-api:us-east-1:123456789012:abcdef123/test/GET/request";
const STAGE: &str = "arn:aws:execute-api:us-east-1:123456789012:abcdef123/test/*";
const TAG: &str = "AbCdEfGhIjKlMnOp";

fn rest_token() -> Value {
    json!({
        "type": "TOKEN",
        "authorizationToken": "Bearer token",
        "methodArn": ARN,
    })
}

fn rest_request() -> Value {
    json!({
        "type": "REQUEST",
        "methodArn": ARN,
        "resource": "/request",
        "path": "/request",
        "httpMethod": "GET",
        "headers": {
            "Accept": "*/*",
            "Authorization": "Bearer token",
            "Host": "abcdef123.execute-api.us-east-1.amazonaws.com",
            "X-Amzn-Trace-Id": "Root=1-66f00000-000000000000000000000000",
        },
        "multiValueHeaders": {
            "Accept": ["*/*"],
            "Authorization": ["Bearer token"],
            "Host": ["abcdef123.execute-api.us-east-1.amazonaws.com"],
            "X-Amzn-Trace-Id": ["Root=1-66f00000-000000000000000000000000"],
        },
        "queryStringParameters": {"QueryString1": "queryValue1"},
        "multiValueQueryStringParameters": {"QueryString1": ["queryValue1"]},
        "pathParameters": {},
        "stageVariables": {"StageVar1": "stageValue1"},
        "requestContext": {
            "path": "/test/request",
            "accountId": "123456789012",
            "resourceId": "05c7jb",
            "stage": "test",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "identity": {
                "apiKey": null,
                "sourceIp": "192.0.2.1",
                "clientCert": {"clientCertPem": "CERT_CONTENT", "serialNumber": "a1:a1"},
            },
            "resourcePath": "/request",
            "httpMethod": "GET",
            "apiId": "abcdef123",
        },
    })
}

fn http_v1() -> Value {
    let mut event = rest_request();
    event["version"] = json!("1.0");
    event["identitySource"] = json!("Bearer token");
    event["authorizationToken"] = json!("Bearer token");
    event
}

fn http_v2() -> Value {
    json!({
        "version": "2.0",
        "type": "REQUEST",
        "routeArn": ARN,
        "identitySource": ["Bearer token"],
        "routeKey": "GET /request",
        "rawPath": "/test/request",
        "rawQueryString": "parameter1=value1&parameter1=value2",
        "cookies": ["a=1", "b=2"],
        "headers": {"accept": "*/*", "x-cloakroom-token": "Bearer token"},
        "queryStringParameters": {"parameter1": "value1,value2"},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abcdef123",
            "domainName": "abcdef123.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "abcdef123",
            "http": {
                "method": "GET",
                "path": "/test/request",
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "agent",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "GET /request",
            "stage": "test",
            "time": "12/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1_583_348_638_390_u64,
        },
        "pathParameters": {"parameter1": "value1"},
        "stageVariables": {"stageVariable1": "value1"},
    })
}

fn all() -> [(EventKind, Value); 4] {
    [
        (EventKind::RestToken, rest_token()),
        (EventKind::RestRequest, rest_request()),
        (EventKind::HttpV1, http_v1()),
        (EventKind::HttpV2, http_v2()),
    ]
}

fn reach(path: &str, except: &[&str]) -> std::sync::Arc<Reach> {
    std::sync::Arc::new(Reach {
        path: path.to_owned(),
        except: except.iter().map(|path| (*path).to_owned()).collect(),
        is_any: false,
    })
}

/// Borrows from a text that stays, like the test that asks.
fn parse(event: &Value) -> Result<AuthorizerEvent<'static>, UnknownEvent> {
    AuthorizerEvent::parse(event.to_string().leak().as_bytes())
}

/// The event, changed at a JSON pointer.
fn with(mut event: Value, pointer: &str, value: Value) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    event.pointer_mut(parent).unwrap()[name] = value;
    event
}

/// The event, without what is at a JSON pointer.
fn without(mut event: Value, pointer: &str) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = event.pointer_mut(parent).unwrap();
    parent.as_object_mut().unwrap().remove(name);
    event
}

mod parsing {
    use super::*;

    #[test]
    fn every_kind_is_read_as_aws_documents_it() {
        for (kind, event) in all() {
            let event = parse(&event).unwrap();
            assert_eq!(event.kind, kind);
            assert_eq!(event.method, "GET", "{kind:?}");
            assert_eq!(event.resource, "/request", "{kind:?}");
            assert_eq!(event.asker, "abcdef123/test", "{kind:?}");
            let name = if kind == EventKind::HttpV2 {
                "x-cloakroom-token"
            } else {
                "authorization"
            };
            assert_eq!(
                event.headers.one(name),
                Ok(Some("Bearer token")),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn the_gateways_request_id_is_kept_where_there_is_one() {
        let id = |event: &Value| parse(event).unwrap().request_id;
        assert_eq!(id(&rest_token()), "");
        assert_eq!(id(&rest_request()), "c6af9ac6-7b61-11e6-9a41-93e8deadbeef");
        assert_eq!(id(&http_v2()), "JKJaXmPLvHcESHA=");
    }

    #[test]
    fn d34_the_resource_is_the_gateways_match_and_not_what_the_client_sent() {
        let event = with(rest_request(), "/resource", json!("/orders/{id}"));
        let event = with(event, "/requestContext/resourcePath", json!("/orders/{id}"));
        let event = with(event, "/path", json!("/orders/7%40b"));
        assert_eq!(parse(&event).unwrap().resource, "/orders/{id}");
        let event = with(event, "/path", json!("/orders/..%2fadmin"));
        assert_eq!(parse(&event).unwrap().resource, "", "D76");

        for (route, expected) in [
            ("GET /orders/{id}", "/orders/{id}"),
            ("ANY /orders/{id}", "/orders/{id}"),
            ("$default", "/{proxy+}"),
        ] {
            let event = with(http_v2(), "/routeKey", json!(route));
            let event = with(event, "/requestContext/routeKey", json!(route));
            assert_eq!(parse(&event).unwrap().resource, expected, "{route}");
        }
    }

    #[test]
    fn a_route_key_of_another_method_or_shape_is_refused() {
        for route in ["POST /request", "GET", "", "$connect", "get /request"] {
            let event = with(http_v2(), "/routeKey", json!(route));
            let event = with(event, "/requestContext/routeKey", json!(route));
            assert_eq!(parse(&event).unwrap_err(), UnknownEvent, "{route}");
        }
    }

    #[test]
    fn d40_an_unknown_shape_is_refused() {
        for text in [
            "",
            "{}",
            "[]",
            "null",
            "\"TOKEN\"",
            "1",
            "{",
            "\u{feff}{}",
            r#"[{"type":"TOKEN"}]"#,
            r#"{"type":"TOKEN"}"#,
            r#"{"type":"REQUEST"}"#,
            r#"{"type":"REQUEST","version":"2.0"}"#,
            r#"{"type":["TOKEN"],"methodArn":""}"#,
        ] {
            let parsed = AuthorizerEvent::parse(text.as_bytes());
            assert_eq!(parsed.unwrap_err(), UnknownEvent, "{text}");
        }
        assert!(AuthorizerEvent::parse(b"\xff\xfe").is_err());
        assert!(AuthorizerEvent::parse(b"{\"type\":\"TOKEN\xff\"}").is_err());
    }

    #[test]
    fn d40_the_type_must_be_there_and_known() {
        for (kind, event) in all() {
            for wrong in [json!(null), json!("request"), json!("AUTHORIZER"), json!(7)] {
                let changed = with(event.clone(), "/type", wrong);
                assert_eq!(parse(&changed).unwrap_err(), UnknownEvent, "{kind:?}");
            }
            assert!(parse(&without(event, "/type")).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn d40_a_version_that_we_do_not_know_is_not_taken_for_one_that_we_do() {
        for version in ["3.0", "2", "1", "", "2.0 "] {
            for event in [http_v1(), http_v2(), rest_token()] {
                let event = with(event, "/version", json!(version));
                assert_eq!(parse(&event).unwrap_err(), UnknownEvent, "{version}");
            }
        }
        assert!(parse(&with(http_v2(), "/version", json!("1.0"))).is_err());
        assert!(parse(&with(http_v1(), "/version", json!("2.0"))).is_err());
        assert!(parse(&without(http_v2(), "/version")).is_err());
    }

    #[test]
    fn what_has_a_connection_is_no_request() {
        for event in [rest_request(), http_v1()] {
            let id = json!("LVYVcfvoIAMCJtg=");
            let event = with(event, "/requestContext/connectionId", id);
            assert!(parse(&event).is_err());
        }
    }

    #[test]
    fn d37_an_event_that_contradicts_its_arn_is_nobodys() {
        let other = |from: &str, to: &str| json!(ARN.replace(from, to));
        for (pointer, wrong) in [
            ("/requestContext/accountId", json!("999999999999")),
            ("/requestContext/accountId", json!(123_456_789_012_u64)),
            ("/requestContext/apiId", json!("zzz999")),
            ("/requestContext/stage", json!("prod")),
            ("/requestContext/apiId", json!(7)),
            ("/requestContext/stage", json!(["test"])),
            ("/requestContext", json!(null)),
            ("/requestContext", json!("test")),
            ("/methodArn", other("123456789012", "999999999999")),
            ("/methodArn", other("abcdef123", "zzz999")),
            ("/methodArn", other("/test/", "/prod/")),
            ("/methodArn", other("/GET/", "/POST/")),
            ("/methodArn", other("execute-api", "lambda")),
            ("/methodArn", json!(null)),
            ("/methodArn", json!({})),
            ("/httpMethod", json!("DELETE")),
            ("/requestContext/httpMethod", json!("DELETE")),
            ("/requestContext/resourcePath", json!("/admin")),
            ("/resource", json!("/admin")),
        ] {
            for event in [rest_request(), http_v1()] {
                let event = with(event, pointer, wrong.clone());
                assert_eq!(
                    parse(&event).unwrap_err(),
                    UnknownEvent,
                    "{pointer} {wrong}"
                );
            }
        }
        for (pointer, wrong) in [
            ("/requestContext/accountId", json!("999999999999")),
            ("/requestContext/apiId", json!("zzz999")),
            ("/requestContext/stage", json!("$default")),
            ("/requestContext/routeKey", json!("GET /admin")),
            ("/requestContext/http", json!(null)),
            ("/requestContext/http/method", json!("POST")),
            ("/routeArn", other("abcdef123", "zzz999")),
            ("/routeArn", json!(null)),
        ] {
            let event = with(http_v2(), pointer, wrong.clone());
            assert_eq!(
                parse(&event).unwrap_err(),
                UnknownEvent,
                "{pointer} {wrong}"
            );
        }
        assert!(parse(&with(rest_token(), "/methodArn", json!("*"))).is_err());
    }

    #[test]
    fn c7_header_maps_may_be_null_absent_or_of_another_type() {
        for wrong in [json!(null), json!([]), json!("x"), json!(7), json!({})] {
            for event in [rest_request(), http_v1(), http_v2()] {
                let mut event = event;
                for name in ["headers", "multiValueHeaders", "cookies"] {
                    event[name] = wrong.clone();
                }
                let event = parse(&event).unwrap();
                assert!(!event.headers.contains("authorization"));
                assert!(!event.headers.contains("x-cloakroom-token"));
            }
        }
        for name in ["/headers", "/multiValueHeaders"] {
            let event = parse(&without(rest_request(), name)).unwrap();
            assert_eq!(event.headers.one("authorization"), Ok(Some("Bearer token")));
        }
    }

    #[test]
    fn c7_a_header_value_is_whatever_the_client_sent_and_no_error() {
        for odd in [
            json!("\u{1}\u{7f}"),
            json!("a\r\nb: c"),
            json!("\u{fffd}"),
            json!("é😀"),
            json!(""),
            json!(null),
            json!(7),
            json!(["x"]),
            json!({"a": 1}),
            json!("x".repeat(10_240)),
        ] {
            for name in ["x-odd", "bad name\n", "", "é"] {
                let mut event = rest_request();
                event["headers"][name] = odd.clone();
                event["multiValueHeaders"][name] = json!([odd]);
                let parsed = parse(&event).unwrap();
                assert_eq!(
                    parsed.headers.one("authorization"),
                    Ok(Some("Bearer token"))
                );
                let mut event = http_v2();
                event["headers"][name] = odd.clone();
                event["cookies"] = json!([odd]);
                assert!(parse(&event).is_ok());
            }
        }
    }

    #[test]
    fn d27_two_headers_are_seen_whichever_map_has_them() {
        let twice = |event: Value| parse(&event).unwrap().headers.one("authorization").is_err();
        let multi = "/multiValueHeaders/Authorization";
        assert!(twice(with(
            rest_request(),
            multi,
            json!(["Bearer evil", "Bearer token"])
        )));
        assert!(twice(with(
            rest_request(),
            multi,
            json!(["Bearer token", "Bearer token"])
        )));
        assert!(twice(with(rest_request(), multi, json!(["Bearer evil"]))));
        assert!(twice(with(
            rest_request(),
            "/multiValueHeaders/authorization",
            json!(["Bearer evil"])
        )));
        assert!(twice(with(
            rest_request(),
            "/headers/AUTHORIZATION",
            json!("Bearer evil")
        )));
        assert!(!twice(rest_request()));
    }

    #[test]
    fn cookies_of_format_2_come_apart_and_are_not_counted_twice() {
        let cookie = "__Host-Http-cloakroom=x";
        let event = with(http_v2(), "/cookies", json!(["a=1", cookie]));
        let session = |event: &Value| {
            let event = parse(event).unwrap();
            crate::cookies::value(&event.headers, crate::cookies::SESSION).map(|x| x.is_some())
        };
        assert_eq!(session(&event), Ok(true));
        let both = with(
            event.clone(),
            "/headers/cookie",
            json!(format!("a=1; {cookie}")),
        );
        assert_eq!(session(&both), Ok(true));
        let two = with(event, "/cookies", json!([cookie, cookie]));
        assert!(session(&two).is_err());
    }

    #[test]
    fn d60_depth_and_size_end_in_a_refusal_and_not_in_a_crash() {
        for open in ["[", r#"{"a":"#] {
            let deep = format!(r#"{{"type":"REQUEST","headers":{}"#, open.repeat(200_000));
            assert!(AuthorizerEvent::parse(deep.as_bytes()).is_err());
        }
        let mut event = rest_request();
        event["headers"]["x-big"] = json!("x".repeat(6 * 1024 * 1024));
        assert!(parse(&event).is_ok());
        // More than a gateway would hand over; each is compared with the others.
        for (count, is_read) in [(900, true), (50_000, false)] {
            let headers: serde_json::Map<_, _> =
                (0..count).map(|n| (format!("h{n}"), json!("v"))).collect();
            let event = with(rest_request(), "/headers", Value::Object(headers));
            assert_eq!(parse(&event).is_ok(), is_read, "{count}");
        }
    }
}

mod credentials {
    use super::*;

    const REST: EventKind = EventKind::RestRequest;
    const HTTP: EventKind = EventKind::HttpV2;
    const COOKIE: (&str, &str) = ("cookie", "a=1; __Host-Http-cloakroom=cr_st_x; b=2");

    fn found(
        kind: EventKind,
        edge: Edge,
        headers: &[(&str, &str)],
    ) -> Result<(Scheme<'static>, String, bool), Missing> {
        let event = AuthorizerEvent {
            kind,
            headers: headers
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..parse(&rest_request()).unwrap()
        };
        // As long as the test run, so that what is found outlives the event.
        let event = Box::leak(Box::new(event));
        credential(event, edge)
            .map(|found| (found.scheme, found.text.to_owned(), found.from_cookie))
    }

    fn authorization(edge: Edge, value: &str) -> Result<(Scheme<'static>, String, bool), Missing> {
        found(REST, edge, &[("authorization", value)])
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        for edge in [Edge::None, Edge::Cloudfront] {
            for scheme in ["Bearer", "bearer", "BEARER"] {
                assert_eq!(
                    authorization(edge, &format!("{scheme} cr_at_x")),
                    Ok((Scheme::Bearer, "cr_at_x".to_owned(), false))
                );
            }
        }
    }

    #[test]
    fn d26_what_is_not_one_bearer_token_is_refused_or_left_to_the_token_parser() {
        for edge in [Edge::None, Edge::Cloudfront] {
            assert_eq!(found(REST, edge, &[]), Err(Missing::Nothing));
            for value in [
                "",
                " ",
                "Bearer",
                "Bearer\tcr_at_x",
                "\tBearer cr_at_x",
                " Bearer cr_at_x",
                "Basic ZGVtbzpkZW1v",
                "DPoP\tcr_at_x",
                " DPoP cr_at_x",
                "DPoPcr_at_x",
                "Bearer: cr_at_x",
                "Bearer\u{a0}cr_at_x",
                "Bearér cr_at_x",
                "cr_at_x",
            ] {
                assert_eq!(
                    authorization(edge, value),
                    Err(Missing::Scheme),
                    "{value:?}"
                );
            }
            // None of these texts has a token's shape.
            for (value, text) in [
                ("Bearer ", ""),
                ("Bearer  cr_at_x", " cr_at_x"),
                ("Bearer a,b", "a,b"),
                ("Bearer a, Bearer b", "a, Bearer b"),
                ("Bearer cr_at_x ", "cr_at_x "),
            ] {
                assert_eq!(
                    authorization(edge, value),
                    Ok((Scheme::Bearer, text.to_owned(), false)),
                    "{value:?}"
                );
            }
        }
    }

    #[test]
    fn a_bound_token_is_found_beside_exactly_one_proof() {
        let proof = ("dpop", "h.p.s");
        for edge in [Edge::None, Edge::Cloudfront] {
            for scheme in ["DPoP", "dpop", "DPOP"] {
                let value = format!("{scheme} cr_at_x");
                let possession = Possession {
                    proof: "h.p.s",
                    path: "/request",
                    reading: Reading::Routed,
                };
                let expected = Ok((Scheme::Dpop(possession), "cr_at_x".to_owned(), false));
                let header = ("authorization", value.as_str());
                let renamed = ("x-cloakroom-token", value.as_str());
                assert_eq!(found(REST, edge, &[header, proof]), expected);
                assert_eq!(found(HTTP, edge, &[renamed, proof]), expected);
                // A TOKEN event holds one header alone (specs B-rest-1).
                assert_eq!(found(REST, edge, &[header]), Err(Missing::Proof));
                assert_eq!(found(HTTP, edge, &[renamed]), Err(Missing::Proof));
                for second in [proof, ("DPoP", "other")] {
                    assert_eq!(
                        found(REST, edge, &[header, proof, second]),
                        Err(Missing::Proof),
                        "RFC 9449 §4.3"
                    );
                }
            }
            // A proof is no credential.
            assert_eq!(found(REST, edge, &[proof]), Err(Missing::Nothing));
        }
    }

    #[test]
    fn a_proof_is_about_the_path_that_the_client_sent() {
        let path = |event: &Value| parse(event).unwrap().path;
        let sent = rest_request()["path"].as_str().unwrap().to_owned();
        assert_eq!(path(&rest_request()), sent);
        // HTTP APIs write their stage in front, which is not in the client's URL.
        for event in [http_v1(), http_v2()] {
            assert_eq!(path(&event), "/request");
        }
        let default = |event: Value| {
            let text = event.to_string().replace("/test/GET/", "/$default/GET/");
            let text = text.replace(r#""stage":"test""#, r#""stage":"$default""#);
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let event = with(default(http_v2()), "/rawPath", json!("/test/request"));
        assert_eq!(path(&event), "/test/request");
    }

    #[test]
    fn d30_only_the_edge_function_says_session() {
        assert_eq!(
            authorization(Edge::Cloudfront, "Session cr_st_x"),
            Ok((Scheme::Session, "cr_st_x".to_owned(), false))
        );
        assert_eq!(
            authorization(Edge::None, "Session cr_st_x"),
            Err(Missing::Scheme)
        );
        for scheme in ["session", "SESSION"] {
            assert_eq!(
                authorization(Edge::Cloudfront, &format!("{scheme} cr_st_x")),
                Err(Missing::Scheme),
                "the edge function writes it in one way"
            );
        }
    }

    #[test]
    fn a_cookie_is_taken_where_there_is_no_edge_function() {
        for kind in [REST, HTTP, EventKind::HttpV1] {
            assert_eq!(
                found(kind, Edge::None, &[COOKIE]),
                Ok((Scheme::Session, "cr_st_x".to_owned(), true))
            );
            assert_eq!(
                found(kind, Edge::Cloudfront, &[COOKIE]),
                Err(Missing::Bypass),
                "it came around the edge function"
            );
        }
    }

    #[test]
    fn d19_cookie_and_header_together_are_ambiguous() {
        for edge in [Edge::None, Edge::Cloudfront] {
            for header in ["Bearer cr_at_x", "Basic x", "", "Session cr_st_x"] {
                let both = [("authorization", header), COOKIE];
                assert_eq!(found(REST, edge, &both), Err(Missing::Ambiguous));
                let both = [("x-cloakroom-token", header), COOKIE];
                assert_eq!(found(HTTP, edge, &both), Err(Missing::Ambiguous));
            }
        }
    }

    #[test]
    fn d16_d17_the_cookie_counts_once_and_by_its_exact_name() {
        let line = |line| found(REST, Edge::None, &[("cookie", line)]);
        assert_eq!(
            line("__Host-Http-cloakroom=a; __Host-Http-cloakroom=a"),
            Err(Missing::Ambiguous)
        );
        for other in [
            "__host-http-cloakroom=a",
            "__HOST-Http-cloakroom=a",
            "cloakroom=a",
            "__Host-Http-login-x=a",
        ] {
            assert_eq!(line(other), Err(Missing::Nothing), "{other}");
        }
    }

    #[test]
    fn d27_two_headers_are_ambiguous_even_if_equal() {
        for edge in [Edge::None, Edge::Cloudfront] {
            let two = [("authorization", "Bearer a"), ("Authorization", "Bearer a")];
            assert_eq!(found(REST, edge, &two), Err(Missing::Ambiguous));
            let two = [
                ("x-cloakroom-token", "Bearer a"),
                ("x-cloakroom-token", "Bearer b"),
            ];
            assert_eq!(found(HTTP, edge, &two), Err(Missing::Ambiguous));
        }
    }

    #[test]
    fn an_http_apis_token_comes_in_the_renamed_header() {
        for edge in [Edge::None, Edge::Cloudfront] {
            let renamed = [("x-cloakroom-token", "Bearer cr_at_x")];
            let token = Ok((Scheme::Bearer, "cr_at_x".to_owned(), false));
            for kind in [HTTP, EventKind::HttpV1] {
                assert_eq!(found(kind, edge, &renamed), token);
                assert_eq!(
                    found(kind, edge, &[("authorization", "Bearer cr_at_x")]),
                    token,
                    "where nothing renames it"
                );
                let both = [renamed[0], ("authorization", "Bearer cr_at_y")];
                assert_eq!(found(kind, edge, &both), Err(Missing::Ambiguous));
            }
            for kind in [REST, EventKind::RestToken] {
                assert_eq!(
                    found(kind, edge, &renamed),
                    Err(Missing::Nothing),
                    "before a REST API it is nobody's header"
                );
            }
        }
        assert_eq!(
            found(
                HTTP,
                Edge::Cloudfront,
                &[("x-cloakroom-token", "Session cr_st_x")]
            ),
            Ok((Scheme::Session, "cr_st_x".to_owned(), false))
        );
        assert_eq!(
            found(
                HTTP,
                Edge::None,
                &[("x-cloakroom-token", "Session cr_st_x")]
            ),
            Err(Missing::Scheme)
        );
    }

    #[test]
    fn a_credential_shows_nothing_of_itself() {
        for headers in [
            &[("authorization", "Bearer canary")][..],
            &[("authorization", "DPoP canary"), ("dpop", "canary")],
        ] {
            let event = AuthorizerEvent {
                headers: headers.iter().copied().collect::<Headers>(),
                ..parse(&rest_request()).unwrap()
            };
            let credential = credential(&event, Edge::None).unwrap();
            assert!(!format!("{credential:?}").contains("canary"));
            assert!(!format!("{:?}", credential.scheme).contains("canary"));
        }
    }
}

mod answers {
    use super::*;

    /// A JWT with a payload of about `size` bytes.
    fn jwt(size: usize) -> Jwt {
        let claims = json!({"pad": "x".repeat(size)});
        SigningInput::new("at+jwt", "kid", Algorithm::ES256, &claims)
            .unwrap()
            .into_jwt(&[7; 64])
    }

    fn allowed(size: usize) -> Allowed {
        Allowed {
            jwt: jwt(size),
            client_id: "demo-machine".to_owned(),
            scope: "orders:read profile".to_owned(),
            denied_fields: Vec::new(),
            reach: reach("/request", &[]),
            reusable_for: 30,
        }
    }

    fn encode(answer: Answer<'_>, event: &Value, simple: bool) -> Encoded {
        let settings = Settings {
            simple_responses: simple,
            one_verdict: &[],
        };
        answer.encode(&parse(event).unwrap(), settings)
    }

    fn document(answer: Answer<'_>, event: &Value, simple: bool) -> Value {
        match encode(answer, event, simple) {
            Encoded::Done(Ok(bytes)) => serde_json::from_slice(&bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn allow(allowed: &Allowed) -> Answer<'_> {
        Answer::Allow {
            allowed,
            subject_tag: TAG,
        }
    }

    #[test]
    fn d77_an_iam_answer_allows_the_route_and_carries_the_jwt_once() {
        let allowed = allowed(10);
        let jwt = allowed.jwt.expose();
        for (kind, event) in all() {
            let (key, value) = if kind.is_http_api() {
                ("jwt", jwt.to_owned())
            } else {
                ("authorization", format!("Bearer {jwt}"))
            };
            let document = document(allow(&allowed), &event, false);
            assert_eq!(
                document,
                json!({
                    "principalId": TAG,
                    "policyDocument": {
                        "Version": "2012-10-17",
                        "Statement": [{
                            "Action": "execute-api:Invoke",
                            "Effect": "Allow",
                            "Resource": ARN,
                        }],
                    },
                    "context": {
                        key: value,
                        "client_id": "demo-machine",
                        "scope": "orders:read profile",
                        "subject_tag": TAG,
                    },
                }),
                "{kind:?}"
            );
            assert_eq!(document.to_string().matches(jwt).count(), 1, "{kind:?}");
        }
    }

    #[test]
    fn only_format_2_is_ever_answered_simply() {
        let allowed = allowed(10);
        for (kind, event) in all() {
            let document = document(allow(&allowed), &event, true);
            if kind == EventKind::HttpV2 {
                assert_eq!(
                    document,
                    json!({
                        "isAuthorized": true,
                        "context": {
                            "jwt": allowed.jwt.expose(),
                            "client_id": "demo-machine",
                            "scope": "orders:read profile",
                            "subject_tag": TAG,
                        },
                    })
                );
            } else {
                assert!(document["isAuthorized"].is_null(), "{kind:?}");
                assert!(document["policyDocument"].is_object(), "{kind:?}");
            }
        }
    }

    #[test]
    fn a_denial_has_no_context_and_names_somebody() {
        for (kind, event) in all() {
            for (subject_tag, principal) in
                [(Some(TAG), TAG), (None, "unknown"), (Some(""), "unknown")]
            {
                let document = document(Answer::Forbid { subject_tag }, &event, false);
                assert_eq!(
                    document,
                    json!({
                        "principalId": principal,
                        "policyDocument": {
                            "Version": "2012-10-17",
                            "Statement": [{
                                "Action": "execute-api:Invoke",
                                "Effect": "Deny",
                                "Resource": STAGE,
                            }],
                        },
                    }),
                    "{kind:?}"
                );
            }
        }
        let subject_tag = Some(TAG);
        assert_eq!(
            document(Answer::Forbid { subject_tag }, &http_v2(), true),
            json!({"isAuthorized": false})
        );
    }

    #[test]
    fn a_principal_is_never_empty() {
        let allowed = allowed(10);
        let nobody = Answer::Allow {
            allowed: &allowed,
            subject_tag: "",
        };
        for (_, event) in all() {
            assert_ne!(document(nobody, &event, false)["principalId"], "");
        }
    }

    #[test]
    fn what_must_not_be_cached_is_thrown() {
        for (_, event) in all() {
            for simple in [true, false] {
                assert!(matches!(
                    encode(Answer::Unauthorized, &event, simple),
                    Encoded::Done(Err(FunctionFailure::Unauthorized))
                ));
                assert!(matches!(
                    encode(Answer::Unavailable, &event, simple),
                    Encoded::Done(Err(FunctionFailure::Unavailable))
                ));
            }
        }
    }

    #[test]
    fn an_answer_of_more_than_8_kb_is_not_given() {
        let mut fits = 0;
        for size in (5_000..7_000).step_by(20) {
            let allowed = allowed(size);
            for (_, event) in all() {
                match encode(allow(&allowed), &event, true) {
                    Encoded::Done(Ok(bytes)) => {
                        assert!(bytes.len() <= MAX_ANSWER);
                        fits += 1;
                    }
                    Encoded::TooLong => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!((1..400).contains(&fits), "the limit is within the range");
    }

    #[test]
    fn d38_a_context_value_that_could_break_out_is_not_given() {
        for odd in [
            "a\"b",
            "a\\b",
            "a\r\nb",
            "a\u{1}b",
            "é",
            "a,b",
            "a;b",
            "{}",
            "<a>",
            "a\u{7f}",
            "a|b",
            "$context.identity.sourceIp",
            "a'b",
            "a%0d",
            "\u{202e}",
        ] {
            for (_, event) in all() {
                let scope = Allowed {
                    scope: odd.to_owned(),
                    ..allowed(10)
                };
                assert!(matches!(
                    encode(allow(&scope), &event, true),
                    Encoded::Unfit
                ));
                let client = Allowed {
                    client_id: odd.to_owned(),
                    ..allowed(10)
                };
                assert!(matches!(
                    encode(allow(&client), &event, true),
                    Encoded::Unfit
                ));
                let allowed = allowed(10);
                let tag = Answer::Allow {
                    allowed: &allowed,
                    subject_tag: odd,
                };
                assert!(matches!(encode(tag, &event, true), Encoded::Unfit), "{odd}");
            }
        }
        let whole = Allowed {
            scope: "Az09._~:/+= -".to_owned(),
            ..allowed(10)
        };
        let answer = document(allow(&whole), &rest_request(), true);
        assert_eq!(answer["context"]["scope"], "Az09._~:/+= -");
    }
}

/// Any JSON, with the names that mean something among its keys.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "TOKEN", "REQUEST", "1.0", "2.0", "GET", ARN, "Bearer x"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 8, |inner| {
        let name = prop_oneof![
            ".{0,6}",
            prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

const NAMES: [&str; 16] = [
    "type",
    "version",
    "methodArn",
    "routeArn",
    "headers",
    "multiValueHeaders",
    "cookies",
    "requestContext",
    "authorizationToken",
    "authorization",
    "http",
    "method",
    "httpMethod",
    "resource",
    "routeKey",
    "stage",
];

proptest! {
    #[test]
    fn d40_any_bytes_are_an_event_or_a_refusal(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = AuthorizerEvent::parse(&bytes);
    }

    #[test]
    fn d40_any_json_is_an_event_or_a_refusal(event in any_json()) {
        let _ = parse(&event);
    }

    #[test]
    fn d40_any_event_with_anything_in_one_place_is_answered(
        which in 0..4_usize,
        name in prop::sample::select(NAMES.to_vec()),
        value in any_json(),
        text in ".{0,90}",
    ) {
        let (_, event) = all()[which].clone();
        let mut changed = event.clone();
        changed[name] = value;
        if let Ok(event) = parse(&changed) {
            for edge in [Edge::None, Edge::Cloudfront] {
                let _ = credential(&event, edge);
            }
            let settings = Settings { simple_responses: true, one_verdict: &[] };
            let refused = Answer::Forbid { subject_tag: None }.encode(&event, settings);
            prop_assert!(matches!(refused, Encoded::Done(Ok(_))));
        }
        // Whatever a client writes into a header, it is one or no credential.
        if let Some(headers) = event["headers"].as_object() {
            let mut event = event.clone();
            for name in headers.keys() {
                event["headers"][name] = json!(text);
            }
            let event = parse(&event).unwrap();
            let _ = credential(&event, Edge::None);
        }
    }
}
